"""Position representations (survey 5.1)."""
