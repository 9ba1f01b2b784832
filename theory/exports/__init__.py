"""Derivations as code: sympy, Mathematica and Julia; and a reader of the first."""
