"""A checkpoint is read back unchanged, and every invalid file is refused in one helpful line."""

# long: one format, with all the ways in which a file of it can be invalid
from __future__ import annotations

import json
import os
import pickle
import re
import struct
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from cmru_hw.core.errors import CheckpointError, DataError, OutputError
from cmru_hw.nn import checkpoint
from cmru_hw.nn.cell_config import CELLS
from cmru_hw.nn.checkpoint import ModelConfig, Trained, load, save
from cmru_hw.nn.sequences import Sequences, load_sequences, save_sequences


def config(cell: str = "cmru", **changes: Any) -> ModelConfig:
    values = {
        "cell": cell,
        "epsilon": 0.0 if cell == "bmru" else 1.0,
        "levels": 7,
        "skip": True,
        "decision": "mean",
        "classes": ("yes", "no"),
        "features": 3,
        "units": (4, 5),
        "widths": (4, 4, 5) if cell == "fq-bmru" else None,
        "task": {"name": "ü"},
        "scores": {"test": 0.1},
    }
    return ModelConfig(**{**values, **changes})


def trained(cell: str = "cmru", **changes: Any) -> Trained:
    torch.manual_seed(0)
    made = config(cell, **changes)
    return Trained.from_network(made.network(), made)


def parts(cell: str = "cmru") -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The JSON and the tensors of a valid checkpoint, which tests then corrupt."""
    good = trained(cell)
    keys = ("cell", "epsilon", "levels", "skip", "decision")
    text = {"format": 1, "classes": list(good.config.classes), **{key: getattr(good.config, key) for key in keys}}
    return text, dict(good.tensors)


def written(path: Path, text: object, tensors: dict[str, torch.Tensor]) -> Path:
    text = text if isinstance(text, str) else json.dumps(text)
    path.write_bytes(safetensors.torch.save(tensors, {"cmru_hw": text}))
    return path


def refusal(path: Path) -> str:
    """The message of the error when ``path`` is loaded: one printable line that names the file."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


# --- What is right -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_round_trip_is_exact(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "net.safetensors"
    original = trained(cell, levels=None if cell == "acmru" else 7)
    save(original, path)
    back = load(path)
    assert back.config == original.config
    assert back.sha256 == original.sha256
    assert back.tensors.keys() == original.tensors.keys()
    assert all(torch.equal(back.tensors[name], original.tensors[name]) for name in back.tensors)
    x = torch.randn(2, 9, 3)
    assert torch.equal(back.network()(x).logits, original.network()(x).logits)
    again = tmp_path / "again.safetensors"
    save(back, again)
    assert again.read_bytes() == path.read_bytes()


def test_the_hash_is_of_what_is_computed() -> None:
    base = trained()
    assert trained(scores={}, task={}, training={"seed": 3}).sha256 == base.sha256
    assert trained(levels=6).sha256 != base.sha256
    assert trained(decision="last").sha256 != base.sha256
    tensors = {name: value.clone() for name, value in base.tensors.items()}
    tensors["readout.bias"][0] += 1e-6
    assert Trained(config=base.config, tensors=tensors).sha256 != base.sha256


def test_trained_keeps_its_own_weights() -> None:
    made = config()
    network = made.network()
    kept = Trained.from_network(network, made)
    before = kept.sha256
    with torch.no_grad():
        network.readout.bias.fill_(9.0)
    assert Trained(config=made, tensors=kept.tensors).sha256 == before
    with pytest.raises(TypeError):
        kept.tensors["readout.bias"] = torch.zeros(2)  # type: ignore[index]  # it is read-only


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("sidecar", [False, True])
def test_a_plain_state_dict_is_read(tmp_path: Path, suffix: str, sidecar: bool) -> None:
    original = trained()
    text, tensors = parts()
    path = tmp_path / f"net{suffix}"
    if sidecar:
        torch.save(tensors, path)
        path.with_suffix(".json").write_text(json.dumps(text))
    else:
        torch.save({**tensors, "cmru_hw": json.dumps(text)}, path)
    assert load(path).sha256 == original.sha256


# --- What is wrong: tensors --------------------------------------------------------------------------------------


def nan(tensor: torch.Tensor) -> torch.Tensor:
    return torch.full_like(tensor, torch.nan)


SPOILED_TENSORS = [
    ("cmru", {"layers.1.candidate.weight": None}, "tensor layers.1.candidate.weight is missing"),
    ("cmru", {"layers.0.candidate.bias": None}, "tensor layers.0.candidate.bias is missing"),
    ("cmru", {"input.scale": None}, "tensor input.scale is missing"),
    ("acmru", {"layers.0.alpha.bias": None}, "tensor layers.0.alpha.bias is missing"),
    ("cmru", {"layers.0.width": torch.ones(4)}, "tensor layers.0.width has no place in a cmru network"),
    ("cmru", {"layers.3.alpha": torch.ones(4)}, "tensor layers.3.alpha has no place"),
    (
        "cmru",
        {"layers.00.alpha": torch.ones(4)},
        "1 tensor name is unknown: 'layers.00.alpha' .nearest: layers.0.alpha",
    ),
    ("cmru", {"gru.weight_ih": torch.ones(4)}, "'gru.weight_ih' .nearest: .*cmru-hw convert --names"),
    ("cmru", {"layers.0.alpha\n.control": torch.ones(4)}, r"is unknown: 'layers.0.alpha\\n.control'"),
    ("cmru", {"layers.0.alpha ": torch.ones(4)}, "is unknown: 'layers.0.alpha ' .nearest: layers.0.alpha"),
    ("cmru", {"layers.1.norm.weight": torch.ones(4)}, "'layers.1.norm.weight' belongs to layer normalisation"),
    (
        "cmru",
        {"layers.0.LayerNorm.bias": torch.ones(4)},
        "belongs to layer normalisation, .*; train a network without it",
    ),
    ("cmru", {"layers.0.glu.weight": torch.ones(4)}, "belongs to a gated linear unit"),
    ("cmru", {"attention.in_proj_weight": torch.ones(4)}, "belongs to attention"),
    ("cmru", {"layers.0.softmax.scale": torch.ones(4)}, "belongs to softmax"),
    (
        "cmru",
        {"bn1.running_mean": torch.ones(4)},
        "belongs to batch normalisation; fold it, in evaluation mode, by a ..before.. of a map",
    ),
    ("cmru", {"layers.1.candidate.weight": torch.ones(5, 4)}, r"has shape \(5, 4\), but .*skip.* it must be \(5, 7\)"),
    ("cmru", {"layers.0.candidate.bias": torch.ones(2, 2)}, "layers.0.candidate.bias has shape .*it must be a vector"),
    ("cmru", {"layers.0.alpha": torch.ones(5)}, r"layers.0.alpha has shape \(5,\)"),
    ("cmru", {"input.offset": torch.ones(4)}, r"input.offset has shape \(4,\)"),
    ("cmru", {"input.scale": torch.ones(0)}, "it must be a vector"),
    ("cmru", {"readout.bias": torch.ones(3)}, "readout.bias has 3 rows for 2 classes"),
    ("cmru", {"layers.0.alpha": torch.ones(4, dtype=torch.bool)}, "tensor 'layers.0.alpha' is boolean, .* float32"),
    ("cmru", {"layers.0.alpha": torch.ones(4) * 1j}, "tensor 'layers.0.alpha' is complex64, but weights are real"),
    ("cmru", {"layers.0.alpha": nan(torch.ones(4))}, "layers.0.alpha holds NaN or infinity"),
    ("cmru", {"input.scale": torch.tensor([1.0, torch.inf, 1.0])}, "input.scale holds NaN or infinity"),
    ("cmru", {"layers.0.initial_state": torch.tensor([1.0, -1.0, 0.0, 1.0])}, "every initial state must be -1 or 1"),
    ("fq-bmru", {"layers.0.initial_state": -torch.ones(4)}, "every initial state must be 0 or 1"),
    ("fq-bmru", {"layers.0.low": -torch.ones(4)}, "layers.0.low holds -1; .* not negative"),
    ("fq-bmru", {"layers.1.width": torch.full((5,), -0.5)}, "layers.1.width holds -0.5; .* not negative"),
    ("fq-bmru", {"projection.bias": None}, "projection.bias is missing"),
]


@pytest.mark.parametrize(
    ("cell", "changes", "message"), SPOILED_TENSORS, ids=[message for *_, message in SPOILED_TENSORS]
)
def test_spoiled_tensors_are_named(tmp_path: Path, cell: str, changes: dict[str, Any], message: str) -> None:
    text, tensors = parts(cell)
    tensors = {name: value for name, value in {**tensors, **changes}.items() if value is not None}
    found = refusal(written(tmp_path / "net.safetensors", text, tensors))
    assert re.search(message, found), found


def test_no_layers_and_too_many_layers(tmp_path: Path) -> None:
    text, tensors = parts()
    few = {name: value for name, value in tensors.items() if not name.startswith("layers.")}
    assert "there are 0 layers" in refusal(written(tmp_path / "few.safetensors", text, few))
    many = {**tensors, **{f"layers.{index}.candidate.bias": torch.ones(1) for index in range(2, 70)}}
    assert "there are 65 layers" in refusal(written(tmp_path / "many.safetensors", text, many))


def test_a_tensor_that_only_claims_to_be_huge_is_not_unfolded(tmp_path: Path) -> None:
    text, tensors = parts()
    tensors["layers.0.candidate.weight"] = torch.zeros(1).expand(1 << 20, 1 << 20)
    path = tmp_path / "net.pt"
    torch.save({**tensors, "cmru_hw": json.dumps(text)}, path)
    assert "more than 64 MiB" in refusal(path)


# --- What is wrong: JSON -----------------------------------------------------------------------------------------

SPOILED_JSON = [
    ({"format": 2}, '"format" is 2; this version reads format 1'),
    ({"format": None}, '"format" is None'),
    ({"format": True}, '"format" is True'),
    ({"cell": "gru"}, "cell 'gru' is unknown; it must be one of bmru, cmru"),
    ({"cell": 3}, '"cell" is int'),
    ({"epsilon": 1.5}, "epsilon is 1.5; it must lie between 0 and 1"),
    ({"epsilon": 0.5}, "1.0 for cell 'cmru'; use cell 'eps'"),
    ({"epsilon": True}, '"epsilon" is bool in its JSON; it must be a number'),
    ({"epsilon": "one"}, '"epsilon" is text in its JSON; it must be a number'),
    ({"levels": 0}, "levels is 0; it must be a positive whole number"),
    ({"levels": -3}, "levels is -3"),
    ({"levels": 10**100}, "it must be a positive whole number, at most 1000000"),
    ({"levels": 2.5}, '"levels" is float'),
    ({"levels": True}, '"levels" is bool'),
    ({"skip": 1}, '"skip" is int'),
    ({"levels": ...}, '"levels" is missing from its JSON; it is the largest level, or null for no limit'),
    ({"classes": "ab"}, '"classes" is text in its JSON; it must be a list of texts'),
    ({"decision": "best"}, "decision 'best' is unknown; it must be one of mean, last, majority"),
    ({"classes": ["yes"]}, "readout.bias has 2 rows for 1 classes"),
    ({"classes": []}, '"classes" is empty'),
    ({"classes": ["yes", "yes"]}, "class name 'yes' occurs twice"),
    ({"classes": ["yes", 1]}, '"classes" holds something that is not text'),
    ({"classes": ["yes", "no\n.control"]}, "use 1 to 64 printable characters"),
    ({"classes": ["yes", " no"]}, "use 1 to 64 printable characters"),
    ({"classes": ["yes", ""]}, "use 1 to 64 printable characters"),
    ({"classes": ["yes", "n" * 65]}, "use 1 to 64 printable characters"),
    ({"task": []}, '"task" is list'),
    ({"level": 3}, "unknown key 'level'"),
    ({"skip": ...}, '"skip" is missing from its JSON'),
    ({"task": {"log": "x" * (1 << 20)}}, "larger than 1024 KiB"),
]


@pytest.mark.parametrize(("changes", "message"), SPOILED_JSON, ids=[message for _, message in SPOILED_JSON])
def test_spoiled_json_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    text, tensors = parts()
    text = {key: value for key, value in {**text, **changes}.items() if value is not ...}
    assert message in refusal(written(tmp_path / "net.safetensors", text, tensors))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its JSON cannot be read"),
        ("{", "its JSON cannot be read"),
        ("[1]", "its JSON is not an object"),
        ('{"format": 1, "format": 1}', "a key occurs twice"),
        ('{"epsilon": NaN}', "NaN is not a JSON number"),
        ("[" * 200_000, "its JSON cannot be read"),
        ('{"format": 1, "levels": ' + "9" * 5000 + "}", "its JSON cannot be read"),
    ],
)
def test_what_is_no_json_is_said_to_be_none(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(written(tmp_path / "net.safetensors", text, parts()[1]))


# --- What is wrong: files ----------------------------------------------------------------------------------------


def test_files_that_are_not_there_or_no_files(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "none.safetensors")
    (tmp_path / "dir.safetensors").mkdir()
    assert "it is a directory" in refusal(tmp_path / "dir.safetensors")
    os.mkfifo(tmp_path / "pipe.pt")
    assert "it is not a regular file" in refusal(tmp_path / "pipe.pt")
    (tmp_path / "net.onnx").write_bytes(b"x")
    assert ".onnx is not read; give a .safetensors, .pt, .pth, .ckpt, .npz file" in refusal(tmp_path / "net.onnx")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "net.safetensors", *parts())

    def denied(*_: NoReturn, **__: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(safetensors, "safe_open", denied)
    assert "it cannot be read (Permission denied)" in refusal(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 64, struct.pack("<Q", 1 << 62) + b"{}", os.urandom(4096)])
def test_damaged_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    expected = "it is empty" if not content else "it is damaged, incomplete or no checkpoint; save it again"
    assert expected in refusal(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_every_truncation_is_refused(tmp_path: Path, suffix: str) -> None:
    text, tensors = parts()
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".pt":
        torch.save({**tensors, "cmru_hw": json.dumps(text)}, whole)
    else:
        written(whole, text, tensors)
    content = whole.read_bytes()
    path = tmp_path / f"part{suffix}"
    for size in range(1, len(content), len(content) // 40):
        path.write_bytes(content[:size])
        assert "it is damaged, incomplete or no checkpoint" in refusal(path)


def test_oversize_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with path.open("wb") as file:
        file.truncate(checkpoint.MAX_BYTES * 2)
    assert "it is larger than 65 MiB" in refusal(path)


def test_zip_that_unpacks_to_too_much(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("net/data/0", "w") as entry:
        for _ in range(80):
            entry.write(bytes(1 << 20))
    assert "it unpacks to more than 64 MiB" in refusal(path)


def test_safetensors_without_our_metadata(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(safetensors.torch.save(parts()[1]))
    assert "it has no settings: there is no entry 'cmru_hw' in it and there is no net.json next to it" in refusal(path)


class Hostile:
    """Creates a directory when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, suffix: str, legacy: bool) -> None:
    target = tmp_path / "pwned"
    path = tmp_path / f"net{suffix}"
    torch.save({"readout.bias": Hostile(target)}, path, _use_new_zipfile_serialization=not legacy)
    expected = "the format of PyTorch before 1.6, which is not read" if legacy else "which are never unpickled"
    assert ("it is damaged, incomplete or no checkpoint" if suffix == ".safetensors" else expected) in refusal(path)
    path.write_bytes(pickle.dumps(Hostile(target)))
    assert "it is damaged, incomplete or no checkpoint" in refusal(path)
    assert not target.exists()


def test_torchscript_is_refused_as_code(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    # Newer versions of torch announce the end of TorchScript, but files in its format still exist.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    assert "it holds TorchScript code, which is never run" in refusal(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "it holds a list, not a state_dict"),
        (torch.ones(2), "it holds a Tensor, not a state_dict"),
        ({1: torch.ones(2)}, "it holds a dict, not a state_dict"),
        ({"readout.bias": torch.ones(2)}, "there is no net.json next to it"),
        ({"cmru_hw": 3}, "its entry 'cmru_hw' is a int; it must be a JSON string"),
        ({"model": torch.ones(2), "step": 3}, "entry 'step' is a int, not a tensor"),
        ({"cmru_hw": "{}"}, "it holds no tensors; save model.state_dict()"),
        ({"state": {0: {"step": torch.ones(1)}}, "param_groups": [{}]}, "it is the state of an optimizer"),
        (
            {"a": {"x": torch.ones(1)}, "b": {"x": torch.ones(1)}},
            "it holds 2 sets of weights, 'a', 'b'; save only the one",
        ),
        ({"model": {"x": torch.ones(1)}, "x": torch.ones(1)}, "tensor 'x' is both in it and in its 'model'"),
        ({"model": {"x": torch.ones(1), "y": 3}}, "entry 'y' is a int, not a tensor"),
        ({"cmru_hw": "{}", "a\n.control": 3}, r"entry 'a\n.control' is a int"),
    ],
)
def test_state_dicts_that_are_none(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "net.pt"
    torch.save(content, path)
    assert message in refusal(path)


def test_state_dict_with_a_sparse_tensor(tmp_path: Path) -> None:
    text, tensors = parts()
    path = tmp_path / "net.pt"
    torch.save({**tensors, "layers.0.alpha": torch.ones(4).to_sparse(), "cmru_hw": json.dumps(text)}, path)
    assert "save it as dense float32" in refusal(path)


def test_oversize_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(parts()[1], path)
    path.with_suffix(".json").write_text(" " * (checkpoint.MAX_JSON_BYTES + 1))
    assert "net.json is larger than 1024 KiB" in refusal(path)


def test_a_file_name_cannot_forge_lines(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "a\n.control b.safetensors")
    assert str(caught.value).isprintable()


# --- Writing -----------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save(trained(), path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists; choose another name, or force"):
        save(trained(levels=3), path)
    assert path.read_bytes() == before
    save(trained(levels=3), path, force=True)
    assert load(path).config.levels == 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.safetensors"
    save(trained(), path)
    before = path.read_bytes()

    def full(_: NoReturn) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="cannot be written: No space left on device; choose another place"):
        save(trained(levels=3), path, force=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written: .*; choose another place"):
        save(trained(), tmp_path / "file" / "net.safetensors")
    with pytest.raises(OutputError, match=r"written as \.safetensors"):
        save(trained(), tmp_path / "net.pt")
    with pytest.raises(OutputError, match=r"written as \.npz"):
        save_sequences(Sequences(inputs=np.zeros((1, 1, 1), np.float32)), tmp_path / "data.npy")


# --- Sequences ---------------------------------------------------------------------------------------------------


def sequences(**changes: Any) -> dict[str, Any]:
    good = {
        "inputs": np.ones((3, 5, 2), dtype=np.float32),
        "lengths": np.array([5, 1, 3]),
        "labels": np.array([0, 1, 1]),
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def test_sequences_come_back(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    original = Sequences(**sequences())
    save_sequences(original, path)
    back = load_sequences(path)
    for name in ("inputs", "lengths", "labels"):
        assert np.array_equal(getattr(back, name), getattr(original, name))
    with pytest.raises(OutputError, match="exists"):
        save_sequences(original, path)
    first = back.first(2)
    assert len(first) == 2
    assert first.lengths.tolist() == [5, 1]
    for count in (0, 4):
        with pytest.raises(DataError, match=f"{count} sequences were asked for, but there are 3"):
            back.first(count)


def test_lengths_and_labels_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, inputs=np.ones((3, 5, 2)))
    back = load_sequences(path)
    assert back.inputs.dtype == np.float32
    assert back.lengths.tolist() == [5, 5, 5]
    assert back.labels is None
    assert back.first(1).labels is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": None}, "array 'inputs' is missing"),
        ({"inputs": np.ones((3, 5))}, r"inputs have shape \(3, 5\)"),
        ({"inputs": np.ones((0, 5, 2))}, "none empty"),
        ({"inputs": np.full((3, 5, 2), np.nan)}, "inputs hold NaN"),
        ({"inputs": np.full((3, 5, 2), 1e300)}, "inputs hold NaN or infinite"),
        ({"inputs": np.full((3, 5, 2), "a")}, "store them as float32"),
        ({"inputs": np.full((3, 5, 2), None)}, "inputs are Python objects, .*; pad with zeros and give lengths"),
        ({"lengths": np.array([5, 1])}, "3 whole numbers are needed"),
        ({"lengths": np.array([5, 1, 6])}, "lengths run from 1 to 6; they must lie between 1 and 5"),
        ({"lengths": np.array([5, 0, 3])}, "lengths run from 0"),
        ({"lengths": np.array([5.0, 1.0, 3.0])}, "lengths are float64"),
        ({"labels": np.array([0, -1, 1])}, "labels run from -1"),
        ({"label": np.array([0, 1, 1])}, "array 'label' is unknown"),
    ],
)
def test_spoiled_sequences_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **sequences(**changes))
    with pytest.raises(DataError, match=message) as caught:
        load_sequences(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"x" * 100, pickle.dumps([1])])
def test_files_that_are_no_sequences(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"it is empty|it is damaged or no \.npz file"):
        load_sequences(path)
    with pytest.raises(DataError, match="there is no such file"):
        load_sequences(tmp_path / "none.npz")


def test_sequences_that_a_network_cannot_take() -> None:
    network = trained()
    network.check(Sequences(inputs=np.zeros((2, 4, 3), np.float32)))
    with pytest.raises(DataError, match="have 2 features, but the network takes 3"):
        network.check(Sequences(**sequences()))
    with pytest.raises(DataError, match="label 2 has no class; labels must lie between 0 and 1"):
        network.check(Sequences(inputs=np.zeros((2, 4, 3), np.float32), labels=np.array([0, 2])))


def test_changed_config_is_checked_again() -> None:
    good = trained()
    with pytest.raises(CheckpointError, match=r"readout\.bias has 2 rows for 3 classes"):
        Trained(config=replace(good.config, classes=("a", "b", "c")), tensors=good.tensors)
