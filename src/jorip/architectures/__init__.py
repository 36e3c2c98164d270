"""Architectures: encoder, decoder, encoder-decoder (survey 2.2: the three uses)."""
