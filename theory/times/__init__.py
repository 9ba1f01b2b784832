"""Maps of time: from a uniform grid time to the interpolant's time, as objects."""
