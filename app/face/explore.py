r"""`dilaton explore`: a page on this machine whose sliders redraw the limit.

The server listens on the loopback address alone. It answers a move of a slider by
solving the limit anew: the learned overlaps, trajectories of $\nu$ through the weights
phase and the law of $\nu$ at its end.
"""

from __future__ import annotations

import json
import threading
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import sympy as sp
from scipy.special import ndtr

from .. import __version__
from ..errors import DilatonError, ModelError, StoreError, did_you_mean
from ..numerics.batch import solve_rows
from ..numerics.codegen.parameters import Solver
from ..numerics.minima.minimise import minimise
from ..numerics.minima.result import alone
from ..numerics.share.reduced import sample_share
from ..show.answers import plain
from ..theory.derive import Limit, derive
from ..theory.models.model import Data, Model, two_modes
from ..theory.symbols.system import System

RANGES = {
    "p": (0.02, 0.98),
    "sigma": (0.1, 3.0),
    "kappa": (0.1, 8.0),
    "n": (4.0, 4096.0),
    "ridge": (0.001, 10.0),
}
STEPS = 40
"""Steps of order four through the weights phase."""

ENDS = 401
"""End points, evenly spread, from which trajectories are followed backwards."""

REACH = 5.0
"""Standard deviations of the starting points; 6e-7 lies outside."""

FAR = 1e9
"""A state on which every sigmoid saturates."""

SHARE = 1e-6
"""Tolerance of the share of the + mode."""

SHOWN = 17
"""Trajectories that are drawn."""

SATURATED = 40.0
"""A bias this large saturates the unit to the last digit."""

NARROW = 0.02
"""Smallest spread that a trajectory is blurred by, below what a screen shows."""

Rows = dict[str, np.ndarray]


def answer(query: Mapping[str, Any]) -> dict[str, Any]:
    r"""Solve the limit at the sliders' values.

    `query` has p, sigma, kappa, n (a number, or ``"inf"``) and ridge (for both ridges).
    Returns ``overlaps`` along `t`, ``paths`` (the mean of $\nu$ along `s` from several
    starts), the law's ``density`` over `nu` with that of the population beside it, and
    ``share_plus``.

    Raises `ModelError` for a value that is missing, unknown or out of its range.
    """
    point = checked(query)
    population = _population(point)
    found = population if point["n"] == np.inf else _samples(point)
    edge = 4.5 + point["kappa"]
    nu = np.linspace(-edge, edge, 241)
    return plain(
        {
            "values": {k: v for k, v in point.items() if np.isfinite(v)},
            "overlaps": found.overlaps,
            "s": np.linspace(0, 1, STEPS + 1),
            "paths": drawn(found),
            "nu": nu,
            "density": density(found, nu),
            "population": density(population, nu),
            "share_plus": found.share,
        }
    )


def checked(query: Mapping[str, Any]) -> dict[str, float]:
    """Return the sliders' values as numbers, with ``n_plus`` for finite n."""
    for name in query:
        if name not in RANGES:
            raise ModelError(
                f"The sliders are {', '.join(RANGES)}, but the page asked for "
                f"`{name[:40]}`{did_you_mean(name, RANGES)}"
            )
    point = {name: _number(name, query.get(name)) for name in RANGES}
    if point["n"] < np.inf:
        n = point["n"] = round(point["n"])
        point["n_plus"] = min(max(round(point["p"] * n), 1), n - 1)
    return point


def _number(name: str, value: Any) -> float:
    low, high = RANGES[name]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if name == "n" and number == np.inf:
        return number
    if not low <= number <= high:
        also = ' or "inf"' if name == "n" else ""
        raise ModelError(
            f"`{name}` must be a number from {low:g} to {high:g}{also}, but is "
            f"{str(value)[:40]!r}. Change it."
        )
    return number


# ------------------------------------------------------------------- what is computed


@dataclass(frozen=True)
class Found:
    r"""A solved limit.

    Trajectories of the mean of $\nu$, of shape (times, starts), from `start`, in
    standard deviations, the spread that each is blurred by, and the share of the +
    mode, which is found as `dilaton.solve` finds it.
    """

    overlaps: dict[str, Any]
    start: np.ndarray
    paths: np.ndarray
    spread: float
    share: float


@cache
def _limit(samples: bool) -> Limit:
    return derive(Model(two_modes(), data=Data(samples=samples)))


@cache
def _flow(samples: bool) -> System:
    phase = _limit(samples).phase("weights")
    flow = phase.projected if samples else phase.sampling
    assert flow is not None  # both models have theirs
    return flow


@cache
def _function(system: System, names: tuple[str, ...]) -> Callable[..., Any]:
    """The right-hand sides of `names`, of unknowns, time, inputs and parameters."""
    given = [*system.unknowns] if system.kind == "flow" else []
    given += [system.time, *system.inputs, *system.parameters]
    return sp.lambdify(given, [system[name] for name in names], "numpy", cse=True)


def _params(system: System, point: Mapping[str, float]) -> dict[str, float]:
    ridges = {"ridge_u": point["ridge"], "ridge_w": point["ridge"]}
    return {name: {**point, **ridges}[name] for name in map(str, system.parameters)}


def _half_steps() -> np.ndarray:
    return np.linspace(0, 1, 2 * STEPS + 1)


def _population(point: Mapping[str, float]) -> Found:
    limit, flow, s = _limit(samples=False), _flow(samples=False), _half_steps()
    rates, params = _function(flow, ("nu",)), _params(flow, point).values()

    def rate(i: int | slice, y: np.ndarray) -> np.ndarray:
        return np.array(rates(y[0], s[i], *params))

    learned = _closed(limit.phase("weights").learned, s, point)
    nu = _backwards(rate, 1, REACH)[:, 0]
    share = solve_rows(limit, point, [1.0])["share_plus"]
    overlaps = _overlaps(limit, learned, s, point)
    return Found(overlaps, nu[0], nu, spread=0.0, share=float(share[0]))


def _samples(point: Mapping[str, float]) -> Found:
    limit, flow, s = _limit(samples=True), _flow(samples=True), _half_steps()
    phase = limit.phase("weights")
    params = _params(phase.learned, point)
    minima = alone(minimise(phase.learned, s, params))
    share, _, _ = sample_share(phase, minima, params, Solver("numba", SHARE))
    learned = {name: minima[name][0] for name in minima.names}
    inputs = [np.clip(learned[str(x)], -SATURATED, SATURATED) for x in flow.inputs]
    given = _params(flow, point).values()
    rates = _function(flow, ("Y", "F"))
    gamma = float(_function(flow, ("Gamma",))(0, 0, 0, *[0] * len(inputs), *given)[0])

    def rate(i: int | slice, y: np.ndarray) -> np.ndarray:
        return np.array(rates(*y, s[i], *[x[i] for x in inputs], *given))

    found = _backwards(rate, 2, REACH * np.sqrt(gamma))
    first, moved = found[0, 0], found[:, 1] - found[0, 1]
    return Found(
        _overlaps(limit, learned, s, point),
        first / np.sqrt(gamma),
        first / gamma + moved,  # the mean of nu given Y at the start
        spread=float(np.sqrt(1 - 1 / gamma)),  # its variance is 1 - 1/Gamma
        share=float(share[0]),
    )


def _backwards(rate: Callable, unknowns: int, reach: float) -> np.ndarray:
    """States, (times, unknowns, ends), that end evenly spread in the first unknown.

    Backwards the flow contracts, so that trajectories part where the ends tell them to.
    The ends hold every start within `reach`; other unknowns end at 0.
    """
    far = np.full((unknowns, 2 * STEPS + 1), FAR)
    edge = reach + np.abs(rate(slice(None), far)[0]).mean()
    y = np.zeros((unknowns, ENDS))
    y[0] = np.linspace(-edge, edge, ENDS)
    h, states = -1 / STEPS, [y]
    for i in range(2 * STEPS, 0, -2):
        k1 = rate(i, y)
        k2 = rate(i - 1, y + h / 2 * k1)
        k3 = rate(i - 1, y + h / 2 * k2)
        k4 = rate(i - 2, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states.append(y)
    return np.array(states[::-1])


def drawn(found: Found) -> np.ndarray:
    """Trajectories from evenly spread starts, of shape (starts, times)."""
    starts = np.linspace(-REACH, REACH, SHOWN)
    return np.transpose([np.interp(starts, found.start, x) for x in found.paths])


def _closed(system: System, s: np.ndarray, point: Mapping[str, float]) -> Rows:
    names = tuple(str(x) for x in system.unknowns)
    values = _function(system, names)(s, *_params(system, point).values())
    return {
        name: np.broadcast_to(np.asarray(v, float), s.shape)
        for name, v in zip(names, values, strict=True)
    }


def _overlaps(
    limit: Limit, learned: Rows, s: np.ndarray, point: Mapping[str, float]
) -> dict[str, Any]:
    """m, omega, b, c against the dilated time; an infinite b becomes a gap."""
    late = _closed(limit.phase("variance").learned, s, point)
    rows: dict[str, Any] = {"t": np.concatenate([s / 2, 0.5 + s / 2])[::2]}
    for name in ("m", "omega", "b", "c"):
        parts = [x.get(name, np.full(s.shape, np.nan)) for x in (learned, late)]
        rows[name] = np.concatenate(parts)[::2]
    return rows


def density(found: Found, nu: np.ndarray) -> np.ndarray:
    r"""The law of $\nu$ at the end: the law of the start, carried by trajectories."""
    ends = found.paths[-1]
    if found.spread == 0:
        carried = np.exp(-(found.start**2) / 2) / np.sqrt(2 * np.pi)
        return np.interp(nu, ends, carried / np.gradient(ends, found.start))
    mass = np.diff(ndtr(found.start))  # each is spread between its two trajectories
    below = ndtr((nu[:, None] - ends) / max(found.spread, NARROW))
    return (below[:, :-1] - below[:, 1:]) @ (mass / np.diff(ends))


# --------------------------------------------------------------------------- the page


class _Handler(BaseHTTPRequestHandler):
    server_version = f"dilaton/{__version__}"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: a second would wait for the first
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if not self._is_ours():
            self._send(403, "text/plain", "This page is for this machine alone.")
        elif url.path == "/":
            self._send(200, "text/html", _page())
        elif url.path == "/answer":
            self._answer(url.query)
        else:
            self._send(404, "text/plain", "There are / and /answer.")

    def _is_ours(self) -> bool:
        """Refuse other names for this address, which a foreign page could give it."""
        port = self.connection.getsockname()[1]
        known = (f"127.0.0.1:{port}", f"localhost:{port}")
        return self.headers.get("Host", "") in known

    def _answer(self, query: str) -> None:
        given = {k: v[-1] for k, v in parse_qs(query[:2000]).items()}
        try:
            self._send(200, "application/json", json.dumps(answer(given)))
        except DilatonError as error:
            self._send(400, "application/json", json.dumps({"error": str(error)}))

    def _send(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src "
            "'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'",
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing; what is computed is on the page."""


@cache
def _page() -> str:
    text = Path(__file__).with_name("explore.html").read_text(encoding="utf-8")
    return text.replace("{{RANGES}}", json.dumps(RANGES))


def make_server(port: int) -> ThreadingHTTPServer:
    """A server on the loopback address; port 0 takes a free one.

    Raises `StoreError` when the port is taken.
    """
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    except OSError as error:
        raise StoreError(
            f"`--port` must be a free port of this machine, but {port} is not: "
            f"{error.strerror}. Use another, or 0 for any."
        ) from error
    server.daemon_threads = True
    return server


def warm_up() -> None:
    """Derive and compile what the sliders need, so that the first move is quick."""
    ready = {"p": 0.8, "sigma": 1.0, "kappa": 2.0, "ridge": 0.1}
    for n in (np.inf, 16):
        answer(ready | {"n": n})


def explore(port: int, browser: bool, say: Callable[[str], None]) -> None:
    """Serve the page until interrupted; `say` is told where it is."""
    server = make_server(port)
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    say("Deriving and compiling (some seconds the first time) ...")
    warm_up()
    say(f"{address}  (Ctrl-C ends it)")
    if browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with server:
        server.serve_forever()
