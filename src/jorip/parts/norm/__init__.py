"""Normalisation (survey 5.2)."""
