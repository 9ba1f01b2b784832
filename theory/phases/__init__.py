"""The equations: one module for each quantity of a phase, each a `System`."""
