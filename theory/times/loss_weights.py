r"""Loss weights $\lambda(\tau)$: what a prediction or recipe multiplies the loss by.

All are relative to data prediction, $|x_1 - D(x)|^2$.
"""

from __future__ import annotations

import sympy as sp

from ...errors import ModelError, did_you_mean, shown
from ..models.model import TAU, Interpolant
from ..models.schedule import parse_schedule
from ..windows.leading import simplified
from .densities import number

RECIPES = {"min-snr": 1, "p2": 2, "sigmoid": 1, "edm": 1}
"""Recipes with the number of their parameters."""

PLAIN = ("data", "velocity", "noise")


def loss_weight(text: str, interpolant: Interpolant) -> sp.Expr:
    r"""Return $\lambda(\tau)$ of a loss weight written as text. (R16)

    With the signal-to-noise ratio $S = \beta^2/\alpha^2$:

    * ``data``: 1; ``velocity``: $(\dot\beta - \dot\alpha\beta/\alpha)^2$; ``noise``: S;
    * ``min-snr:GAMMA``: $\min(S, \gamma)$ (Hang et al. 2023);
    * ``p2:K:GAMMA``: $S/(k + S)^\gamma$ (Choi et al. 2022);
    * ``sigmoid:BIAS``: $S/(1 + Se^{-b})$ (Kingma and Gao 2023);
    * ``edm:SIGMA``: $S + \sigma_d^{-2}$ (Karras et al. 2022);
    * ``formula:EXPRESSION``: an expression in ``tau`` and ``d``.

    Raises `ModelError` for any other text.
    """
    alpha, beta = interpolant.alpha, interpolant.beta
    snr = (beta / alpha) ** 2
    name, _, rest = text.strip().partition(":")
    if name in PLAIN and not rest:
        rate = sp.diff(alpha, TAU) / alpha
        drive = simplified(sp.diff(beta, TAU) - rate * beta, alpha, beta)
        return {"data": sp.S.One, "velocity": drive**2, "noise": snr}[name]
    if name == "formula":
        return parse_schedule(rest, "loss")
    values = _values(name, rest, text)
    if name == "min-snr":
        return sp.Min(snr, values[0])
    if name == "p2":
        return snr / (values[0] + snr) ** values[1]
    if name == "sigmoid":
        return snr / (1 + snr * sp.exp(-values[0]))
    return snr + values[0] ** -2


def _values(name: str, rest: str, text: str) -> list[sp.Expr]:
    known = (*PLAIN, *RECIPES, "formula")
    if name not in RECIPES:
        raise ModelError(
            f"A loss weight must be one of {', '.join(known)}, but is {shown(text)}"
            + did_you_mean(name, known)
        )
    values = [number(part, name) for part in rest.split(":") if part.strip()]
    positive = all(v.free_symbols or v > 0 for v in values) or name == "sigmoid"
    if len(values) != RECIPES[name] or not positive:
        raise ModelError(
            f"The loss weight `{name}` must have {RECIPES[name]} positive numbers "
            f"after colons, but is {shown(text)}. Write it as in `min-snr:5`, `p2:1:1`."
        )
    return values
