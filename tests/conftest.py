"""Tests that need external tools declare them, and options decide whether they may be skipped without these.

``spice`` marks tests that need ngspice, ``needs("chromium")`` those that need another tool of `tests.needs`. With
``--spice required`` or ``--tools required`` a test fails if its tool is missing. With ``if-available`` it is skipped,
and the end of the output lists it with the reason. ``--spice disabled`` skips every simulation.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import needs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--spice",
        choices=("required", "if-available", "disabled"),
        default="if-available",
        help="whether tests may do without ngspice and the models of GF180MCU",
    )
    parser.addoption(
        "--tools",
        choices=("required", "if-available"),
        default="if-available",
        help="whether tests may do without the other tools and packages (tests/needs.py)",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            _need(item.config, name)
    if item.get_closest_marker("spice") is not None:
        _need(item.config, "ngspice")


@pytest.fixture
def need(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Skip or fail the test if the named tool of `tests.needs` is missing; other names are always available."""

    def need(name: str) -> None:
        if name in needs.CHECKS:
            _need(request.config, name)

    return need


def _need(config: pytest.Config, name: str) -> None:
    option = "--spice" if name in needs.SIMULATION else "--tools"
    wish = config.getoption(option)
    if wish == "disabled":
        pytest.skip(f"{option} disabled")
    missing = needs.missing(name)
    if missing and wish == "required":
        pytest.fail(f"{option} required: {missing}", pytrace=False)
    if missing:
        pytest.skip(missing)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List every skipped test by reason; pytest itself gives the line of the call that skipped it."""
    skipped: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skipped[reason.removeprefix("Skipped: ")].append(report.nodeid)
    for reason, tests in skipped.items():
        terminalreporter.section(f"not run: {reason}")
        for test in tests:
            terminalreporter.line(test)


@pytest.fixture
def runs() -> Callable[[int], bool]:
    """Whether any process of a group still runs, by the id of the group's leader."""
    return _runs


@pytest.fixture
def ends() -> Callable[[int], bool]:
    """Whether all processes of a group end within seconds."""

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
        # A zombie is dead; its parent has to collect it.
        if int(group) == leader and state != "Z":
            return True
    return False
