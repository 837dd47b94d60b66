# Everything happens in a virtual environment inside the checkout. Nothing is needed but make and Python 3.11 or later.

PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input
ARGS =

.PHONY: help demo test lint format docs bench clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo    compute the equation of state of seven metals; results in demo-results/'
	@echo 'make test    run all tests (ARGS="-k sqlite -x" passes options to pytest)'
	@echo 'make lint    check style, types and the import contract'
	@echo 'make format  put every file into the house style'
	@echo 'make docs    write the generated parts of the documentation'
	@echo 'make bench   measure, and print tables (ARGS goes to bench/run.py)'
	@echo 'make clean   remove the environment, caches, and the stores and results of the examples'

demo: $(VENV)/.demo
	@$(BIN)/python examples/equation_of_state.py

test: $(VENV)/.dev
	@$(BIN)/python -m tidemill.testing.postgres
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.dev
	$(BIN)/python -m tools.reference
	$(BIN)/python -m tools.states
	$(BIN)/python -m tools.coming_from

bench: $(VENV)/.dev
	$(BIN)/python bench/run.py $(ARGS)

clean:
	rm -rf $(VENV) build dist .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf .tidemill demo-results pipeline-results
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# An empty file inside the environment says that a step is done; a change of pyproject.toml undoes the installations.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Tidemill needs Python 3.11 or later as $(PYTHON)." >&2; \
	    echo "Name another one with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    command -v apt-get >/dev/null && test "$$(id -u)" = 0 && \
	        echo "Installing python3-venv, which Debian ships apart from Python." && \
	        { export DEBIAN_FRONTEND=noninteractive; \
	          apt-get install -qq -y --no-install-recommends python3-venv >/dev/null || \
	          { apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-venv >/dev/null; }; } && \
	        $(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    echo "$(PYTHON) cannot create virtual environments: the module ensurepip is missing." >&2; \
	    echo "On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; \
	    exit 1; }; }
	@echo "Creating the environment $(VENV)."
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml
	@echo "Installing Tidemill and what the demo needs. This happens once and takes about a minute."
	@$(PIP) install -q -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	@echo "Installing Tidemill and what its tests need. This happens once and takes about a minute."
	@$(PIP) install -q -e '.[dev]'
	@touch $(VENV)/.demo $@
