"""Grids of time inside other libraries of samplers and trainers."""
