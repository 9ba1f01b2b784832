"""torchcheck: finite networks, trained and measured against the limit."""
