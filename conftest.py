"""Stops at once, with one line, when the package is not installed."""

import importlib.util

import pytest

try:
    INSTALLED = importlib.util.find_spec("dilaton.theory") is not None
except ModuleNotFoundError:
    INSTALLED = False

if not INSTALLED:
    pytest.exit(
        "The tests need `dilaton` installed, but this Python has no such package. "
        "Run `make test`, or `pip install -c constraints.txt -e '.[torch,data,"
        "distributed,docs,test]'` first.",
        returncode=4,
    )


def pytest_report_header():
    import dilaton

    return f"dilaton {dilaton.__version__} from {dilaton.__path__[0]}"
