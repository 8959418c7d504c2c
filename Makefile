# Two commands set everything up on a fresh Debian or Ubuntu machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
LOWEST ?= .venv-lowest
# `required` fails a test whose tool (tests/needs.py) is missing; `if-available` skips it, and says so at the end
TOOLS  ?= if-available
# more arguments for pytest: make test ARGS=tests/test_cells.py
ARGS   ?=
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest --spice required --tools $(TOOLS)

.PHONY: setup demo test faults test-slow test-lowest check docs bench clean ngspice
.DELETE_ON_ERROR:

setup: $(READY) ngspice

$(READY): pyproject.toml tools/venv.sh
	@tools/venv.sh "$(PYTHON)" "$(VENV)"
	@$(BIN)/python -m tools.compile_loops
	@touch $@

ngspice:
	@tools/ngspice.sh

demo: setup
	$(BIN)/cmru-hw demo --force -o demo

test: setup
	$(PYTEST) -m "not slow" $(ARGS)

# bad and hostile inputs; `test` has them too
faults: setup
	$(PYTEST) -m faults $(ARGS)

test-slow: setup
	$(PYTEST) -m slow $(ARGS)

# the default suite with the lowest versions that pyproject.toml allows
test-lowest: $(LOWEST)/.ready ngspice
	$(LOWEST)/bin/python -m pytest --spice required --tools $(TOOLS) -m "not slow" $(ARGS)

$(LOWEST)/.ready: pyproject.toml tools/venv.sh tools/lowest.sh
	@tools/lowest.sh "$(PYTHON)" "$(LOWEST)"
	@touch $@

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the documentation site, in site/; a warning is an error
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open site/index.html"

bench: setup
	$(BIN)/python -m benchmarks.transient
	$(BIN)/python -m benchmarks.scan

clean:
	rm -rf $(VENV) $(LOWEST) demo out build dist site
