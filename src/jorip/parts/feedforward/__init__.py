"""Position-wise feed-forward layers (survey 5.3)."""
