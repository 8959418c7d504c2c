"""Complete networks of transistors: on the stand-in card by default, on GF180MCU if its models are installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmru_hw import spice
from cmru_hw.circuits.charge import clocked_netlist as circuit
from cmru_hw.circuits.charge import compare, fidelity, mapping, simulate, single_unit, transistor_netlist
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.comparison import LEVEL_TOLERANCE, Reference
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, MappingError, ResultRejected, TechnologyError
from cmru_hw.core.signals import Response
from cmru_hw.design_folder import folder
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.process import technology
from tests.narrow import charge_design, known, transistors
from tests.networks import Shape, random_network, random_sequences

TINY = Shape(features=2, units=(1, 1), levels=2, skip=False, seed=3)


def design_of(
    trained: Trained, sequences: Sequences | None, name: str = "generic180", memory: str = "integrator"
) -> Design:
    kind = fidelity.at_level(technology.load(name), "transistor", memory)
    return mapping.map_network(trained, kind, mapping.calibrate(trained, sequences))


def shipped_network(name: str, process: str = "gf180", memory: str = "integrator") -> tuple[Trained, Sequences, Design]:
    models = package_data.folder("models")
    trained = checkpoint.load(models / f"{name}.safetensors")
    data = load_sequences(models / f"{name.split('-')[0]}-eval.npz")
    return trained, data, design_of(trained, data, process, memory)


def chosen(data: Sequences, index: int, timesteps: int | None = None) -> Sequences:
    length = int(data.lengths[index]) if timesteps is None else timesteps
    labels = None if data.labels is None else data.labels[index : index + 1]
    return Sequences(inputs=data.inputs[index : index + 1, :length], lengths=np.array([length]), labels=labels)


# ---- mapping and netlist


@pytest.mark.parametrize("shape", [Shape(cell="bmru"), Shape(cell="acmru")])
def test_a_cell_without_transistors_names_the_remedy(shape: Shape) -> None:
    trained = random_network(shape)
    with pytest.raises(MappingError, match="export it with --level macro"):
        fidelity.network_text(design_of(trained, None))


def test_a_technology_without_devices_names_those_that_have_some() -> None:
    with pytest.raises(TechnologyError, match="transistors are in generic180, gf180"):
        fidelity.at_level(technology.load("macro"), "transistor")


def test_noise_is_not_for_transistors() -> None:
    design = design_of(random_network(TINY), random_sequences(TINY))
    with pytest.raises(InputError, match="macro level"):
        fidelity.deck(design, [np.zeros((1, 2))], noise=[{"za0_0": np.zeros(2)}])


def test_every_weight_is_a_capacitor_that_exists() -> None:
    trained, _, design = shipped_network("detect-cmru-2x4", "generic180")
    text = fidelity.network_text(design)
    sizes = {name: float(size) for name, size in re.findall(r"^(xc\S+) \S+ \S+ cmom c=(\S+)$", text, re.MULTILINE)}
    smallest = transistors(design).minimum
    assert min(sizes.values()) >= smallest * (1 - 1e-12)
    for layer in range(2):
        for unit in range(4):
            row = design.layers[layer].low
            wanted = np.abs(row.weights[unit]).sum() + abs(row.bias[unit]) + abs(row.threshold[unit])
            here = [size for name, size in sizes.items() if name.startswith(f"xca{layer}_{unit}_")]
            # The two taps on the constant 1 may have been merged into one.
            assert wanted - 2 * abs(row.bias[unit]) <= sum(here) * (1 + 1e-9) and sum(here) <= wanted * (1 + 1e-9)
    # Trained so that all of them can be made.
    assert not design.deviations
    packets = np.concatenate([layer.packet for layer in design.layers])
    assert packets.min() > 2e-15
    # A packet goes from rail to rail.
    step = np.concatenate([layer.step for layer in design.layers])
    assert packets / design.layers[0].integrator[0] * design.technology.supply.vdd == pytest.approx(step)
    assert trained.config.levels == 7


def test_what_is_too_small_is_said() -> None:
    trained = random_network(TINY)
    for name, values in {"candidate.weight": [[0.001, 1.0]], "threshold.weight": [[0.001, 0.003]]}.items():
        trained.tensors[f"layers.0.{name}"].copy_(torch.tensor(values))
    deviations = [
        deviation
        for deviation in design_of(trained, random_sequences(TINY)).deviations
        if deviation.element.startswith("layers.0")
    ]
    assert {deviation.reason for deviation in deviations} == {"left out: below half the smallest capacitor"}
    trained.tensors["layers.0.threshold.weight"].copy_(torch.tensor([[0.003, 0.0]]))
    deviations = [
        deviation
        for deviation in design_of(trained, random_sequences(TINY)).deviations
        if deviation.element.startswith("layers.0")
    ]
    assert {deviation.reason for deviation in deviations} >= {"rounded to a size that exists"}


@pytest.mark.parametrize("skip", [False, True])
def test_clocks_of_a_window_come_in_order(skip: bool) -> None:
    shape = Shape(features=2, units=(1, 2, 1), skip=skip)
    design = design_of(random_network(shape), random_sequences(shape))
    clocks = circuit.window(design, counts=False)
    pulses = clocks.pulses
    for layer in range(3):
        r, e, ck, pl, en, pb, pc, s = (
            pulses[f"k{name}_{layer}"] for name in ("r", "e", "ck", "pl", "en", "pb", "pc", "s")
        )
        assert not r.high and r.fall < e.rise < ck.rise < pl.rise < en.rise < pb.rise < pc.rise
        assert pb.fall < en.fall < pc.fall and s.fall <= pb.fall and r.rise == e.fall == ck.fall == en.rise
        # Earlier layers are read while their amplifiers are on.
        last = 2 if skip and layer < 2 else layer + 1
        reader = pulses["kck_r" if last == 3 else f"kck_{last}"]
        assert en.rise < clocks.moments[layer] < reader.rise < en.fall
    assert max(pulse.rise for pulse in pulses.values()) < clocks.length


def test_a_window_longer_than_the_timestep_is_refused() -> None:
    design = design_of(random_network(TINY), random_sequences(TINY))
    timing = replace(design.technology.timing, timestep=10e-6)
    with pytest.raises(MappingError, match=r"raise timing\.timestep"):
        circuit.window(replace(design, technology=replace(design.technology, timing=timing)), counts=False)


def test_a_design_folder_remembers_its_level(tmp_path: Path) -> None:
    trained, sequences = random_network(TINY), random_sequences(TINY)
    design = design_of(trained, sequences)
    folder.write(tmp_path / "d", trained, design, sequences)
    loaded = folder.load(tmp_path / "d")
    assert loaded.design.technology == design.technology and fidelity.in_transistors(charge_design(loaded.design))
    assert loaded.network == fidelity.network_text(design)
    assert "unit_accumulate" in (tmp_path / "d" / "network.cir").read_text()


def test_what_a_unit_alone_reads_is_what_the_network_gives_it() -> None:
    trained, data, design = shipped_network("detect-cmru-2x4", "generic180")
    sequences = chosen(data, 337)
    lines, expected = single_unit.recorded(design, trained, sequences, 1)
    single = single_unit.unit(design, 1, 2)
    rows = single.layers[0]
    # The sign of the row's own sum, in volts, equals the software decision.
    tap = (rows.high.bias + rows.high.threshold) * design.technology.signal.bias
    high = (lines.inputs[0] @ rows.high.weights[0] + tap) > 0
    tap = (rows.low.bias + rows.low.threshold) * design.technology.signal.bias
    low = (lines.inputs[0] @ rows.low.weights[0] + tap) > 0
    moves = expected.decisions[1][0, :, 2]
    assert ((high & low).astype(int) - (~high & ~low).astype(int) == moves).mean() > 0.9


@pytest.mark.parametrize("layer", [0, 1])
def test_a_unit_alone_reads_back_as_the_software_of_that_unit(layer: int) -> None:
    """Its inputs are voltages: the network read back from its capacitors makes the decisions of the complete one."""
    shape = Shape(features=2, units=(3, 2), levels=3, skip=True, seed=5)
    trained, data = random_network(shape), random_sequences(shape)
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
    lines, expected = single_unit.recorded(design, trained, data, layer)
    single = single_unit.unit(design, layer, 1)
    assert single.readout.total.size == 0 and single.readout.weights.shape == (0, 1)
    # A network has a readout: one row that reads the state.
    one: dict[str, Any] = {name: np.ones(1) for name in ("bias", "threshold", "pad", "scale", "offset")}
    one |= {"weights": np.ones((1, 1)), "taps": np.zeros((1, 0)), "code": np.zeros(1, dtype=np.int64)}
    alone = replace(
        single,
        config=replace(single.config, classes=("state",)),
        readout=replace(single.readout, **one),
    )
    got = compare.reference(alone, mapping.realised(alone), replace(lines, labels=None)).response.decisions[0]
    assert np.mean(got[..., 0] == expected.decisions[layer][..., 1]) > 0.99 and (got != 0).any()


# ---- simulated


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine(timeout=3600) as opened:
        yield opened


@pytest.mark.spice
def test_a_network_of_transistors_equals_software(engine: spice.Engine) -> None:
    """Two layers of one unit: power-on, packets up and down, a level limit, a layer that reads another, a decision."""
    trained, sequences = random_network(TINY), random_sequences(TINY, lengths=(3,))
    design = design_of(trained, sequences)
    deck, plan = fidelity.deck(design, [sequences.inputs[0].astype(float)])
    traces = engine.run(deck).traces
    piece = simulate.decode(design, traces, plan, 0)
    expected = compare.reference(design, trained, sequences).response
    for layer in range(2):
        assert (piece.decisions[layer] == expected.decisions[layer][0]).all()
        assert piece.states[layer] == pytest.approx(expected.states[layer][0], abs=0.05)
    assert {-2.0, 0.0} <= set(np.concatenate(expected.states, axis=None))
    # The comparator between the two classes agrees with their rows.
    decided = traces.at("qy1", plan.instants(0) + transistors(design).decide) > 0.9
    assert (decided == (expected.logits[0, :, 1] > expected.logits[0, :, 0])).all()
    # A latch that loses its decision after its comparator is reset gives no valid decision.
    begin = known(plan.decided(0, 1))[1]
    late = (traces.time > begin) & (traces.time < plan.instants(0, 1)[1] + 1e-9)
    lost = np.where(late, design.technology.supply.vdd - traces.values["qb1_0"], traces.values["qb1_0"])
    with pytest.raises(ResultRejected, match="latch qb1_0 flipped after its decision in timestep 1 of sequence 0"):
        simulate.decode(design, replace(traces, values={**traces.values, "qb1_0": lost}), plan, 0)
    # The energy breakdown closes: the charge meters of all supplies equal the charge at the common return.
    ends = (plan.starts[0] + np.arange(3)) * plan.timestep
    names = [name for name in transistor_netlist.charge_meters(design) if name != "meter_inputs"]
    charge = {name: np.diff(traces.at(name, ends)) * 1e-9 for name in names}
    total = np.diff(traces.at("meter_total", ends)) * 1e-9
    assert sum(charge.values()) == pytest.approx(total, rel=0.01)
    energy = sum(
        volts * charge[name].mean()
        for name, volts in transistor_netlist.charge_meters(design).items()
        if name in charge
    )
    assert 3e-12 < energy < 20e-12


@pytest.mark.spice
def test_one_unit_of_transistors_equals_software(engine: spice.Engine) -> None:
    trained, sequences = random_network(TINY), random_sequences(TINY, lengths=(2,))
    design = design_of(trained, sequences)
    lines, expected = single_unit.recorded(design, trained, sequences, 0)
    got = simulate.simulate(single_unit.unit(design, 0, 0), lines, engine).response
    assert (got.decisions[0][0, :, 0] == expected.decisions[0][0, :, 0]).all()
    assert got.logits.shape == (1, 2, 0)


@pytest.mark.spice
def test_what_was_kept_is_not_simulated_again(tmp_path: Path) -> None:
    trained, sequences = random_network(TINY), random_sequences(TINY, lengths=(3, 4))
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, sequences))
    with spice.open_engine(cache=tmp_path / "cache") as engine:
        first = simulate.simulate(design, sequences, engine)
        [file] = (tmp_path / "cache").iterdir()
        again = simulate.simulate(design, sequences, engine)
        assert again.cpu_seconds == first.cpu_seconds > 0
        assert all((a == b).all() for a, b in zip(again.response.states, first.response.states, strict=True))
        # An incomplete file is not used.
        file.write_bytes(file.read_bytes()[:100])
        assert (simulate.simulate(design, sequences, engine).response.logits == first.response.logits).all()
        # A result of another version of the simulator is not used.
        engine._simulator = "ngspice 1"
        other = simulate.simulate(design, sequences, engine)
        assert other.cpu_seconds != first.cpu_seconds
        engine._simulator = ""
        # Another deck has another result.
        simulate.simulate(design, sequences.first(1), engine)
        assert len(list((tmp_path / "cache").iterdir())) == 2


# ---- longer


def alike(response: Response, expected: Reference) -> int:
    """Number of decisions that equal those of software, whatever their margins."""
    pairs = zip(response.decisions, expected.response.decisions, strict=True)
    return sum(int((got == wanted)[response.valid].sum()) for got, wanted in pairs)


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
def test_detector_equals_software(need: Callable[[str], None], engine: spice.Engine, process: str) -> None:
    need(process)
    trained, data, design = shipped_network("detect-cmru-2x4", process)
    total, agree, seen = 0, 0, [np.zeros(1, int), np.zeros(1, int)]
    for index in (136, 192):
        sequences = chosen(data, index)
        expected = compare.reference(design, trained, sequences)
        response = simulate.simulate(design, sequences, engine).response
        comparison = compare.compare(design, expected, response, labels=sequences.labels)
        assert comparison.classified == comparison.classified_alike
        # Kicks of comparators leave up to 3 mV on rows with lines on amplifiers; only power-gated chips have dummies.
        assert all(found.inherited or found.margin < 3e-3 for found in comparison.divergences), comparison.divergences
        seen = [before + np.asarray(counts) for before, counts in zip(seen, comparison.coverage, strict=True)]
        total, agree = total + comparison.total, agree + alike(response, expected)
    # Every unit makes at least two kinds of move.
    assert all((np.count_nonzero(counts, axis=1) >= 2).all() for counts in seen)
    assert agree >= 0.97 * total


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
@pytest.mark.parametrize("place", [(0, 0), (1, 3)])
def test_a_unit_alone_equals_software(
    need: Callable[[str], None], engine: spice.Engine, process: str, place: tuple[int, int]
) -> None:
    need(process)
    trained, data, design = shipped_network("detect-cmru-2x4", process)
    layer, number = place
    single = single_unit.unit(design, layer, number)
    for index in (337, 136):
        lines, expected = single_unit.recorded(design, trained, chosen(data, index), layer)
        got = simulate.simulate(single, lines, engine).response.decisions[0][0, :, 0]
        assert (got == expected.decisions[layer][0, :, number]).all()
    assert LEVEL_TOLERANCE["transistor"] < 0.5
