"""Using a built model: generation."""
