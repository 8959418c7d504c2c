"""The counter memory: every count, both ends, retention, and rows that read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cmru_hw import cli, spice
from cmru_hw.characterize import counter_memory
from cmru_hw.characterize.testbench import Conditions
from cmru_hw.circuits.charge.memories import counter as counter_cells
from cmru_hw.core.errors import InputError
from cmru_hw.process import device_count, pdk

PROCESSES = pytest.mark.parametrize("process", pdk.names())
# A switch of 26 megohm needs time: in a slow, cold corner the window is longer.
SLOW: dict[str, Any] = {"evaluate": 8e-6, "decide": 2e-6, "count": 2e-6}


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine(timeout=3600) as opened:
        yield opened


@pytest.fixture
def at(need: Callable[[str], None], process: str) -> Conditions:
    """Conditions for ``process``, if its models are installed."""
    need(process)
    return Conditions(process=process)


# ---- devices


def test_devices_are_counted_where_they_stand() -> None:
    # Two inverters, reset, five write devices, two inverters and a switch for the copy, one more for its complement.
    assert device_count.of("counter_bit").transistors == 4 + 1 + 5 + 2 + 2 + 2 + 2
    assert device_count.of("nand2").transistors == 4
    assert device_count.of("cmom", {"c": 8e-15}).area == pytest.approx(1e-11)
    # Parameters pass through the hierarchy: the replica of a row has the size that it was given.
    small, large = (device_count.of("unit_counter", {"ca": c, "cb": 50e-15}).capacitance for c in (50e-15, 150e-15))
    assert (small, large) == pytest.approx((100e-15, 200e-15))
    longer = device_count.of("counter_core", {"l": 4e-6}).gates - device_count.of("counter_core", {"l": 2e-6}).gates
    assert longer == pytest.approx(4 * 5 * 0.3e-6 * 2e-6)


def test_an_unknown_template_is_refused() -> None:
    with pytest.raises(InputError, match="unit_spiral"):
        device_count.of("unit_spiral")


@pytest.mark.parametrize("levels", range(1, 8))
def test_one_gate_guards_both_ends(levels: int) -> None:
    nets = counter_cells.end_nets(levels)
    for level in range(-levels, levels + 1):
        bits = [level >> place & 1 for place in range(4)]
        for up in (True, False):
            seen = {f"m{place}": bit for place, bit in enumerate(bits)}
            seen |= {f"a{place}": bit if up else 1 - bit for place, bit in enumerate(bits[:3])}
            seen["a3"] = 1 - bits[3] if up else bits[3]
            seen |= {f"{net}b": 1 - value for net, value in seen.items()}
            assert all(seen[net] for net in nets) == (level == (levels if up else -levels))


def test_a_comparison_of_memories_is_no_technology() -> None:
    done = CliRunner().invoke(cli.group, ["characterize", "generic180", "--blocks", "counter", "-o", "x.toml"])
    assert done.exit_code == 2 and "--json" in done.stderr


# ---- behavior


@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
def test_counter_counts_up_stops_holds_and_turns(engine: spice.Engine, at: Conditions) -> None:
    measured = counter_memory.unit(engine, at, frames=13)
    assert measured.expected == (-1, 0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 6, 5)
    assert measured.right, measured.levels
    # A level is a number of bits, without any analog error.
    assert np.abs(np.array(measured.levels) - measured.expected).max() < 1e-3
    blocks = {name: np.mean(frames[2:]) for name, frames in measured.dynamic.items()}
    assert blocks["logic"] < 0.2e-12 and 0 < blocks["memory"] < 0.2e-12


@pytest.mark.spice
@PROCESSES
@pytest.mark.parametrize("level", [-7, 5])
def test_bits_survive_heat_and_a_dip_of_their_supply(engine: spice.Engine, at: Conditions, level: int) -> None:
    hot = Conditions(process=at.process, corner="ff", temperature=125.0, vdd=1.98)
    measured = counter_memory.memory(engine, hot, level=level, hold=100.0, dip=1.2)
    assert measured.held, measured.after
    # 10 ms of leakage cost less than one packet of the integrator.
    assert 0 < measured.leakage * hot.vdd * 10e-3 < 5e-12


@pytest.mark.spice
@pytest.mark.parametrize("process", ["generic180"])
def test_a_dip_to_nothing_is_forgotten(engine: spice.Engine, at: Conditions) -> None:
    lost = counter_memory.memory(
        engine, Conditions(process=at.process, temperature=125.0), level=5, hold=100.0, dip=1.8
    )
    assert not lost.held


# ---- longer


@pytest.mark.slow
@pytest.mark.spice
@PROCESSES
@pytest.mark.parametrize(
    ("corner", "temperature", "vdd"),
    [("typical", 27.0, 1.8), ("ss", -40.0, 1.62), ("ff", 125.0, 1.98), ("sf", 27.0, 1.8), ("fs", 27.0, 1.8)],
)
def test_every_count_at_the_ends_of_the_corners(
    engine: spice.Engine, at: Conditions, corner: str, temperature: float, vdd: float
) -> None:
    conditions = Conditions(process=at.process, corner=corner, temperature=temperature, vdd=vdd)
    # In a hot corner switched supplies take a tenth of a millisecond to collapse.
    measured = counter_memory.unit(engine, conditions, frame=1e-3, **(SLOW if corner == "ss" else {}))
    assert measured.right, measured.levels


@pytest.mark.slow
@pytest.mark.spice
@PROCESSES
def test_rows_read_the_weighted_sum_of_levels(engine: spice.Engine, at: Conditions) -> None:
    measured = counter_memory.layer(engine, at)
    assert measured.decisions.size >= 40
    assert measured.right, (measured.levels, measured.expected)
    # The frames include rows of equal and of opposite signs.
    assert {0, 2} <= set(np.sign(measured.sums).sum(0).astype(int))
    # A row is its sum times VDD over the total capacitance of its top plate: its own, comparator, switch, wiring.
    total = at.vdd / measured.gain
    assert total == pytest.approx(np.array([79.5e-15, 85.75e-15]) + 13e-15, abs=8e-15)
    assert measured.error < 0.02 * np.abs(measured.rows).max()


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
def test_counter_costs_less_than_the_integrator_and_forgets_nothing(at: Conditions) -> None:
    done = CliRunner().invoke(cli.group, ["characterize", "gf180", "--blocks", "counter", "--json"])
    assert done.exit_code == 0, done.output
    integrator, counter = json.loads(done.stdout)["memories"]
    assert integrator["right"] and counter["right"]
    assert counter["count_J"] < integrator["count_J"] and counter["hold_J"] < integrator["hold_J"]
    assert integrator["retention_timesteps"] > 1 and counter["retention_timesteps"] is None
    assert counter["area_m2"] < integrator["area_m2"]
    assert "transistor_unit_counter.cir" in counter["source"]
