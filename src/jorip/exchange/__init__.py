"""Checkpoints of others, in and out: Hugging Face folders read and written by our own parts, without transformers."""
