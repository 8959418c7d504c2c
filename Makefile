# Two commands set everything up on a fresh Debian or Ubuntu machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
# `required` fails a test whose tool (tests/needs.py) is missing; `if-available` skips it, and says so at the end
TOOLS  ?= if-available
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest --spice required --tools $(TOOLS)

.PHONY: setup demo test test-slow check bench clean ngspice
.DELETE_ON_ERROR:

setup: $(READY) ngspice

$(READY): pyproject.toml tools/venv.sh
	@tools/venv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

ngspice:
	@tools/ngspice.sh

demo: setup
	$(BIN)/cmru-hw demo --force -o demo

test: setup
	$(PYTEST) -m "not slow"

test-slow: setup
	$(PYTEST) -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks.transient
	$(BIN)/python -m benchmarks.scan

clean:
	rm -rf $(VENV) demo out build dist
