"""Named quantities: what a formula is called when it is printed."""
