"""Blocks: how sub-layers, residuals and norms follow each other."""
