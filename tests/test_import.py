"""A network from other code is read, checked against its own outputs, and exported with documented commands."""

# long: one reader, with all the ways in which a file for it can be invalid
from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from cmru_hw.cli import group
from cmru_hw.core import package_data
from cmru_hw.core.errors import CheckpointError, CmruError, DataError
from cmru_hw.nn import checkpoint, import_weights, own_outputs
from tests import foreign
from tests.narrow import known

MODELS = package_data.folder("models")
ORIGINS = (foreign.plain_pytorch, foreign.lightning, foreign.flax, foreign.fq_bmru)


def command(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(group, [str(word) for word in words])
    assert isinstance(done.exception, CmruError) or done.exit_code in (0, 2), done.exception
    found = getattr(done.exception, "exit_code", done.exit_code)
    assert found == code, (done.output, done.exception)
    return done


def refused(*words: object, code: int = 2) -> str:
    """The single line with which a command fails."""
    message = str(command(*words, code=code).exception)
    assert message.isprintable()
    return message


# --- Networks of other programs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ORIGINS, ids=lambda origin: origin.__name__)
def test_a_network_of_other_code_is_imported_as_it_is(
    origin: Callable[[Path], tuple[Path, Path, Path]], tmp_path: Path
) -> None:
    weights, names, own = origin(tmp_path)
    made = tmp_path / "made.safetensors"
    done = json.loads(command("convert", weights, "--names", names, "-o", made, "--check", own, "--json").output)
    check = done["check"]
    assert check["holds"] and check["agree"] == check["sequences"] - check["too_close_to_call"] >= 9
    assert {"logits", "scores"} & set(check["compared"]) and "states_0" in check["compared"]
    assert checkpoint.load(made).sha256 == done["sha256"], "it can be read again"
    shown = json.loads(command("inspect", made, "--check", own, "--json").output)
    assert shown["check"] == check and shown["sha256"] == done["sha256"]


@pytest.mark.parametrize("origin", ORIGINS, ids=lambda origin: origin.__name__)
def test_what_was_folded_and_left_out_is_said(
    origin: Callable[[Path], tuple[Path, Path, Path]], tmp_path: Path
) -> None:
    weights, names, _ = origin(tmp_path)
    notes = "; ".join(import_weights.read(weights, names).notes)
    wanted = {
        "plain_pytorch": ["weights from 'model'; not read: 'epoch', 'optimizer'"],
        "lightning": [
            "weights from 'state_dict'; not read: 'callbacks', 'epoch'",
            "'_orig_mod.' removed from names",
            "linear layer 'model.encoder' (3 → 5) folded into layer 0",
            "batch normalisation 'model.bn' (4 → 4) folded into layer 1",
            "linear layer 'model.decoder' (4 → 6) folded into the readout",
            "1 tensor ignored, as the map says",
            "no scaling of the inputs",
        ],
        "flax": ["batch normalisation 'params/BatchNorm_0/scale' (4 → 4)", "initial_state binarised: 5 of 5 values"],
        "fq_bmru": ["linear layer 'first' (3 → 4) folded into layer 0", "linear layer 'second' (4 → 5)"],
    }[origin.__name__]
    assert all(one in notes for one in wanted), notes


@pytest.mark.spice
def test_an_imported_network_is_exported_and_its_circuit_agrees(tmp_path: Path) -> None:
    weights, names, own = foreign.lightning(tmp_path)
    made = tmp_path / "made.safetensors"
    command("convert", weights, "--names", names, "-o", made)
    done = json.loads(command("export", made, "-o", tmp_path / "design", "--check", own, "--json").output)
    assert done["verified"] and done["check"]["holds"]


@pytest.mark.parametrize("skip", [False, True])
def test_folding_goes_through_skip_connections(skip: bool, tmp_path: Path) -> None:
    """An encoder before layer 0 also affects the inputs that layers 1 and 2 see."""
    torch.manual_seed(0)
    encoder, norm = torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(2 + 4 if skip else 2)
    known(norm.running_mean).normal_()
    known(norm.running_var).uniform_(0.5, 2)
    norm.eval()
    wide = (4, 6, 8) if skip else (4, 2, 2)
    own = [foreign.Cell(size, 2, 3) for size in wide]
    head = torch.nn.Linear(2, 2)
    x = torch.randn(8, 10, 3)
    with torch.no_grad():
        seen, states = encoder(x), []
        for layer, cell in enumerate(own):
            if layer == 1:
                seen = norm(seen.transpose(1, 2)).transpose(1, 2)
            h, s = cell(seen)
            states.append(s)
            seen = torch.cat((h, seen), -1) if skip else h
        logits = head(h)
    modules = {"enc": encoder, "norm": norm, "head": head, **{f"r{layer}": cell for layer, cell in enumerate(own)}}
    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    torch.save(tensors, tmp_path / "w.pt")
    text = f'[model]\ncell = "cmru"\nlevels = 3\nskip = {str(skip).lower()}\ndecision = "last"\nclasses = ["a", "b"]\n'
    text += '[[before]]\nlayer = 0\nlinear = "enc"\n[[before]]\nlayer = 1\nbatch_norm = "norm"\n[tensors]\n'
    text += (
        foreign.cells(("r0", "r1")) + foreign.cells(("r2", "r2")).replace("layers.0", "layers.2").split('"layers.1')[0]
    )
    text += '"readout.weight" = { from = "head.weight" }\n"readout.bias" = { from = "head.bias" }\n'
    (tmp_path / "names.toml").write_text(text)
    trained = import_weights.convert(tmp_path / "w.pt", tmp_path / "names.toml")
    found = own_outputs.compare(
        trained, own_outputs.load(foreign.own_outputs(tmp_path / "own.npz", x.numpy(), logits, states))
    )
    assert found.holds() and found.agree >= 7, found.first


# --- Names of a checkpoint in files of other programs ------------------------------------------------------------


def shipped() -> tuple[dict[str, torch.Tensor], str]:
    trained = checkpoint.load(MODELS / "detect-cmru-2x4.safetensors")
    keys = ("cell", "epsilon", "levels", "skip", "decision")
    text = {key: getattr(trained.config, key) for key in keys}
    return dict(trained.tensors), json.dumps({"format": 1, "classes": list(trained.config.classes), **text})


def wrapped(kind: str) -> tuple[object, str]:
    tensors, _ = shipped()
    return {
        "data parallel": ({f"module.{name}": value for name, value in tensors.items()}, "prefix 'module.' removed"),
        "compiled": ({f"_orig_mod.{name}": value for name, value in tensors.items()}, "prefix '_orig_mod.' removed"),
        "both": ({f"module._orig_mod.{n}": v for n, v in tensors.items()}, "prefix 'module._orig_mod.' removed"),
        "own prefix": ({f"student.net.{n}": v for n, v in tensors.items()}, "prefix 'student.net.' removed"),
        "averaged": (
            {"n_averaged": torch.tensor(3), **{f"module.{n}": v for n, v in tensors.items()}},
            "'n_averaged' not read",
        ),
        "trainer": (
            {"model_state_dict": tensors, "optimizer_state_dict": {"state": {}, "param_groups": []}, "epoch": 1},
            "weights from 'model_state_dict'; not read: 'epoch', 'optimizer_state_dict'",
        ),
        "lightning": ({"state_dict": {f"model.{n}": v for n, v in tensors.items()}}, "prefix 'model.' removed"),
        "double": ({name: value.double() for name, value in tensors.items()}, "of float64 as float32"),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["data parallel", "compiled", "both", "own prefix", "averaged", "trainer", "lightning", "double"]
)
@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
def test_wrappers_and_trainers_are_read_and_reported(kind: str, suffix: str, tmp_path: Path) -> None:
    content, note = wrapped(kind)
    torch.save(content, tmp_path / f"net{suffix}")
    (tmp_path / "net.json").write_text(shipped()[1])
    found = checkpoint.read(tmp_path / f"net{suffix}")
    assert found.trained.sha256 == checkpoint.load(MODELS / "detect-cmru-2x4.safetensors").sha256
    assert any(note in one for one in found.notes), found.notes


def test_half_precision_is_read_as_it_is_rounded(tmp_path: Path) -> None:
    tensors, text = shipped()
    torch.save({name: value.half() for name, value in tensors.items()}, tmp_path / "net.pt")
    (tmp_path / "net.json").write_text(text)
    found = checkpoint.read(tmp_path / "net.pt")
    assert found.notes == (f"{len(tensors)} tensors of float16 as float32",)
    assert all(torch.equal(found.trained.tensors[name], value.half().float()) for name, value in tensors.items())
    torch.save({name: value.bfloat16() for name, value in tensors.items()}, tmp_path / "net.pt")
    assert "bfloat16" in checkpoint.read(tmp_path / "net.pt").notes[0]


@pytest.mark.parametrize("where", ["entry", "beside"])
def test_an_npz_with_the_names_of_a_checkpoint_is_one(where: str, tmp_path: Path) -> None:
    tensors, text = shipped()
    arrays: dict[str, Any] = {name: value.numpy() for name, value in tensors.items()}
    if where == "entry":
        np.savez(tmp_path / "net.npz", cmru_hw=text, **arrays)
    else:
        np.savez(tmp_path / "net.npz", **arrays)
        # With the byte order mark that some editors write.
        (tmp_path / "net.json").write_text(text, encoding="utf-8-sig")
    assert (
        checkpoint.load(tmp_path / "net.npz").sha256 == checkpoint.load(MODELS / "detect-cmru-2x4.safetensors").sha256
    )
    made = tmp_path / "made.safetensors"
    command("convert", tmp_path / "net.npz", "-o", made)
    assert checkpoint.load(made).sha256 == checkpoint.load(tmp_path / "net.npz").sha256


def test_all_unknown_names_are_listed_with_the_nearest_and_the_page(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(foreign.Plain(8, 6, 4).state_dict(), tmp_path / "my.pt")
    message = refused("export", tmp_path / "my.pt", "-o", tmp_path / "d")
    assert message.startswith(f"{tmp_path / 'my.pt'}: 12 tensor names are unknown: ")
    nearest = dict(re.findall(r"'([\w.]+)' \(nearest: ([\w.]+)", message))
    assert len(nearest) == 12
    assert nearest["rnn1.Wc.weight"] == "layers.0.candidate.weight"
    assert nearest["rnn2.Wb.bias"] == "layers.1.threshold.bias"
    assert nearest["rnn2.gain"] == "layers.1.alpha"
    assert nearest["head.weight"] == "readout.weight"
    assert "cmru-hw convert --names" in message and "docs/bring-your-own.md" in message and ".py" not in message


def test_all_missing_tensors_are_listed(tmp_path: Path) -> None:
    tensors, text = shipped()
    del tensors["layers.0.alpha"], tensors["readout.bias"]
    torch.save(tensors, tmp_path / "my.pt")
    (tmp_path / "my.json").write_text(text)
    assert "tensors layers.0.alpha, readout.bias are missing; a cmru network of 2 layers has them" in refused(
        "inspect", tmp_path / "my.pt"
    )


class Hyperparameters(dict[str, Any]):
    """Like Lightning's AttributeDict: not a tensor, and not unpickled."""


def refusals(folder: Path) -> list[tuple[str, object, str]]:
    tensors, _ = shipped()
    weight_norm = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2)).state_dict()
    return [
        (
            "objects",
            {"state_dict": tensors, "hyper_parameters": Hyperparameters()},
            "Hyperparameters) that are not tensors",
        ),
        ("optimizer", torch.optim.SGD([torch.ones(1)]).state_dict(), "the state of an optimizer and holds no weights"),
        ("two", {"model": tensors, "net": tensors}, "it holds 2 sets of weights, 'model', 'net'; save only the one"),
        ("layer norm", {"norm1.weight": torch.ones(2)}, "belongs to layer normalisation"),
        ("batch norm", {"norm.weight": torch.ones(2), "norm.running_mean": torch.ones(2)}, "belongs to batch norm"),
        ("parametrised", weight_norm, "belongs to a parametrised or pruned weight; make it permanent"),
        ("empty", {"epoch": 3}, "entry 'epoch' is a int, not a tensor; save network.state_dict()"),
    ]


@pytest.mark.parametrize("place", range(7))
def test_what_is_not_read_is_named_with_the_remedy(place: int, tmp_path: Path) -> None:
    _, content, wanted = refusals(tmp_path)[place]
    torch.save(content, tmp_path / "net.pt")
    assert wanted in refused("inspect", tmp_path / "net.pt")


def test_a_file_of_old_pytorch_is_named_with_the_remedy(tmp_path: Path) -> None:
    torch.save(shipped()[0], tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    message = refused("inspect", tmp_path / "old.pt")
    assert "the format of PyTorch before 1.6, which is not read; load it and save it again with torch.save" in message


ARRAYS = [
    (np.ones((4, 3)) * 1j, "tensor 'w' is complex128, but weights are real; save its real and imaginary parts"),
    (np.ones((4, 3), bool), "tensor 'w' is boolean, which no weight is; save it as float32, or leave it out"),
    (np.full((4, 3), "a"), "tensor 'w' is text, which no weight is; leave it out"),
    (np.full((4, 3), None), "tensor 'w' holds Python objects, which are never unpickled; save plain arrays"),
    (np.zeros((4, 3), "V2"), "is of a type that NumPy does not know (|V2, as bfloat16 is saved); save it as float32"),
    (np.zeros((4, 3), "M8[s]"), "tensor 'w' is datetime64[s]; save it as float32"),
]


@pytest.mark.parametrize(("array", "wanted"), ARRAYS, ids=[str(array.dtype) for array, _ in ARRAYS])
def test_arrays_that_are_no_weights_are_refused_by_name(array: np.ndarray, wanted: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=array)
    (tmp_path / "n.toml").write_text(SMALL)
    message = refused("convert", tmp_path / "w.npz", "--names", tmp_path / "n.toml", "-o", tmp_path / "o.safetensors")
    assert wanted in message
    assert not (tmp_path / "o.safetensors").exists()


# --- Maps of names -----------------------------------------------------------------------------------------------

SMALL = """[model]
cell = "cmru"
levels = 3
decision = "last"
classes = ["no", "yes"]
[tensors]
"layers.0.candidate.weight" = { from = "w" }
"layers.0.candidate.bias" = { fill = 0.0 }
"layers.0.threshold.weight" = { fill = 0.0 }
"layers.0.threshold.bias" = { fill = 0.5 }
"layers.0.alpha" = { fill = 0.3 }
"layers.0.initial_state" = { fill = 1.0 }
"readout.weight" = { from = "r" }
"readout.bias" = { fill = 0.0 }
"""


def small(folder: Path, text: str = SMALL, **arrays: np.ndarray) -> tuple[Path, Path]:
    random = np.random.default_rng(0)
    given: dict[str, Any] = {"w": random.standard_normal((4, 3)), "r": random.standard_normal((2, 4)), **arrays}
    np.savez(folder / "w.npz", **given)
    (folder / "n.toml").write_text(text)
    return folder / "w.npz", folder / "n.toml"


def test_shapes_and_meaningless_settings_are_not_asked_for(tmp_path: Path) -> None:
    trained = import_weights.convert(*small(tmp_path))
    assert trained.config.epsilon == 1.0 and not trained.config.skip
    assert trained.tensors["layers.0.threshold.weight"].shape == (4, 3)
    assert torch.equal(trained.tensors["input.scale"], torch.ones(3))


def test_operations_of_the_map_are_done_in_order(tmp_path: Path) -> None:
    flat = np.arange(-12.0, 12.0)
    line = '{ from = "w", reshape = [3, 8], transpose = true, rows = [2, 6], abs = true, scale = -0.5 }'
    text = SMALL.replace('{ from = "w" }', line).replace("{ fill = 1.0 }", '{ from = "s", binarise = true }')
    tensors, names = small(tmp_path, text, w=flat, s=np.array([-0.1, 0.0, 2.0, -3.0]))
    trained = import_weights.convert(tensors, names)
    wanted = -0.5 * np.abs(flat.reshape(3, 8).T[2:6])
    assert np.array_equal(trained.tensors["layers.0.candidate.weight"].numpy(), wanted.astype(np.float32))
    assert trained.tensors["layers.0.initial_state"].tolist() == [-1, 1, 1, -1]


def test_a_map_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    tensors, names = small(tmp_path)
    names.write_text(SMALL, encoding="utf-8-sig")
    assert import_weights.convert(tensors, names).config.levels == 3


SETTINGS = [
    ('["no", "yes"]', "[0, 1]", '"classes" holds something that is not text; name every class by a string'),
    ('["no", "yes"]', '"ab"', '"classes" is text in [model]; it must be a list of texts'),
    ("levels = 3", 'levels = "3"', '"levels" is text in [model]; it must be a whole number'),
    ("levels = 3", "levels = 0", "levels is 0; it must be a positive whole number"),
    ("levels = 3", "levels = 10000000000", "at most 1000000"),
    ("levels = 3", 'levels = 3\nepsilon = "one"', '"epsilon" is text in [model]; it must be a number'),
    ("levels = 3", "levels = 3\nepsilon = nan", "epsilon is nan; it must lie between 0 and 1"),
    ("levels = 3", "levels = 3\nepsilon = 0.5", "1.0 for cell 'cmru'; use cell 'eps'"),
    ("levels = 3", 'levels = 3\nskip = "false"', '"skip" is text in [model]; it must be true or false'),
    ('decision = "last"', 'decision = "best"', "decision 'best' is unknown"),
    ('decision = "last"', "decision = 3", '"decision" is int in [model]; it must be text'),
    ('cell = "cmru"', 'cell = "gru"', "cell 'gru' is unknown; it must be one of"),
    ('cell = "cmru"', 'cell = "eps"', '"epsilon" is missing from [model]; cell eps keeps this share'),
    ('cell = "cmru"\n', "", '"cell" is missing from [model]'),
    ("levels = 3", "level = 3", "[model] has an unknown key 'level'"),
    ("{ fill = 0.3 }", '{ fill = "x" }', "the fill of layers.0.alpha is 'x'; it must be a number"),
    ("{ fill = 0.3 }", "{ fill = nan }", "the fill of layers.0.alpha is nan; it must be a number"),
    ("{ fill = 0.3 }", "{ fill = true }", "the fill of layers.0.alpha is True; it must be a number"),
    ("{ fill = 0.3 }", "{ fill = 0.3, size = [2, 0] }", "the size of layers.0.alpha is [2, 0]; it must be 12"),
    ("{ fill = 0.3 }", "{ fill = 0.3, size = 5 }", "tensor layers.0.alpha has shape (5,)"),
    ("{ fill = 1.0 }", "{ fill = 0.0 }", "layers.0.initial_state is not binary; every initial state must be -1 or 1"),
    ('{ from = "w" }', "{ from = 3 }", "from of layers.0.candidate.weight is 3; it must be a name"),
    ('{ from = "w" }', '{ from = "w", transpose = 1 }', "transpose of layers.0.candidate.weight is 1; it must be true"),
    ('{ from = "w" }', '{ from = "w", scale = "2" }', "the scale of layers.0.candidate.weight is '2'"),
    ('{ from = "w" }', '{ from = "w", rows = [2, 2] }', "first must be below end"),
    ('{ from = "w" }', '{ from = "w", rows = [0, 9] }', "takes rows [0, 9] of shape (4, 3)"),
    ('{ from = "w" }', '{ from = "w", reshape = [5, 3] }', "has shape (4, 3), which cannot be reshaped to (5, 3)"),
    ('{ from = "w" }', '{ from = "w", turn = true }', "reshape, transpose, rows, abs, scale or binarise"),
    ('{ from = "w" }', '{ from = "v" }', "there is no 'v' for layers.0.candidate.weight; name one of 'r', 'w'"),
    ('"readout.weight" = { from = "r" }\n', "", "tensor readout.weight is missing; a cmru network of 1 layer has it"),
    (
        '{ from = "r" }',
        "{ fill = 1, size = [2, 4] }",
        "'r' is used by no line of the map; name it, or list it under ign",
    ),
    ('"layers.0.alpha"', '"layers.0.gain"', "'layers.0.gain' (nearest: layers.0.alpha"),
    ("[tensors]", '[input]\nmean = "mu"\n[tensors]', "there is no 'mu' for [input] mean"),
    ("[tensors]", "[input]\nstd = [1.0, 0.0, 1.0]\n[tensors]", "[input] std of feature 1 is 0; it must be above 0"),
    ("[tensors]", "[input]\nstd = [1.0, 2.0]\n[tensors]", "[input] std has 2 values, but the network takes 3 features"),
    ("[tensors]", "[input]\nstd = true\n[tensors]", "[input] has mean and std"),
    ("[tensors]", '[[before]]\nlayer = 0\nlinear = "e"\n[tensors]', "there is no weight of linear layer 'e'"),
    ("[tensors]", '[[before]]\nlayer = 4\nlinear = "r"\n[tensors]', "in front of layer 4, but there are 1 layers"),
    (
        "[tensors]",
        '[[before]]\nlayer = 4\nbatch_norm = "r"\n[tensors]',
        "in front of layer 4, but there are 1 layers",
    ),
    (
        "[tensors]",
        '[[before]]\nlayer = "head"\nlinear = "r"\n[tensors]',
        'it must be the number of a layer, or "readout"',
    ),
    ("[tensors]", '[[before]]\nlayer = 0\nlinear = { weight = "r" }\n[tensors]', "cannot take the 2 values that"),
    ("[tensors]", '[[before]]\nlayer = 0\nbatch_norm = "r"\n[tensors]', "no running mean and variance of batch norm"),
    ("[model]", "[network]", "it has two tables, [model] and [tensors]"),
    ("[model]", "ignore = 3\n[model]", "it has two tables, [model] and [tensors]"),
    ("[model]", "[model", "it cannot be read"),
]


@pytest.mark.parametrize(("old", "new", "wanted"), SETTINGS, ids=[new for _, new, _ in SETTINGS])
def test_a_map_is_checked_as_a_checkpoint_is(old: str, new: str, wanted: str, tmp_path: Path) -> None:
    assert old in SMALL
    tensors, names = small(tmp_path, SMALL.replace(old, new, 1))
    made = tmp_path / "made.safetensors"
    message = refused("convert", tensors, "--names", names, "-o", made)
    assert wanted in message, message
    assert not made.exists()


def test_deep_nesting_of_a_map_is_no_traceback(tmp_path: Path) -> None:
    tensors, names = small(tmp_path, "x = " + "[" * 100_000)
    assert "cannot be read" in refused("convert", tensors, "--names", names, "-o", tmp_path / "o.safetensors")


def test_whatever_is_written_can_be_read(tmp_path: Path) -> None:
    """Levels and layers that a reader refuses are refused before anything is written."""
    trained = import_weights.convert(*small(tmp_path))
    config: dict[str, Any] = {"features": 3, "classes": ("a", "b"), "cell": "cmru", "epsilon": 1.0, "levels": 3}
    with pytest.raises(CheckpointError, match="there are 65 layers; give 1 to 64"):
        checkpoint.ModelConfig(**config, skip=False, decision="mean", units=(1,) * 65)
    with pytest.raises(CheckpointError, match='"classes" holds something that is not text'):
        checkpoint.ModelConfig(**{**config, "classes": (0, 1)}, skip=False, decision="mean", units=(1,))
    noted = checkpoint.ModelConfig(**config, skip=False, decision="mean", units=(4,), task={"log": "x" * (1 << 20)})
    large = checkpoint.Trained(config=noted, tensors=trained.tensors)
    with pytest.raises(CheckpointError, match=r"is not written, because it could not be read back: .* 1024 KiB"):
        checkpoint.save(large, tmp_path / "o.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))


# --- The user's own outputs --------------------------------------------------------------------------------------


def altered(folder: Path, **changes: np.ndarray | None) -> Path:
    arrays = {**np.load(folder / "own.npz"), **changes}
    np.savez(folder / "other.npz", **{name: value for name, value in arrays.items() if value is not None})
    return folder / "other.npz"


def test_the_first_difference_is_named(tmp_path: Path) -> None:
    weights, names, own = foreign.plain_pytorch(tmp_path)
    states = np.load(own)["states_1"].copy()
    states[4, 2, 3] += 1
    states[4, 5:, 1] -= 1
    states[9] += 1
    made = tmp_path / "made.safetensors"
    message = refused(
        "convert", weights, "--names", names, "-o", made, "--check", altered(tmp_path, states_1=states), code=1
    )
    value = states[4, 2, 3]
    first = f"first at sequence 4, timestep 2, layer 1, state of unit 3: imported {value - 1:g}, own {value:g}"
    assert "2 of 12 sequences differ" in message and first in message
    assert not made.exists(), "nothing is written that is not the network"


def test_a_wrong_weight_is_found_by_logits_alone(tmp_path: Path) -> None:
    weights, names, own = foreign.lightning(tmp_path)
    names.write_text(names.read_text().replace('"model.bn"', '"model.bn"\neps = 0.3'))
    states = {f"states_{layer}": None for layer in range(2)}
    message = refused(
        "convert",
        weights,
        "--names",
        names,
        "-o",
        tmp_path / "m.safetensors",
        "--check",
        altered(tmp_path, **states),
        code=1,
    )
    assert re.search(r"first at sequence \d+, timestep \d+, logit \d: imported \S+, own \S+; compare the cell", message)
    assert own.is_file()


def test_scores_of_whole_sequences_have_no_timestep(tmp_path: Path) -> None:
    weights, names, own = foreign.flax(tmp_path)
    scores = np.load(own)["logits"].copy()
    scores[3, 1] += 0.5
    other = altered(tmp_path, logits=scores, states_0=None)
    message = refused("convert", weights, "--names", names, "-o", tmp_path / "m.safetensors", "--check", other, code=1)
    assert "1 of 10 sequences differ, first at sequence 3, logit 1: imported" in message


def test_a_decision_too_close_to_call_proves_nothing(tmp_path: Path) -> None:
    """The candidate of one unit equals its threshold: software moves, the original does not. Neither is wrong."""
    text = SMALL.replace("levels = 3", "levels = 7").replace('{ from = "w" }', "{ fill = 0.5, size = [4, 3] }")
    text = text.replace('{ from = "r" }', "{ fill = 1.0, size = [2, 4] }")
    random = np.random.default_rng(0)
    np.savez(tmp_path / "w.npz", unused=random.standard_normal(3))
    (tmp_path / "n.toml").write_text('ignore = ["unused"]\n' + text)
    inputs = np.zeros((3, 4, 3), np.float32)
    inputs[:, :, 0] = [[1, 1, 1, 1], [3, 3, 3, 3], [1, 3, 3, 3]]
    states = np.repeat(np.array([[1, 1, 1, 1], [2, 3, 4, 5], [1, 2, 3, 4]], np.float32)[..., None], 4, axis=2)
    np.savez(tmp_path / "own.npz", inputs=inputs, states_0=states)
    trained = import_weights.convert(tmp_path / "w.npz", tmp_path / "n.toml")
    found = own_outputs.compare(trained, own_outputs.load(tmp_path / "own.npz"))
    assert (found.agree, found.differ, found.too_close) == (1, 0, 2) and found.holds()
    np.savez(tmp_path / "own.npz", inputs=inputs[::2], states_0=states[::2])
    message = refused(
        *("convert", tmp_path / "w.npz", "--names", tmp_path / "n.toml", "-o", tmp_path / "m.safetensors"),
        *("--check", tmp_path / "own.npz"),
        code=1,
    )
    assert "a decision is too close to call; give other inputs" in message, "a verdict over nothing is no pass"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"logits": None, "states_0": None, "states_1": None}, "it holds only inputs; add results of the original"),
        ({"inputs": None}, "array 'inputs' is missing"),
        ({"hidden": np.zeros(3)}, "array 'hidden' is unknown; outputs are logits, states_0 or outputs_0"),
        ({"states_0": np.zeros((12, 8, 5))}, "states_0 have 5 columns, but the network has 6 units there"),
        ({"states_7": np.zeros((12, 8, 6))}, "states_7 belong to a layer that a network of 2 layers does not have"),
        ({"logits": np.zeros((12, 7, 4))}, "logits have shape (12, 7, 4); for these inputs they are (12, 8, columns)"),
        ({"logits": np.full((12, 8, 4), np.nan)}, "values that are not finite; save them as float32"),
        ({"inputs": np.zeros((12, 8, 9))}, "the sequences have 9 features, but the network takes 8"),
    ],
)
def test_outputs_that_cannot_be_compared_are_refused(
    changes: dict[str, np.ndarray | None], wanted: str, tmp_path: Path
) -> None:
    weights, names, _ = foreign.plain_pytorch(tmp_path)
    trained = import_weights.convert(weights, names)
    with pytest.raises(DataError) as caught:
        own_outputs.compare(trained, own_outputs.load(altered(tmp_path, **changes)))
    assert wanted in str(caught.value) and str(caught.value).isprintable()


# --- Layers that do nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["detect-cmru-2x4", "detect-fq-bmru-2x4"])
def test_a_layer_without_a_live_weight_is_a_sentence(name: str, tmp_path: Path) -> None:
    good = checkpoint.load(MODELS / f"{name}.safetensors")
    dead = {
        key: torch.zeros_like(value) for key, value in good.tensors.items() if re.search(r"1\.(cand|thr).*weight", key)
    }
    checkpoint.save(
        checkpoint.Trained(config=good.config, tensors={**good.tensors, **dead}), tmp_path / "m.safetensors"
    )
    message = refused("export", tmp_path / "m.safetensors", "-o", tmp_path / "d")
    assert "layer 1 has no live weight: " in message and "train it again, or leave the layer out" in message
