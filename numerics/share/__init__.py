"""What is generated: the share of each mode, from flows, laws and fixed steps."""
