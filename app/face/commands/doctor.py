"""`dilaton doctor`."""

from __future__ import annotations

from .options import Json


def doctor(json: Json = False) -> None:
    """Print versions, devices, the cache folder and what is missing.

    \b
    Example:
      dilaton doctor --json
    """
    from ...show import answers
    from ..doctor import diagnosis, diagnosis_text

    found = diagnosis()
    print(answers.to_json(found) if json else diagnosis_text(found))
