"""Aggregation rules of linear attention (survey 4.2.2)."""
