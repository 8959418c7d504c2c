"""Units behind power headers and the clocks of a chip from one strobe: order, levels, what flows in the hold."""

from __future__ import annotations

import numpy as np
import pytest

from cmru_hw import gated, pdk, spice
from cmru_hw.characterize import Conditions
from cmru_hw.errors import TechnologyError

PROCESSES = pytest.mark.parametrize("process", pdk.PROCESSES)
ENDS = pytest.mark.parametrize(("corner", "temperature", "vdd"), [("ss", -40.0, 1.62), ("ff", 125.0, 1.98)])


@pytest.fixture(scope="module")
def engine():
    with spice.open_engine() as opened:
        yield opened


@pytest.fixture
def at(request, process):
    """Conditions for ``process``; without the PDK its tests are skipped, or failed where simulation is required."""
    if process == "gf180":
        try:
            pdk.find()
        except TechnologyError as error:
            if request.config.getoption("--spice") == "required":
                pytest.fail(f"--spice required: {error}", pytrace=False)
            pytest.skip(str(error))
    return Conditions(process=process)


@pytest.mark.spice
@PROCESSES
def test_one_strobe_makes_every_clock_in_order(engine, at):
    measured = gated.sequencer(engine, at)
    assert measured.ordered, measured.edges
    # e and f of a group never carry a switch both
    assert measured.overlap < at.vdd / 2
    assert 0.3e-6 < measured.length < 5e-6
    assert all(0 < energy < 8e-12 for energy in measured.energy.values())


@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
def test_smallest_chip_counts_from_the_strobe_alone(engine, at):
    measured = gated.chip(engine, at, frame=100e-6, frames=4)
    assert measured.right, (measured.levels, measured.reads)
    assert np.array(measured.levels) == pytest.approx(measured.expected, abs=0.1)
    assert measured.state_low > 0
    assert sum(measured.energy[block] for block in ("logic", "comparators", "amplifier")) < 2e-12


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
@ENDS
def test_order_holds_at_the_ends_of_the_corners(engine, at, corner, temperature, vdd):
    conditions = Conditions(process=at.process, corner=corner, temperature=temperature, vdd=vdd)
    measured = gated.sequencer(engine, conditions, frame=10e-3)
    assert measured.ordered, measured.edges
    assert measured.overlap < vdd / 2


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
@pytest.mark.parametrize(
    ("corner", "temperature", "vdd", "most"),
    [
        ("typical", 27.0, 1.8, 6.5e-12),
        ("ss", -40.0, 1.62, 4e-12),
        ("ff", 125.0, 1.98, 20e-12),
        ("fs", 125.0, 1.98, 14e-12),
    ],
)
def test_smallest_chip_works_with_frames_of_ten_milliseconds(engine, at, corner, temperature, vdd, most):
    conditions = Conditions(process=at.process, corner=corner, temperature=temperature, vdd=vdd)
    measured = gated.chip(engine, conditions)
    assert measured.right, (measured.levels, measured.reads)
    # the state neither leaks nor creeps: a level of -1 is what it was ten timesteps before
    assert abs(measured.levels[-1] - measured.levels[1]) < 0.1
    assert measured.state_low > 0
    assert measured.total < most
