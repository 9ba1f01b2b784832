"""numerics: from systems of equations to kernels and trajectories."""
