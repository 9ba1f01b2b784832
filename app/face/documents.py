"""Derivations as documents, remembered in the cache folder.

A document depends on the structure of a spec (not on its numbers), on the format and
on the sources of `theory`. A second request is answered from the cache without
importing sympy.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from .. import __version__
from ..files import code_digest
from ..numerics.codegen.cache import remembered
from ..theory.models.spec import Spec
from .page import page

if TYPE_CHECKING:
    from .arguments import Form


def document(spec: Spec, form: Form) -> str:
    """Return the derivation of `spec` as text, a document, a page, JSON or code."""
    return _kept(spec, f"document {form}", lambda: _derived(spec, form))


def _kept(spec: Spec, what: str, make: Callable[[], str]) -> str:
    structure = json.dumps(spec.structure, sort_keys=True)
    code = f"{__version__} {code_digest('theory')}"
    return remembered(f"{what}\n{code}\n{structure}", make)


def _derived(spec: Spec, form: Form) -> str:
    from ..theory.derive import derive
    from ..theory.document.derivation import blocks, render
    from ..theory.document.html import body
    from ..theory.exports.julia import julia
    from ..theory.exports.mathematica import mathematica
    from ..theory.exports.sympy_module import sympy_module

    limit = derive(spec.model)
    if form == "bibtex":
        return limit.citations()
    languages = {"sympy": sympy_module, "mathematica": mathematica, "julia": julia}
    if form in languages:
        return languages[form](limit)
    if form == "html":
        every = ("",)  # heading is open
        return page("A derivation", ["<h1>Derivation</h1>", body(blocks(limit), every)])
    return render(limit, cast("Any", form))


OPEN = (
    "Setting",
    "Windows of time",
    "Dilation",
    "Overlaps",
    "Phase",
    "What is learned",
    "Sampling flow",
)
"""The chapters of a page that are not folded away."""


def page_and_latex(spec: Spec) -> tuple[str, str]:
    """Return the derivation as the body of a page and as LaTeX, written down once."""
    html, latex = json.loads(_kept(spec, f"page {OPEN}", lambda: _both(spec)))
    return html, latex


def _both(spec: Spec) -> str:
    from ..theory.derive import derive
    from ..theory.document.derivation import blocks
    from ..theory.document.html import body
    from ..theory.document.tex import tex

    found = blocks(derive(spec.model))
    return json.dumps([body(found, OPEN), tex(found)])
