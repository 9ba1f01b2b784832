r"""`dilaton explore`: a page on this machine whose sliders redraw the limit.

The server listens on the loopback address alone. It answers a move of a slider by
solving the limit anew: the learned overlaps, trajectories of $\nu$ through the weights
phase and the law of $\nu$ at its end.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import numpy as np

from .. import __version__
from ..errors import DilatonError, ModelError, StoreError, did_you_mean
from ..numerics.batch import SolvedPhase, solved_phases
from ..numerics.codegen.known import derive
from ..numerics.codegen.parameters import Solver
from ..numerics.codegen.snapshot import PrintedLimit, printed_limit
from ..numerics.minima.result import Minima, alone
from ..numerics.trajectories import FARTHEST_START, Trajectories, trajectories
from ..show.answers import plain
from ..theory.models.model import Data, Model, two_modes

RANGES = {
    "p": (0.02, 0.98),
    "sigma": (0.1, 3.0),
    "kappa": (0.1, 8.0),
    "n": (4.0, 4096.0),
    "ridge": (0.001, 10.0),
}
STEPS = 40
"""Steps of order four through the weights phase."""

SHARE = 1e-6
"""Tolerance of the share of the + mode."""

SHOWN = 17
"""Trajectories that are drawn."""


def answer(query: Mapping[str, Any]) -> dict[str, Any]:
    r"""Solve the limit at the sliders' values.

    `query` has p, sigma, kappa, n (a number, or ``"inf"``) and ridge (for both ridges).
    Returns ``overlaps`` along `t`, ``paths`` (the mean of $\nu$ along `s` from several
    starts), the law's ``density`` over `nu` with that of the population beside it, and
    ``share_plus``.

    Raises `ModelError` for a value that is missing, unknown or out of its range.
    """
    point = checked_values(query)
    population = _solved(point | {"n": np.inf})
    found = population if point["n"] == np.inf else _solved(point)
    edge = 4.5 + point["kappa"]
    nu = np.linspace(-edge, edge, 241)
    starts = np.linspace(-FARTHEST_START, FARTHEST_START, SHOWN)
    return plain(
        {
            "values": {k: v for k, v in point.items() if np.isfinite(v)},
            "overlaps": found.overlaps,
            "s": np.linspace(0, 1, STEPS + 1),
            "paths": found.paths.from_starts(starts),
            "nu": nu,
            "density": found.paths.density(nu),
            "population": population.paths.density(nu),
            "share_plus": found.share,
        }
    )


def checked_values(query: Mapping[str, Any]) -> dict[str, float]:
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


class Portrait(NamedTuple):
    """A solved limit: overlaps along the dilated time, trajectories and the share."""

    overlaps: dict[str, Any]
    paths: Trajectories
    share: float


@cache
def _limit(samples: bool) -> PrintedLimit:
    return printed_limit(derive(Model(two_modes(), data=Data(samples=samples))))


def _solved(point: Mapping[str, float]) -> Portrait:
    """Solve the limit of n samples, or of the population where n is infinite."""
    limit = _limit(samples=point["n"] < np.inf)
    ridges = {"ridge_u": point["ridge"], "ridge_w": point["ridge"]}
    given = {k: v for k, v in {**point, **ridges}.items() if k in limit.parameters}
    s = np.linspace(0, 1, 2 * STEPS + 1)
    parts = solved_phases(limit, given, s, Solver("numba", SHARE))
    window = parts[0]
    if isinstance(window.found, Minima):
        alone(window.found)
    assert window.shares is not None  # the weights are decided in the first window
    share = float(window.shares.values[0, 0])
    return Portrait(_overlaps(parts, s), trajectories(window, given, s), share)


def _overlaps(parts: list[SolvedPhase], s: np.ndarray) -> dict[str, Any]:
    """m, omega, b, c against the dilated time; an infinite b becomes a gap."""
    none = np.full(s.shape, np.nan)[None]
    rows: dict[str, Any] = {"t": np.concatenate([s / 2, 0.5 + s / 2])[::2]}
    for name in ("m", "omega", "b", "c"):
        columns = [part.overlaps.get(name, none)[0] for part in parts]
        rows[name] = np.concatenate(columns)[::2]
    return rows


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
        """Refuse other names for this address, which a foreign page could give it.

        The port is whatever a tunnel made of ours.
        """
        name = self.headers.get("Host", "").rpartition(":")[0]
        return name in ("127.0.0.1", "localhost", "[::1]")

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


def _has_screen() -> bool:
    """Whether a window can open; a browser of text would take the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def explore(port: int, browser: bool, say: Callable[[str], None]) -> None:
    """Serve the page until interrupted; `say` is told where it is."""
    server = make_server(port)
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    say("Deriving and compiling (some seconds the first time) ...")
    warm_up()
    say(f"{address}  (Ctrl-C ends it)")
    if browser and _has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with server:
        server.serve_forever()
