"""Grids of time as numbers: maps evaluated, inverted, and integrated from weights."""
