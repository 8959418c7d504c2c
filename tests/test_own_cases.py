"""Inputs that people met and that once failed: one small network, and the answer that each of them asks for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cmru_hw.core import package_data
from cmru_hw.process import technology
from tests.hostile import run, sound

pytestmark = pytest.mark.faults
SETTINGS = {"format": 1, "cell": "cmru", "epsilon": 1.0, "levels": 3, "skip": False, "decision": "last",
            "classes": ["no", "yes"]}  # fmt: skip
MODEL = (
    '[model]\ncell = "cmru"\nepsilon = 1.0\nlevels = 3\nskip = false\ndecision = "last"\nclasses = ["no", "yes"]\n'
    "[tensors]\n"
)
STAND_IN = package_data.folder("netlists") / "devices" / "generic180.lib"


def network() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    layer = {
        "candidate.weight": torch.randn(4, 3, generator=generator),
        "candidate.bias": torch.zeros(4),
        "threshold.weight": torch.zeros(4, 3),
        "threshold.bias": torch.full((4,), 0.5),
        "alpha": torch.full((4,), 0.3),
        "initial_state": torch.ones(4),
    }
    ends = {"input.scale": torch.ones(3), "input.offset": torch.zeros(3)}
    ends |= {"readout.weight": torch.randn(2, 4, generator=generator), "readout.bias": torch.zeros(2)}
    return {f"layers.0.{name}": value for name, value in layer.items()} | ends


def names_of(tensors: dict[str, Any]) -> str:
    return MODEL + "".join(f'"{name}" = {{ from = "{name}" }}\n' for name in tensors)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.save(network(), "m.pt")
    Path("m.json").write_text(json.dumps(SETTINGS))
    rng = np.random.default_rng(0)
    np.savez("x.npz", inputs=rng.standard_normal((10, 8, 3)).astype("f4"))
    return tmp_path


def test_a_layer_of_zero_weights(here: Path) -> None:
    tensors = network()
    tensors["layers.0.candidate.weight"][:] = 0
    torch.save(tensors, "m.pt")
    done = run("export", "m.pt", "-o", "d")
    sound(done, (2,))
    assert "layer 0 has no live weight" in done.stderr and not Path("d").exists()


@pytest.mark.spice
@pytest.mark.slow
@pytest.mark.parametrize("how", ["a name with a space", "a comment behind it", "byte order mark", "a section"])
def test_devices_as_foundries_write_them(how: str, here: Path) -> None:
    text = STAND_IN.read_text()
    Path("my models.lib").write_text(".param nothing=0\n")
    Path("models.lib").write_text(".param nothing=0\n")
    Path("own.lib").write_text(
        {
            "a name with a space": f'.include "my models.lib"\n{text}',
            "a comment behind it": f'.include "models.lib" $ the foundry\'s\n{text}',
            "byte order mark": f"\ufeff{text}",
            "a section": f".lib tt\n{text}.endl tt\n",
        }[how],
        encoding="utf-8",
    )
    sound(run("characterize", "own.lib", "--dies", 0), (0,))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('["no", "yes"]', "[0, 1]", '"classes" holds something that is not text'),
        ("epsilon = 1.0", 'epsilon = "one"', '"epsilon" is text'),
        ("skip = false", 'skip = "false"', '"skip" is text'),
        ('["no", "yes"]', '"ab"', '"classes" is text'),
        ('{ from = "layers.0.alpha" }', '{ fill = "x", size = 4 }', "the fill of layers.0.alpha is 'x'"),
    ],
)
def test_settings_of_a_map_with_values_of_another_type(old: str, new: str, said: str, here: Path) -> None:
    tensors: dict[str, Any] = {name: value.numpy() for name, value in network().items()}
    np.savez("t.npz", **tensors)
    Path("n.toml").write_text(names_of(tensors).replace(old, new))
    done = run("convert", "t.npz", "--names", "n.toml", "-o", "o.safetensors")
    sound(done, (2,))
    assert said in done.stderr and not Path("o.safetensors").exists()


@pytest.mark.parametrize("kind", ["complex", "bfloat16"])
def test_weights_that_no_circuit_has(kind: str, here: Path) -> None:
    tensors: dict[str, Any] = {name: value.numpy() for name, value in network().items()}
    weight = tensors["layers.0.candidate.weight"]
    odd = (
        weight * (1 + 1j) if kind == "complex" else torch.tensor(weight).bfloat16().view(torch.int16).numpy().view("V2")
    )
    tensors["layers.0.candidate.weight"] = odd
    np.savez("t.npz", **tensors)
    Path("n.toml").write_text(names_of(tensors))
    done = run("convert", "t.npz", "--names", "n.toml", "-o", "o.safetensors")
    sound(done, (2,))
    assert "tensor 'layers.0.candidate.weight' is" in done.stderr


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("ddp.pt", lambda t: {f"module.{name}": value for name, value in t.items()}),
        ("compiled.pt", lambda t: {f"_orig_mod.{name}": value for name, value in t.items()}),
        ("half.pt", lambda t: {name: value.half() for name, value in t.items()}),
        ("trainer.pt", lambda t: {"state_dict": t, "epoch": 3}),
        ("lightning.ckpt", lambda t: {"state_dict": t}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_of_trainers_are_read(name: str, wrap: Any, here: Path) -> None:
    torch.save(wrap(network()), name)
    Path(name).with_suffix(".json").write_text(json.dumps(SETTINGS))
    done = run("inspect", name, "--json")
    sound(done, (0,))
    assert done.json["circuit"]["realisable"] and done.json["read"]


def test_the_format_of_old_pytorch_is_named(here: Path) -> None:
    torch.save(network(), "m.pt", _use_new_zipfile_serialization=False)
    done = run("inspect", "m.pt")
    sound(done, (2,))
    assert "PyTorch before 1.6" in done.stderr


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("vdd", "1800", "supply.vdd is 1800 V, must be 0.2 to 10 V"),
        ("integrator", "1.0", "leakage.integrator is 1 A"),
        ("temperature", "27.0", "noise.temperature is 27 K, must be 0, or 200 to 500 K"),
        ("row", "400", "capacitor.row is 400 F"),
    ],
)
def test_units_of_a_technology(key: str, value: Any, said: str, here: Path) -> None:
    section = "leakage" if key == "integrator" else ""
    head, rest = technology.text("macro").split(f"[{section}]\n") if section else ("", technology.text("macro"))
    text = re.sub(rf"^{key} = \S+", f"{key} = {value}", rest, count=1, flags=re.MULTILINE)
    Path("t.toml").write_text(f"{head}[{section}]\n{text}" if section else text)
    done = run("export", "m.pt", "-o", "d", "--technology", "t.toml")
    sound(done, (2,))
    assert said in done.stderr and "SI units" in done.stderr


def test_sequences_of_unequal_length_as_objects(here: Path) -> None:
    inputs = np.empty(4, object)
    for place in range(4):
        inputs[place] = np.zeros((3 + place, 3), "f4")
    np.savez("x.npz", inputs=inputs)
    done = run("export", "m.pt", "-o", "d", "--input", "x.npz")
    sound(done, (2,))
    assert "pad with zeros and give lengths" in done.stderr


def test_settings_with_a_byte_order_mark(here: Path) -> None:
    Path("m.json").write_text(json.dumps(SETTINGS), encoding="utf-8-sig")
    sound(run("inspect", "m.pt"), (0,))
