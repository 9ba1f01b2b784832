# Two commands are enough: `make run` (the main job) and `make test` (the tests).
# Everything runs in .venv, which is built once and again when its inputs change.

SHELL := bash
PYTHON ?= python3
SPEC ?=
OUT ?= report
JSON ?=
SAMPLE ?= 100
HTML ?= docs/_build/html
PYTHONS ?= python3.11 python3.12 python3.13
# Tests of one file share what they compile: a file stays with one worker
# (tests/conftest.py).
WORKERS ?= 2

BIN := .venv/bin
BUILT := .venv/.built
# Fixed, so that sums come out the same on every machine; set your own to go faster.
export OMP_NUM_THREADS ?= 2
export MPLBACKEND ?= Agg

.PHONY: help env run test test-full check docs bench coverage mutants mutants-minima audit versions clean

help:
	@echo "make run        derive, solve and confirm; writes $(OUT)/index.html (SPEC=, OUT=)"
	@echo "make test       the test suite"
	@echo "make check      ruff, mypy and doctests"
	@echo "make test-full  the test suite with the slow rungs"
	@echo "make docs       the documentation, warnings are errors"
	@echo "make bench      the benchmark table (JSON=FILE also writes its rows)"
	@echo "make coverage   the test suite with branch coverage"
	@echo "make mutants    mutation run over theory/ and numerics/ (SAMPLE=0 for all)"
	@echo "make mutants-minima  the same for the compiled search of minima"
	@echo "make versions   the lowest and newest dependencies on every Python (PYTHONS=)"
	@echo "make audit      known vulnerabilities of the pinned packages"
	@echo "make clean      remove caches and builds (keeps .venv and reports)"

env: $(BUILT)

$(BUILT): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "dilaton needs Python 3.11 or newer, but \`$(PYTHON)\` is \
	$$($(PYTHON) --version 2>&1 || true). Name a newer one: make PYTHON=python3.12 ..." >&2; \
	  exit 1; }
	@echo "Building the environment in .venv (once; some minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt -e ".[torch,data,distributed,docs,test]"
	@touch $@

run: $(BUILT)
	$(BIN)/dilaton run $(SPEC) -o $(OUT) --force

# Workers with more threads than one would be in each other's way.
test test-full coverage: export OMP_NUM_THREADS := 1
# Their processes share what Python compiles, too.
test test-full coverage: export PYTHONDONTWRITEBYTECODE :=
test: $(BUILT)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-full: $(BUILT)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile \
	  -m "slow or not slow" --timeout 1800

check: $(BUILT) .typing/dilaton
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p dilaton
	PYTHONPATH=.typing $(BIN)/python -m pytest -q --doctest-modules .typing/dilaton

# Static checkers do not see an editable install: show them the package as links.
.PHONY: .typing/dilaton
.typing/dilaton:
	@rm -rf $@ && mkdir -p $@
	@cd $@ && ln -s ../../app/* ../../theory ../../numerics ../../torchcheck .

docs: $(BUILT)
	$(BIN)/python docs/build_pages.py
	$(BIN)/python docs/gallery/draw.py
	$(BIN)/python -m sphinx -W --keep-going -b html docs $(HTML)

bench: $(BUILT)
	$(BIN)/python -m benchmarks $(if $(JSON),--json $(JSON))

coverage: $(BUILT)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile \
	  --cov --cov-report=term-missing:skip-covered

mutants: $(BUILT)
	$(BIN)/python -m tests.mutants --sample $(SAMPLE)

LOOPS = newton survey crossing follow
mutants-minima: $(BUILT)
	$(BIN)/python -m tests.mutants --compiled --tests landscapes --sample $(SAMPLE) \
	  --modules $(foreach x,$(LOOPS),numerics/minima/$(x)_numba)

audit: $(BUILT)
	$(BIN)/python -m pip_audit --no-deps --disable-pip -r constraints.txt

versions:
	$(PYTHON) tests/versions.py --pythons $(PYTHONS)

clean:
	rm -rf .typing .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov \
	  build dist *.egg-info docs/_build
	find . -name __pycache__ -not -path "./.venv/*" -prune -exec rm -rf {} +
