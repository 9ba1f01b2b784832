r"""`dilaton explore`: a page on this machine whose sliders redraw the limit of a spec.

The server listens on the loopback address alone. It answers a move of a slider by
solving the limit anew: the learned overlaps, trajectories of $\nu$ and its law in the
window of each feature, and the paths of a dilated and an undilated sampler at a
dimension d. Every spec whose model the engine derives has such a page.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Mapping
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import numpy as np

from .. import __version__
from ..errors import DilatonError, ModelError, StoreError, did_you_mean
from ..numerics.portrait import Portrait, Portraits, portraits
from ..show.answers import plain
from ..theory.models.spec import Spec, default_spec

RANGES = {
    "p": (0.02, 0.98),
    "rho": (0.1, 10.0),
    "sigma": (0.1, 3.0),
    "kappa": (0.1, 8.0),
    "n": (4.0, 4096.0),
    "noise_draws": (1.0, 64.0),
    "ridge": (0.001, 10.0),
    "ridge_u": (0.001, 10.0),
    "ridge_w": (0.001, 10.0),
    "d": (16.0, 1e6),
    "steps": (4.0, 100.0),
}
"""The range of each slider by the name of its number, without a feature's index."""

LOGARITHMIC = ("rho", "n", "noise_draws", "ridge", "ridge_u", "ridge_w", "d", "steps")
WHOLE = ("n", "noise_draws", "d", "steps")
FIRST = {"d": 1000.0, "steps": 24.0}
RIDGE = 0.1
"""The ridge of a spec of a population, which has none, once n is moved."""

POINTS, DIGITS = 241, 6
"""Points of a law that is drawn, and decimals of what is drawn."""

AT_ONCE = 0.3
"""Processor seconds of an answer up to which it is asked for while a slider moves."""

NO_SHARE = (
    "Frozen noise: a network that sees the same noise again and again does not learn "
    "the weight of a mode, so the limit has no share.",
    "With n samples the windows of modes are not derived, so the limit has no shares: "
    "their averages have no quadrature with a known error.",
)
"""Why the limit of signs has no share, and why that of modes."""


class Explorer:
    """The answers to the page: the limit of a spec at the sliders' values."""

    def __init__(self, spec: Spec) -> None:
        self.spec, self.two = spec, spec.kind == "two-modes"
        self.population = portraits(spec if spec.population else spec.replace(n="inf"))
        self._solved: dict[tuple[Any, ...], Portrait] = {}

    @cached_property
    def sampled(self) -> Portraits:
        """The limit of n samples."""
        if not self.spec.population:
            return portraits(self.spec)
        ridges = {"ridge_u": RIDGE, "ridge_w": RIDGE}
        counts = {"n": 16, "n_plus": 13}
        return portraits(self.spec.replace(noise_draws="inf", **counts, **ridges))

    @cached_property
    def start(self) -> dict[str, float]:
        """The sliders' first values: those of the spec."""
        wanted = self.population.parameters
        if not self.spec.population:
            wanted = (*wanted, *self.sampled.parameters)
        known = self.spec.values
        first: dict[str, Any] = {
            k: known.get(k, known.get("kappa")) for k in dict.fromkeys(wanted)
        }
        first.pop("n_plus", None)  # the sample's share of + is the target's
        if self.two:
            first["n"] = known.get("n", np.inf)
            first |= {k: known.get(k, RIDGE) for k in _RIDGES}
        if first.keys() >= _RIDGES and first["ridge_u"] == first["ridge_w"]:
            first["ridge"] = first.pop("ridge_u")
            del first["ridge_w"]
        order = list(RANGES)
        first = dict(sorted(first.items(), key=lambda x: order.index(_base(x[0]))))
        return first | FIRST

    @cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The ends of each slider, which hold its first value."""
        found = {}
        for name, value in self.start.items():
            low, high = RANGES[_base(name)]
            low = 1.0 if name.startswith("n_") else low  # of one class
            inside = value if np.isfinite(value) else low
            found[name] = min(low, inside), max(high, inside)
        return found

    def answer(self, query: Mapping[str, Any]) -> dict[str, Any]:
        r"""Solve the limit at the sliders' values.

        `query` has a number for each of ``ranges``; `n` may be ``"inf"``. Returns
        ``overlaps`` along `t`; for each of the ``features`` (of modes: directions) its
        ``share``, with ``paths`` (the mean of $\nu$ along `s` from several starts) and
        the law's ``density`` over `nu`, that of the population beside it; ``shares``,
        the target's weights beside what is generated; and ``samplers``, the paths and
        shares of `steps` steps at dimension `d`.

        Raises `ModelError` for a value that is missing, unknown or out of its range.
        """
        point = self.checked_values(query)
        limit = self._portrait(self.population, point)
        samples = not self.spec.population and not self.two
        samples = samples or point.get("n", np.inf) < np.inf
        found = self._portrait(self.sampled, point) if samples else limit
        made = self.population.sampled(point, point["d"], int(point["steps"]))
        lines = {k: rounded(x) for k, x in found.lines.items()}
        phases, windows = self.population.printed.phases, self.population.windows
        about = {"t": rounded(found.t), "lines": lines, "phases": len(phases)}
        return plain(
            {
                "values": {k: v for k, v in point.items() if np.isfinite(v)},
                "overlaps": about,
                "features": [self._window(found, limit, j) for j in windows],
                "shares": self._shares(found, point, made),
                "samplers": {
                    k: x | {"paths": rounded(x["paths"])} for k, x in made.items()
                },
                "missing": "" if found.shares else NO_SHARE[self.spec.kind == "modes"],
            }
        )

    def _window(self, found: Portrait, limit: Portrait, j: int) -> dict[str, Any]:
        """The window of a feature: what is generated, and the paths that lead there."""
        own: dict[str, Any] = {"feature": j}
        own |= {} if self.spec.kind == "modes" else {"share": found.shares.get(j)}
        if j not in found.sights:
            return own
        sight = found.sights[j]
        nu = np.linspace(-sight.edge, sight.edge, POINTS)
        drawn = {"s": np.linspace(0, 1, sight.paths.shape[1]), "paths": sight.paths}
        drawn |= {"nu": nu, "density": sight.density(nu)}
        if j in limit.sights:
            drawn["population"] = limit.sights[j].density(nu)
        return own | {"population": None} | {k: rounded(x) for k, x in drawn.items()}

    def _portrait(self, made: Portraits, point: Mapping[str, float]) -> Portrait:
        """The solution at a point; the last ones are kept, for d does not matter."""
        key = (id(made), *(point[k] for k in made.parameters))
        if key not in self._solved:
            while len(self._solved) > 3:
                self._solved.pop(next(iter(self._solved)))
            self._solved[key] = made.solved(point)
        return self._solved[key]

    def _shares(
        self, found: Portrait, point: Mapping[str, float], made: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """One row for each feature, or for each mode."""
        kind = "mode" if self.spec.kind == "modes" else "feature"
        count = len(made["dilated"]["share"])
        return [
            {
                "name": f"{kind} {j}" if count > 1 else "",
                "target": point["p" if self.two else f"p_{j}"],
                "limit": found.shares.get(j),
                **{k: x["share"][j - 1] for k, x in made.items()},
            }
            for j in range(1, count + 1)
        ]

    def checked_values(self, query: Mapping[str, Any]) -> dict[str, float]:
        """Return the sliders' values as numbers, with ``n_plus`` for finite n.

        The weights of modes are divided by their sum.
        """
        for name in query:
            if name not in self.ranges:
                raise ModelError(
                    f"The sliders are {', '.join(self.ranges)}, but the page asked for "
                    f"`{name[:40]}`{did_you_mean(name, self.ranges)}"
                )
        point = {k: _number(k, query.get(k), ends) for k, ends in self.ranges.items()}
        n = point.get("n", np.inf)
        if n < np.inf:
            point["n_plus"] = min(max(round(point["p"] * n), 1), n - 1)
        if self.spec.kind == "modes":
            weights = {k: v for k, v in point.items() if _base(k) == "p"}
            whole = sum(weights.values())
            point |= {k: v / whole for k, v in weights.items()}
        ridge = point.pop("ridge", None)
        return point if ridge is None else point | dict.fromkeys(_RIDGES, ridge)

    def page(self) -> str:
        """The page, with the sliders of this spec."""
        text = Path(__file__).with_name("explore.html").read_text(encoding="utf-8")
        about = {
            "ranges": self.ranges,
            "start": {k: v if np.isfinite(v) else "inf" for k, v in self.start.items()},
            "logarithmic": [k for k in self.ranges if _base(k) in LOGARITHMIC],
            "whole": [k for k in self.ranges if _base(k) in WHOLE],
            "told": self._told(),
            "kind": self.spec.kind,
            "slow": self.slow if self.slow > AT_ONCE else 0,
        }
        return text.replace("{{ABOUT}}", json.dumps(about).replace("<", "\\u003c"))

    def _told(self) -> str:
        """One line about the model."""
        several = {"product": "features", "modes": "modes"}.get(self.spec.kind)
        count = sum(_base(k) == "p" for k in self.start)
        kind = f"{count} {several}" if several else "two modes"
        levels = self.population.limit.model.interpolant
        return f"{kind}, alpha = {levels.alpha}, beta = {levels.beta}"

    slow = 0.0
    """Seconds of a processor that a move takes, known after `warm_up`."""

    def warm_up(self) -> None:
        """Derive and compile what the sliders need, so that the first move is quick."""
        points = [self.start | ({"n": n} if self.two else {}) for n in ("inf", 16)]
        for point in points if self.two else points[:1]:
            self.answer(point)
            self._solved.clear()
            began = time.process_time()
            self.answer(point)
            self.slow = max(self.slow, time.process_time() - began)


_RIDGES = {"ridge_u", "ridge_w"}


def _base(name: str) -> str:
    """The name of a number without its index: ``p`` of ``p_1``, ``n`` of ``n_pm``."""
    base, _, index = name.rpartition("_")
    return base if index.isdigit() or (base == "n" and set(index) <= {*"pm"}) else name


def rounded(values: np.ndarray) -> np.ndarray:
    """Round what is drawn to six decimals: half as much is sent."""
    return np.round(values, DIGITS)


def _number(name: str, value: Any, ends: tuple[float, float]) -> float:
    low, high = ends
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
    return round(number) if _base(name) in WHOLE else number


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
            self._send(200, "text/html", self._explorer.page())
        elif url.path == "/answer":
            self._answer(url.query)
        else:
            self._send(404, "text/plain", "There are / and /answer.")

    @property
    def _explorer(self) -> Explorer:
        return cast(_Server, self.server).explorer

    def _is_ours(self) -> bool:
        """Refuse other names for this address, which a foreign page could give it.

        The port is whatever a tunnel made of ours.
        """
        name = self.headers.get("Host", "").rpartition(":")[0]
        return name in ("127.0.0.1", "localhost", "[::1]")

    def _answer(self, query: str) -> None:
        given = {k: v[-1] for k, v in parse_qs(query[:2000]).items()}
        try:
            self._send(
                200, "application/json", json.dumps(self._explorer.answer(given))
            )
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
        """Stay silent; what is computed is on the page."""


class _Server(ThreadingHTTPServer):
    """A server of one explorer."""

    daemon_threads = True
    explorer: Explorer


def make_server(port: int, explorer: Explorer) -> ThreadingHTTPServer:
    """A server on the loopback address; port 0 takes a free one.

    Raises `StoreError` when the port is taken.
    """
    try:
        server = _Server(("127.0.0.1", port), _Handler)
    except OSError as error:
        raise StoreError(
            f"`--port` must be a free port of this machine, but {port} is not: "
            f"{error.strerror}. Use another, or 0 for any."
        ) from error
    server.explorer = explorer
    return server


def _has_screen() -> bool:
    """Whether a window can open; a browser of text would take the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def explore(
    spec: Spec | None, port: int, browser: bool, say: Callable[[str], None]
) -> None:
    """Serve the page of a spec until interrupted; `say` is told where it is.

    Without a spec it is the paper's model, of a population.
    """
    explorer = Explorer(spec or default_spec().replace(n="inf"))
    server = make_server(port, explorer)
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    say("Deriving and compiling (some seconds the first time) ...")
    explorer.warm_up()
    if explorer.slow > AT_ONCE:
        say(f"A move takes some {explorer.slow:.2g} s: the page waits for its end.")
    say(f"{address}  (Ctrl-C ends it)")
    if browser and _has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with server:
        server.serve_forever()
