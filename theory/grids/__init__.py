"""Grids of a model's own: weights of time from its error, and what a grid keeps."""
