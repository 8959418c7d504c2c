"""Tests marked ``spice`` need ngspice: ``--spice required`` fails them without it, ``disabled`` never runs them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cmru_hw import spice
from cmru_hw.core.errors import SimulatorMissing
from cmru_hw.spice.deck import Deck


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--spice",
        choices=("required", "if-available", "disabled"),
        default="if-available",
        help="what becomes of tests that need ngspice",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("spice") is None:
        return
    wish = item.config.getoption("--spice")
    if wish == "disabled":
        pytest.skip("--spice disabled")
    missing = _missing()
    if missing and wish == "required":
        pytest.fail(f"--spice required: {missing}", pytrace=False)
    if missing:
        pytest.skip(missing)


@functools.cache
def _missing() -> str:
    """Why ngspice cannot be used here, or ``""``: asked by using it, code models included."""
    deck = Deck(
        text="a1 %v([x]) data\nr1 x 0 1000\n.save x\n.tran 1e-3 2e-3\n"
        '.model data filesource(file="x.txt" amploffset=[0] amplscale=[1])\n',
        stop=2e-3,
        saved=("x",),
        files={"x.txt": b"0 1\n1 1\n"},
    )
    try:
        spice.run(deck, backend="pyspice")
        spice.run(deck, backend="batch")
    except SimulatorMissing as error:
        return str(error)
    return ""


@pytest.fixture
def runs() -> Callable[[int], bool]:
    """Whether any process of a group still runs, by the number of its leader."""
    return _runs


@pytest.fixture
def ends() -> Callable[[int], bool]:
    """Whether a group of processes comes to its end within seconds."""

    def ends(leader: int) -> bool:
        deadline = time.monotonic() + 10
        while _runs(leader) and time.monotonic() < deadline:
            time.sleep(0.01)
        return not _runs(leader)

    return ends


def _runs(leader: int) -> bool:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        # A zombie is dead; collecting it is the business of whoever inherited it.
        if int(group) == leader and state != "Z":
            return True
    return False
