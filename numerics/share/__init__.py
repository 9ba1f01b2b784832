"""The generated share of each mode: from closed laws, flows and fixed steps."""
