# Everything on a machine that has python3 >= 3.11 with venv and pip, and make.
#
#   make quickstart   set up and run the quickstart experiment
#   make test         set up and run every check of the normal lane (lint, types, floors, tests)
#   make long         set up and run the long lane (large experiments, random scenarios, accuracy)
#   make native       set up and compile the hottest modules (the targets that simulate do)
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
.PHONY: help setup native quickstart test lint unit laws long bench lock clean

help:
	@sed -n '3,8s/^# *//p' Makefile

setup: $(STAMP) native

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "kubesim needs Python 3.11 or newer: $$($(PYTHON) --version)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

# Where a C compiler is at hand, the modules that every request runs through are compiled once: the
# same results, sooner. It says so and goes on without where there is none.
native: $(STAMP)
	@$(BIN)/python -m sim.native_build

quickstart: native
	$(BIN)/kubesim run experiments/quickstart.yaml

test: lint unit laws
	@printf 'branch coverage of sim/ by the unit lane, percent: '
	@$(BIN)/coverage report --format=total

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Tests that simulate at length run apart, because tracing branches makes them several times slower.
LAWS := tests/accuracy tests/analytic tests/bench tests/tidy

# Coverage sees only what is interpreted; one test compares that with the compiled modules.
unit: native
	KUBESIM_NATIVE=0 $(BIN)/pytest tests $(LAWS:%=--ignore=%) -n $(JOBS) --dist=loadfile --benchmark-disable \
		--cov --cov-report=

# Closed forms, measured data, hygiene; and every benchmark once, at its tiny size, so that none rots.
laws: native
	$(BIN)/pytest $(LAWS) -n $(JOBS) --dist=loadfile --benchmark-disable

long: native
	$(BIN)/pytest tests --ignore=tests/bench -m long -n $(JOBS) --dist=loadfile --benchmark-disable
	HYPOTHESIS_PROFILE=long $(BIN)/pytest tests/property tests/unit -n $(JOBS) --benchmark-disable

bench: native
	@mkdir -p out
	$(BIN)/pytest tests/bench --benchmark-only --benchmark-json=out/benchmarks.json

lock:
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --no-emit-index-url \
		--extra report --extra parquet --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) build out *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache
