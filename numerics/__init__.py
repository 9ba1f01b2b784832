"""numerics: from systems of equations to kernels, trajectories and numbers."""
