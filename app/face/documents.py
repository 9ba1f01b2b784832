"""Derivations as documents, kept on disk by content.

A document depends on the structure of a spec (not on its numbers), on the format and
on the sources of `theory`. A second request is answered from the cache without
importing sympy.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Literal

from .. import __version__
from ..files import code_digest
from ..numerics.codegen.cache import cache_folder
from ..theory.models.spec import Spec

Form = Literal["text", "latex", "markdown", "json"]


def document(spec: Spec, form: Form) -> str:
    """Return the derivation of `spec` as text, LaTeX, Markdown or JSON.

    Kept in the cache folder with a checksum. A damaged file is derived again, and a
    folder that cannot be written is left alone; both are said on standard error.
    """
    path = cache_folder() / "documents" / f"{_key(spec, form)}.txt"
    text = _kept(path)
    if text is None:
        text = _derived(spec, form)
        _keep(path, text)
    return text


def _derived(spec: Spec, form: Form) -> str:
    from ..theory.derive import derive
    from ..theory.document.derivation import render

    return render(derive(spec.model), form)


def _key(spec: Spec, form: str) -> str:
    digest = hashlib.sha256(f"{__version__}\n{form}\n".encode())
    digest.update(json.dumps(spec.structure, sort_keys=True).encode())
    digest.update(code_digest("theory").encode())
    return digest.hexdigest()[:32]


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _kept(path: Path) -> str | None:
    """Return a cached document, or None when there is none that can be trusted."""
    try:
        checksum, _, text = path.read_bytes().decode().partition("\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        _say(f"The cached derivation {path.name} cannot be read ({error})")
        return None
    if _checksum(text) != checksum:
        _say(f"The cached derivation {path.name} is damaged (its checksum differs)")
        return None
    return text


def _say(fact: str) -> None:
    print(f"{fact}. It is derived again.", file=sys.stderr)


def _keep(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except OSError as error:
        return _not_kept(path, error)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(f"{_checksum(text)}\n{text}".encode())
        Path(temporary).replace(path)
    except OSError as error:
        return _not_kept(path, error)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _not_kept(path: Path, error: OSError) -> None:
    print(
        f"The cache folder {path.parent} cannot be written ({error.strerror}), so this "
        "derivation is not kept. Set DILATON_CACHE to a folder that can be.",
        file=sys.stderr,
    )
