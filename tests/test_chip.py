"""Complete power-gated chips: contents of the netlist, sampling instants of states, and comparison with software."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.circuits.charge import compare, fidelity, mapping, power_gated_netlist, simulate, transistor_netlist
from cmru_hw.circuits.charge.design import Design, Operating
from cmru_hw.circuits.charge.energy import power_gated as energy_chip
from cmru_hw.circuits.charge.energy import transistor as energy_transistor
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.comparison import LEVEL_TOLERANCE, Comparison, Reference
from cmru_hw.core.errors import InputError, LatchTurned, ResultRejected, TechnologyError
from cmru_hw.core.signals import Response, Traces
from cmru_hw.design_folder import folder
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import device_count, technology
from cmru_hw.process.device_count import Device
from cmru_hw.process.technology import LongChannel
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.schedule import Edge, Found, schedule
from tests.narrow import charge_design, known, transistors
from tests.networks import Shape, random_network, random_sequences
from tests.test_transistor_network import alike, chosen, shipped_network

TINY = Shape(features=2, units=(1, 1), levels=2, skip=False, seed=3)


def design_of(trained: Trained, sequences: Sequences | None) -> Design:
    kind = fidelity.at_level(technology.load("gf180"), "transistor", "power-gated")
    return mapping.map_network(trained, kind, mapping.calibrate(trained, sequences))


def detector() -> tuple[Trained, Sequences, Design]:
    return shipped_network("detect-cmru-2x4", "gf180", memory="power-gated")


# ---- netlist


def test_a_chip_counts_everything_and_says_what_it_leaves_out() -> None:
    _, _, design = detector()
    text = fidelity.network_text(design)
    for cell in (
        "wake",
        "sequencer_begin",
        "sequencer_layer",
        "sequencer_readout",
        "common_mode",
        "power_gated_power_on",
    ):
        assert re.search(rf" {cell}( |$)", text, re.MULTILINE), cell
    assert text.count(" header ") == sum(supply.header > 0 for supply in power_gated_netlist.SUPPLIES.values())
    left = " ".join(fidelity.of(design).excludes(design))
    assert "strobe" in left and "input drivers" in left and "V_cm" not in left


def test_a_tap_is_as_small_as_it_likes_but_its_capacitors_are_not() -> None:
    trained = random_network(TINY)
    tiny = 1e-4 * trained.tensors["layers.0.candidate.weight"].abs().max()
    trained.tensors["layers.0.candidate.bias"][:] = tiny
    trained.tensors["layers.0.threshold.bias"][:] = 0.0
    design = design_of(trained, random_sequences(TINY))
    smallest = transistors(design).minimum
    assert not [deviation for deviation in design.deviations if "bias" in deviation.element]
    taps = dict(
        re.findall(r"^xca0_0_(tap|against) a0_0 [ef]0 cmom c=(\S+)$", fidelity.network_text(design), re.MULTILINE)
    )
    assert float(taps["against"]) == smallest
    wanted = float(design.layers[0].low.bias[0])
    assert 0 < wanted < smallest / 2
    assert float(taps["tap"]) - float(taps["against"]) == pytest.approx(wanted)


def test_replicas_hold_what_their_rows_hold_line_by_line() -> None:
    _, _, design = detector()
    text = fidelity.network_text(design)
    for unit in range(4):
        for kind in "ab":
            # On lines that amplifiers drive, the same capacitors appear on the dummies of these lines.
            top = f"{kind}1_{unit}"
            row = dict(re.findall(rf"^xc{top}_(\d+) {top} p1_\d+ cmom c=(\S+)$", text, re.MULTILINE))
            twin = dict(re.findall(rf"^xf{top}_(\d+) f{top} d1_\d+ cmom c=(\S+)$", text, re.MULTILINE))
            assert row == twin
    # Lines on inputs need no dummies, because their drivers hold them.
    assert " d0_" not in text


def test_inputs_are_ratios_of_the_supply() -> None:
    trained, sequences = random_network(TINY), random_sequences(TINY, lengths=(3,))
    design = design_of(trained, sequences)
    inputs = [sequences.inputs[0].astype(float)]
    texts = [fidelity.deck(replace(design, operating=Operating(vdd=vdd)), inputs)[0].text for vdd in (None, 1.62)]
    pwl = [
        np.array(
            known(re.search(r"^vx0 x0 0 pwl\((.*(?:\n\+.*)*)\)", text, re.MULTILINE))[1].replace("\n+", "").split(),
            float,
        )
        for text in texts
    ]
    assert np.allclose(pwl[1][1::2], 0.9 * pwl[0][1::2])
    chip = known(design.technology.power_gated)
    assert pwl[0][1::2].max() <= chip.zero + chip.input_swing + 1e-9
    assert pwl[0][1::2].min() >= 0


def test_a_technology_without_a_chip_names_the_remedy() -> None:
    with pytest.raises(TechnologyError, match="choose another memory"):
        fidelity.at_level(technology.load("generic180"), "transistor", "power-gated")


def test_one_memory_leaves_nothing_of_another() -> None:
    nominal = technology.load("gf180")
    kinds = {memory: fidelity.at_level(nominal, "transistor", memory) for memory in registry.MEMORIES}
    assert kinds["power-gated"] == fidelity.at_level(nominal, "transistor")
    assert (
        kinds["power-gated"].supply.common_mode < kinds["integrator"].supply.common_mode == nominal.supply.common_mode
    )
    assert kinds["integrator"].signal.state_swing == nominal.signal.state_swing
    with pytest.raises(TechnologyError, match="--level transistor"):
        fidelity.at_level(kinds["power-gated"], "transistor", "integrator")


def test_noise_is_not_for_chips() -> None:
    with pytest.raises(InputError, match="macro level"):
        fidelity.deck(design_of(random_network(TINY), None), [np.zeros((1, 2))], noise=[{}])


def test_weights_come_back_from_a_chip() -> None:
    trained = random_network(Shape(features=3, units=(2, 3), levels=7, skip=True, seed=5))
    design = design_of(trained, None)
    back = mapping.realised(design)
    for name, tensor in back.tensors.items():
        clipped = [deviation for deviation in design.deviations if deviation.element.startswith(name.rsplit(".", 2)[0])]
        largest = float(np.abs(trained.tensors[name].numpy()).max()) or 1.0
        assert tensor.numpy() == pytest.approx(trained.tensors[name].numpy(), abs=(0.1 if clipped else 1e-5) * largest)


def test_a_design_folder_remembers_its_chip(tmp_path: Path) -> None:
    trained, sequences = random_network(TINY), random_sequences(TINY)
    folder.write(tmp_path / "d", trained, design_of(trained, sequences), sequences)
    loaded = folder.load(tmp_path / "d")
    assert transistors(loaded.design).memory == "power-gated"
    assert loaded.network == fidelity.network_text(charge_design(loaded.design))


# ---- sampling instants of states


def test_an_edge_is_found_in_every_frame_or_missed_by_name() -> None:
    time = np.linspace(0, 3, 301)
    # Falls at 0.6 of frames 0 and 2; an earlier short dip does not reach half. It never falls in frame 1.
    clock = np.where((time % 1 > 0.605) & (time // 1 != 1), 0.0, 1.8)
    clock[np.isclose(time % 1, 0.55)] = 1.2
    plan = schedule(1.0, 0.0, [2], moments=(Edge(clock="ck", level=1.6, begin=0.5, end=0.9),))
    traces = Traces(title="", time=time, values={"ck": clock})
    found = plan.located(traces)
    [moment] = found.moments
    assert isinstance(moment, Found)
    assert moment.instants[[0, 2]] == pytest.approx([0.6, 2.6])
    assert np.isnan(moment.instants[1])
    assert "ck was not high in timestep 0" in known(found.unclocked(traces, 0))
    with pytest.raises(TypeError, match="located"):
        plan.instants(0)


# ---- analytic

HAND = LongChannel(oxide=4e-3, overlap=1e-10, junction=1e-9, slope_n=1e-4, slope_p=4e-5, threshold=0.7)


def test_loads_are_counted_node_by_node() -> None:
    gate = {"w": 1e-6, "l": 2e-6}
    parts = [
        Device(kind="nf", nodes=("y", "a", "0", "0"), values=gate),
        Device(kind="pf", nodes=("y", "a", "vd", "vd"), values=gate),
        Device(kind="cmom", nodes=("y", "other"), values={"c": 5e-15}),
        Device(kind="c", nodes=("a", "0"), values={"c": 1e-15}),
    ]
    found = energy_chip.loads(parts, HAND)
    assert found["a"] == pytest.approx(2 * (8e-15 + 2e-16) + 1e-15)
    assert found["y"] == pytest.approx(2e-15 + 5e-15)
    assert found["other"] == pytest.approx(5e-15) and found["vd"] == pytest.approx(1e-15)
    # Through p channels, and not to nodes that they only control.
    assert energy_chip.charged(parts, "vd") == {"vd", "y"}


def test_by_hand_an_amplifier_costs_its_tail_for_as_long_as_it_is_on() -> None:
    _, _, design = detector()
    chip = known(design.technology.power_gated)
    slower = replace(design, technology=replace(design.technology, power_gated=replace(chip, rest=2 * chip.rest)))
    weaker = replace(design, technology=replace(design.technology, power_gated=replace(chip, tail=2 * chip.tail)))

    def amplifiers(design: Design) -> float:
        parts = list(device_count.devices(fidelity.network_text(design), fidelity.cell_files(design)))
        hand = known(design.technology.long_channel)
        return energy_chip.bias(design, parts, energy_chip.loads(parts, hand), hand)

    usual = amplifiers(design)
    assert 2e-12 < usual < 8e-12
    assert usual < amplifiers(slower) < 3 * usual
    assert amplifiers(weaker) == pytest.approx(usual / 2)


def test_by_hand_a_network_without_long_channel_numbers_has_its_inputs_alone() -> None:
    trained, sequences = random_network(TINY), random_sequences(TINY, lengths=(3,))
    design = design_of(trained, sequences)
    software = compare.reference(design, trained, sequences)
    given = sequences.inputs[0].astype(float)
    without = replace(design, technology=replace(design.technology, long_channel=None))
    assert set(energy_transistor.analytic(without, software, given, 0)) == {"inputs"}
    whole = energy_transistor.analytic(design, software, given, 0)
    assert {f"meter_{name}" for name in whole} == set(transistor_netlist.charge_meters(design))
    # Inputs at their zero move nothing except what states and the constant move.
    still = replace(sequences, inputs=0 * sequences.inputs)
    idle = energy_transistor.analytic(design, compare.reference(design, trained, still), 0 * given, 0)
    assert (idle["inputs"] < whole["inputs"]).all()


# ---- simulated


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine(timeout=3600) as opened:
        yield opened


def verdict(
    design: Design, trained: Trained, sequences: Sequences, engine: spice.Engine
) -> tuple[Comparison, Response, Reference]:
    expected = compare.reference(design, trained, sequences)
    response = simulate.simulate(design, sequences, engine).response
    return compare.compare(design, expected, response, labels=sequences.labels), response, expected


@pytest.mark.spice
def test_the_smallest_chip_of_two_layers_equals_software(need: Callable[[str], None], engine: spice.Engine) -> None:
    need("gf180")
    trained, sequences = random_network(TINY), random_sequences(TINY, lengths=(3,))
    design = design_of(trained, sequences)
    deck, plan = fidelity.deck(design, [sequences.inputs[0].astype(float)])
    outcome = engine.run(deck)
    traces = outcome.traces
    piece = simulate.decode(design, traces, plan, 0)
    software = compare.reference(design, trained, sequences)
    expected = software.response
    for layer in range(2):
        assert (piece.decisions[layer] == expected.decisions[layer][0]).all()
        assert piece.states[layer] == pytest.approx(expected.states[layer][0], abs=LEVEL_TOLERANCE["transistor"])
    # The charge meters of all supplies compared with the charge at the common return,
    ends = (plan.starts[0] + np.arange(4)) * plan.timestep
    names = [name for name in transistor_netlist.charge_meters(design) if name != "meter_inputs"]
    charge = {name: np.diff(traces.at(name, ends)) * 1e-9 for name in names}
    assert sum(charge.values()) == pytest.approx(np.diff(traces.at("meter_total", ends)) * 1e-9, rel=0.01)
    assert 4e-12 < design.supply * sum(values.mean() for values in charge.values()) < 15e-12
    # and each compared with the analytic estimate from its capacitances.
    analytic = energy_transistor.analytic(design, software, sequences.inputs[0].astype(float), 0)
    for name, coulombs in charge.items():
        block = name.removeprefix("meter_")
        within = 0.35 if block == "vcm" else 0.25
        assert design.supply * coulombs.mean() == pytest.approx(analytic[block].mean(), rel=within), block
    # A run with a comparator that turns over after its decision is repeated with smaller steps.
    first = plan.located(traces)
    turned = traces.values["qa0_0"].copy()
    late = (traces.time > known(first.decided(0, 0))[1] + 1e-9) & (traces.time < first.deciding(0, 0)[1] + 50e-9)
    turned[late] = design.supply - turned[late]
    wrong = Traces(title=traces.title, time=traces.time, values={**traces.values, "qa0_0": turned})
    with pytest.raises(LatchTurned, match="qa0_0 flipped after its decision in timestep 1"):
        simulate.decode(design, wrong, plan, 0)
    answers = iter([wrong, traces])
    asked: list[Deck] = []

    class Forgetful:
        def map(self, given: Sequence[Deck]) -> Iterator[tuple[int, spice.Outcome]]:
            asked.extend(given)
            yield 0, replace(outcome, traces=next(answers), cpu_seconds=1.0)

    found = simulate.simulate(design, sequences, cast(spice.Engine, Forgetful()))
    assert (found.response.decisions[0][0] == expected.decisions[0][0]).all()
    assert "again with smaller steps" in found.attempts[0] and found.cpu_seconds == 2.0
    trtol = [float(known(re.search(r"trtol=(\S+)", one.text))[1]) for one in asked]
    assert trtol[1] < trtol[0]
    # The result states the steps that gave it, so that a certificate halves those.
    assert found.refine == 1 and f"trtol={trtol[1]!r} " in found.options
    # A chip without a strobe decides nothing, and its result is rejected.
    asleep = replace(deck, text=re.sub(r"^vstrobe .*$", "vstrobe strobe 0 0", deck.text, flags=re.MULTILINE))
    with pytest.raises(ResultRejected, match="was not high in timestep 0"):
        simulate.decode(design, engine.run(asleep).traces, plan, 0)


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize(
    ("corner", "temperature", "vdd", "most"),
    [("typical", 27.0, None, 20e-12), ("ss", -40.0, 1.62, 20e-12), ("ff", 125.0, 1.98, 60e-12)],
)
def test_the_detector_as_a_chip_equals_software(
    need: Callable[[str], None], engine: spice.Engine, corner: str, temperature: float, vdd: float | None, most: float
) -> None:
    """Utterance 200, whose smallest margin in software is 4 mV: every decision, and the energy."""
    need("gf180")
    trained, data, design = detector()
    design = replace(design, operating=Operating(corner=corner, temperature=temperature, vdd=vdd))
    sequences = chosen(data, 200, 4)
    found, response, expected = verdict(design, trained, sequences, engine)
    # Rows that are too close to call decide as software does, too.
    assert alike(response, expected) == found.total and found.classified_alike == 1
