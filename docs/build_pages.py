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
    from dilaton.theory.document.derivation import exact_blocks, render
    from dilaton.theory.document.markdown import markdown_body
    from dilaton.theory.naming.letters import Letters

    text = render(_limit(samples), "markdown")
    if not samples:  # of a network that this one is not, on the same data
        tied = exact_blocks(_limit(samples), "tied", Letters())
        text += f"\n{markdown_body(tied).lstrip()}"
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
    from dilaton.show.guards import GUARDS, NUMERICAL

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
