# Each target does all of its own set-up: on a fresh machine `make demo` or `make test` is the first command.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_VIDEOS ?=

.PHONY: setup demo test check lint typecheck bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 was expected, %s is %d.%d: call make PYTHON=/path/to/python3.11" % (sys.executable, *v))'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: setup
	$(BIN)/msnet demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: setup
	$(BIN)/mypy

test: lint typecheck
	$(BIN)/python -m pytest -m "not slow"

check: lint typecheck
	$(BIN)/python -m pytest

bench: setup
	$(BIN)/python -m benchmarks $(if $(BENCH_VIDEOS),--videos $(BENCH_VIDEOS))

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache msnet-demo msnet-gebd-demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
