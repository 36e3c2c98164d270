"""Attention mechanisms: what maps queries, keys and values to values, inside the multi-head shell."""
