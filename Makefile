# Needs python3 (3.11 or newer), make and a shell; everything else is installed below .venv and .make.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done; echo python3)
VENV   := .venv
RUN    := $(VENV)/bin

# Variables of a shell that works on another project would lead Python, pip and uv there. Where packages come from is
# read in tools/machine.py.
unexport $(filter-out PYTHON,$(filter PYTHON% CONDA_% VIRTUAL_ENV% PYRIGHT_% RUFF_% __PYVENV_LAUNCHER__ \
	PYTEST_PLUGINS PYTEST_DISABLE_PLUGIN_AUTOLOAD,$(.VARIABLES)))

.PHONY: audit demo serve test test-long lint format bench clean setup
.DEFAULT_GOAL := setup

setup:                 ## The environment in .venv; made anew when the clone was moved, its Python or uv.lock has changed
	@$(PYTHON) tools/set_up.py

demo: setup        ## Three real functions, deployed and called by the official SDK
	$(RUN)/python examples/demo.py

serve: setup       ## A service on port 8000 with its data in ./.kvern
	$(RUN)/kvern serve --data-dir .kvern

lint: setup
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/pyright
	$(RUN)/lint-imports

format: setup
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

test: lint             ## Everything, in under ten minutes on two cores
	$(RUN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

test-long: setup   ## What takes longer
	$(RUN)/pytest tests/long --timeout 7200 --capture no

bench: setup       ## Figures, as ratios against a floor measured in the same run
	$(RUN)/python benchmarks/run.py $(ONLY)

audit: setup            ## Known vulnerabilities of what is pinned; needs the internet
	$(RUN)/uv export --frozen --all-extras --no-dev --no-emit-project --quiet -o .make/audit.txt
	$(RUN)/uv tool run pip-audit --disable-pip --require-hashes -r .make/audit.txt

clean:
	rm -rf $(VENV) .make .pytest_cache .ruff_cache .import_linter_cache
