"""The loss of row margins: it measures the voltages that a circuit's comparators see, and increases them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cmru_hw.circuits.charge import compare, fidelity, mapping
from cmru_hw.cli import group
from cmru_hw.core.errors import InputError
from cmru_hw.nn import checkpoint, margin_loss, recipes, tasks, training
from cmru_hw.nn.cells import WindowLayer
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import technology
from tests.narrow import known
from tests.networks import Shape, random_network, random_sequences

MODELS = Path(__file__).parent.parent / "models"


def transistors() -> technology.Technology:
    return fidelity.at_level(technology.load("gf180"), "transistor", "integrator")


def margins(trained: Trained, data: Sequences) -> list[np.ndarray]:
    """Voltage of the row closer to its threshold, (decisions, units), of each layer."""
    design = mapping.map_network(trained, transistors(), mapping.calibrate(trained, data))
    found = compare.reference(design, trained, data)
    return [layer[found.response.valid] for layer in found.margins]


@pytest.mark.parametrize(
    "shape", [Shape(), Shape(skip=False), Shape(cell="bmru", units=(2, 3)), Shape(levels=7), Shape(levels="mixed")]
)
def test_what_is_penalised_is_what_the_circuit_sees(shape: Shape) -> None:
    """If the constant is a line of full swing, and only weights load a row, r is the row's voltage."""
    ideal = technology.load("macro")
    swing = ideal.signal.input_swing
    ideal = replace(
        ideal,
        signal=replace(ideal.signal, bias=swing, state_swing=swing),
        capacitor=replace(ideal.capacitor, parasitic=0.0, minimum=0.0, step=0.0),
    )
    trained, data = random_network(shape), random_sequences(shape)
    calibration = mapping.calibrate(trained, data)
    design = mapping.map_network(trained, ideal, calibration)
    expected = compare.reference(design, trained, data)
    network = trained.network().double()
    network.input.limits = torch.from_numpy(design.input_range.low), torch.from_numpy(design.input_range.high)
    output = network(torch.from_numpy(data.inputs).double(), torch.from_numpy(data.lengths))
    for index, r in enumerate(margin_loss.rows(network, output, torch.tensor(calibration.inputs))):
        found = margin_loss.scores(r)
        np.testing.assert_allclose(found.amax(0).detach() * swing, expected.margins[index], rtol=1e-6)
        made = 1 - found.argmax(0)
        moves = torch.where(made == 1, 1, torch.where(made == 0, -1, 0))
        valid = expected.response.valid
        np.testing.assert_array_equal(moves[valid], output.decisions[index][valid])


def test_units_that_never_move_are_no_way_out() -> None:
    network, data = random_network(Shape(units=(2,), skip=False)).network(), random_sequences(Shape())
    x, valid = torch.from_numpy(data.inputs), torch.ones(data.inputs.shape[:2], dtype=torch.bool)
    [layer] = network.layers
    assert isinstance(layer, WindowLayer)
    with torch.no_grad():
        layer.candidate.weight.mul_(1e-3)
        layer.candidate.bias.fill_(1.0)
        layer.threshold.weight.mul_(1e-3)
        layer.threshold.bias.fill_(0.5)
    output = network(x)
    [r] = margin_loss.rows(network, output, 1.0)
    assert margin_loss.scores(r).amax(0).min() > 0.05, "no decision is close to another"
    cost = margin_loss.loss(network, output, valid, inputs=1.0, margin=0.05)
    assert cost > margin_loss.WEIGHT * 1.9
    cost.backward()
    assert known(layer.candidate.bias.grad).abs().min() > 0


def test_decisions_keep_clear_of_their_thresholds_and_the_task_is_done() -> None:
    task = tasks.get("detect")
    found, accuracy = {}, {}
    for share in (0.0, 0.1):
        recipe = replace(recipes.RECIPES["detect"], steps=700, row_margin=share)
        made = [training.train(task, recipe=recipe, units=(4, 4), skip=False, seed=seed) for seed in (0, 1)]
        found[share] = np.mean([[np.mean(volts < 2e-3) for volts in margins(one, task.test)] for one in made], axis=0)
        accuracy[share] = np.mean([one.config.scores["test"] for one in made])
        trained = made[-1]
        assert trained.config.training["recipe"]["row_margin"] == share
    assert accuracy[0.1] > accuracy[0.0] - 0.03
    assert (found[0.1] < 0.7 * found[0.0]).all()
    # All levels have the same size, and every feature uses the swing.
    for layer in range(2):
        assert trained.tensors[f"layers.{layer}.alpha"].unique().numel() == 1
    valid = np.arange(task.train.inputs.shape[1]) < task.train.lengths[:, None]
    scaled = trained.network().input(torch.from_numpy(task.train.inputs[valid])).abs().amax(0)
    torch.testing.assert_close(scaled, scaled.max().expand(len(scaled)))


@pytest.mark.parametrize(("cell", "levels"), [("acmru", None), ("fq-bmru", 7), ("cmru", None)])
def test_a_swing_that_is_not_known_is_refused(cell: str, levels: int | None) -> None:
    recipe = recipes.Recipe(steps=1, row_margin=0.1)
    with pytest.raises(InputError, match=r"a row margin is a share of the swing, which a .* does not have; train a"):
        training.train("detect", cell=cell, units=(2,), levels=levels, recipe=recipe)


def test_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "kept.safetensors"
    arguments = ["train", "detect", "-o", str(out), "--shape", "1x2", "--steps", "3", "--row-margin"]
    assert CliRunner().invoke(group, [*arguments, "0.1"]).exit_code == 0
    assert checkpoint.load(out).config.training["recipe"]["row_margin"] == 0.1
    wrong = CliRunner().invoke(group, [*arguments, "1.5"])
    assert wrong.exit_code == 2
    assert "1.5 is not in the range" in wrong.output


def test_seeds_are_told_apart_without_test_sequences(tmp_path: Path) -> None:
    """The chosen network has the least loss, and equals the network of its own seed."""
    arguments = ["train", "detect", "--shape", "1x2", "--steps", "20", "--json"]
    out = [str(tmp_path / f"{name}.safetensors") for name in ("best", "own")]
    done = CliRunner().invoke(group, [*arguments, "-o", out[0], "--seed", "3", "--best-of", "3"])
    tried = json.loads(done.output)["tried"]
    assert [one["seed"] for one in tried] == [3, 4, 5]
    best = min(tried, key=lambda one: one["loss"])
    kept = checkpoint.load(out[0])
    assert kept.config.training["seed"] == best["seed"]
    assert kept.config.training["best_of"] == {str(one["seed"]): one["loss"] for one in tried}
    CliRunner().invoke(group, [*arguments, "-o", out[1], "--seed", str(best["seed"])])
    assert checkpoint.load(out[1]).sha256 == kept.sha256


def test_the_shipped_detector_keeps_its_margins() -> None:
    """The statement of its model card on held-out data at transistor level."""
    trained, data = checkpoint.load(MODELS / "detect-cmru-2x4.safetensors"), tasks.get("detect").test
    card = (MODELS / "detect-cmru-2x4.md").read_text(encoding="utf-8")
    below = [np.mean(volts < 2e-3) for volts in margins(trained, data)]
    assert f"{below[0]:.1%} and {below[1]:.1%}".replace("%", " %") in card
    with torch.no_grad():
        output = trained.network()(torch.from_numpy(data.inputs), torch.from_numpy(data.lengths))
    valid = np.arange(data.inputs.shape[1]) < data.lengths[:, None]
    for decisions, states in zip(output.decisions, output.states, strict=True):
        for move in (-1, 0, 1):
            assert (np.mean(decisions.numpy()[valid] == move, axis=0) > 0.02).all()
        assert all(len(np.unique(unit)) > 3 for unit in states.numpy()[valid].T)
