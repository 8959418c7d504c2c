"""``train`` on the user's sequences: from random weights, from an imported network, and on dies."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cmru_hw
from cmru_hw.circuits.charge import mapping
from cmru_hw.core.errors import DataError
from cmru_hw.nn import checkpoint, tasks
from cmru_hw.nn import levels as levels_of
from tests import foreign
from tests.test_import import command, refused


def signs(path: Path, *, count: int = 80, seed: int = 0, features: int = 2, **changes: Any) -> Path:
    """Label: which of two features is larger on average."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, size=count)
    inputs = random.normal(size=(count, 12, features)).astype(np.float32)
    inputs[np.arange(count), :, labels] += 0.8
    arrays: dict[str, Any] = {"inputs": inputs, "labels": labels, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    return signs(tmp_path / "train.npz"), signs(tmp_path / "test.npz", seed=1)


def own(train: Path, test: Path) -> tuple[object, ...]:
    return "train", "--data", train, "--test", test


def test_a_network_is_trained_on_own_data(data: tuple[Path, Path], tmp_path: Path) -> None:
    made = tmp_path / "made.safetensors"
    words = (*own(*data), "--shape", "1x4", "--steps", 60, "--classes", "left, right", "--decision", "last")
    found = json.loads(command(*words, "-o", made, "--json").output)
    trained = checkpoint.load(made)
    assert trained.config.classes == ("left", "right") and trained.config.decision == "last"
    assert trained.config.task["split"] == "train.npz trains, test.npz tests"
    assert trained.config.scores == found["scores"] and found["scores"]["test"] > 0.8
    again = json.loads(command(*words, "-o", tmp_path / "again.safetensors", "--json").output)
    assert again["sha256"] == found["sha256"]


def test_noise_is_part_of_the_recipe(data: tuple[Path, Path], tmp_path: Path) -> None:
    words = (*own(*data), "--shape", "1x2", "--steps", 3)
    made = {}
    for noise in (0, 0.5):
        command(*words, "--noise", noise, "-o", tmp_path / f"{noise}.safetensors")
        made[noise] = checkpoint.load(tmp_path / f"{noise}.safetensors")
    assert made[0].sha256 != made[0.5].sha256
    assert made[0.5].config.training["recipe"]["noise"] == 0.5


def imported(folder: Path) -> Path:
    """An untrained network in a plain PyTorch file, with the names of a checkpoint."""
    torch.manual_seed(0)
    network = foreign.Plain(2, 4, 2).state_dict()
    names = {"rnn1.": "layers.0.", "rnn2.": "layers.1.", "Wc": "candidate", "Wb": "threshold", "gain": "alpha"}
    tensors = {"input.scale": torch.ones(2), "input.offset": torch.zeros(2)}
    for name, value in network.items():
        for own_name, ours in {**names, "head": "readout"}.items():
            name = name.replace(own_name, ours)
        tensors[name] = value
    tensors |= {f"layers.{layer}.initial_state": torch.ones(4) for layer in (0, 1)}
    torch.save({"model": tensors}, folder / "mine.pt")
    text = {"format": 1, "cell": "cmru", "levels": 3, "skip": False, "decision": "mean", "classes": ["a", "b"]}
    (folder / "mine.json").write_text(json.dumps(text))
    return folder / "mine.pt"


def test_training_goes_on_from_an_imported_network(data: tuple[Path, Path], tmp_path: Path) -> None:
    mine, made = imported(tmp_path), tmp_path / "made.safetensors"
    start = checkpoint.load(mine)
    before = cmru_hw.load_sequences(data[1])
    words = (*own(*data), "--from", mine, "--steps", 80, "-o", made, "--json")
    found = json.loads(command(*words).output)
    trained = checkpoint.load(made)
    assert trained.config.training["from_sha256"] == start.sha256 != found["sha256"]
    assert trained.config.classes == ("a", "b") and trained.config.units == start.config.units
    from cmru_hw.nn.training import accuracy

    assert found["scores"]["test"] == accuracy(trained, before) > accuracy(start, before) + 0.2


def test_an_imported_network_is_trained_on_dies(data: tuple[Path, Path], tmp_path: Path) -> None:
    mine, made = imported(tmp_path), tmp_path / "made.safetensors"
    words = (*own(*data), "--from", mine, "--hardware-aware", "--technology", "gf180", "--tune-steps", 40, "-n", 20)
    found = json.loads(command(*words, "-o", made, "--json").output)["hardware_aware"]
    assert found["technology"] == "gf180" and found["before"]["dies"] == found["after"]["dies"] == 20
    assert found["after"]["accuracy"]["median"] > found["before"]["accuracy"]["median"]
    notes = checkpoint.load(made).config
    assert notes.training["hardware_aware"]["from_sha256"] == checkpoint.load(mine).sha256
    assert notes.task["name"] == "own data"


def test_the_range_of_the_inputs_is_an_option(data: tuple[Path, Path], tmp_path: Path) -> None:
    mine, found = imported(tmp_path), {}
    words = (*own(*data), "--from", mine, "--hardware-aware", "--tune-steps", 20, "-n", 20)
    for percentile in (99.9, 80):
        made = tmp_path / f"{percentile}.safetensors"
        command(*words, "--input-percentile", percentile, "-o", made)
        notes = checkpoint.load(made).config.training["hardware_aware"]
        assert notes["input_percentile"] == percentile
        found[percentile] = checkpoint.load(made).sha256
    command(*words, "-o", tmp_path / "default.safetensors")
    assert found[99.9] == checkpoint.load(tmp_path / "default.safetensors").sha256 != found[80]


def test_training_sees_what_a_trim_leaves(data: tuple[Path, Path], tmp_path: Path) -> None:
    mine = imported(tmp_path)
    words = (*own(*data), "--from", mine, "--tune-steps", 20, "-n", 20)
    aware = (*words, "--hardware-aware", "--technology", "gf180")
    plain = json.loads(command(*aware, "-o", tmp_path / "plain.safetensors", "--json").output)
    trimmed = json.loads(command(*aware, "--trim", 5, "-o", tmp_path / "trimmed.safetensors", "--json").output)
    assert trimmed["sha256"] != plain["sha256"]
    assert "trim" not in plain["hardware_aware"]["before"]
    assert trimmed["hardware_aware"]["before"]["trim"]["rows_beyond"] == 0
    agreement = [one["hardware_aware"]["before"]["decision_agreement"] for one in (plain, trimmed)]
    assert agreement[0] < agreement[1]
    assert "add --hardware-aware" in command(*words, "--trim", 5, "-o", tmp_path / "no.safetensors", code=2).output


def test_the_same_is_public_in_python(data: tuple[Path, Path], tmp_path: Path) -> None:
    start = cmru_hw.load_model(imported(tmp_path))
    train, test = (cmru_hw.load_sequences(path) for path in data)
    recipe = cmru_hw.Recipe(steps=30, learning_rate=0.01)
    tuned = cmru_hw.improve(start, train, test, cmru_hw.load_technology("macro"), recipe, dies=8, seed=3)
    assert isinstance(tuned, cmru_hw.Tuned) and tuned.trained.sha256 != start.sha256
    assert tuned.before.dies == tuned.after.dies == 8


@pytest.mark.parametrize(
    ("words", "levels", "normalised"),
    [
        ((), ((1, 2, 4, 8, 8, 8),) * 2, True),
        (("--levels", "1,3,31"), ((1, 1, 3, 3, 31, 31),) * 2, True),
        (("--levels", "5", "--no-normalise"), 5, False),
        (("--no-normalise",), 7, False),
        (("--row-margin", 0.1), 7, False),
        (("--levels", "mixed", "--row-margin", 0.1, "--normalise"), ((1, 2, 4, 8, 8, 8),) * 2, True),
        (("--cell", "bmru"), 7, True),
        (("--cell", "acmru"), None, False),
    ],
)
def test_own_data_are_trained_on_with_normalised_candidates_and_mixed_levels(
    data: tuple[Path, Path], tmp_path: Path, words: tuple[object, ...], levels: object, normalised: bool
) -> None:
    made = tmp_path / "made.safetensors"
    command(*own(*data), "--shape", "2x6", "--steps", 3, *words, "-o", made)
    config = checkpoint.load(made).config
    assert config.levels == levels and config.training["recipe"]["normalised"] == normalised
    assert config.training["recipe"]["dependent"] != normalised


def test_mixed_levels_are_no_more_than_a_technology_tells_apart(data: tuple[Path, Path], tmp_path: Path) -> None:
    """Half a level of the largest K is a standard deviation of the level limit."""
    coarse = cmru_hw.load_technology("macro")
    coarse = replace(coarse, mismatch=replace(coarse.mismatch, limit=0.04))
    assert mapping.most_levels(coarse) == 5
    assert mapping.most_levels(cmru_hw.load_technology("macro")) == 100
    found = levels_of.mixed((6,), longest=100, most=5)
    assert found == ((1, 2, 4, 5, 5, 5),)


USAGE = [
    (("flipflop", "--levels", "1,x"), "'1,x' is not a whole number, a list of them such as 1,2,8, or mixed"),
    (("flipflop", "--levels", "-1"), "'-1' is not a whole number"),
    (("flipflop", "--levels", "0,3"), r"0 \(no limit\) cannot be combined with limits"),
    (("flipflop", "--levels", "9999999"), "levels is 9999999; it must be a positive whole number, at most 1000000"),
    (("--data", "a.npz", "--test", "b.npz", "--from", "x.pt", "--normalise"), "--normalise describes a new network"),
    ((), "give either a TASK or --data, for your own sequences"),
    (("detect", "--data", "a.npz", "--test", "b.npz"), "give either a TASK or --data"),
    (("--data", "a.npz"), "--data and --test go together"),
    (("detect", "--test", "b.npz"), "--data and --test go together"),
    (("detect", "--classes", "a,b"), "--classes names the classes of --data"),
    (("--data", "a.npz", "--test", "b.npz", "--from", "x.pt", "--cell", "bmru"), "--cell describes a new network"),
    (("--data", "a.npz", "--test", "b.npz", "--from", "x.pt", "--best-of", 3), "--best-of describes a new network"),
    (
        ("--data", "a.npz", "--test", "b.npz", "--input-percentile", 99),
        "range of inputs .* add --hardware",
    ),
    (("--data", "absent.npz", "--test", "b.npz"), "absent.npz: there is no such file; check the path"),
    (("--data", "a.npz", "--test", "b.npz", "--from", "absent.pt"), "absent.pt: there is no such file"),
]


@pytest.mark.parametrize(("words", "wanted"), USAGE, ids=[wanted for _, wanted in USAGE])
def test_options_that_do_not_go_together_are_usage_errors(
    words: tuple[object, ...], wanted: str, tmp_path: Path
) -> None:
    done = command("train", *words, "-o", tmp_path / "o.safetensors", code=2)
    assert re.search(wanted, " ".join(((done.output or "") + str(done.exception)).split()))


DATA = [
    ({"labels": None}, {}, "train.npz: it has no labels; add an array 'labels', one class index for each sequence"),
    ({}, {"labels": None}, "test.npz: it has no labels"),
    ({"labels": np.zeros(80, int)}, {}, "all sequences are of one class; give sequences of two or more"),
    ({"labels": np.arange(80) * 100}, {}, "label 7900 is too large; labels are class indices, 0 to 999"),
    ({}, {"features": 3}, "has 2 features, .* 3; give two parts of one data set"),
    ({"inputs": np.full((80, 12, 2), np.nan)}, {}, "inputs hold NaN or infinite values"),
]


@pytest.mark.parametrize(("train", "test", "wanted"), DATA, ids=[wanted for *_, wanted in DATA])
def test_data_that_cannot_be_trained_on_are_refused(
    train: dict[str, Any], test: dict[str, Any], wanted: str, tmp_path: Path
) -> None:
    paths = signs(tmp_path / "train.npz", **train), signs(tmp_path / "test.npz", **test)
    with pytest.raises(DataError, match=wanted):
        tasks.own(*paths)


def test_classes_and_features_have_to_fit(data: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are 1 class names, but label 1 occurs; name every class from 0 on"):
        tasks.own(*data, ("a",))
    wide = signs(tmp_path / "wide.npz", features=3), signs(tmp_path / "wide-test.npz", features=3)
    message = refused(*own(*wide), "--from", imported(tmp_path), "-o", tmp_path / "o.safetensors")
    assert "the sequences have 3 features, but the network takes 2" in message


def test_more_layers_than_can_be_read_are_refused_before_training(data: tuple[Path, Path], tmp_path: Path) -> None:
    message = refused(*own(*data), "--shape", "65x1", "-o", tmp_path / "o.safetensors")
    assert "there are 65 layers; give 1 to 64" in message
