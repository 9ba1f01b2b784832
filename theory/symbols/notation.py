"""The notation table: one ASCII name, one symbol, one meaning per quantity.

Every symbol of every system is made by `symbol`; docs/notation.md is printed from
`TABLE` and compared with it by a test.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import sympy as sp


class Quantity(NamedTuple):
    """A row of the notation table."""

    latex: str
    meaning: str
    order: str = "O(1)"  # size as d grows
    assumptions: str = "real"  # or "positive", "nonnegative"


TABLE: dict[str, Quantity] = {
    # times
    "tau": Quantity(r"\tau", "base time of the interpolant", "[0, 1]", "positive"),
    "t": Quantity("t", "dilated time", "[0, 1]", "positive"),
    "s": Quantity("s", "time inside a phase", "[0, 1]", "positive"),
    "train_time": Quantity(r"t_{\rm train}", "training time", "O(1)", "positive"),
    # sizes
    "d": Quantity("d", "dimension", "to infinity", "positive"),
    "eps": Quantity(r"\varepsilon", "power of d a limit drops", "to 0", "positive"),
    # the target and the data
    "p": Quantity("p", "P(S = +1), weight of the + mode", "(0, 1)", "positive"),
    "sigma": Quantity(r"\sigma", "spread of a mode", "O(1)", "positive"),
    "rho": Quantity(r"\rho", "|mu|^2 = rho d^(1 - 2 delta)", "O(1)", "positive"),
    "kappa": Quantity(r"\kappa", "scale of a dilated window", "O(1)", "positive"),
    "n": Quantity("n", "number of training samples", "O(1)", "positive"),
    "n_plus": Quantity("n_+", "samples with S = +1", "O(1)", "positive"),
    "noise_draws": Quantity(
        "n_0", "noise draws for each sample and time", "O(1)", "positive"
    ),
    "ridge_u": Quantity(r"\lambda", "ridge on u", "O(1)", "positive"),
    "ridge_w": Quantity(r"\ell", "ridge on w", "O(1)", "positive"),
    "snr": Quantity(
        r"\Lambda", "beta^2 |mu|^2/Delta, signal to noise", "O(1)", "positive"
    ),
    # the training of one network for all times
    "rate": Quantity(r"\eta", "learning rate: a step is rate/d", "O(1)", "positive"),
    "batch": Quantity("B", "fresh samples in each training step", "O(1)", "positive"),
    "momentum": Quantity(
        r"\mu", "share of its step that a step keeps", "O(1)", "nonnegative"
    ),
    "pull": Quantity("a", "pull of a bias back to its rest", "O(1)", "positive"),
    "kick": Quantity(
        r"\Sigma", "variance of the slope of one sample", "O(1)", "positive"
    ),
    "b_var": Quantity("V", "variance of a bias over runs", "O(eta/B)", "positive"),
    "steepness": Quantity(
        r"\varsigma", "standard deviation of a field", "O(1)", "positive"
    ),
    "kink_plus": Quantity("k_+", "normal at which a + field is 0"),
    "kink_minus": Quantity("k_-", "normal at which a - field is 0"),
    "spread": Quantity("v", "sigma^2 as the skip has learned it", "O(1)", "positive"),
    # the autoencoder and its overlaps
    "c": Quantity("c", "skip strength", "O(1), 0 in feature windows"),
    "c_hat": Quantity(r"\hat c", "sqrt(d) c in a feature window"),
    "b": Quantity("b", "bias of the hidden unit"),
    "m": Quantity("m", "u.mu/d: overlap of u with the mean"),
    "omega": Quantity(r"\omega", "w.mu/d: overlap of w with the mean"),
    "q": Quantity("q", "|u|^2/d", "O(1)", "positive"),
    "r": Quantity("r", "|w|^2/d", "O(1)", "positive"),
    "v": Quantity("v", "u.w/d"),
    "zeta_plus": Quantity(r"\zeta_+", "w.z/d, z noise of a + sample"),
    "zeta_minus": Quantity(r"\zeta_-", "w.z/d, z noise of a - sample"),
    "a_plus": Quantity("a_+", "u.z/d, z noise of a + sample"),
    "a_minus": Quantity("a_-", "u.z/d, z noise of a - sample"),
    "zeta": Quantity(r"\zeta", "w.z/d, z noise of a sample of a class"),
    "a": Quantity("a", "S u.z/d, z noise of any sample (saturated)"),
    "e": Quantity("e", "S u.x0/d, x0 a frozen noise draw"),
    # the sampled trajectory
    "nu": Quantity(r"\nu", "mu.X/sqrt(d) in a feature window"),
    "g_plus": Quantity("g_+", "sum of z.X/sqrt(d n_+) over + samples"),
    "g_minus": Quantity("g_-", "sum of z.X/sqrt(d n_-) over - samples"),
    "g": Quantity("g", "sum of z.X/sqrt(d n_c) over class c"),
    "M": Quantity("M", "mu.X/d once the mode is decided"),
    "V": Quantity("V", "variance of a coordinate in the bulk", "O(1)", "positive"),
    "Y": Quantity("Y", "nu seen along w: the field is omega Y + b"),
    "F": Quantity("F", "what the flow adds to nu"),
    "Gamma": Quantity(r"\Gamma", "variance of Y at the start", "O(1)", "positive"),
    "mse": Quantity(r"\mathrm{mse}", "E|x1 - f|^2/d of the Bayes denoiser"),
    "mse_jump": Quantity(r"\Delta\mathrm{mse}", "drop at tau = 0+ without dilation"),
    "S": Quantity("S", "sign kept from the feature window", "-1 or 1"),
    # modes
    "K": Quantity("K", "number of modes, or of groups that part", "O(1)", "positive"),
    "R": Quantity("R", "number of directions of a window", "O(1)", "positive"),
    "L": Quantity("L", "loading: mu_k.e_j = L_kj d^(1/2 - delta_j)"),
    "delta": Quantity(r"\delta", "exponent of a direction", "[0, 1/2)"),
    "y": Quantity("y", "e_j.X, projection on a direction"),
    "xi": Quantity(r"\xi", "log posterior of a mode, up to a shift"),
    "pi": Quantity(r"\pi", "posterior probability of a mode", "[0, 1]", "positive"),
    "share": Quantity("P", "generated share of a mode", "[0, 1]"),
    "share_plus": Quantity(r"p^\kappa", "P(nu > 0) after the window", "[0, 1]"),
}

SHIFT = "_shift"
"""Ends the name of a quantity's leading correction: ``m_shift`` is m^(1)."""


def symbol(name: str) -> sp.Symbol:
    """Return the symbol of a quantity; ``name_2`` is the second feature's `name`.

    ``name_shift`` is the coefficient of the leading power of ``1/d`` in its finite-d
    value.

    ``n_pm`` and ``zeta_2_pm`` belong to the samples with signs + and -. Raises
    `KeyError` for a name that the notation table does not have.
    """
    row = quantity(name)
    if row is None:
        raise KeyError(name)
    whole = name.removesuffix(SHIFT)
    return sp.Symbol(name, **{row.assumptions if whole == name else "real": True})


def quantity(name: str) -> Quantity | None:
    """Return the row of the table that a name belongs to; `None` if there is none."""
    whole = name.removesuffix(SHIFT)
    base = whole if whole in TABLE else re.sub(r"(_\d+)*(_[pm]+)?$", "", whole)
    return TABLE.get(base)
