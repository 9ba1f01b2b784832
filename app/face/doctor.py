"""The versions and devices that are here, and the packages that are missing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__
from ..numerics.codegen.cache import cache_folder

EXTRAS = {
    "torch": ("torch",),
    "distributed": ("distributed",),
    "data": ("scikit-learn",),
    "docs": ("sphinx",),
}
CORE = ("sympy", "numpy", "scipy", "numba", "jax", "diffrax", "matplotlib", "xarray")


def diagnosis() -> dict[str, Any]:
    """Return versions, devices, the cache folder and what is missing."""
    missing = [
        f'{name} is not installed: pip install "dilaton[{extra}]"'
        for extra, names in EXTRAS.items()
        for name in names
        if installed(name) is None
    ]
    folder = cache_folder()
    if not _writable(folder):
        missing.append(
            f"the cache folder {folder} cannot be written: set DILATON_CACHE to one "
            "that can"
        )
    packages = [*CORE, *(name for names in EXTRAS.values() for name in names)]
    return {
        "dilaton": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "versions": {name: installed(name) for name in packages},
        "devices": _devices(),
        "cache": str(folder),
        "cache_bytes": sum(x.stat().st_size for x in folder.rglob("*") if x.is_file()),
        "missing": missing,
    }


def diagnosis_text(found: dict[str, Any]) -> str:
    """Return a diagnosis for people."""
    lines = [
        f"dilaton {found['dilaton']} on Python {found['python']}, {found['platform']}, "
        f"{found['cores']} cores"
    ]
    lines += [f"  {k:13} {v or '-'}" for k, v in found["versions"].items()]
    lines.append(f"devices: {', '.join(found['devices'])}")
    lines.append(f"cache: {found['cache']} ({found['cache_bytes'] / 1e6:.1f} MB)")
    lines += [f"missing: {text}" for text in found["missing"]] or ["nothing is missing"]
    return "\n".join(lines)


def installed(name: str) -> str | None:
    """Return the version of a package, or None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


PACKAGES = ("sympy", "numpy", "scipy", "numba", "matplotlib", "xarray", "torch")


def built_with() -> dict[str, str]:
    """Return the versions of Python and of what the numbers depend on."""
    packages = {name: installed(name) or "not installed" for name in PACKAGES}
    return {"python": platform.python_version(), **packages}


def _writable(folder: Path) -> bool:
    """Whether the folder, or the nearest one above it that exists, can be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)


def _devices() -> list[str]:
    """Ask torch, when it is there, and jax."""
    found = ["cpu"]
    if installed("torch"):
        import torch

        found += [
            f"cuda:{i} ({torch.cuda.get_device_name(i)})"
            for i in range(torch.cuda.device_count())
        ]
    import jax

    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines() or [os.environ.get("JAX_PLATFORMS", "")]
        return [*found, f"jax finds no device: {reason[0]}"]
    found += [f"jax {device}" for device in devices if device.platform != "cpu"]
    return found
