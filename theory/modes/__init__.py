"""Mixtures of any modes: posterior, windows as a tree, flows, and the bulk."""
