"""From a `System` to compiled functions: printing, kernels, caches, quadrature."""
