"""Tasks, training and the shipped checkpoints."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmru_hw.core.errors import DataError, InputError
from cmru_hw.nn import recipes, tasks, training
from cmru_hw.nn.cell_config import CELLS
from cmru_hw.nn.checkpoint import ModelConfig, Trained, load
from cmru_hw.nn.recipes import RECIPES, Recipe
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.nn.tasks import Task
from cmru_hw.nn.training import accuracy, cross_validate, fit, predict, train
from tests.narrow import known

MODELS = Path(__file__).parent.parent / "models"
EVALUATED = sorted(path.name.removesuffix("-eval.npz") for path in MODELS.glob("*-eval.npz"))


@pytest.fixture(scope="module")
def signs() -> Task:
    """Label: which of two features is larger on average; learnt in a moment."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, size=80)
    inputs = rng.normal(size=(80, 12, 2))
    inputs[np.arange(80), :, labels] += 0.8
    lengths = rng.integers(6, 13, size=80)
    whole = Sequences(inputs=inputs.astype(np.float32), lengths=lengths, labels=labels)
    half = np.arange(40)
    return Task(
        name="signs", train=whole.take(half), test=whole.take(half + 40), classes=("a", "b"), notes={"data": "-"}
    )


SHORT = Recipe(
    steps=40,
    batch=40,
    learning_rate=0.05,
    noise=0.1,
    shift=0.1,
    crop=0.1,
    stretch=0.1,
    dropout=0.1,
    mixed=0.3,
    taught=0.3,
)


# --- Tasks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "train_shape", "test_shape", "classes"),
    [
        ("vowels", (270, 26, 12), (370, 29, 12), 9),
        ("detect", (270, 26, 12), (370, 29, 12), 2),
        ("digits", (1437, 8, 8), (360, 8, 8), 10),
        ("flipflop", (256, None, 1), (24, None, 1), 2),
        ("listops", (2048, 32, 15), (512, 32, 15), 10),
    ],
)
def test_tasks(
    name: str, train_shape: tuple[int, int | None, int], test_shape: tuple[int, int | None, int], classes: int
) -> None:
    task = tasks.get(name)
    for part, shape in ((task.train, train_shape), (task.test, test_shape)):
        assert all(expected in (None, size) for size, expected in zip(part.inputs.shape, shape, strict=True))
        assert part.labels is not None
        assert set(part.labels) == set(range(classes))
    assert len(task.classes) == classes
    assert task.notes.keys() >= {"data", "split", "source", "licence"}


def test_the_detector_listens_for_one_of_the_vowel_speakers() -> None:
    vowels, detect = tasks.get("vowels"), tasks.get("detect")
    assert np.array_equal(known(detect.test.labels), known(vowels.test.labels) == tasks.DETECTED - 1)


def test_flipflop_holds_the_last_pulse() -> None:
    test = tasks.get("flipflop").test
    holds = []
    for row, length, label in zip(test.inputs[..., 0], test.lengths, known(test.labels), strict=True):
        pulses = np.flatnonzero(np.abs(row) > 0.5)
        assert (row[pulses[-1]] > 0) == label
        assert not row[length:].any()
        holds.append(length - 1 - pulses[-1])
    assert min(holds) == tasks.SHORTEST_HOLD
    assert max(holds) == tasks.LONGEST_HOLD


def value_of(tokens: list[str]) -> int:
    """Read an expression from its last list to its first, independent of how it was made."""
    stack: list[list[int]] = [[]]
    names = []
    for token in tokens:
        if token.startswith("["):
            names.append(token[1:])
            stack.append([])
        elif token == "]":
            items, name = sorted(stack.pop()), names.pop()
            values = {"MIN": items[0], "MAX": items[-1], "MED": items[(len(items) - 1) // 2], "SM": sum(items) % 10}
            stack[-1].append(values[name])
        else:
            stack[-1].append(int(token))
    return stack[0][0]


def test_labels_of_listops_are_the_values_of_its_expressions() -> None:
    task = tasks.get("listops")
    assert task.test.labels is not None
    nested = 0
    for row, length, label in zip(task.test.inputs, task.test.lengths, task.test.labels, strict=True):
        assert (row[:length].sum(1) == 1).all() and not row[length:].any()
        tokens = [tasks.TOKENS[place] for place in row[:length].argmax(1)]
        assert value_of(tokens) == label
        nested += tokens[1:].count("]") > 1
    assert nested > len(task.test) / 3
    seen = {row.tobytes() for row in task.train.inputs}
    assert not any(row.tobytes() in seen for row in task.test.inputs)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(InputError, match="task 'mnist' is unknown; it must be one of vowels, detect, digits, flipflop"):
        tasks.get("mnist")


@pytest.mark.parametrize(("name", "package"), [("vowels", "aeon"), ("detect", "aeon"), ("digits", "sklearn")])
def test_missing_data_packages_are_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, f"{package}.datasets", None)
    with pytest.raises(InputError, match=r"not installed; run: pip install 'cmru_hw\[train\]'"):
        tasks.get(name)


# --- Training ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_training_learns_and_is_reproducible(signs: Task, cell: str) -> None:
    state = torch.random.get_rng_state()
    arguments: dict[str, Any] = {
        "cell": cell,
        "units": (4, 3),
        "epsilon": 0.5 if cell == "eps" else None,
        "recipe": SHORT,
    }
    one, two = (train(signs, seed=7, **arguments) for _ in range(2))
    assert one.sha256 == two.sha256
    assert train(signs, seed=8, **arguments).sha256 != one.sha256
    assert torch.equal(state, torch.random.get_rng_state()), "training leaves torch's own randomness alone"
    assert one.config.scores["train"] >= 0.8
    assert one.config.scores["test"] == accuracy(one, signs.test)
    assert one.config.training["seed"] == 7


def test_annealing_goes_from_one_to_the_target(signs: Task) -> None:
    recipe = Recipe(steps=10, batch=40, annealed=0.5)
    seen = []

    def watch(layer: Any, signal: Any, value: Any) -> Any:
        seen.append(value)
        return value

    done = []
    train(
        signs, cell="eps", epsilon=0.2, units=(3,), recipe=recipe, perturb=watch, progress=lambda *at: done.append(at)
    )
    assert [step for step, _, _ in done] == list(range(1, 11))
    assert all(steps == 10 and loss > 0 for _, steps, loss in done)
    assert len(seen) == 10 * 3
    assert [training._annealed(0.2, step, recipe) for step in (0, 1, 5, 9)] == pytest.approx([1.0, 0.84, 0.2, 0.2])
    assert training._annealed(0.2, 0, Recipe(annealed=0.0)) == 0.2


def test_fixed_thresholds_stay_fixed(signs: Task) -> None:
    trained = train(signs, units=(3, 3), recipe=Recipe(steps=20, batch=40, dependent=False))
    for index in range(2):
        assert not trained.tensors[f"layers.{index}.threshold.weight"].any()
        assert trained.tensors[f"layers.{index}.threshold.bias"].unique().numel() > 1


def test_thresholds_of_fq_bmru_stay_buildable(signs: Task) -> None:
    trained = train(signs, cell="fq-bmru", units=(3,), recipe=Recipe(steps=60, batch=40, learning_rate=0.2))
    assert (trained.tensors["layers.0.low"] >= 0).all()
    assert (trained.tensors["layers.0.width"] >= 0).all()


def test_eps_needs_its_epsilon(signs: Task) -> None:
    with pytest.raises(InputError, match="cell 'eps' needs an epsilon"):
        train(signs, cell="eps")


def test_cross_validation_never_scores_what_it_fitted(signs: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    config = train(signs, units=(2,), recipe=Recipe(steps=1)).config
    fitted = []

    def remember(config: ModelConfig, sequences: Sequences, recipe: Recipe, *, seed: int) -> Trained:
        fitted.append({row.tobytes() for row in sequences.inputs})
        return fit(config, sequences, recipe, seed=seed)

    def check(trained: Trained, sequences: Sequences) -> int:
        assert not fitted[-1] & {row.tobytes() for row in sequences.inputs}
        return len(sequences)

    monkeypatch.setattr(training, "fit", remember)
    monkeypatch.setattr(training, "accuracy", check)
    assert sum(cross_validate(config, signs.train, Recipe(steps=1), folds=4)[:4]) == len(signs.train)


def test_labels_are_needed(signs: Task) -> None:
    trained = train(signs, units=(2,), recipe=Recipe(steps=1))
    bare = Sequences(inputs=signs.test.inputs)
    assert len(predict(trained, bare)) == len(bare)
    for call in (
        lambda: accuracy(trained, bare),
        lambda: fit(trained.config, bare, Recipe(), seed=0),
        lambda: cross_validate(trained.config, bare, Recipe()),
    ):
        with pytest.raises(DataError, match="needs labels"):
            call()


def test_every_task_has_its_recipe() -> None:
    assert set(RECIPES) == set(tasks.TASKS)


# --- Shipped checkpoints -----------------------------------------------------------------------------------------


def shipped() -> list[Path]:
    return sorted(MODELS.glob("*.safetensors"))


def read(path: Path) -> tuple[Trained, Sequences, str]:
    task = path.name.split("-")[0]
    return load(path), load_sequences(MODELS / f"{task}-eval.npz"), path.with_suffix(".md").read_text(encoding="utf-8")


def test_the_promised_checkpoints_are_there() -> None:
    assert {path.stem for path in shipped()} >= {
        "vowels-cmru-2x16",
        "vowels-acmru-2x16",
        "vowels-bmru-2x16",
        "detect-cmru-2x4",
        "flipflop-cmru-1x2",
    }


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_a_shipped_checkpoint_is_what_its_name_and_card_say(path: Path) -> None:
    trained, evaluation, card = read(path)
    task, rest = path.stem.split("-", 1)
    cell, shape = rest.rsplit("-", 1)
    layers, units = map(int, shape.split("x"))
    assert trained.config.task["name"] == task
    assert trained.config.cell == cell
    assert trained.config.units == (units,) * layers
    correct = int((predict(trained, evaluation) == evaluation.labels).sum())
    assert accuracy(trained, evaluation) == trained.config.scores["test"]
    assert f"{correct} of {len(evaluation)}" in card
    assert trained.config.training["command"] in card
    assert trained.config.task["licence"] in card
    assert re.search(r"median of (5|10) seeds", card)


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_a_shipped_checkpoint_can_be_built(path: Path) -> None:
    trained = load(path)
    for name, tensor in trained.tensors.items():
        if name.endswith("alpha"):
            assert (tensor != 0).all()
    if trained.config.cell == "cmru":
        found = trained.config.levels
        assert found is not None
        if isinstance(found, int):
            assert found <= 7
        else:
            assert all(31 in layer and min(layer) == 1 for layer in found)


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_a_shipped_checkpoint_is_of_the_present_recipe(path: Path) -> None:
    config = load(path).config
    # Settings that were not recorded have their earlier fixed value; options of a command may differ.
    noted = Recipe(**config.training["recipe"])
    present = RECIPES[config.task["name"]]
    if "--normalise " in config.training["command"]:
        present = recipes.normalised(present)
    assert noted == replace(present, steps=noted.steps, row_margin=noted.row_margin)
    for option, value in (("--steps", noted.steps), ("--row-margin", noted.row_margin)):
        default = getattr(RECIPES[config.task["name"]], option[2:].replace("-", "_"))
        assert value == default or f"{option} {value} " in config.training["command"]


def test_a_shipped_checkpoint_can_be_made_again() -> None:
    config = load(MODELS / "flipflop-cmru-1x2.safetensors").config
    seed = config.training["seed"]
    again = train("flipflop", cell=config.cell, units=config.units, levels=config.levels, skip=config.skip, seed=seed)
    assert again.config.scores == config.scores


@pytest.mark.parametrize("name", EVALUATED)
def test_evaluation_files_are_the_test_sequences(name: str) -> None:
    ours, theirs = load_sequences(MODELS / f"{name}-eval.npz"), tasks.get(name).test
    for array in ("inputs", "lengths", "labels"):
        assert np.array_equal(getattr(ours, array), getattr(theirs, array))


def test_one_shipped_network_has_thresholds_that_depend_on_the_input() -> None:
    assert any(load(path).tensors["layers.0.threshold.weight"].any() for path in shipped())


def test_the_relaxed_cell_stays_between_rails() -> None:
    trained, evaluation, _ = read(MODELS / "vowels-acmru-2x16.safetensors")
    assert trained.config.levels is None
    with torch.no_grad():
        lengths = torch.from_numpy(evaluation.lengths)
        output = trained.network()(torch.from_numpy(evaluation.inputs), lengths)
    for h, alpha in zip(output.outputs, output.alphas, strict=True):
        assert h.abs().max() <= 12 * alpha.abs().median()
