"""The report as one HTML page: no network, no scripts, equations in MathML."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..show import plots


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole HTML document."""
    whole = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    body = "\n".join(parts)
    return whole.replace("{{TITLE}}", html.escape(title)).replace("{{BODY}}", body)


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
        f"<span>{typeset_prose(text)}</span></div>"
        for number, text in values
    )
    return f'<div class="cards">{inside}</div>' if values else ""


READABLE = 0.5
"""Least size of a figure on a narrow screen, of its own: below it, one scrolls."""


def picture(svg: bytes, name: str, caption: str) -> str:
    """Return a figure with its SVG inside the page, its caption typeset."""
    data = base64.b64encode(svg).decode()
    alt = html.escape(caption.split(".")[0].replace("`", ""), quote=True)
    width = re.search(rb'<svg[^>]*? width="([0-9.]+)pt"', svg)
    least = f"{READABLE * float(width[1]):.0f}pt" if width else "0"
    return (
        f'<figure><div class="scroll"><img alt="{alt}" style="min-width:{least}" '
        f'src="data:image/svg+xml;base64,{data}"></div>'
        f"<figcaption>{typeset_prose(caption)} Files: figures/{name}.png, "
        f"figures/{name}.pdf.</figcaption></figure>"
    )


def drawn(figures: Mapping[str, tuple[Any, str]], folder: Path) -> dict[str, str]:
    """Write figures; return each with its caption as a piece of the page, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = {}
    for name, (figure, caption) in figures.items():
        plots.save(figure, folder / name)
        svg = (folder / name).with_suffix(".svg")
        shown[name] = picture(svg.read_bytes(), name, caption)
    return shown


def rows_table(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return columns as an HTML table; what stands in backticks is typeset."""
    head = "".join(f"<th>{typeset_prose(name)}</th>" for name in columns)
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
    """Return a box that nobody overlooks; its text is typeset."""
    inside = f"<b>{html.escape(headline)}</b> {typeset_prose(text)}"
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
        return signed(f"{value:.6g}")
    places = max(0, 1 - math.floor(math.log10(error)))
    return signed(f"{value:.{places}f} ± {error:.{places}f}")


def signed(number: str) -> str:
    """Return a number with the sign of mathematics, not a hyphen."""
    return number.replace("-", "\u2212")
