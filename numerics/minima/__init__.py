"""Learned parameters: minima of printed losses, followed through a phase."""
