"""Feature maps of linear attention (survey 4.2.1)."""
