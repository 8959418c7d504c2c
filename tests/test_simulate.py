"""The circuit equals the software network: random and shipped networks, through ngspice, every decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmru_hw import spice
from cmru_hw.circuits.charge import mapping
from cmru_hw.circuits.charge.compare import compare, reference
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.simulate import decode, simulate
from cmru_hw.circuits.charge.verify import verify
from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.simulation import Verified
from cmru_hw.core import package_data
from cmru_hw.core.errors import ResultRejected
from cmru_hw.core.signals import Response, Traces
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.process import technology
from cmru_hw.process.technology import Technology
from tests.networks import Shape, random_network, random_sequences

pytestmark = pytest.mark.spice

MACRO = technology.load("macro")
MODELS = package_data.folder("models")


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine() as engine:
        yield engine


def verified(
    shape: Shape, engine: spice.Engine, lengths: tuple[int, ...] = (7, 12, 3), kind: Technology = MACRO
) -> Verified:
    trained = random_network(shape)
    data = random_sequences(shape, lengths)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    return verify(design, trained, data, engine)


shapes = st.builds(
    Shape,
    cell=st.sampled_from(["cmru", "bmru", "acmru"]),
    features=st.integers(1, 6),
    units=st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple),
    classes=st.integers(2, 4),
    levels=st.sampled_from([None, 1, 2, 7, "mixed"]),
    skip=st.booleans(),
    fixed_thresholds=st.booleans(),
    seed=st.integers(0, 2**31),
)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=shapes)
def test_a_random_network_is_its_circuit(shape: Shape, engine: spice.Engine) -> None:
    result = verified(shape, engine).comparison
    assert result.holds(), result
    assert result.total == result.agree + result.excluded
    assert result.excluded <= 0.02 * result.total


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=shapes)
def test_many_random_networks_are_their_circuits(shape: Shape, engine: spice.Engine) -> None:
    result = verified(shape, engine, lengths=(25, 11)).comparison
    assert result.holds(), result


def shipped_models() -> list[str]:
    return sorted(path.stem for path in MODELS.glob("*.safetensors") if "fq-bmru" not in path.stem)


@pytest.mark.parametrize("name", shipped_models())
def test_a_shipped_network_is_its_circuit(name: str, engine: spice.Engine) -> None:
    """Held-out data, macro level, no noise: every decision of every layer, unit and timestep."""
    trained = checkpoint.load(MODELS / f"{name}.safetensors")
    data = load_sequences(MODELS / f"{name.split('-')[0]}-eval.npz")
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    count = 20 if trained.config.features > 1 else min(3, len(data))
    result = verify(design, trained, data.first(count), engine).comparison
    assert result.differ == 0 and result.classified == result.classified_alike
    assert result.level_error < (0.01 if trained.config.cell == "acmru" else 0.05)
    assert result.agree >= 0.999 * result.total


def test_a_state_is_held_over_a_thousand_timesteps(engine: spice.Engine) -> None:
    trained = checkpoint.load(next(MODELS.glob("flipflop-cmru-*.safetensors")))
    data = load_sequences(MODELS / "flipflop-eval.npz")
    longest = int(np.argmax(data.lengths))
    assert data.lengths[longest] >= 1000
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    result = verify(design, trained, data.take(np.array([longest])), engine).comparison
    assert result.agree + result.excluded == result.total >= 1000
    assert result.level_error < 0.05


def test_both_backends_and_any_number_of_jobs_give_the_same_answer(engine: spice.Engine) -> None:
    shape = Shape(seed=11)
    trained, data = random_network(shape), random_sequences(shape, (150, 140, 130, 120))
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    first = simulate(design, data, engine).response
    others: tuple[tuple[spice.Backend, int], ...] = (("pyspice", 2), ("batch", 1))
    for backend, jobs in others:
        with spice.open_engine(backend=backend, jobs=jobs) as other:
            again = simulate(design, data, other).response
        for one, two in zip(first.states, again.states, strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-9)
        for here, there in zip(first.decisions, again.decisions, strict=True):
            np.testing.assert_array_equal(here, there)


def test_a_sequence_does_not_know_what_ran_before_it(engine: spice.Engine) -> None:
    shape = Shape(cell="cmru", levels=None, seed=4)
    trained, data = random_network(shape), random_sequences(shape, (20, 20))
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    together = simulate(design, data, engine).response
    alone = simulate(design, data.take(np.array([1])), engine).response
    for one, two in zip(together.states, alone.states, strict=True):
        np.testing.assert_allclose(one[1], two[0], atol=1e-3)


def test_packets_shrink_with_the_amplifier_gain_as_theory_says(engine: spice.Engine) -> None:
    """A packet is (C_s/C_int) V_ref / (1 + (1 + C_s/C_int)/A): with A = 100 the first level misses 1 by that."""
    weak = replace(MACRO, amplifier=replace(MACRO.amplifier, gain=100.0))
    shape = Shape(cell="bmru", units=(1,), skip=False, seed=3)
    trained, data = random_network(shape), random_sequences(shape, (1,))
    design = mapping.map_network(trained, weak, mapping.calibrate(trained, data))
    state = simulate(design, data, engine).response.states[0][0, 0, 0]
    ratio = float(design.layers[0].packet[0] / design.layers[0].integrator[0])
    software = reference(design, trained, data).response.states[0][0, 0, 0]
    assert software in (-1.0, 1.0)
    assert state / software == pytest.approx(1 / (1 + (1 + ratio) / 100), abs=2e-4)


def test_a_clock_that_misses_a_beat_is_not_believed() -> None:
    shape = Shape()
    trained, data = random_network(shape), random_sequences(shape, (3,))
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    from cmru_hw.circuits.charge import macro_netlist

    deck, plan = macro_netlist.deck(design, [data.inputs[0].astype(float)])
    time = np.array([0.0, deck.stop])
    values = {name: np.ones(2) for name in deck.saved} | {"u0": np.zeros(2)}
    with pytest.raises(ResultRejected, match="clock u0 was not high in timestep 0"):
        decode(design, Traces(title="", time=time, values=values), plan, 0)
    values["u0"] = np.ones(2)
    with pytest.raises(ResultRejected, match="at neither rail"):
        decode(design, Traces(title="", time=time, values=values), plan, 0)


# --- the comparison, on constructed responses ---------------------------------------------------------------------


def analytic() -> tuple[Design, Trained, Sequences, Reference]:
    shape = Shape(units=(2, 2), seed=1)
    trained, data = random_network(shape), random_sequences(shape, (6, 6))
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    return design, trained, data, reference(design, trained, data)


def changed(response: Response, layer: int, place: tuple[int, int, int]) -> Response:
    decisions = [d.copy() for d in response.decisions]
    decisions[layer][place] = 1 - decisions[layer][place] if decisions[layer][place] else 1
    return replace(response, decisions=tuple(decisions))


def test_one_wrong_decision_is_found_and_named() -> None:
    design, _, _, expected = analytic()
    result = compare(design, expected, changed(expected.response, 1, (1, 3, 0)), resolution=0.0)
    assert (result.differ, result.excluded) == (1, 0) and not result.holds()
    first = result.first_divergence
    assert first is not None and (first.sequence, first.timestep, first.layer, first.unit) == (1, 3, 1, 0)
    assert first.margin == pytest.approx(expected.margins[1][1, 3, 0])
    assert "sequence 1, timestep 3, layer 1, unit 0: software" in str(first)


def test_a_level_off_by_a_tenth_does_not_pass() -> None:
    design, _, _, expected = analytic()
    states = [s.copy() for s in expected.response.states]
    states[0][1, 2, 0] += 0.1
    result = compare(design, expected, replace(expected.response, states=tuple(states)), resolution=0.0)
    assert result.differ == 0 and result.level_error == pytest.approx(0.1) and not result.holds()
