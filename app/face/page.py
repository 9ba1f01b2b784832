"""The report as one HTML page: no network, no scripts, equations in MathML."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CSS = """
:root { --ink:#1b1f24; --soft:#5b6470; --line:#dfe3e8; --tint:#f6f8fa; --blue:#0072B2; }
* { box-sizing:border-box }
body { font:16px/1.55 system-ui,"DejaVu Sans",sans-serif; color:var(--ink);
  margin:0; background:#fff }
main { max-width:1120px; margin:0 auto; padding:2rem 1.25rem 4rem }
h1 { font-size:1.9rem; margin:0 0 .3rem } h2 { margin:2.6rem 0 .6rem; font-size:1.35rem;
  border-bottom:1px solid var(--line); padding-bottom:.25rem }
h3 { margin:1.6rem 0 .4rem; font-size:1.08rem }
p.lead { color:var(--soft); max-width:46rem; margin:.2rem 0 1.2rem }
p { max-width:52rem }
.notice { border:1px solid #D55E00; border-left-width:6px; border-radius:8px;
  padding:.7rem 1rem; background:#fdf3ec }
nav { display:flex; flex-wrap:wrap; gap:.3rem 1.1rem; font-size:.92rem; margin:1rem 0 }
a { color:var(--blue) }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(210px,1fr));
  gap:.8rem; margin:1.2rem 0 }
.card { border:1px solid var(--line); border-radius:8px; padding:.75rem .9rem;
  background:var(--tint) }
.card b { display:block; font-size:1.35rem; font-variant-numeric:tabular-nums }
.card span { color:var(--soft); font-size:.87rem; display:block }
figure { margin:1rem 0 } figure img { width:100%; height:auto;
  border:1px solid var(--line); border-radius:8px; background:#fff; padding:.4rem }
figcaption { color:var(--soft); font-size:.92rem; max-width:52rem; margin-top:.35rem }
.scroll { overflow-x:auto } table { border-collapse:collapse; font-size:.92rem;
  font-variant-numeric:tabular-nums; margin:.5rem 0 }
th,td { padding:.28rem .7rem; text-align:right; border-bottom:1px solid var(--line) }
th { background:var(--tint); font-weight:600 }
th:first-child,td:first-child { text-align:left }
.formula { display:flex; align-items:center; justify-content:space-between;
  gap:1rem; margin:.1rem 0 .1rem 1.4rem; max-width:56rem }
.formula > div { overflow-x:auto; overflow-y:hidden; padding:.2rem 0 }
.formula .more { padding-left:3rem }
.formula > span { color:var(--soft); font-size:.9rem; white-space:nowrap }
ul { margin:.3rem 0 .8rem; padding-left:1.4rem }
.words td, .words th { text-align:left } .words td:nth-child(3) { min-width:12rem }
.numbers td, .numbers th { white-space:nowrap }
h4 { margin:1.1rem 0 .3rem; font-size:1rem }
math { font-size:1.06rem } pre { background:var(--tint); border:1px solid var(--line);
  border-radius:8px; padding:.8rem 1rem; overflow-x:auto; font-size:.86rem }
details { margin:.6rem 0 } summary { cursor:pointer; color:var(--blue) }
footer { color:var(--soft); font-size:.87rem; margin-top:3rem }
@media print { nav { display:none } main { max-width:none } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole HTML document."""
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{CSS}</style></head>"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def section(anchor: str, heading: str, *parts: str) -> str:
    """Return a section that the contents can link to."""
    inside = "".join((f"<h2>{html.escape(heading)}</h2>", *parts))
    return f'<section id="{anchor}">{inside}</section>'


def paragraph(text: str) -> str:
    """Return a paragraph; the text is escaped."""
    return f"<p>{html.escape(text)}</p>"


def cards(values: Sequence[tuple[str, str]]) -> str:
    """Return (number, meaning) pairs as a row of cards."""
    inside = "".join(
        f'<div class="card"><b>{html.escape(number)}</b>'
        f"<span>{html.escape(text)}</span></div>"
        for number, text in values
    )
    return f'<div class="cards">{inside}</div>'


def picture(svg: bytes, name: str, caption: str) -> str:
    """Return a figure with its SVG inside the page."""
    data = base64.b64encode(svg).decode()
    alt = html.escape(caption.split(".")[0], quote=True)
    return (
        f'<figure><img alt="{alt}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{html.escape(caption)} Files: figures/{name}.png, "
        f"figures/{name}.pdf.</figcaption></figure>"
    )


def rows_table(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return columns as an HTML table; what stands in backticks is typeset."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{typeset_prose(_cell(x))}</td>" for x in row) + "</tr>"
        for row in zip(*columns.values(), strict=True)
    )
    return f'<div class="scroll numbers"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def code(text: str) -> str:
    """Return text as it is."""
    return f"<pre>{html.escape(text)}</pre>"


def typeset_prose(text: str) -> str:
    """Return prose with its formulas typeset; the words are escaped."""
    from ..theory.document.html import typeset_html

    return typeset_html(text)


def notice(headline: str, text: str) -> str:
    """Return a box that nobody overlooks."""
    inside = f"<b>{html.escape(headline)}</b> {html.escape(text)}"
    return f'<p class="notice">{inside}</p>'


def to_open(summary: str, inside: str) -> str:
    """Return content that a reader has to open."""
    line = f"<summary>{html.escape(summary)}</summary>"
    return f"<details>{line}{inside}</details>"


SEEN = 1e-6
"""An error below this is not printed: the number has six digits that are right."""


def with_error(value: float, error: float = 0.0) -> str:
    """Return a number with the digits that its error leaves, and two of the error.

    >>> with_error(0.69753219, 0.0013), with_error(0.6999999, 1e-9)
    ('0.6975 ± 0.0013', '0.7')
    """
    if not math.isfinite(value):
        return "-"
    if not math.isfinite(error) or error < SEEN:
        return f"{value:.6g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{places}f} ± {error:.{places}f}"
