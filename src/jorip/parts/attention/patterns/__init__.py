"""Sparse patterns as an algebra: which keys a query sees, by their places; `|` unites them (survey 4.1.1)."""
