"""Training on dies: the die in the loop equals the die that the engines simulate, and training improves real dies."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cmru_hw.analysis import hardware_aware
from cmru_hw.circuits.charge import fast, mapping, variation
from cmru_hw.circuits.charge.continuation import row_gain
from cmru_hw.cli import group
from cmru_hw.core.errors import MappingError
from cmru_hw.nn import checkpoint, recipes, tasks
from cmru_hw.nn.cells import WindowLayer
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.process import technology
from tests.narrow import known

MODELS = Path(__file__).parent.parent / "models"
IN_THE_LOOP = ("weights", "offset", "packet", "integrator", "capacitor", "bias")


def shipped(name: str) -> Trained:
    return checkpoint.load(MODELS / f"{name}.safetensors")


def heavy(factor: float) -> technology.Technology:
    """The ideal technology with ``factor`` times its mismatch."""
    ideal = technology.load("macro")
    law = ideal.mismatch
    worse = {name: factor * getattr(law, name) for name in ("capacitor", "threshold", "comparator_rest")}
    return replace(ideal, mismatch=replace(law, **worse))


@pytest.mark.parametrize("name", ["vowels-cmru-2x16", "vowels-acmru-2x16", "vowels-bmru-2x16"])
def test_a_die_without_mismatch_is_the_network(name: str) -> None:
    trained, data = shipped(name), tasks.get("vowels").test.first(20)
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
    die = variation.draw(design, seed=0, dies=[0], varied=frozenset()).one(0)
    made = hardware_aware.software_of(design, die)
    trainable = {name for name, _ in trained.network().named_parameters()}
    assert made.keys() == trainable
    for key, value in made.items():
        torch.testing.assert_close(value, trained.tensors[key], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["vowels-cmru-2x16", "vowels-bmru-2x16"])
def test_what_trains_is_the_die_that_is_simulated(name: str) -> None:
    """The software numbers of a die must explain nearly all differences between the die and the network."""
    trained, data = shipped(name), tasks.get("vowels").test.first(20)
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
    on = variation.select_variations(design, only=IN_THE_LOOP)
    explained = different = 0
    for number in range(3):
        drawn = variation.draw(design, seed=1, dies=[number], varied=on)
        packed = fast.pack(design, data)
        (simulated,) = fast.run(drawn, packed)
        network = trained.network()
        as_trained = network(torch.from_numpy(data.inputs), torch.from_numpy(data.lengths))
        network.load_state_dict({**trained.tensors, **hardware_aware.software_of(design, drawn.one(0))})
        as_die = network(torch.from_numpy(data.inputs), torch.from_numpy(data.lengths))
        for found, plain, die in zip(simulated.decisions, as_trained.decisions, as_die.decisions, strict=True):
            plain, die = (packed.places(decisions.numpy()) for decisions in (plain, die))
            different += int((found != plain).sum())
            explained += int(((found != plain) & (found == die)).sum()) - int(((found == plain) & (found != die)).sum())
    assert different > 100
    assert explained > 0.97 * different


def test_packets_train_as_an_amplifier_with_offset_and_finite_gain_takes_them() -> None:
    """With the decisions of a die, the network has the die's states; without its packets it is far off."""
    trained, data = shipped("vowels-acmru-2x16"), tasks.get("vowels").test.first(20)
    design = mapping.map_network(trained, technology.load("gf180"), mapping.calibrate(trained, data))
    on = variation.select_variations(design, only=(*IN_THE_LOOP, "amplifier"))
    drawn = variation.draw(design, seed=1, dies=[0], varied=on)
    packed = fast.pack(design, data)
    (simulated,) = fast.run(drawn, packed)
    die = drawn.one(0)
    network = trained.network()
    network.load_state_dict({**trained.tensors, **hardware_aware.software_of(design, die)})
    limits = design.input_range
    network.input.limits = torch.from_numpy(limits.low).float(), torch.from_numpy(limits.high).float()
    moves = [torch.from_numpy(packed.padded(one)).transpose(0, 1).float() for one in simulated.decisions]
    network.override = lambda layer, _candidate, _threshold, _decision: moves[layer]
    errors = []
    pairs = zip(design.layers, die.layers, strict=True)
    for packets in ([None, None], [hardware_aware.packets_of(*pair, design.technology) for pair in pairs]):
        for layer, own in zip(network.layers, packets, strict=True):
            assert isinstance(layer, WindowLayer)
            layer.packets = own
        with torch.no_grad():
            found = network(torch.from_numpy(data.inputs), torch.from_numpy(data.lengths))
        state = packed.padded(simulated.states[0] / die.layers[0].unit[:, None])
        errors.append(float(np.abs(found.states[0].numpy() - state)[data.valid].max()))
    assert errors[0] > 0.1, errors
    assert errors[1] < 0.02, errors


def test_noise_of_a_decision_is_that_of_its_two_rows() -> None:
    trained, data = shipped("detect-cmru-2x4"), tasks.get("detect").test.first(5)
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
    layer = design.layers[0]
    law = design.technology.noise
    rng = np.random.default_rng(0)
    rows = []
    for row in (layer.low, layer.high):
        volts = np.hypot(law.comparator, np.sqrt(1.380649e-23 * law.temperature / row.total))
        rows.append(rng.normal(size=(20000, layer.units)) * volts * row.total / row.scale)
    expected = ((rows[0] + rows[1]) / 2).std(0)
    np.testing.assert_allclose(hardware_aware.decision_noise(layer, design.technology), expected, rtol=0.03)


def test_an_offset_is_that_of_a_row_with_its_parasitics() -> None:
    trained, data = shipped("detect-cmru-2x4"), tasks.get("detect").test.first(5)
    kind = technology.load("macro")
    kind = replace(kind, capacitor=replace(kind.capacitor, parasitic=80e-15))
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    layer = design.layers[0]
    moved = replace(layer.low, offset=layer.low.offset + 1e-3), replace(layer.high, offset=layer.high.offset + 1e-3)
    die = replace(design, layers=(replace(layer, low=moved[0], high=moved[1]), *design.layers[1:]))
    found = hardware_aware.software_of(design, die)["layers.0.candidate.bias"]
    shifts = sum(1e-3 / row_gain(design, row) for row in (layer.low, layer.high)) / 2
    np.testing.assert_allclose(found - trained.tensors["layers.0.candidate.bias"], shifts, rtol=1e-3, atol=1e-6)


def test_training_on_dies_helps_dies() -> None:
    """With three times the mismatch, hardly any die of the shipped network does its task."""
    trained, data = shipped("vowels-cmru-2x16"), tasks.get("vowels")
    recipe = hardware_aware.recipe_of(recipes.RECIPES["vowels"], steps=200)
    # Hardly any die comes within one point of software, with or without training (3.5 % and 2 % of 200): a good die may
    # be five points below it.
    tuned = hardware_aware.improve(trained, data.train, data.test, heavy(3), recipe, dies=60, seed=0, drop=0.05)
    before, after = tuned.before.accuracy, tuned.after.accuracy
    assert known(before.median) < known(before.software) - 0.03
    assert known(after.median) > known(before.median)
    assert known(after.p05) > known(before.p05)
    assert tuned.after.yield_.value > tuned.before.yield_.value + 0.1
    notes = tuned.trained.config.training["hardware_aware"]
    assert notes["from_sha256"] == trained.sha256
    assert notes["recipe"] == asdict(recipe)


def test_the_goal_is_that_of_before() -> None:
    """A network with a lower software accuracy is not judged by its own, lower standard."""
    trained, data = shipped("detect-cmru-2x4"), tasks.get("detect")
    own = hardware_aware.on_dies(trained, heavy(3), data.train, data.test, dies=40)
    same = hardware_aware.on_dies(trained, heavy(3), data.train, data.test, dies=40, goal=own.accuracy.software)
    harder = hardware_aware.on_dies(trained, heavy(3), data.train, data.test, dies=40, goal=1.0)
    assert same.yield_ == own.yield_
    assert harder.yield_.k < own.yield_.k


def test_what_has_no_circuit_is_refused() -> None:
    with pytest.raises(MappingError, match="current mode"):
        data = tasks.get("detect")
        recipe = hardware_aware.recipe_of(recipes.RECIPES["detect"], steps=1)
        hardware_aware.fine_tune(shipped("detect-fq-bmru-2x4"), data.train, heavy(1), recipe)


def test_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "tuned.safetensors"
    arguments = [
        "train",
        "detect",
        "-o",
        str(out),
        "--hardware-aware",
        "--from",
        str(MODELS / "detect-cmru-2x4.safetensors"),
    ]
    arguments += ["--tune-steps", "20", "--dies", "10", "--json"]
    done = CliRunner().invoke(group, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(done.output)
    assert found["hardware_aware"]["before"]["dies"] == found["hardware_aware"]["after"]["dies"] == 10
    assert checkpoint.load(out).sha256 == found["sha256"]
    again = CliRunner().invoke(group, [*arguments[:3], str(tmp_path / "again.safetensors"), *arguments[4:]])
    assert json.loads(again.output)["sha256"] == found["sha256"], "the same seed trains on the same dies"
