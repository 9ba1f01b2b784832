"""theory: models, windows, limits and their equations, by sympy alone."""
