# Everything on a machine that has python3 >= 3.11 with venv and pip, and make.
#
#   make quickstart   set up and run the quickstart experiment
#   make test         set up and run every check of the normal lane (lint, types, floors, tests)
#   make long         set up and run the long lane (large experiments, random scenarios, accuracy)
#   make bench        set up and measure; writes out/benchmarks.json
#   make lock         resolve the exact versions again (developers; needs uv in the environment)

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2

# One scenario uses one core: no library may start threads of its own.
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export MPLBACKEND = Agg

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test lint unit bench-smoke long bench lock clean

help:
	@sed -n '3,7s/^# *//p' Makefile

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "kubesim needs Python 3.11 or newer: $$($(PYTHON) --version)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

quickstart: $(STAMP)
	$(BIN)/kubesim run experiments/quickstart.yaml

test: lint unit bench-smoke
	@$(BIN)/coverage report --skip-covered --skip-empty | tail -n 1

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(STAMP)
	$(BIN)/pytest tests --ignore=tests/bench -n $(JOBS) --dist=loadfile --benchmark-disable \
		--cov --cov-report=

# Every benchmark also runs here once, at its tiny size, so that none of them rots.
bench-smoke: $(STAMP)
	$(BIN)/pytest tests/bench --benchmark-disable

long: $(STAMP)
	$(BIN)/pytest tests --ignore=tests/bench -m long -n $(JOBS) --dist=loadfile --benchmark-disable
	HYPOTHESIS_PROFILE=long $(BIN)/pytest tests/property tests/unit -n $(JOBS) --benchmark-disable

bench: $(STAMP)
	@mkdir -p out
	$(BIN)/pytest tests/bench --benchmark-only --benchmark-json=out/benchmarks.json

lock:
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --no-emit-index-url \
		--extra report --extra parquet --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) build out *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache
