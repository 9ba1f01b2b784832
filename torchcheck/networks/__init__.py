"""Finite networks: what they are, how they are trained, what they generate."""
