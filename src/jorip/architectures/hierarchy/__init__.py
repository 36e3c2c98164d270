"""Divide and conquer: long inputs in parts, and a second stack over the parts (survey 6.4)."""
