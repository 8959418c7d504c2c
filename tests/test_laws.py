"""Physics that both engines must reproduce: sampling noise, packets, finite gain, leakage, and the level limit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from cmru_hw import spice
from cmru_hw.circuits.charge import fast, macro_netlist, mapping, noise, simulate, variation
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.core.signals import Array, Response
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import technology
from cmru_hw.process.technology import Technology
from tests.networks import Shape, random_network

THERMAL = 1.380649e-23 * 300
ENGINES = ("fast", pytest.param("spice", marks=pytest.mark.spice))


def design(shape: Shape, of: Technology, sequences: Sequences) -> Design:
    trained = random_network(shape)
    return mapping.map_network(trained, of, mapping.calibrate(trained, sequences))


def respond(engine: str, dies: Dies, sequences: Sequences) -> Response:
    """The first die on ``sequences``."""
    if engine == "fast":
        return fast.respond(dies, sequences)[0]
    with spice.open_engine() as simulator:
        return simulate.simulate(
            dies.one(0),
            sequences,
            simulator,
            noise=lambda number: noise.columns(dies, 0, number, int(sequences.lengths[number])),
            reader=dies.nominal,
        ).response


def sequences(shape: Shape, *, count: int = 4, time: int = 80, scale: float = 1.0) -> Sequences:
    inputs = scale * np.random.default_rng(5).normal(size=(count, time, shape.features))
    return Sequences(inputs=inputs.astype(np.float32))


def one_die(of: Design, varied: set[str], *, number: int = 0) -> Dies:
    return variation.draw(of, seed=0, dies=[number], varied=frozenset(varied))


def normal(values: Array, sigma: float | Array) -> bool:
    return bool(stats.kstest((values / sigma).ravel(), "norm").pvalue > 1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sampled_row_has_kt_over_c(engine: str) -> None:
    shape = Shape(units=(2,), classes=3)
    data = sequences(shape)
    nominal = design(shape, technology.load("macro"), data)
    quiet, noisy = (respond(engine, one_die(nominal, on), data) for on in (set(), {"noise/class"}))
    row = nominal.readout
    volts = (noisy.logits - quiet.logits) * row.scale / row.total
    assert np.allclose(row.total, 400e-15)
    assert normal(volts, np.sqrt(THERMAL / 400e-15))


@pytest.mark.spice
def test_the_rows_of_a_unit_have_kt_over_c_and_the_comparators_noise() -> None:
    shape = Shape(units=(2,))
    data = sequences(shape, count=1, time=400)
    nominal = design(shape, technology.load("macro"), data)
    sampled = []
    for on in (set(), {"noise/row", "noise/decision"}):
        dies = one_die(nominal, on)
        columns = noise.columns(dies, 0, 0, 400)
        deck, plan = macro_netlist.deck(
            dies.one(0), [data.inputs[0].astype(float)], noise=[columns] if columns else None, save=["a0_0", "b0_1"]
        )
        traces = spice.run(deck).traces
        sampled.append([traces.at(name, plan.instants(0)) for name in ("a0_0", "b0_1")])
    quiet, noisy = np.array(sampled)
    own = nominal.technology.noise.comparator
    for row, total in zip(
        noisy - quiet, (nominal.layers[0].low.total[0], nominal.layers[0].high.total[1]), strict=True
    ):
        assert normal(row, np.hypot(np.sqrt(THERMAL / total), own))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_packet_has_2ktc(engine: str) -> None:
    """Every packet of an integrator without limits adds √(2 kT C_s)/C_int of noise, up and down alike."""
    shape = Shape(units=(3,), levels=None, classes=2)
    data = sequences(shape)
    nominal = design(shape, technology.load("macro"), data)
    layer = nominal.layers[0]
    quiet, noisy = (respond(engine, one_die(nominal, on), data) for on in (set(), {"noise/charge"}))
    added = np.diff((noisy.states[0] - quiet.states[0]) * layer.step, axis=1)
    sent = noisy.decisions[0][:, 1:] != 0
    sigma = np.sqrt(2 * THERMAL * layer.packet) / layer.integrator
    assert normal((added / sigma)[sent], 1.0)
    # ngspice's stimulus has ten digits, and a finite gain returns a little of the difference with every packet.
    assert np.abs(added[~sent]).max() < 1e-7


@pytest.mark.parametrize("engine", ENGINES)
def test_emptying_the_integrator_has_kt_over_c(engine: str) -> None:
    """A unit that replaces its state has the noise of one reset and one packet, whatever came before."""
    shape = Shape(cell="bmru", units=(3,), classes=2)
    data = sequences(shape)
    nominal = design(shape, technology.load("macro"), data)
    layer = nominal.layers[0]
    quiet, noisy = (respond(engine, one_die(nominal, on), data) for on in (set(), {"noise/charge"}))
    added = (noisy.states[0] - quiet.states[0]) * layer.step
    sigma = np.sqrt(2 * THERMAL * layer.packet / layer.integrator**2 + THERMAL / layer.integrator)
    assert normal((added / sigma)[noisy.decisions[0] != 0], 1.0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("leak", [1e-16, 1e-15])
def test_droop_is_current_times_time_over_capacitance(engine: str, leak: float) -> None:
    shape = Shape(units=(4,), seed=3)
    data = sequences(shape, count=1, time=120)
    macro = technology.load("macro")
    nominal = design(shape, replace(macro, leakage=technology.Leakage(integrator=leak)), data)
    response = respond(engine, one_die(nominal, set()), data)
    layer = nominal.layers[0]
    held = response.decisions[0][0, 1:] == 0
    moved = np.diff(response.states[0][0], axis=0) * layer.step
    expected = leak * macro.timing.timestep / layer.integrator[0]
    assert held.sum() > 20
    assert np.allclose(moved[held], expected, rtol=1e-3, atol=5e-8)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("gain", [30.0, 1000.0])
def test_finite_gain_shortens_packets_and_lets_the_state_leak(engine: str, gain: float) -> None:
    shape = Shape(units=(3,), levels=None, seed=1)
    data = sequences(shape, count=1, time=60)
    macro = technology.load("macro")
    amplifier = replace(macro.amplifier, gain=gain)
    nominal = design(shape, replace(macro, amplifier=amplifier), data)
    response = respond(engine, one_die(nominal, set()), data)
    layer = nominal.layers[0]
    volts = response.states[0][0] * layer.step
    decision = response.decisions[0][0].astype(float)
    ratio = layer.packet / layer.integrator
    divisor = 1 + (1 + ratio) / gain
    kept = np.where(decision[1:] != 0, (1 + 1 / gain) / divisor, 1.0)
    packet = ratio / divisor * nominal.technology.signal.reference
    assert np.allclose(volts[1:], kept * volts[:-1] + decision[1:] * packet, atol=2e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_unsettled_packets_are_short(engine: str) -> None:
    shape = Shape(units=(3,), levels=None, seed=1)
    data = sequences(shape, count=1, time=60)
    macro = technology.load("macro")
    window = macro.timing.phase * macro.timing.timestep
    slow = replace(macro, amplifier=replace(macro.amplifier, time_constant=window / 3))
    ideal, short = (design(shape, of, data) for of in (macro, slow))
    responses = [respond(engine, one_die(of, set()), data) for of in (ideal, short)]
    full, missing = (r.states[0][0] for r in responses)
    assert np.array_equal(responses[0].decisions[0], responses[1].decisions[0])
    assert np.allclose(missing, full * (1 - np.exp(-3)), atol=2e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_level_limit_is_the_circuits(engine: str) -> None:
    """A packet is sent while the state is below the limit, which is not a clamp: a late limit allows one more level."""
    shape = Shape(units=(3,), levels=2, seed=1)
    data = sequences(shape, count=2, time=60)
    nominal = design(shape, technology.load("macro"), data)
    late = one_die(nominal, set())
    raised = replace(
        late.batch, layers=tuple(replace(layer, limit=layer.limit + layer.step) for layer in late.batch.layers)
    )
    states = [respond(engine, dies, data).states[0] for dies in (late, replace(late, batch=raised))]
    assert [round(float(np.abs(s).max())) for s in states] == [2, 3]


@pytest.mark.parametrize("engine", ENGINES)
def test_charge_injection_shifts_both_directions_alike(engine: str) -> None:
    shape = Shape(units=(3,), levels=None, seed=1)
    data = sequences(shape, count=1, time=60)
    macro = technology.load("macro")
    charge = 1e-16
    nominal = design(shape, replace(macro, switch=technology.Switch(row_injection=0.0, packet_injection=charge)), data)
    response = respond(engine, one_die(nominal, set()), data)
    layer = nominal.layers[0]
    decision = response.decisions[0][0, 1:].astype(float)
    moved = np.diff(response.states[0][0], axis=0) * layer.step
    expected = decision * layer.step - np.abs(decision) * charge / layer.integrator
    assert np.allclose(moved, expected, atol=2e-5)


def test_wander_has_equal_power_in_each_octave() -> None:
    shape = Shape(units=(1,))
    nominal = design(shape, technology.load("macro"), sequences(shape))
    dies = variation.draw(nominal, seed=0, dies=range(300), varied=frozenset({"noise/wander"}))
    low = noise.layer_noise(dies, 0).low
    values = np.concatenate([low.at(die, noise.moments(0, np.arange(1, 1025))) for die in range(300)])
    sigma = nominal.technology.noise.wander
    assert values.std() == pytest.approx(sigma * np.sqrt(noise.OCTAVES), rel=0.05)
    spectrum = (np.abs(np.fft.rfft(values, axis=1)) ** 2).mean(0)
    octaves = [spectrum[1 << k : 2 << k].sum() for k in range(1, 9)]
    assert max(octaves) < 2.0 * min(octaves)
