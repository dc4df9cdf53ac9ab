# Needs python3 (3.11 or newer), make and a shell; everything else is installed below .venv.
PYTHON ?= python3
VENV   := .venv
UV     := .make/bin/uv
RUN    := $(VENV)/bin
SYNCED := .make/synced

.PHONY: demo serve test test-long lint format bench clean setup
.DEFAULT_GOAL := setup

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit("Kvern needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .make
	.make/bin/python -m pip install --quiet --disable-pip-version-check uv

$(SYNCED): $(UV) pyproject.toml uv.lock
	$(UV) sync --frozen --all-extras --python $(PYTHON) --quiet
	@touch $@

setup: $(SYNCED)

demo: $(SYNCED)        ## Three real functions, deployed and called by the official SDK
	$(RUN)/python examples/demo.py

serve: $(SYNCED)       ## A service on port 8000 with its data in ./.kvern
	$(RUN)/kvern serve --data-dir .kvern

lint: $(SYNCED)
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/pyright
	$(RUN)/lint-imports

format: $(SYNCED)
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

test: lint             ## Everything, in under ten minutes on two cores
	$(RUN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

test-long: $(SYNCED)   ## What takes longer
	$(RUN)/pytest tests/long --timeout 7200 --capture no

bench: $(SYNCED)       ## Figures, as ratios against a floor measured in the same run
	$(RUN)/python benchmarks/run.py $(ONLY)

clean:
	rm -rf $(VENV) .make .pytest_cache .ruff_cache .import_linter_cache
