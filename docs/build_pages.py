"""Write the pages that are printed from the code; `--check` compares instead.

A page printed here cannot drift from what runs: tests/house/test_docs.py compares it.
"""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
NOTE = "<!-- Printed by docs/build_pages.py; edit the code, not this page. -->\n\n"

# Which test fails when the equations of a system are wrong, by the system's name.
GUARDS = {
    "weights/learned": (
        "tests/torchcheck/networks/test_train.py::test_overlaps_approach_the_limit_as_one_over_root_d",
        "tests/numerics/minima/test_minimise.py::test_the_published_values",
    ),
    "weights/sampling": (
        "tests/numerics/ode/test_integrate.py::test_the_law_of_the_interpolant_is_reached",
        "tests/torchcheck/networks/test_sample.py::test_the_law_at_the_end_of_the_window_is_the_mixture",
    ),
    "weights/projected": (
        "tests/torchcheck/networks/test_sample.py::test_sixteen_samples_follow_the_flow_of_their_limit",
    ),
    "weights/training": (
        "tests/numerics/ode/test_integrate.py::test_training_flow_reaches_the_known_values",
    ),
    "weights/mse": ("tests/house/test_docs.py::test_errors_agree_with_monte_carlo",),
    "weights/correction": (
        "tests/theory/phases/test_finite_d.py::test_networks_have_the_predicted_correction",
    ),
    "variance/learned": (
        "tests/torchcheck/study/test_converge.py::test_overlaps_are_near_the_limit_with_the_rate_one_half",
    ),
    "variance/sampling": (
        "tests/torchcheck/networks/test_sample.py::test_the_end_of_sampling_is_the_target",
    ),
    "variance/mse": ("tests/house/test_docs.py::test_errors_agree_with_monte_carlo",),
    "exact/sampling": (
        "tests/torchcheck/networks/test_sample.py::test_without_dilation_the_share_is_lost_by_rule",
    ),
    "exact/mse": (
        "tests/torchcheck/real_data/test_windows.py::test_the_measured_error_is_the_exact_mmse",
    ),
    "tied/training": (
        "tests/house/test_docs.py::test_the_tied_flow_follows_its_network",
    ),
}
# The same for what no equation states.
NUMERICAL = (
    (
        "Averages over Gaussian fields by quadrature, with an error bound",
        "tests/numerics/codegen/test_quadrature.py::test_the_bound_holds_on_coarse_rules",
    ),
    (
        "Flows within 100 times the relative tolerance",
        "tests/numerics/ode/test_integrate.py::test_every_row_keeps_the_promise",
    ),
    (
        "Stationary points are minima, and no lower one is overlooked",
        "tests/numerics/minima/test_minimise.py::test_no_lower_minimum_is_overlooked",
    ),
    (
        "A sweep that is killed loses nothing and repeats bit by bit",
        "tests/numerics/sweep/test_job.py::test_kill_9_at_random_moments_loses_nothing",
    ),
    (
        "The verdict of a convergence study rejects a wrong factor",
        "tests/torchcheck/study/test_converge.py::test_a_wrong_factor_is_inconsistent",
    ),
)


def notation() -> str:
    """The notation table."""
    from dilaton.theory.symbols.notation import TABLE

    rows = [
        f"| `{name}` | ${row.latex}$ | {_cell(row.meaning)} | {_cell(row.order)} |"
        for name, row in TABLE.items()
    ]
    return "\n".join(
        [
            "# Notation",
            "",
            NOTE,
            "One ASCII name for each quantity: in spec files, in Python, in the "
            "columns of a result and in what a network is measured for. With several "
            "features a name carries the number of its feature: `p_2`, `m_1`, "
            "`kappa_3`; `omega_1_2` is of unit 1 with mean 2. The samples of a product "
            "mixture are counted by the signs of their features, p for + and m for -: "
            "`n_pm` of them have signs + and -, `zeta_2_pm` is of unit 2 with the "
            "noise of one of these.",
            "",
            "| name | symbol | meaning | size as $d$ grows |",
            "|---|---|---|---|",
            *rows,
            "",
            "The three times. `tau` is the time of the interpolant, `t` the dilated "
            "time, in which every phase has an equal share, `s` the time inside a "
            "phase. With $P$ phases, $t = (i + s)/P$ in phase $i = 0, 1, \\ldots$",
            "",
        ]
    )


def derivation(samples: bool) -> str:
    """The derivation of the paper's model, printed by the engine."""
    from dilaton.theory.document.derivation import render

    text = render(_limit(samples), "markdown")
    what = "for n samples with fresh noise" if samples else "for the population"
    head, _, body = text.partition("\n")
    key = "128" if samples else '"inf"'
    command = (
        f"What follows is printed by `dilaton derive SPEC.toml --format markdown` for "
        f"the two-mode target and the linear schedule, learned {what} (`n = {key}`). "
        "Equations carry the labels of [the status table](status.md)."
    )
    return f"{head} {what}\n\n{NOTE}{command}\n{body}".rstrip() + "\n"


def status() -> str:
    """What is claimed, how surely, and which test keeps it."""
    rows = []
    for systems, case in _cases():
        for system in systems:
            for eqs, claim in _claims(system):
                names = ", ".join(dict.fromkeys(f"`{e.lhs}`" for e in eqs))
                tests = _tests(GUARDS[system.name])
                cells = (f"{case}: {system.name}", names, _span(eqs), claim, tests)
                rows.append(f"| {' | '.join(cells)} |")
    extra = [
        f"| {claim} | | | numerical | {_tests([test])} |" for claim, test in NUMERICAL
    ]
    return "\n".join(
        [
            "# Status",
            "",
            NOTE,
            "**Exact** holds at every dimension. **Asymptotic** holds as "
            "$d\\to\\infty$, with the size of what was dropped. **Degenerate** marks a "
            "limit in which a quantity is not determined. **Numerical** is a promise "
            "about the solver. "
            "The last column names the tests that fail when the claim does, in "
            "`tests/`.",
            "",
            "| claim | quantities | labels | status | kept by |",
            "|---|---|---|---|---|",
            *rows,
            *extra,
            "",
        ]
    )


@functools.cache
def _limit(samples: bool):
    import dilaton

    model = dilaton.Model(dilaton.two_modes(), data=dilaton.Data(samples=samples))
    return dilaton.derive(model)


def _cases():
    for samples in (False, True):
        limit = _limit(samples)
        own = [s for p in limit.phases for s in p.systems]
        shared = [] if samples else list(limit.exact.values())
        yield own + shared, "n samples" if samples else "population"


def _claims(system):
    groups = {}
    for eq in system.equations + system.observables + system.solution:
        rate = f", $O({_rate(eq)})$" if eq.rate is not None else ""
        groups.setdefault(f"{eq.status}{rate}", []).append(eq)
    return [(eqs, claim) for claim, eqs in groups.items()]


def _span(eqs) -> str:
    """(W1), (W2), (W3), (W5) as (W1)-(W3), (W5)."""
    runs: list[list[str]] = []
    for label in dict.fromkeys(eq.label for eq in eqs):
        if runs and _after(runs[-1][-1]) == label:
            runs[-1].append(label)
        else:
            runs.append([label])
    return ", ".join("–".join(f"({x})" for x in dict.fromkeys(_ends(r))) for r in runs)


def _ends(run):
    return run if len(run) < 3 else (run[0], run[-1])


def _after(label: str) -> str:
    head, number = re.fullmatch(r"(.*?)(\d+)", label).groups()
    return f"{head}{int(number) + 1}"


def _tests(names) -> str:
    return "<br>".join(f"`{name.removeprefix('tests/')}`" for name in names)


def _rate(eq) -> str:
    return f"d^{{{eq.rate.as_base_exp()[1]}}}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("^", "\\^").replace("*", "\\*")


PAGES = {
    "notation.md": notation,
    "derivation.md": lambda: derivation(samples=False),
    "derivation-samples.md": lambda: derivation(samples=True),
    "status.md": status,
}


def main() -> int:
    stale = []
    for name, page in PAGES.items():
        text, path = page(), DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    print(("stale: " if "--check" in sys.argv else "written: ") + ", ".join(stale))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
