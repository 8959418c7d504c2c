"""Retention: a state is simulated until it is lost, sooner when hot, later on a larger capacitor."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cmru_hw import spice
from cmru_hw.analysis.retention.result import RetentionResult
from cmru_hw.characterize.testbench import Conditions
from cmru_hw.circuits.charge import fidelity, mapping
from cmru_hw.circuits.charge.architecture import CHARGE
from cmru_hw.circuits.charge.retention import (
    ASLEEP,
    LONGEST,
    HeldIntegrator,
    Loss,
    doubling,
    lost,
    lost_asleep,
    weakest,
)
from cmru_hw.circuits.current import retention
from cmru_hw.circuits.retention import HeldState
from cmru_hw.core.errors import InputError
from cmru_hw.design_folder import folder as design_folder
from cmru_hw.process import technology
from tests.narrow import known
from tests.networks import Shape, random_network, random_sequences
from tests.test_cli import refused, run
from tests.test_current import design_of as current_design
from tests.test_current import network as current_network
from tests.test_current import without_grid

SHAPE = Shape(units=(3, 2))
CELL = HeldIntegrator(packet=32e-15, integrator=1066e-15, tolerance=20e-3, timestep=10e-3)
# Of a power-gated chip.
ON_CHIP = replace(CELL, packet=8e-15, integrator=500e-15, common_mode=0.5, tail=9.3e-6, testbench=ASLEEP["cmru"])


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine() as opened:
        yield opened


def exported(folder: Path, name: str) -> design_folder.Exported:
    trained, data = random_network(SHAPE), random_sequences(SHAPE)
    design = mapping.map_network(trained, technology.load(name), mapping.calibrate(trained, data))
    return design_folder.write(folder, trained, design, data)


def test_the_weakest_unit_has_the_least_charge() -> None:
    trained, data = random_network(SHAPE), random_sequences(SHAPE)
    design = mapping.map_network(trained, technology.load("gf180"), mapping.calibrate(trained, data))
    name, cell = weakest(design)
    layer, unit = map(int, name.split("."))
    assert cell.tolerance == design.layers[layer].step[unit] / 2
    charges = [(own.step * own.integrator).min() for own in design.layers]
    assert 2 * cell.tolerance * cell.integrator == pytest.approx(min(charges))


def test_doubling_is_that_of_the_warm_half() -> None:
    temperatures = [-40.0, 0.0, 85.0, 95.0, 105.0]
    assert doubling(temperatures, [1e5, 1e5, 800.0, 400.0, 200.0]) == pytest.approx(10.0)
    assert doubling(temperatures, [1.0] * 5) is None


@pytest.mark.spice
def test_a_hot_state_is_lost_sooner_and_a_large_capacitor_holds_longer(engine: spice.Engine) -> None:
    def seconds(temperature: float, cell: HeldIntegrator = CELL) -> float:
        loss = lost(engine, Conditions(process="generic180", temperature=temperature), cell, 0.3)
        assert loss.lost and loss.simulated >= loss.seconds
        return loss.seconds

    hot = seconds(125.0)
    assert seconds(85.0) > 3 * hot
    # At least twice as long for twice the capacitor or twice the distance: leakage falls as x nears the level where the
    # junctions of n and p devices balance, and the rest of the way then takes long.
    assert seconds(125.0, replace(CELL, integrator=2132e-15, packet=64e-15)) > 1.8 * hot
    assert seconds(125.0, replace(CELL, tolerance=40e-3)) > 1.8 * hot


@pytest.mark.spice
def test_a_level_is_extrapolated_only_from_the_longest_hold(engine: spice.Engine) -> None:
    loss = lost(engine, Conditions(process="generic180", temperature=-40.0), replace(CELL, tolerance=10.0), 0.3)
    assert not loss.lost and loss.simulated == LONGEST < loss.seconds


@pytest.mark.spice
def test_a_cell_restores_its_state_unless_its_window_is_elsewhere(engine: spice.Engine) -> None:
    design = current_design(current_network(), without_grid("generic180"))
    index, _ = retention.narrowest(design)

    def row(share: float) -> HeldState:
        layers = list(design.layers)
        layers[index] = replace(layers[index], thresh=share * layers[index].thresh)
        found, _ = retention.unit(replace(design, layers=tuple(layers)), engine, "typical").hold(27.0)
        return found

    kept, lost = row(1.0), row(1.5)
    assert not kept.lost_in_simulation and kept.seconds == kept.simulated_s and known(kept.moved) < 1e-3
    # The candidate is below the reset threshold, so the state was lost before the hold began.
    assert lost.lost_in_simulation and lost.seconds < 1


@pytest.mark.spice
@pytest.mark.needs("gf180")
def test_the_command_says_how_long_and_what_is_left_out(tmp_path: Path) -> None:
    exported(tmp_path / "d", "gf180")
    done = run("retention", tmp_path / "d", "--temperature", 105, "--temperature", 125, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "not included" in done.stdout and "105 °C" in done.stdout
    found = json.loads((tmp_path / "out" / "retention.json").read_text())
    assert RetentionResult.load(tmp_path / "out" / "retention.json").to_plain() == found
    warm, hot = found["temperatures"]
    assert not found["worst_at_least"]
    assert warm["timesteps"] > hot["timesteps"] == found["worst_timesteps"] and found["worst_temperature_C"] == 125
    assert hot["lost_in_simulation"] and found["models_sha256"]
    rows = list(csv.DictReader((tmp_path / "out" / "retention.csv").open()))
    assert float(rows[1]["timesteps"]) == hot["timesteps"]
    assert (tmp_path / "out" / "retention.svg").stat().st_size > 5000


@pytest.mark.spice
@pytest.mark.needs("gf180")
def test_a_chip_loses_a_little_every_time_it_wakes(engine: spice.Engine) -> None:
    cell = replace(ON_CHIP, tolerance=14e-3)

    def loss(corner: str = "typical", temperature: float = 27.0, level: float = 0.2, **changed: Any) -> Loss:
        at = Conditions(process="gf180", corner=corner, temperature=temperature)
        return lost_asleep(engine, at, replace(cell, **changed), level)

    usual, hot = loss(), loss("ff", 125.0)
    assert not usual.lost and usual.simulated == cell.timestep
    assert usual.seconds > 1000 * cell.timestep and usual.seconds > 30 * hot.seconds
    assert usual.seconds == pytest.approx(cell.tolerance * cell.integrator / usual.leakage)
    # At least twice as long on twice the capacitor: its plates also move less as the amplifier turns on.
    assert loss("ff", 125.0, integrator=1e-12).seconds > 1.8 * hot.seconds


@pytest.mark.spice
@pytest.mark.needs("gf180")
@pytest.mark.parametrize(("cell", "level", "hot"), [("bmru", 0.1, 100), ("acmru", 14e-3, 200)])
def test_other_cells_keep_their_states_on_a_chip(engine: spice.Engine, cell: str, level: float, hot: int) -> None:
    held = replace(ON_CHIP, testbench=ASLEEP[cell], tolerance=level)
    for temperature, least in ((27.0, 1000), (125.0, hot)):
        at = Conditions(process="gf180", temperature=temperature)
        # Sinking plates make the switch that empties C_int leak first where they are lowest.
        found = lost_asleep(engine, at, held, -0.2)
        assert found.seconds > least * held.timestep, (temperature, found.seconds / held.timestep)


@pytest.mark.parametrize("cell", sorted(ASLEEP))
def test_every_cell_of_a_chip_has_its_own_testbench(cell: str) -> None:
    shape = replace(SHAPE, cell=cell)
    trained, data = random_network(shape), random_sequences(shape)
    chip = fidelity.at_level(technology.load("gf180"), "transistor", "power-gated")
    assert weakest(mapping.map_network(trained, chip, mapping.calibrate(trained, data)))[1].testbench == ASLEEP[cell]


def test_a_chip_is_asked_as_one_that_sleeps() -> None:
    trained, data = random_network(SHAPE), random_sequences(SHAPE)
    for memory, sleeps in (("power-gated", True), ("integrator", False)):
        kind = fidelity.at_level(technology.load("gf180"), "transistor", memory)
        design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
        _, cell = weakest(design)
        assert (cell.tail is not None) == sleeps == (cell.common_mode is not None)


def test_an_edited_netlist_is_refused_because_the_testbench_lacks_the_edits(tmp_path: Path) -> None:
    exported(tmp_path / "d", "gf180")
    with (tmp_path / "d" / "network.cir").open("a") as file:
        file.write("* edited\n")
    assert "network.cir was edited, but retention simulates one unit" in refused("retention", tmp_path / "d")


def test_bits_do_not_leak() -> None:
    trained, data = random_network(SHAPE), random_sequences(SHAPE)
    kind = fidelity.at_level(technology.load("gf180"), "transistor", "counter")
    with pytest.raises(InputError, match="--blocks counter"):
        CHARGE.require_retention(mapping.map_network(trained, kind, mapping.calibrate(trained, data)))


def test_ideal_parts_do_not_leak(tmp_path: Path) -> None:
    exported(tmp_path / "d", "macro")
    assert "--technology gf180" in refused("retention", tmp_path / "d")
