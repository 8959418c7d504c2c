"""Power-gated units and the self-timed clocks of a chip: order of edges, levels, leakage in the hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.characterize import power_gated_chip
from cmru_hw.characterize.testbench import Conditions
from cmru_hw.process import pdk
from cmru_hw.spice.deck import Deck

PROCESSES = pytest.mark.parametrize("process", pdk.names())
# One unit as on the chip: seven levels of 28.6 mV, thresholds at +-85 mV.
SIZES = {"cw": 191e-15, "tap": 9e-15, "cs": 7.94e-15, "cint": 500e-15, "wf": 0.15e-6}
ENDS = pytest.mark.parametrize(("corner", "temperature", "vdd"), [("ss", -40.0, 1.62), ("ff", 125.0, 1.98)])


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine() as opened:
        yield opened


@pytest.fixture
def at(need: Callable[[str], None], process: str) -> Conditions:
    """Conditions for ``process``, if its models are installed."""
    need(process)
    return Conditions(process=process)


@pytest.mark.spice
@PROCESSES
def test_one_strobe_makes_every_clock_in_order(engine: spice.Engine, at: Conditions) -> None:
    measured = power_gated_chip.sequencer(engine, at)
    assert measured.ordered, measured.edges
    # e and f of a group never turn a switch on together.
    assert measured.overlap < at.vdd / 2
    assert 0.3e-6 < measured.length < 5e-6
    assert all(0 < energy < 8e-12 for energy in measured.energy.values())


@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
def test_smallest_chip_counts_from_the_strobe_alone(engine: spice.Engine, at: Conditions) -> None:
    measured = power_gated_chip.chip(engine, at, frame=100e-6, frames=4)
    assert measured.right, (measured.levels, measured.reads)
    assert np.array(measured.levels) == pytest.approx(measured.expected, abs=0.1)
    assert measured.state_low > 0
    assert sum(measured.energy[block] for block in ("logic", "comparators", "amplifier")) < 2e-12


@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
def test_a_die_of_one_unit_is_a_function_of_its_seed(engine: spice.Engine, at: Conditions) -> None:
    bench = power_gated_chip.unit_testbench(SIZES)

    def die(deck: Deck) -> power_gated_chip.UnitDie:
        return power_gated_chip.unit_die(engine.run(deck).traces, at, SIZES)

    equal, drawn = die(bench.deck(at)), die(bench.deck(at, mismatch=7))
    threshold = at.vdd * SIZES["tap"] / SIZES["cw"]
    assert equal.threshold_up == pytest.approx(threshold, abs=2e-3)
    assert equal.threshold_down == pytest.approx(-threshold, abs=2e-3)
    assert max(abs(equal.offset_low), abs(equal.offset_high)) < 2e-3
    packet = at.vdd * SIZES["cs"] / SIZES["cint"]
    assert (equal.packet_up, equal.packet_down) == pytest.approx((packet, packet), rel=0.02)
    # The error of a threshold is the offset of its row's comparator over the row's share of a step.
    share = SIZES["cw"] / (SIZES["cw"] + SIZES["tap"] + 19e-15)
    assert abs(drawn.offset_low - equal.offset_low) > 1e-3
    for end, row in (("up", "low"), ("down", "high")):
        moved = getattr(drawn, f"threshold_{end}") - getattr(equal, f"threshold_{end}")
        assert moved * share == pytest.approx(
            getattr(drawn, f"offset_{row}") - getattr(equal, f"offset_{row}"), abs=power_gated_chip.RESOLUTION
        )
    assert asdict(die(bench.deck(at, mismatch=7))) == asdict(drawn)
    # A seed by itself adds no mismatch.
    deck = bench.deck(at, mismatch=7)
    text = deck.text.replace("sw_cap_mismatch=1 sw_stat_mismatch=1", "sw_cap_mismatch=0 sw_stat_mismatch=0")
    assert text != deck.text and asdict(die(replace(deck, text=text))) == asdict(equal)


@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
def test_blocks_of_the_chip_draw_dies(engine: spice.Engine, at: Conditions) -> None:
    found = power_gated_chip.blocks(engine, at, dies=4, seed=3)
    assert found.offset.values == power_gated_chip.comparator_offset(engine, at, dies=4, seed=3).values
    for sigma in (found.offset, found.limit, found.amplifier):
        assert len(set(sigma.values)) == 4 and sigma.failed == 0
        assert max(abs(value) for value in sigma.values) < 40e-3
    assert found.packet.values == pytest.approx([0.99] * 4, abs=0.02)
    assert "transistor_power_gated_comparator.cir" in str(found.provenance)


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
def test_offsets_follow_the_areas_of_their_pairs(engine: spice.Engine, at: Conditions) -> None:
    """The PDK's pfet_03v3: 6.66 mV um for a pair, over (w + 0.1 um) (l - 0.15 um); the other devices add to it."""
    found = power_gated_chip.blocks(engine, at, dies=100)
    for sigma, width, length in ((found.offset, 6.0, 1.0), (found.amplifier, 4.0, 1.0)):
        pair = 6.66e-3 / np.sqrt((width + 0.1) * (length - 0.15))
        assert 0.85 * pair < sigma.sigma < 2 * pair
    # The limit's pair has a quarter of the area, and a state has less weight than a row.
    assert 1.6 * found.offset.sigma < found.limit.sigma < 4 * found.offset.sigma


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
@ENDS
def test_order_holds_at_the_ends_of_the_corners(
    engine: spice.Engine, at: Conditions, corner: str, temperature: float, vdd: float
) -> None:
    conditions = Conditions(process=at.process, corner=corner, temperature=temperature, vdd=vdd)
    measured = power_gated_chip.sequencer(engine, conditions, frame=10e-3)
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
def test_smallest_chip_works_with_frames_of_ten_milliseconds(
    engine: spice.Engine, at: Conditions, corner: str, temperature: float, vdd: float, most: float
) -> None:
    conditions = Conditions(process=at.process, corner=corner, temperature=temperature, vdd=vdd)
    measured = power_gated_chip.chip(engine, conditions)
    assert measured.right, (measured.levels, measured.reads)
    # The state neither leaks nor creeps: a level of -1 equals that of ten timesteps before.
    assert abs(measured.levels[-1] - measured.levels[1]) < 0.1
    assert measured.state_low > 0
    assert measured.total < most
