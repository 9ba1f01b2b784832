"""The main job: derive, solve and confirm one spec, and write it down as a report."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import MissingExtra, StoreError
from ..files import at_home
from ..show import plots
from ..show.answers import plain, to_json
from ..theory.models.modes import check_signs
from ..torchcheck.study.confirm import (
    Confirmation,
    ReportSettings,
    confirm,
    distances,
    settings_for,
    untrainable,
)
from . import page
from .laws import compared_laws

if TYPE_CHECKING:
    from xarray import Dataset

    from ..theory.derive import Limit
    from ..theory.models.spec import Spec

RTOL, ATOL = 1e-9, 1e-11
FINE = 60  # cells of the curves in each phase
PANELS = ("m", "q", "c", "c_hat", "omega", "b", "r", "v")
PACKAGES = ("sympy", "numpy", "scipy", "numba", "matplotlib", "xarray", "torch")


@dataclass
class Run:
    """Everything a report shows."""

    spec: Spec
    seed: int
    limit: Limit
    population: Limit
    curves: Dataset
    population_curves: Dataset
    plan: ReportSettings | None = None
    found: Confirmation = field(default_factory=Confirmation)
    laws: dict[str, Any] = field(default_factory=dict)
    digits: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def write_report(
    spec: Spec,
    output: str | Path,
    *,
    quick: bool,
    force: bool,
    seed: int,
    device: str,
) -> Path:
    """Derive, solve, train and write ``index.html`` with its files into `output`.

    Everything is made in a folder beside `output` and moved into place at the end, so
    that `output` is never half-written.

    Raises
    ------
    StoreError
        Before any work, when `output` cannot be written or holds something else.
    """
    check_signs(spec.kind, "A report")
    output = at_home(output).absolute()
    check_output(output, force)
    with _staged(output) as folder:
        run = _work(spec, quick, seed, device, folder)
        _write(run, folder)
    return output / "index.html"


# ----------------------------------------------------------------- the output folder


def check_output(output: Path, force: bool) -> None:
    """Raise `StoreError` unless a run may be written to `output`."""
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise StoreError(
            f"The output must be a folder, but `{output}` is a file or a link. Choose "
            "another name."
        )
    held = output.is_dir() and any(output.iterdir())
    ours = (output / "run.json").is_file()
    if held and ours and not force:
        raise StoreError(
            f"The output must be a new folder, but `{output}` holds another run. "
            "Choose another name, or replace it with --force."
        )
    if held and not ours:
        raise StoreError(
            f"The output must be a new folder, but `{output}` holds files that are no "
            "run of dilaton. Choose another name."
        )


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """Yield a folder beside `output` that replaces it when all went well."""
    folder = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        if output.is_dir() and not os.access(output, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise StoreError(
            f"The output folder must be writable, but `{output}` is not "
            f"({error.strerror}). Choose another folder."
        ) from None
    try:
        yield folder
        _move(folder, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, output: Path) -> None:
    old = output.with_name(f".{output.name}.{os.getpid()}.old")
    if output.exists():
        output.rename(old)
    try:
        folder.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


# --------------------------------------------------------------------------- the work


def _work(spec: Spec, quick: bool, seed: int, device: str, folder: Path) -> Run:
    from tqdm import tqdm

    reason = untrainable(spec)
    plan = None if reason else settings_for(spec, quick)
    total = 5 + (plan.ticks if plan else 0)
    seconds: dict[str, float] = {}
    with tqdm(total=total, file=sys.stderr, unit="step", leave=False) as bar:

        def tick(text: str) -> None:
            bar.set_description_str(text)
            bar.update()

        with _timed(seconds, "derive and solve"):
            run = _derived(spec, seed, plan, tick)
        run.seconds = seconds
        if plan:
            with _timed(seconds, "train and sample"):
                run.found = confirm(spec, run.limit, plan, seed, device, tick)
            with _timed(seconds, "laws"):
                run.laws = compared_laws(
                    spec, run.limit, seed, plan.dims[-1], run.found.generated
                )
        with _timed(seconds, "digits"):
            run.digits = _digits(folder, quick, device)
        tick("digits")
        tick("writing")
    return run


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - begin, 3)


def _derived(spec: Spec, seed: int, plan: ReportSettings | None, tick: Any) -> Run:
    from ..theory.derive import derive

    whole = spec if spec.population else spec.replace(n="inf")
    limit = derive(spec.model)
    tick("derived")
    population = limit if spec.population else derive(whole.model)
    tick("derived, population")
    times = np.linspace(0, 1, FINE + 1)
    curves = _solved(limit, times, spec)
    other = curves if spec.population else _solved(population, times, whole)
    tick("solved")
    return Run(spec, seed, limit, population, curves, other, plan)


def _digits(folder: Path, quick: bool, device: str) -> dict[str, Any]:
    """Find the window of real images, beside the synthetic one."""
    from .windows_report import digits_section

    try:
        return digits_section(folder, quick=quick, device=device)
    except MissingExtra as error:
        return {"numbers": {}, "figures": {}, "captions": {}, "text": str(error)}


def _solved(limit: Limit, times: np.ndarray, spec: Spec) -> Dataset:
    from ..numerics.solve import solve

    # a single trajectory: SciPy is done before a kernel would be compiled
    return solve(
        limit, s=times.tolist(), rtol=RTOL, atol=ATOL, backend="scipy", **spec.values
    )


# ------------------------------------------------------------------------- the folder


def _write(run: Run, folder: Path) -> None:
    from ..theory.document.derivation import render

    begin = time.perf_counter()
    pictures = _figures(run)
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "data").mkdir()
    shown = {}
    for name, (figure, caption) in pictures.items():
        plots.save(figure, folder / "figures" / name)
        svg = folder / "figures" / f"{name}.svg"
        shown[name] = page.picture(svg.read_bytes(), name, caption)
    for svg in (folder / "figures").glob("*.svg"):
        svg.unlink()  # the page holds them
    run.curves.to_netcdf(folder / "data" / "trajectory.nc", engine="scipy")
    run.population_curves.to_netcdf(folder / "data" / "population.nc", engine="scipy")
    (folder / "equations.tex").write_text(render(run.limit, "latex"), encoding="utf-8")
    run.seconds["write"] = round(time.perf_counter() - begin, 3)
    (folder / "run.json").write_text(to_json(_record(run), indent=1), encoding="utf-8")
    text = page.page("dilaton: derive, solve, confirm", _parts(run, shown))
    (folder / "index.html").write_text(text, encoding="utf-8")


def _record(run: Run) -> dict[str, Any]:
    """Return what ``run.json`` holds: every plotted number and how it was made."""
    found = asdict(run.found)
    found.pop("generated")
    return {
        "dilaton": __version__,
        "spec": run.spec.text,
        "values": run.spec.values,
        "digest": run.spec.digest,
        "seed": run.seed,
        "plan": asdict(run.plan) if run.plan else None,
        "versions": _versions(),
        "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
        "seconds": run.seconds,
        "sample": _sample(run.curves),
        "population_sample": _sample(run.population_curves),
        "curves": _curves(run.curves),
        "population_curves": _curves(run.population_curves),
        **found,
        "laws": run.laws,
        "digits": run.digits.get("numbers", {}),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _sample(curves: Dataset) -> dict[str, Any]:
    names = ("share_plus", "share_plus_error", "mode_mean", "bulk_variance")
    return {name: plain(curves[name].values) for name in names if name in curves}


def _curves(curves: Dataset) -> dict[str, Any]:
    names = [name for name in curves.data_vars if curves[name].dims == ("t",)]
    out = {name: curves[name].values.tolist() for name in ("t", "s")}
    out["phase"] = [str(x) for x in curves["phase"].values]
    return out | {str(name): curves[name].values.tolist() for name in names}


def _figures(run: Run) -> dict[str, tuple[Any, str]]:
    """Return figures and captions by file name."""
    from ..show.display import axis_label

    names = _panels(run)
    titles = {name: axis_label(name) for name in names}
    boundaries = np.arange(1, len(run.limit.phases)) / len(run.limit.phases)
    made = {
        "overlaps": (
            plots.overlaps(
                _lines(run.curves, names),
                {} if run.spec.population else _lines(run.population_curves, names),
                run.found.dots,
                titles,
                boundaries.tolist(),
            ),
            _overlaps_caption(run),
        )
    }
    if run.plan:
        made |= _network_figures(run, titles)
    return made


def _lines(curves: Dataset, names: list[str]) -> dict[str, tuple[Any, Any]]:
    """Return (t, value) by quantity, with gaps between phases."""
    t, phase = curves["t"].values, curves["phase"].values
    return {n: plots.broken(t, curves[n].values, phase) for n in names if n in curves}


def _panels(run: Run) -> list[str]:
    """Return what is drawn: the overlaps of `PANELS`, for each feature."""
    learned = {name for p in run.limit.phases for name in p.learned.names}
    order = {name: i for i, name in enumerate(PANELS)}
    shown = [x for x in learned if _base(x) in order and x in run.curves]
    return sorted(shown, key=lambda x: (order[_base(x)], x))


def _base(name: str) -> str:
    """``m`` of ``m_1``: a quantity without its feature."""
    return re.sub(r"(_\d+)+$", "", name)


def _overlaps_caption(run: Run) -> str:
    words = "Order parameters through the dilated time, phase after phase."
    if run.plan:
        words += (
            f" Dots: networks trained at each d ({run.plan.seeds} training sets, "
            "one standard error); lines: the limit."
        )
    return words


def _network_figures(run: Run, titles: dict[str, str]) -> dict[str, tuple[Any, str]]:
    found, laws = run.found, run.laws
    d = laws["d"]
    cells = len(run.limit.phases) * (run.plan.cells if run.plan else 0)
    levels = {"target": run.spec.values["p"], "limit": _number(run, "share_plus")}
    if not run.spec.population:
        realised = run.spec.values["n_plus"] / run.spec.values["n"]
        levels["share in the training set"] = realised
    captions = {
        "dilated": f"dilated\n{100 * laws['shares']['dilated']:.1f} % in the + mode"
    }
    for rule in ("left", "midpoint"):
        share = laws["shares"][f"undilated {rule}"]
        text = f"undilated, {rule} rule\n{100 * share:.1f} % in the + mode"
        captions[f"undilated {rule}"] = text
    target = (laws["target"]["nu"], laws["target"]["density"])
    return {
        "convergence": (
            plots.convergence(distances(found.dots), found.fits, titles),
            "Distance between trained networks and the limit against d: root mean "
            "square over times and training sets, with the fitted slope and its 95 % "
            "bootstrap interval. The expected rate is d^(-1/2).",
        ),
        "laws": (
            plots.laws(laws["decided"], target, laws["finished"]),
            f"What the networks generate at d = {d}, against the limit of the "
            "networks' law and against the target.",
        ),
        "shares": (
            plots.shares(found.shares, levels),
            "Share of the + mode that trained networks generate, with the dilation "
            f"and without, all with {cells} networks "
            "in time (fewer where trained on sampled noise).",
        ),
        "undilated": (
            plots.undilated(laws["undilated"], captions),
            f"Finished samples at d = {d}: the same number of networks, spread over "
            "the dilated time or evenly over tau. Without the dilation the weights "
            "are lost; how depends on the rule. (The figures below read the share when "
            "the mode is decided, these at the end.)",
        ),
    }


def _number(run: Run, name: str) -> float:
    return float(np.ravel(run.curves[name].values)[0])


# --------------------------------------------------------------------------- the page


def _parts(run: Run, shown: dict[str, str]) -> list[str]:
    parts = [
        "<h1>Derive, solve, confirm</h1>",
        '<p class="lead">The phases of a dilated flow model: derived symbolically, '
        "integrated, and compared with networks trained at finite dimension. Every "
        "number here was computed by this run.</p>",
        page.cards(_cards(run)),
        _contents(run),
        page.section("model", "The model", page.code(run.spec.text)),
        page.section(
            "derivation", "The derivation", page.derivation(run.limit), _long(run)
        ),
        page.section("overlaps", "Order parameters", shown["overlaps"], _sampling(run)),
    ]
    if run.plan:
        parts += _network_parts(run, shown)
    else:
        reason = untrainable(run.spec) or ""
        parts.append(page.section("networks", "Networks", page.paragraph(reason)))
    pictures = [
        page.picture(svg, name, run.digits["captions"][name])
        for name, svg in run.digits["figures"].items()
    ]
    said = page.paragraph(run.digits["text"])
    parts.append(page.section("digits", "A window in real images", said, *pictures))
    parts.append(_footer(run))
    return parts


def _contents(run: Run) -> str:
    links = {
        "model": "Model",
        "derivation": "Derivation",
        "overlaps": "Order parameters",
    }
    if run.plan:
        links |= {
            "rates": "Error against d",
            "laws": "Generated law",
            "undilated": "Without dilation",
            "sampled": "Sampled noise",
        }
    links["digits"] = "Real images"
    return (
        "<nav>"
        + "".join(f'<a href="#{k}">{v}</a>' for k, v in links.items())
        + "</nav>"
    )


def _cards(run: Run) -> list[tuple[str, str]]:
    values = [
        (f"{_number(run, 'share_plus'):.4f}", "share of the + mode generated, limit")
    ]
    if "mode_mean" in run.curves:
        values.append(
            (f"{_number(run, 'mode_mean'):.4f}", "mode mean at the end, limit")
        )
    if "bulk_variance" in run.curves:
        text = "bulk variance at the end, limit"
        values.append((f"{_number(run, 'bulk_variance'):.4f}", text))
    if run.plan:
        last = [r for r in run.found.shares if r["schedule"] == "dilated"][-1]
        text = f"share generated by networks, d = {last['d']}"
        values.append((f"{last['share_plus']:.4f} ± {last['stderr']:.4f}", text))
        known = [f["slope"] for f in run.found.fits if np.isfinite(f["slope"])]
        text = "median slope of the error in d (expected -0.5)"
        values.append((f"{np.median(known):.2f}", text))
        text = "verdict: the limit against networks extrapolated to infinite d"
        values.append((run.found.verdict, text))
    return values


def _long(run: Run) -> str:
    if run.spec.population:
        return ""
    return (
        "<details><summary>The same for the population (n = ∞)</summary>"
        f"{page.derivation(run.population)}</details>"
    )


def _sampling(run: Run) -> str:
    rows: dict[str, list[Any]] = {"": [], **{k: [] for k in _sample(run.curves)}}
    kinds = {"this spec": run.curves}
    if not run.spec.population:
        kinds["population"] = run.population_curves
    for name, curves in kinds.items():
        rows[""].append(name)
        for key, value in _sample(curves).items():
            rows[key].append(value)
    return page.paragraph("The sampled distribution in the limit:") + page.rows_table(
        rows
    )


def _network_parts(run: Run, shown: dict[str, str]) -> list[str]:
    found = run.found
    slopes = ("slope", "slope_low", "slope_high")
    columns = ("phase", "quantity", *slopes, "resolution", "verdict")
    fits = {name: [row[name] for row in found.fits] for name in columns}
    shares = {
        "schedule": [r["schedule"] for r in found.shares],
        "rule": [r["rule"] for r in found.shares],
        "d": [r["d"] for r in found.shares],
        "share of +": [r["share_plus"] for r in found.shares],
        "stderr": [r["stderr"] for r in found.shares],
        "mode mean": [r["mode_mean"] for r in found.shares],
        "bulk variance": [r["bulk_variance"] for r in found.shares],
    }
    return [
        page.section(
            "rates",
            "Error against dimension",
            shown["convergence"],
            page.rows_table(fits),
        ),
        page.section("laws", "The generated distribution", shown["laws"]),
        page.section(
            "undilated",
            "The same without dilation",
            shown["undilated"],
            shown["shares"],
            page.rows_table(shares),
        ),
        page.section("sampled", "Networks trained on sampled noise", _sampled(run)),
    ]


def _sampled(run: Run) -> str:
    """Compare training on sampled noise with the exact average on the same data."""
    rows = run.found.sampled
    table: dict[str, list[Any]] = {"d": [], "phase": [], "quantity": [], "rms": []}
    for key in dict.fromkeys((r["d"], r["phase"], r["quantity"]) for r in rows):
        mine = [r for r in rows if (r["d"], r["phase"], r["quantity"]) == key]
        far = [r["mean"] - r["exact"] for r in mine if abs(r["exact"]) < 15]
        if far and _belongs(run, *key[1:]):
            for name, value in zip(table, key, strict=False):
                table[name].append(value)
            table["rms"].append(float(np.sqrt(np.mean(np.square(far)))))
    steps = run.plan.sampled_steps if run.plan else 0
    said = (
        f"Adam for {steps} steps with fresh noise at each, as practitioners train. "
        "The distance is to the exact minimum on the same training set: what remains "
        "is the optimiser's, not the limit's."
    )
    return page.paragraph(said) + page.rows_table(table)


def _belongs(run: Run, phase: str, name: str) -> bool:
    return name in run.limit.phase(phase).learned.names


def _footer(run: Run) -> str:
    spent = ", ".join(f"{k} {v:.1f} s" for k, v in run.seconds.items())
    built = ", ".join(f"{k} {v}" for k, v in _versions().items())
    return (
        f"<footer>dilaton {__version__}, seed {run.seed}, spec {run.spec.digest}. "
        f"{spent}. {built}. Every number is in run.json, the trajectories in "
        "data/*.nc, the equations in equations.tex.</footer>"
    )
