"""Samples of any kind: NumPy arrays, tensors on any device, whole or half numbers."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from ...errors import ModelError


def is_torch(x: Any) -> bool:
    """Whether `x` is a tensor or another thing of torch; torch is not imported."""
    return type(x).__module__.split(".")[0] == "torch"


def on_cpu(x: Any) -> np.ndarray:
    """A tensor of any device, gradient and precision as a NumPy array."""
    if not is_torch(x):
        return np.asarray(x)
    x = x.detach().cpu()
    return (x.float() if x.is_floating_point() and x.element_size() < 4 else x).numpy()


def as_array(x: Any) -> np.ndarray:
    """Numbers, or a tensor on any device, as an array of double precision."""
    if not is_torch(x) and isinstance(x, list | tuple):
        x = [on_cpu(value) for value in x]
    return np.asarray(on_cpu(x), dtype=float)


def like(values: np.ndarray, template: Any) -> Any:
    """Give `values` the kind of `template`: a tensor on its device, or NumPy."""
    if not is_torch(template):
        return values[()]
    if template.is_floating_point():
        return template.new_tensor(values)
    import torch

    return torch.tensor(values, device=template.device, dtype=torch.float32)


def floats(data: Any) -> Any:
    """The samples in the precision that is computed in: never integers or halves.

    Integers and half precision become single precision (tensors) or double (NumPy).
    Raises `ModelError` for complex numbers.
    """
    if "complex" in str(getattr(data, "dtype", "")):
        raise ModelError(
            f"The samples must be real numbers, but are of type {data.dtype}. Pass "
            "real and imaginary parts as two channels."
        )
    if not is_torch(data):
        array = np.asarray(data)
        wide = array.dtype.kind == "f" and array.dtype.itemsize >= 4
        return array if wide else array.astype(float)
    data = data.detach()
    wide = data.is_floating_point() and data.element_size() >= 4
    return data if wide else data.float()


def speaking(function: Any, data: Any) -> Any:
    """Call a model of half precision with half precision, and answer in floats."""
    if not (is_torch(data) and data.is_floating_point() and data.element_size() < 4):
        return function

    def spoken(x: Any, *more: Any) -> Any:
        out = function(x.to(data.dtype), *more)
        return out.float() if is_torch(out) and out.is_floating_point() else out

    spoken.model = function  # type: ignore[attr-defined]
    return spoken


def rows_of(x: Any) -> np.ndarray:
    """The samples as rows of a NumPy array, from any device."""
    array = on_cpu(x)
    return array.reshape(len(array), -1)


def copy_of(x: Any) -> Any:
    """The same numbers in new memory, so that a model cannot write into the samples."""
    return x.clone() if is_torch(x) else np.array(x)


def normal_like(x: Any, generator: Any) -> Any:
    """Standard normal numbers of the shape and kind of `x`."""
    check_generator(x, generator)
    if is_torch(x):
        import torch

        return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return generator.standard_normal(x.shape).astype(x.dtype, copy=False)


def check_generator(x: Any, generator: Any) -> None:
    """Raise `ModelError` unless `generator` is of the kind of the data `x`."""
    if is_torch(x):
        fits = is_torch(generator)
    else:
        fits = isinstance(generator, np.random.Generator)
    if not fits:
        raise ModelError(
            "`generator` must be of the kind of the data: torch.Generator for tensors, "
            "numpy.random.Generator for arrays, but the data are "
            f"{type(x).__name__} and it is {type(generator).__name__}. Pass "
            "`torch.Generator().manual_seed(0)` or `numpy.random.default_rng(0)`."
        )


def check_numpy_generator(generator: Any) -> None:
    """Raise `ModelError` for what is neither torch's generator nor NumPy's."""
    if not isinstance(generator, np.random.Generator):
        raise ModelError(
            "`generator` must be a numpy.random.Generator or a torch.Generator, "
            f"but is {type(generator).__name__}. Pass numpy.random.default_rng(0)."
        )


def no_grad(x: Any) -> contextlib.AbstractContextManager[Any]:
    """Torch without gradients, for tensors."""
    if not is_torch(x):
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()
