"""External nodes: virtual rows that a stack adds to every sequence and strips afterwards (survey 4.1.1)."""
