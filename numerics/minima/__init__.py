"""What a network learns: minima of printed losses, followed through a phase."""
