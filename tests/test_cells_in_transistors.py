"""Units of other cells than the CMRU as power-gated chips of transistors, compared with software."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.circuits.charge import certify, compare, fidelity, mapping, simulate, single_unit, transistor_netlist
from cmru_hw.circuits.charge.design import Design, Operating
from cmru_hw.circuits.charge.energy import transistor as energy_transistor
from cmru_hw.circuits.charge.simulate import ChargeSimulation
from cmru_hw.circuits.comparison import LEVEL_TOLERANCE
from cmru_hw.core import package_data
from cmru_hw.core.errors import MappingError
from cmru_hw.core.signals import Traces
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import technology
from cmru_hw.spice.schedule import Schedule
from tests.narrow import known
from tests.networks import Shape, random_network, random_sequences

# One unit of each cell. Its inputs of `moving` make it go up twice, hold, go down, and hold again.
SHAPES = {
    "bmru": Shape(cell="bmru", features=2, units=(1,), skip=False, seed=1),
    "acmru": Shape(cell="acmru", features=2, units=(1,), skip=False, seed=1),
    "bmru, fixed thresholds": Shape(cell="bmru", features=2, units=(1,), skip=False, seed=4, fixed_thresholds=True),
    "cmru, fixed thresholds": Shape(
        cell="cmru", features=2, units=(1,), levels=2, skip=False, seed=4, fixed_thresholds=True
    ),
}
MOVES = (1, 1, 0, -1, 0)
# Smallest row voltage [V] of a decision in `moving`: more than the kick of a comparator.
CLEAR = 8e-3
# A state is off by at most this share of a level (αCMRU: of the swing): the amplifier has not settled completely.
ACCURATE = 0.08


def design_of(trained: Trained, sequences: Sequences | None, memory: str = "power-gated", trim: int = 0) -> Design:
    kind = fidelity.at_level(technology.load("gf180"), "transistor", memory)
    kind = fidelity.with_trim(kind, trim) if trim else kind
    return mapping.map_network(trained, kind, mapping.calibrate(trained, sequences))


def moving(shape: Shape, moves: Sequence[int] = MOVES) -> tuple[Trained, Sequences, Design]:
    """A network of ``shape`` with one unit, and inputs at which it decides ``moves``, no row closer than CLEAR."""
    trained, many = random_network(shape), random_sequences(shape, lengths=(400,))
    design = design_of(trained, many)
    expected = compare.reference(design, trained, many)
    decided, margins = expected.response.decisions[0][0, :, 0], expected.margins[0][0, :, 0]
    chosen = [int(np.flatnonzero((decided == move) & (margins > CLEAR))[place]) for place, move in enumerate(moves)]
    return trained, Sequences(inputs=many.inputs[:, chosen], lengths=np.array([len(moves)]), labels=None), design


@dataclass(frozen=True, kw_only=True)
class Run:
    """One unit in transistors: its ``design`` and ``sequences``, and the simulation with its traces."""

    trained: Trained
    sequences: Sequences
    design: Design
    simulation: ChargeSimulation
    traces: Traces
    plan: Schedule


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine(timeout=3600) as opened:
        yield opened


def simulated(engine: spice.Engine, trained: Trained, sequences: Sequences, design: Design) -> Run:
    seen: list[tuple[Traces, Schedule]] = []
    found = simulate.simulate(
        design, sequences, engine, observe=lambda traces, plan, which: seen.append((traces, plan))
    )
    [(traces, plan)] = seen
    return Run(trained=trained, sequences=sequences, design=design, simulation=found, traces=traces, plan=plan)


# ---- netlist


@pytest.mark.parametrize(("name", "unit"), [("bmru", "power_gated_unit_replace"), ("acmru", "power_gated_unit_alpha")])
def test_a_chip_has_the_units_of_its_cell_and_no_others(name: str, unit: str) -> None:
    _, _, design = moving(SHAPES[name])
    text, cells = fidelity.network_text(design), fidelity.cell_files(design)
    assert re.search(r"^xunit0_0 ", text, re.MULTILINE) and f" {unit}\n" in text
    # No level limit. The first packet of a BMRU replaces the state, so nothing else empties C_int at power-on.
    assert "cells/power_gated_limit.cir" not in cells and " cla=" not in text
    assert ("kinit" in text) == (name != "bmru")
    for cell in cells:
        body = cells[cell].decode()
        for used in re.findall(r"^x\S+ .* (power_gated_\w+|sequencer_\w+)\b", body + text, re.MULTILINE):
            assert any(f".subckt {used} " in one.decode() for one in cells.values()), used


def test_the_packet_of_an_alpha_cmru_is_the_charge_of_its_row() -> None:
    shape = Shape(cell="acmru", features=3, units=(2, 2), seed=5)
    trained = random_network(shape)
    design = design_of(trained, random_sequences(shape))
    text = fidelity.network_text(design)
    for index, layer in enumerate(design.layers):
        row = known(layer.packet_row)
        # The row is C_s: its charge for α = 1 moves C_int by one unit of h.
        assert row.scale / layer.integrator == pytest.approx(layer.step)
        assert layer.packet == pytest.approx(row.total)
        for i in range(2):
            down, up = (
                dict(re.findall(rf"^xc{kind}{index}_{i}_(\d+) {kind}{index}_{i} (\S+) cmom", text, re.MULTILINE))
                for kind in ("gd", "gu")
            )
            positive = {str(j) for j in np.flatnonzero(row.weights[i] > 0)}
            assert {j for j, node in down.items() if node[0] == "p"} == positive
            # The row that raises a state has the same capacitors on the opposite lines.
            assert {j: "np"[node[0] == "n"] + node[1:] for j, node in up.items()} == down
    back = mapping.realised(design).tensors["layers.1.alpha.weight"].numpy()
    wanted = trained.tensors["layers.1.alpha.weight"].numpy()
    assert back == pytest.approx(wanted, abs=2e-15 * 1.01 / float(known(design.layers[1].packet_row).scale[0]))


@pytest.mark.parametrize("memory", ["integrator", "counter"])
@pytest.mark.parametrize("cell", ["bmru", "acmru"])
def test_a_memory_without_a_cell_names_the_remedy(memory: str, cell: str) -> None:
    shape = Shape(cell=cell, levels=2)
    with pytest.raises(MappingError, match=rf"no circuit in transistors with --memory {memory}.*--level macro"):
        fidelity.network_text(design_of(random_network(shape), None, memory))


def test_an_offset_trim_is_for_cmrus_only() -> None:
    with pytest.raises(MappingError, match=r"offset trim.*--level macro"):
        fidelity.network_text(design_of(random_network(Shape(cell="bmru")), None, trim=5))


# ---- simulated


@pytest.mark.spice
@pytest.mark.parametrize(
    ("bench", "expected"),
    [
        ("transistor_power_gated_unit_replace", {"start": -202, "one": 202, "two": 202, "held": 202, "down": -202}),
        ("transistor_power_gated_unit_alpha", {"start": -30, "one": 11, "two": 52, "held": 52, "down": 64}),
    ],
)
def test_the_testbench_of_a_unit_gives_the_states_that_it_states(bench: str, expected: dict[str, float]) -> None:
    done = subprocess.run(
        ["ngspice", "-n", "-b", f"{bench}.cir"],
        cwd=package_data.folder("netlists") / "testbenches",
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    measured = {name: float(value) for name, value in re.findall(r"^(\w+)\s+=\s+(\S+)", done.stdout, re.MULTILINE)}
    for name, millivolts in expected.items():
        assert measured[name] * 1e3 == pytest.approx(millivolts, abs=3), name


@pytest.fixture(scope="module")
def acmru(engine: spice.Engine) -> Run:
    return simulated(engine, *moving(SHAPES["acmru"]))


@pytest.fixture(scope="module")
def bmru(engine: spice.Engine) -> Run:
    return simulated(engine, *moving(SHAPES["bmru"]))


def right(run: Run, accurate: float = ACCURATE) -> None:
    """Every decision and every state is that of software."""
    expected = compare.reference(run.design, run.trained, run.sequences)
    found = compare.compare(run.design, expected, run.simulation.response)
    assert (run.simulation.response.decisions[0] == expected.response.decisions[0]).all()
    assert found.agree == found.total and found.excluded == 0
    share = run.design.technology.signal.state_swing / float(run.design.layers[0].step[0])
    within = accurate * (share if run.design.config.cell == "acmru" else 1.0)
    assert run.simulation.response.states[0] == pytest.approx(expected.response.states[0], abs=within)


@pytest.mark.spice
def test_a_decision_of_a_bmru_replaces_its_state(need: Callable[[str], None], bmru: Run) -> None:
    need("gf180")
    right(bmru)
    up, again, held, down, last = bmru.simulation.response.states[0][0, :, 0]
    # A second packet of the same sign changes nothing, and one of the other sign needs no second timestep.
    assert again == pytest.approx(up, abs=0.01) and held == pytest.approx(again, abs=0.01)
    assert down < -0.9 and last == pytest.approx(down, abs=0.01)


@pytest.mark.spice
def test_a_packet_of_an_alpha_cmru_is_a_weighted_sum(need: Callable[[str], None], acmru: Run) -> None:
    need("gf180")
    right(acmru)
    states = acmru.simulation.response.states[0][0, :, 0]
    first, second = states[0] - float(acmru.design.layers[0].initial[0]), states[1] - states[0]
    # Two packets up, of different sizes, and a hold.
    assert abs(first - second) > 0.1
    assert abs(states[2] - states[1]) * float(acmru.design.layers[0].step[0]) < 1e-3


@pytest.mark.spice
@pytest.mark.parametrize("name", ["bmru", "acmru"])
def test_the_energy_of_a_unit_adds_up(need: Callable[[str], None], request: pytest.FixtureRequest, name: str) -> None:
    need("gf180")
    run: Run = request.getfixturevalue(name)
    edges, design = run.plan.edges(0), run.design
    names = [name for name in transistor_netlist.charge_meters(design) if name != "meter_inputs"]
    charge = {name: np.diff(run.traces.at(name, edges)) * 1e-9 for name in names}
    assert sum(charge.values()) == pytest.approx(np.diff(run.traces.at("meter_total", edges)) * 1e-9, rel=1e-6)
    software = compare.reference(design, run.trained, run.sequences)
    analytic = energy_transistor.analytic(design, software, run.sequences.inputs[0].astype(float), 0)
    for name, coulombs in charge.items():
        block = name.removeprefix("meter_")
        within = 0.35 if block == "vcm" else 0.25
        assert design.supply * coulombs.mean() == pytest.approx(analytic[block].mean(), rel=within), block


@pytest.mark.slow
@pytest.mark.spice
def test_a_bmru_is_certified_with_halved_steps(need: Callable[[str], None], engine: spice.Engine, bmru: Run) -> None:
    need("gf180")
    found = certify.certify(bmru.design, bmru.sequences, bmru.simulation, engine, frames=1)
    assert not certify.doubts(bmru.design, found), certify.doubts(bmru.design, found)


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize("name", [name for name in SHAPES if "fixed" in name])
def test_a_unit_with_a_fixed_threshold_equals_software(
    need: Callable[[str], None], engine: spice.Engine, name: str
) -> None:
    need("gf180")
    # The packets of a CMRU of five levels are up to 6 % too small, and their deficits add up.
    within = LEVEL_TOLERANCE["transistor"] if name.startswith("cmru") else ACCURATE
    right(simulated(engine, *moving(SHAPES[name])), within)


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize(
    ("name", "corner", "temperature", "vdd"),
    # Fast and hot, the state of an αCMRU leaks by several percent of the swing in each timestep.
    [("bmru", "ss", -40.0, 1.62), ("bmru", "ff", 125.0, 1.98), ("acmru", "ss", -40.0, 1.62)],
)
def test_a_unit_equals_software_at_the_ends_of_the_corners(
    need: Callable[[str], None], engine: spice.Engine, name: str, corner: str, temperature: float, vdd: float
) -> None:
    need("gf180")
    trained, sequences, design = moving(SHAPES[name])
    at = replace(design, operating=Operating(corner=corner, temperature=temperature, vdd=vdd))
    # Slow and cold, the large packet of a BMRU is a tenth too small.
    right(simulated(engine, trained, sequences, at), accurate=0.12)


@pytest.mark.slow
@pytest.mark.spice
def test_two_layers_of_bmrus_equal_software(need: Callable[[str], None], engine: spice.Engine) -> None:
    need("gf180")
    shape = Shape(cell="bmru", features=2, units=(2, 1), seed=4)
    trained, sequences = random_network(shape), random_sequences(shape, lengths=(5,))
    design = design_of(trained, sequences)
    expected = compare.reference(design, trained, sequences)
    found = compare.compare(design, expected, simulate.simulate(design, sequences, engine).response)
    assert found.agree == found.total - found.excluded > 10
    assert found.level_error < 2 * ACCURATE
    # One of its units by itself decides in the same way.
    alone = single_unit.unit(design, 1, 0)
    inputs, software = single_unit.recorded(design, trained, sequences, 1)
    decided = simulate.simulate(alone, inputs, engine).response.decisions[0][..., 0]
    clear = expected.margins[1][..., 0] > CLEAR
    assert (decided == software.decisions[1][..., 0])[clear].all()
