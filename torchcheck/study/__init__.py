"""Convergence studies: cells, series, fits and verdicts against the limit."""
