"""Derivations in print: text, Markdown, LaTeX and JSON from one list of blocks."""
