"""How results look: one style of figures, tables and JSON."""
