"""Transistors: options of the simulator are converged, decisions have causes, and another simulator agrees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.characterize import testbench
from cmru_hw.circuits import registry
from cmru_hw.circuits.charge import (
    causes,
    certify,
    fidelity,
    mapping,
    numerics,
    power_gated_netlist,
    simulate,
    transistor_deck,
)
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.numerics import Numerics
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, UncausedTransition
from cmru_hw.core.signals import Traces
from cmru_hw.nn import checkpoint
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.process import technology
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.vacask import VacaskEngine
from cmru_hw.spice.vacask import temperature as vacask_temperature
from tests.narrow import known
from tests.networks import Shape, random_network, random_sequences

ONE = Shape(features=2, units=(1,), levels=2, skip=False, seed=3)
# Earlier options of complete chips, with which their energy was 2 % too large.
LOOSE = Numerics(reltol=1e-4, trtol=80.0, chgtol=1e-16, bypass=True)


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine(timeout=1200) as engine:
        yield engine


@pytest.fixture(scope="module")
def one_unit() -> tuple[Design, Sequences]:
    """A chip of one unit, and a sequence of a single timestep for it."""
    trained, sequences = random_network(ONE), random_sequences(ONE, lengths=(1,))
    kind = fidelity.at_level(technology.load("gf180"), "transistor", "power-gated")
    return mapping.map_network(trained, kind, mapping.calibrate(trained, sequences)), sequences


@pytest.mark.spice
@pytest.mark.needs("gf180")
def test_halved_steps_move_a_chip_less_than_its_limits_and_loose_options_move_it_more(
    one_unit: tuple[Design, Sequences], engine: spice.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    design, sequences = one_unit
    result = simulate.simulate(design, sequences, engine)
    found = certify.certify(design, sequences, result, engine)
    assert certify.doubts(design, found) == ()
    assert found.frames == ((0, 0),) and found.margins == 1 and found.decisions_changed == 0
    assert found.options != found.refined_options and "bypass=0" in found.refined_options
    assert set(found.blocks) == {*power_gated_netlist.SUPPLIES, "inputs"}
    assert result.late_flips == 0
    monkeypatch.setattr(numerics, "CONVERGED", LOOSE)
    loose = simulate.simulate(design, sequences, engine)
    doubts = certify.doubts(design, certify.certify(design, sequences, loose, engine))
    assert any("energy moves" in doubt for doubt in doubts)


@pytest.mark.spice
@pytest.mark.needs("gf180")
def test_a_decision_against_its_row_is_refused_with_unit_time_and_amount(
    one_unit: tuple[Design, Sequences], engine: spice.Engine
) -> None:
    design, sequences = one_unit
    deck, plan = transistor_deck.deck(design, [sequences.inputs[0].astype(float)])
    traces = engine.run(deck).traces
    honest = simulate.decode(design, traces, plan, 0)
    drive = float(honest.rows[0][0, 0, 0])
    assert abs(drive) > fidelity.least_drive(design)
    # The voltages of the row and of its replica are exchanged, so the decision has no cause.
    swapped = {"a0_0": traces.values["fa0_0"], "fa0_0": traces.values["a0_0"]}
    wrong = Traces(title=traces.title, time=traces.time, values={**traces.values, **swapped})
    with pytest.raises(UncausedTransition, match=r"unit 0\.0 decided .* row a in timestep 0 of sequence 7.* mV"):
        simulate.decode(design, wrong, plan, 0, name=7)
    # A comparator that turns over later moves no state. It is counted.
    late = traces.values["qa0_0"].copy()
    after = plan.located(traces).deciding(0, 0)[0]
    late[(traces.time > after + 5e-6) & (traces.time < after + 6e-6)] = design.supply / 4
    late[traces.time > after + 6e-6] = design.supply - traces.values["qa0_0"][np.searchsorted(traces.time, after)]
    shown = Traces(title=traces.title, time=traces.time, values={**traces.values, "qa0_0": late})
    assert honest.late_flips == 0 and simulate.decode(design, shown, plan, 0).late_flips == 1


@pytest.mark.spice
def test_a_line_of_small_capacitors_settles_accurately_with_the_chip_s_step_control_only(engine: spice.Engine) -> None:
    """Twenty capacitors of 10 fF settle with a time constant of 50 ns. ngspice bounds each charge by itself."""
    resistance, small, count, swing, begin, rise = 250e3, 10e-15, 20, 0.1, 100e-9, 1e-9
    line = [f"c{i} o 0 {small}" for i in range(count)]
    size = power_gated_netlist.STEP_CONTROL
    errors = []
    for control in ([], [f"cpos o 0 {size}", f"cneg o 0 {-size}"]):
        text = "\n".join(
            (
                *(f"v1 s 0 pulse(0 {swing} {begin} {rise} {rise} 10u 20u)", f"r1 s o {resistance}", *line),
                *(*control, ".save o", numerics.CONVERGED.options(), ".tran 0.1u 5u 0 2u uic"),
            )
        )
        traces = engine.run(Deck(text=text, saved=("o",), stop=5e-6)).traces
        since, tau = traces.time - begin, resistance * small * count
        ramp = swing / rise * (np.clip(since, 0, rise) - tau * (1 - np.exp(-np.clip(since, 0, rise) / tau)))
        tail = swing - (swing - ramp[-1]) * np.exp(-np.clip(since - rise, 0, None) / tau)
        errors.append(float(np.abs(traces.values["o"] - np.where(since < rise, ramp, tail)).max()))
    assert errors[0] > 3e-3 and errors[1] < 0.6e-3


def test_the_step_control_of_a_chip_adds_no_capacitance(one_unit: tuple[Design, Sequences]) -> None:
    design, sequences = one_unit
    cards = [
        line.split() for line in transistor_deck.deck(design, [sequences.inputs[0].astype(float)])[0].text.splitlines()
    ]
    found = [(card[1], float(card[3])) for card in cards if card and card[0].startswith(("cpos_", "cneg_"))]
    size = power_gated_netlist.STEP_CONTROL
    assert found == [(node, value) for node in ("o0_0", "xunit0_0.x") for value in (size, -size)]


def test_a_row_within_the_tolerance_may_decide_either_way() -> None:
    near, far = 0.5e-3, 2e-3
    rows = [np.array([[[near, -far]]])]
    causes.require_causes(rows, [np.array([[[False, False]]])], tolerance=1e-3, name=0)
    with pytest.raises(UncausedTransition, match="decided yes on its row b"):
        causes.require_causes(rows, [np.array([[[True, True]]])], tolerance=1e-3, name=0)


def test_refined_numerics_divide_the_error_of_a_step_by_eight_and_evaluate_every_device() -> None:
    finer = numerics.CONVERGED.refined(2)
    assert numerics.CONVERGED.refined(0) == numerics.CONVERGED
    assert finer.charge == pytest.approx(numerics.CONVERGED.charge / 64)
    assert numerics.CONVERGED.bypass and not finer.bypass
    assert numerics.CONVERGED.charge < 1e-16


@pytest.mark.spice
def test_exact_parts_do_not_move_with_halved_steps(engine: spice.Engine) -> None:
    trained, sequences = random_network(Shape()), random_sequences(Shape())
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, sequences))
    result = simulate.simulate(design, sequences, engine)
    found = certify.certify(design, sequences, result, engine, frames=1000)
    assert len(found.frames) == sequences.lengths.sum()
    assert found.row_difference < 1e-6 and found.state_difference < 1e-4
    assert found.energy_difference is None and "exact parts" in found.options
    assert certify.doubts(design, found) == ()
    changed = replace(found, decisions_changed=1, state_difference=1.0)
    assert len(certify.doubts(design, changed)) == 2


@pytest.mark.spice
@pytest.mark.needs("gf180", "vacask")
def test_a_second_simulator_has_the_same_states_and_energy(
    one_unit: tuple[Design, Sequences], engine: spice.Engine
) -> None:
    design, sequences = one_unit
    result = simulate.simulate(design, sequences, engine)
    found = certify.certify(design, sequences, result, VacaskEngine(), refine=0)
    assert found.refined_options.startswith("VACASK")
    assert certify.doubts(design, found) == ()
    assert known(found.energy_difference) > 0 and 0 < known(found.row_difference) < 0.3e-3


@pytest.mark.spice
@pytest.mark.needs("gf180", "vacask")
@pytest.mark.parametrize("temperature", [-40.0, 125.0])
def test_a_second_simulator_is_as_warm(engine: spice.Engine, temperature: float) -> None:
    bench = testbench.Testbench(name="transistor_power_gated_amplifier", saved=("x", "o"), stop=20e-6)
    deck = bench.deck(testbench.Conditions(temperature=temperature))
    one, other = (each.run(deck).traces for each in (engine, VacaskEngine()))
    instants = np.array([9.9e-6, 19.9e-6])
    for node in ("x", "o"):
        assert other.at(node, instants) == pytest.approx(one.at(node, instants), abs=0.2e-3)


def test_a_second_simulator_refuses_a_deck_of_two_temperatures() -> None:
    deck = Deck(text=".temp -40\nr 1 0 1\n.options reltol=1e-3 temp=27\n", stop=1.0, saved=())
    with pytest.raises(InputError, match="2 temperatures"):
        vacask_temperature(deck)
    assert vacask_temperature(replace(deck, text=".options temp = 85 reltol=1\n")) == 85.0
    assert vacask_temperature(replace(deck, text="* .temp 12\n.tran 1n 1u\n")) == 27.0


@pytest.mark.spice
@pytest.mark.needs("gf180", "vacask")
def test_current_mode_is_the_same_in_a_second_simulator(engine: spice.Engine) -> None:
    models = package_data.folder("models")
    trained = checkpoint.load(models / "detect-fq-bmru-2x4.safetensors")
    data = load_sequences(models / "detect-eval.npz").first(1)
    data = replace(data, inputs=data.inputs[:, :3], lengths=np.array([3]))
    kind = registry.fitting(trained)
    design = kind.map_network(trained, kind.load_technology(kind.technology), kind.calibrate(trained, data))
    found = kind.certify(design, data, kind.simulate(design, data, engine), VacaskEngine(), refine=0)
    assert found.refined_options.startswith("VACASK")
    assert kind.certificate_doubts(design, found) == ()
    assert found.states_changed == 0 and 0 < known(found.current_difference) < 0.01
