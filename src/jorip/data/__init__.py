"""Data: from a user's files to packed batches."""
