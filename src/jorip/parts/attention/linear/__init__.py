"""Linearized attention: feature map x aggregation rule x execution (survey 4.2)."""
