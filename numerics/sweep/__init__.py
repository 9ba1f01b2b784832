"""Grids of parameters: axes, jobs in chunks, and the folder that keeps them."""
