"""Current mode: the integration has converged, transitions have causes, and states count."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from benchmarks.convergence.current import SETTINGS, one_cell, wandering
from cmru_hw import spice
from cmru_hw.circuits.current import (
    compare,
    fast,
    mapping,
    netlist,
    simulate,
    technology,
    thresholds,
    transitions,
    variation,
)
from cmru_hw.circuits.current import verify as certified
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.current.numerics import CONVERGED
from cmru_hw.core.errors import SimulationError, UncausedTransition
from cmru_hw.core.signals import Traces
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import device_models
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.schedule import Schedule, schedule
from tests.narrow import known
from tests.test_current import network, sequences

LOOSE = SETTINGS["loose"]


def at_unit(trained: Trained, data: Sequences, unit: float) -> CurrentDesign:
    kind = technology.load("gf180")
    kind = replace(kind, unit=unit, bias=unit, full_scale=2 * unit)
    return mapping.map_network(trained, kind, mapping.calibrate(trained, data))


@pytest.mark.spice
@pytest.mark.parametrize("unit", [1e-9, 0.3e-9])
def test_a_narrow_cell_has_the_states_of_software_with_converged_settings_only(unit: float) -> None:
    """With the loose settings the same deck gives other states. This test fails if these settings come back."""
    data = wandering(0.9, 0.05, seed=2)
    design = at_unit(one_cell(0.9, 0.05), data, unit)
    with spice.open_engine() as engine:
        found, finer, loose = (
            simulate.simulate(design, data, engine, numerics=numerics, check=False).response.states[0] > 0.5
            for numerics in (CONVERGED, CONVERGED.refined(2), LOOSE)
        )
        # The run itself reveals the missed threshold of a wrong transition, and a finer run corrects it.
        mended = simulate.simulate(design, data, engine, numerics=LOOSE)
    nominal = fast.run(variation.draw(design, seed=0, dies=[0], varied=frozenset()), data).states[0][0] > 0.5
    assert np.array_equal(found, nominal) and np.array_equal(found, finer)
    assert found.any() and not found.all()
    assert (loose != found).any()
    assert "again with a finer integration: unit 0.0 was reset in timestep 7" in mended.attempts[0]
    assert np.array_equal(mended.response.states[0] > 0.5, found)


@pytest.mark.spice
def test_converged_currents_are_those_of_a_finer_integration() -> None:
    data = wandering(0.5, 0.3, seed=0, count=20)
    design = at_unit(one_cell(0.5, 0.3), data, 0.3e-9)
    with spice.open_engine() as engine:
        run = simulate.simulate(design, data, engine)
        certificate = certified.certify(design, data, run, engine, frames=100)
    assert certificate.frames == tuple((0, t) for t in range(20))
    assert (certificate.decisions_changed, certificate.states_changed) == (0, 0)
    assert 0 < known(certificate.current_difference) < 0.002 and known(certificate.energy_difference) < 0.001
    assert certificate.state_difference < 0.01
    assert "reltol=0.0001 " in certificate.options and "reltol=1e-05 " in certificate.refined_options


# --- Transitions -------------------------------------------------------------------------------------------------


def forged(
    candidates: np.ndarray, outputs: np.ndarray, design: CurrentDesign
) -> tuple[Traces, Schedule, list[np.ndarray]]:
    """Trace of one cell: ``candidates`` [of the upper threshold] and ``outputs`` [levels], ten points per timestep."""
    layer = design.layers[0]
    plan = schedule(design.timestep, 0.005, [len(outputs) // 10 - 1])
    time = (np.arange(len(outputs)) + 1) * design.timestep / 10
    values = {"i(vc0_0)": candidates * layer.upper[0], "i(vh0_0)": outputs * layer.high[0]}
    traces = Traces(title="forged", time=time, values=values)
    states = [(traces.at("i(vh0_0)", plan.instants(0)) / layer.high[0])[:, None]]
    return traces, plan, states


def judge(candidates: np.ndarray, outputs: np.ndarray) -> None:
    data = wandering(0.5, 0.3, seed=0)
    design = at_unit(one_cell(0.5, 0.3), data, 1e-9)
    traces, plan, states = forged(candidates, outputs, design)
    transitions.require_causes(design, traces, plan, 0, states, thresholds.designed(design), name=3)


def test_a_transition_without_a_cause_is_named() -> None:
    candidates = np.full(60, 0.7)
    outputs = np.where(np.arange(60) < 33, 0.0, 1.0)
    with pytest.raises(UncausedTransition, match=r"unit 0\.0 was set in timestep 2 of sequence 3.*missed it by 240 pA"):
        judge(candidates, outputs)
    # A cell that is reset: its lower threshold is five eighths of the upper one.
    candidates[5:15] = 1.1
    with pytest.raises(UncausedTransition, match=r"unit 0\.0 was reset in timestep 2 .*lower threshold of 500 pA"):
        judge(candidates, np.where((np.arange(60) > 8) & (np.arange(60) < 33), 1.0, 0.0))


def test_a_crossing_between_samples_is_a_cause_and_one_before_is_not() -> None:
    outputs = np.where(np.arange(60) < 33, 0.0, 1.0)
    candidates = np.full(60, 0.7)
    candidates[31] = 1.01
    judge(candidates, outputs)
    candidates[31], candidates[25] = 0.7, 1.01
    with pytest.raises(UncausedTransition):
        judge(candidates, outputs)
    # A cell that was already switching when it was last sampled: the cause is earlier.
    outputs[26:31] = 0.2
    judge(candidates, outputs)


@pytest.mark.spice
def test_a_transition_without_a_cause_is_simulated_again_and_then_refused() -> None:
    """An engine whose results always contain a forged transition."""
    data = wandering(0.5, 0.3, seed=0, count=6)
    design = at_unit(one_cell(0.5, 0.3), data, 1e-9)
    seen = []

    class Forging:
        def __init__(self, engine: spice.Engine, times: int) -> None:
            self.engine, self.times = engine, times

        def run(self, deck: Deck) -> spice.Outcome:
            return self.engine.run(deck)

        def map(self, decks: Sequence[Deck]) -> Iterator[tuple[int, spice.Outcome | SimulationError]]:
            for index, outcome in self.engine.map(decks):
                seen.append(index)
                if len(seen) <= self.times:
                    assert isinstance(outcome, spice.Outcome)
                    values = dict(outcome.traces.values)
                    values["i(vc0_0)"] = np.full_like(values["i(vc0_0)"], 0.7 * design.layers[0].upper[0])
                    outcome = dataclasses.replace(outcome, traces=replace(outcome.traces, values=values))
                yield index, outcome

    def forging(engine: spice.Engine, times: int) -> spice.Engine:
        return cast(spice.Engine, Forging(engine, times))

    with spice.open_engine() as engine:
        honest = simulate.simulate(design, data, engine)
        assert (honest.response.states[0] > 0.5).any()
        found = simulate.simulate(design, data, forging(engine, 1))
        assert np.array_equal(found.response.states[0] > 0.5, honest.response.states[0] > 0.5)
        assert len(found.attempts) == 1 and found.attempts[0].startswith(
            "again with a finer integration: unit 0.0 was set"
        )
        # The result states the integration that gave it, so that a certificate refines that one.
        assert (found.refine, found.numerics) == (1, CONVERGED.refined(1))
        assert (honest.refine, honest.numerics) == (0, CONVERGED)
        seen.clear()
        with pytest.raises(UncausedTransition, match=r"unit 0\.0 was set"):
            simulate.simulate(design, data, forging(engine, 100))
    assert len(seen) == 1 + simulate.MOST_REFINEMENTS


@pytest.mark.spice
def test_thresholds_of_other_devices_are_measured() -> None:
    data = sequences(lengths=(6,))
    trained = network(units=(2, 2), seed=5)
    design = mapping.map_network(trained, technology.load("gf180"), mapping.calibrate(trained, data))
    text = netlist.network_text(design)
    with spice.open_engine() as engine:
        room, hot = (
            thresholds.measured(design, engine, network=text, devices=models, vdd=1.8)
            for models in (device_models.devices("gf180"), device_models.devices("gf180", temperature=125.0))
        )
    for own, wanted, warm in zip(known(room), thresholds.designed(design), known(hot), strict=True):
        scale = wanted.up
        assert np.abs(own.up / scale - wanted.up / scale).max() < 0.005
        resets = wanted.down > 0
        assert np.abs((own.down - wanted.down) / scale)[resets].max() < 0.005
        assert (warm.up < own.up).all()
    # A netlist with other names for its cells.
    other = text.replace("xcell0_0", "xother0_0")
    assert thresholds.measured(design, engine, network=other, devices=device_models.devices("gf180"), vdd=1.8) is None


# --- States count ------------------------------------------------------------------------------------------------


def test_states_that_are_held_wrongly_fail_a_comparison_by_name() -> None:
    """If a wrong state is only held, no decision is wrong. The comparison fails because of its states, and says so."""
    data = wandering(0.5, 0.3, seed=0)
    trained = one_cell(0.5, 0.3)
    design = at_unit(trained, data, 1e-9)
    expected = compare.reference(design, trained, data)
    states = expected.response.states[0].copy()
    held = np.argwhere(expected.response.decisions[0][0, :, 0] == 0)[:, 0]
    states[0, held[:20]] = 1 - states[0, held[:20]]
    response = replace(expected.response, states=(states,))
    found = simulate.CurrentSimulation(
        response=response,
        cpu_seconds=0.0,
        simulator="none",
        attempts=(),
        candidates=(np.zeros_like(states),),
        charge={},
        vdd=1.8,
        timestep=0.01,
        numerics=CONVERGED,
        refine=0,
        transitions_checked=True,
    )
    result = compare.compare(design, trained, data, found, expected=expected)
    assert result.differ == 0 and result.classified_alike == result.classified
    assert not result.holds()
    assert result.failures() == ("20 of 60 states differ from software, more than 2 %",)
    same = compare.compare(design, trained, data, replace(found, response=expected.response), expected=expected)
    assert same.holds() and same.failures() == ()
    # Of a layer without a single right state no level is compared.
    wrong = replace(response, states=(1 - expected.response.states[0],))
    none = compare.compare(design, trained, data, replace(found, response=wrong), expected=expected)
    assert none.states_agree == 0 and none.level_error == 0.0
