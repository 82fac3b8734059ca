# Each target does all of its own set-up: on a fresh machine `make demo` or `make test` is the first command.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LATEST := .venv-latest
OLDEST := .venv-oldest
CHECK_PYTHON = @$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 was expected, %s is %d.%d: call make PYTHON=/path/to/python3.11" % (sys.executable, *v))'
PIP := -m pip --quiet --disable-pip-version-check
# Another torch for test-latest and test-oldest, where their own is not to be had: make test-oldest TORCH=torch==2.13.0
TORCH ?=
BENCH_VIDEOS ?=
# Two workers, a file in one of them: its fixtures are made once. Files start in the order of tests/conftest.py. With
# three, three Rays on two cores do not always start in time.
PYTEST := -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# What `make quick` runs: pure functions, the store, and one tiny extraction from a video to a store.
QUICK := tests/schemas tests/docs tests/gebd/annotations tests/gebd/dataset tests/gebd/metric tests/extractor/store \
	tests/extractor/video/test_sampling.py tests/extractor/video/test_listing.py tests/extractor/video/test_tables.py \
	tests/extractor/video/test_column_types.py tests/extractor/extraction/test_request.py \
	tests/extractor/extraction/test_resolving.py tests/jobs/run tests/jobs/cli/test_parameters.py \
	tests/jobs/cli/test_display.py tests/jobs/cluster/test_devices.py tests/jobs/workers/test_ledger.py \
	tests/training/world/test_parts.py

# Where this is set, each of the hundreds of processes that the tests start compiles our modules anew.
export PYTHONDONTWRITEBYTECODE :=

FACES := extractor extractor.store extractor.video gebd jobs

.PHONY: setup demo quick test test-latest test-oldest check lint typecheck docs site bench bench-gpu clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(CHECK_PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) install -c constraints.txt torch
	$(BIN)/python $(PIP) install -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: setup
	$(BIN)/msnet demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: setup
	$(BIN)/mypy

# Between two edits.
quick: lint typecheck
	$(BIN)/python $(PYTEST) -m "not slow and not ray" $(QUICK)

# Types beside the tests, and told behind them: without its cache mypy takes one core for 40 seconds.
test: lint
	@types=$$(mktemp); nice -n 5 $(BIN)/mypy > $$types & mypy=$$!; \
	$(BIN)/python $(PYTEST) -m "not slow"; tests=$$?; \
	wait $$mypy; code=$$?; cat $$types; rm -f $$types; exit $$((tests | code))

# The newest versions that pyproject.toml allows on this Python, in an environment made anew.
test-latest:
	$(CHECK_PYTHON)
	$(PYTHON) -m venv --clear $(LATEST)
	$(LATEST)/bin/python $(PIP) install -e '.[dev]' $(TORCH)
	$(LATEST)/bin/python -m pip list
	$(LATEST)/bin/python $(PYTEST) -m "not slow"

# The oldest ones: uv reads them from pyproject.toml, so that what is promised is what is tested.
test-oldest:
	$(CHECK_PYTHON)
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python $(PIP) install uv
	echo '$(TORCH)' > $(OLDEST)/torch.txt
	$(OLDEST)/bin/uv pip compile --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --extra dev \
		--overrides $(OLDEST)/torch.txt --output-file $(OLDEST)/oldest.txt pyproject.toml
	$(OLDEST)/bin/python $(PIP) install -c $(OLDEST)/oldest.txt -e '.[dev]'
	$(OLDEST)/bin/python -m pip list
	$(OLDEST)/bin/python $(PYTEST) -m "not slow"

check: lint typecheck
	$(BIN)/python $(PYTEST)

# The API reference, from the docstrings of what users import: docs/api/index.html
docs: setup
	$(BIN)/pdoc $(FACES) --output-directory docs/api

# README, docs/ and the reference as a site: site/index.html. The variable silences an advertisement.
site: docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: setup
	$(BIN)/python -m benchmarks $(if $(BENCH_VIDEOS),--videos $(BENCH_VIDEOS))

# On a machine with a GPU: all that only a GPU can show, in at most 8 minutes (docs/running.md, On a GPU).
bench-gpu: setup
	$(BIN)/python -m benchmarks.gpu

clean:
	rm -rf $(VENV) $(LATEST) $(OLDEST) build dist docs/api site *.egg-info .mypy_cache .ruff_cache .pytest_cache msnet-demo msnet-gebd-demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
