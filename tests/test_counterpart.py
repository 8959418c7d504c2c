"""``train --counterpart``: a network of the other architecture, for the same task and of the same size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmru_hw.circuits import registry
from cmru_hw.core import package_data
from cmru_hw.nn import checkpoint
from tests.test_import import command, refused
from tests.test_train_own import own, signs

MODELS = package_data.folder("models")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A CMRU with skip connections, trained on own data, and the data."""
    folder = tmp_path_factory.mktemp("counterpart")
    train, test = signs(folder / "train.npz"), signs(folder / "test.npz", seed=1)
    words = (*own(train, test), "--shape", "2x3", "--steps", 60, "--classes", "left, right", "--decision", "last")
    command(*words, "-o", folder / "cmru.safetensors")
    return folder / "cmru.safetensors", train, test


def test_a_counterpart_has_the_same_task_and_size(pair: tuple[Path, Path, Path], tmp_path: Path) -> None:
    path, train, test = pair
    made = tmp_path / "fq.safetensors"
    words = (*own(train, test), "--counterpart", path, "--steps", 60, "-o", made, "--json")
    found = json.loads(command(*words).output)
    first, second = checkpoint.load(path), checkpoint.load(made)
    assert (first.config.cell, second.config.cell) == ("cmru", "fq-bmru")
    for name in ("units", "features", "classes", "decision", "skip"):
        assert getattr(first.config, name) == getattr(second.config, name), name
    assert second.config.training["counterpart_of"] == first.sha256
    assert found["counterpart_of"] == {
        "file": str(path), "cell": "cmru", "sha256": first.sha256, "test": first.config.scores["test"],
    }  # fmt: skip
    # Each is a circuit of its own architecture.
    for trained, kind in ((first, registry.get("sc")), (second, registry.get("cm"))):
        technology = kind.at_level(kind.load_technology("gf180"), None, None)
        kind.map_network(trained, technology, kind.calibrate(trained, None))
    # The counterpart of the counterpart is a CMRU again.
    command(*own(train, test), "--counterpart", made, "--steps", 2, "-o", tmp_path / "again.safetensors")
    assert checkpoint.load(tmp_path / "again.safetensors").config.cell == "cmru"


def test_what_cannot_be_compared_is_refused_by_name(pair: tuple[Path, Path, Path], tmp_path: Path) -> None:
    path, train, test = pair
    out = ("-o", tmp_path / "fq.safetensors")
    assert f"{path} was trained on own data: give --data and --test" in refused("train", "--counterpart", path, *out)
    detector = MODELS / "detect-cmru-2x4.safetensors"
    assert "trained on the task detect, not on --data" in refused(*own(train, test), "--counterpart", detector, *out)
    wide = signs(tmp_path / "wide.npz", features=3), signs(tmp_path / "wide2.npz", features=3, seed=1)
    message = refused(*own(*wide), "--counterpart", path, *out)
    assert f"{path} cannot be compared on these sequences: the sequences have 3 features" in message
    # Sequences of the same shape, but not those of its task: its accuracy gives them away.
    labels = np.load(test)["labels"]
    other = signs(tmp_path / "other.npz", seed=1, labels=1 - labels)
    assert "in its checkpoint: give the sequences that it was trained" in refused(
        *own(train, other), "--counterpart", path, *out
    )
    assert "leave --shape out" in command("train", "--counterpart", path, "--shape", "1x2", *out, code=2).output
    assert "leave TASK out" in command("train", "detect", "--counterpart", path, *out, code=2).output
    one = checkpoint.load(path)
    tensors = {name: value[:1] if name.startswith("readout") else value for name, value in one.tensors.items()}
    checkpoint.save(
        replace(one, config=replace(one.config, classes=("a",)), tensors=tensors), tmp_path / "1.safetensors"
    )
    message = refused(*own(train, test), "--counterpart", tmp_path / "1.safetensors", *out)
    assert "the network has one score" in message
    assert not (tmp_path / "fq.safetensors").exists()


def test_current_mode_names_the_counterpart_as_remedy(tmp_path: Path) -> None:
    detector = MODELS / "detect-cmru-2x4.safetensors"
    message = refused("export", detector, "--architecture", "cm", "-o", tmp_path / "out")
    assert "cmru-hw train --counterpart" in message
