"""Sparse attention: a row sees a part of its sequence, by place or by content (survey 4.1)."""
