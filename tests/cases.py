"""Models, points and formulas that several tests share, each derived only once.

The formulas are written by hand with NumPy and SciPy; nothing here calls the code
that it judges, except `limit_of`.
"""

from functools import lru_cache

import dilaton
import numpy as np
from dilaton.show import plots

TEXT = dilaton.default_spec().text
POPULATION = TEXT[: TEXT.index("n = 128")] + 'n = "inf"\n'
PRODUCT = """
[target]
kind = "product"
sigma = 1
[[target.features]]
p = 0.8
scale = 1
exponent = 0
[[target.features]]
p = 0.3
scale = 2.0
exponent = 0.25
[interpolant]
alpha = "cos(pi*tau/2)"
beta = "sin(pi*tau/2)"
[dilation]
kappa = [2, 3]
[data]
n = "inf"
"""

TWO_MODES = """
[target]
kind = "two-modes"
p = 0.8
sigma = 1.0
[interpolant]
alpha = "1 - tau"
beta = "tau"
[dilation]
kappa = 3.0
[data]
n = "inf"
"""

THREE_MODES = """
[target]
kind = "modes"
weights = [0.5, 0.3, 0.2]
loadings = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
exponents = [0, 0, 0]
sigma = 1.0
[interpolant]
alpha = "1 - tau"
beta = "tau"
[dilation]
kappa = 2.0
[data]
n = "inf"
"""

MODELS = {
    "population": lambda: dilaton.Model(dilaton.two_modes()),
    "samples": lambda: dilaton.Model(
        dilaton.two_modes(), data=dilaton.Data(samples=True)
    ),
    "frozen": lambda: dilaton.Model(
        dilaton.two_modes(), data=dilaton.Data(samples=True, frozen_noise=True)
    ),
    "preserving": lambda: dilaton.Model(
        dilaton.two_modes(), interpolant=dilaton.VARIANCE_PRESERVING
    ),
    "exploding": lambda: dilaton.Model(
        dilaton.two_modes(), interpolant=dilaton.VARIANCE_EXPLODING
    ),
    "erf": lambda: dilaton.Model(
        dilaton.two_modes(), autoencoder=dilaton.Autoencoder("erf")
    ),
    "product": lambda: dilaton.Model(
        dilaton.product(0, 0.25), interpolant=dilaton.TRIGONOMETRIC
    ),
}


@lru_cache
def limit_of(name):
    """Return the limit of one of `MODELS`."""
    return dilaton.derive(MODELS[name]())


@lru_cache
def derived(model):
    """Derive a model once in a test run."""
    return dilaton.derive(model)


def only(form):
    """Return a `plots.save` that writes figures in one form alone."""

    def save(figure, stem):
        stem.with_suffix(f".{form}").write_bytes(plots.rendered(figure, form))

    return save


def gauss(f, half_width=9.0, points=721):
    """E f(g) for a standard normal g by the trapezoidal rule, over the last axis."""
    g = np.linspace(-half_width, half_width, points)
    weights = np.exp(-(g**2) / 2) / np.sqrt(2 * np.pi) * (g[1] - g[0])
    return f(g) @ weights
