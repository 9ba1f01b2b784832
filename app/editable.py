"""An editable install that wins over a folder named `dilaton`; used by setuptools.

Python looks for a package along its path before it asks the finders that an editable
install appends. In the folder above a clone named `dilaton`, that clone would be found
first, as an empty package. One more line in the wheel puts our finder in front.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

from setuptools.command.editable_wheel import editable_wheel

NAME = "__editable__.dilaton-first.pth"
"""Sorts, and so runs, after the ``__editable__.dilaton-VERSION.pth`` of setuptools."""
LINE = (
    "import sys; sys.meta_path.sort("
    "key=lambda f: '__editable___dilaton_' not in str(getattr(f, '__module__', '')))\n"
)


class FirstFinder(editable_wheel):
    """The editable wheel of setuptools with a line that moves its finder."""

    def run(self) -> None:
        """Build the wheel, then add the line to it."""
        super().run()
        for path in Path(self.dist_dir).glob("dilaton-*editable*.whl"):
            add(path, NAME, LINE.encode())


def add(wheel: Path, name: str, content: bytes) -> None:
    """Write a wheel anew with one more file, listed in its RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    listed = f"{name},sha256={digest.decode()},{len(content)}\n"
    with zipfile.ZipFile(wheel) as old:
        files = {info: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr(name, content)
        for info, data in files.items():
            record = info.filename.endswith(".dist-info/RECORD")
            new.writestr(info, listed.encode() + data if record else data)
