"""Functions compiled with their callers: the same numbers, no code of their own."""

import gc

import pytest
from dilaton.numerics.codegen import cache

SOURCE = """
from dilaton.numerics.codegen.parts import part, whole


@part(error_model="numpy")
def square(x):
    return x * x


@part(optimised=True, error_model="numpy")
def total(values):
    found = 0.0
    for i in range(values.size):
        found += square(values[i])
    return found


@whole(error_model="numpy")
def root(values):
    return total(values) ** 0.5 + square(0) / square(2)
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DILATON_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield cache.load_source(SOURCE, "towers")


def test_parts_give_what_python_gives(module):
    import numpy as np

    values = np.array([3.0, 4.0])
    assert module.root(values) == 5.0
    assert module.total(values) == 25.0  # as Python
    assert gc.isenabled()


def test_only_what_python_calls_has_machine_code(module):
    import numpy as np

    module.root(np.ones(4))
    kept = cache.cache_folder() / "kernels" / "__pycache__"
    names = {path.name.split(".")[1].split("-")[0] for path in kept.glob("*.nbi")}
    assert names == {"root"}
