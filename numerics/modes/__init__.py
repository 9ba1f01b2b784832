"""Numbers for mixtures of modes: shares, softmax averages, rows of sweeps, steps."""
