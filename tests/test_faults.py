"""The campaign of bad and hostile inputs: no traceback, no wrong answer without a word, no lost result.

Every case is one command, in this process. What cannot be used ends with exit code 2 and one line that says why and
what to do; a traceback, exit code 1 and exit code 70 are failures of the campaign.
"""

# long: tables of inputs, and one test for each kind of file
from __future__ import annotations

import csv
import json
import random
import re
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from cmru_hw.circuits.charge import mapping
from cmru_hw.core.errors import InputError
from cmru_hw.core.records import Record
from cmru_hw.design_folder import folder
from cmru_hw.nn import checkpoint
from cmru_hw.nn.sequences import save_sequences
from cmru_hw.process import ranges, technology
from tests import hostile, results
from tests.hostile import NO_FILES, VALUES, run, sound
from tests.networks import Shape, random_network, random_sequences

pytestmark = pytest.mark.faults

SHAPE = Shape(units=(3, 2))
SETTINGS = {
    "format": 1, "cell": "cmru", "epsilon": 1.0, "levels": 3, "skip": True, "decision": "mean",
    "classes": ["class 0", "class 1"], "task": {}, "training": {}, "scores": {},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Place:
    """Good inputs: a checkpoint, tensors, sequences, a technology, a design, and a folder of each result."""

    checkpoint: Path
    tensors: Path
    sequences: Path
    technology: Path
    names: Path
    design: Path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Place:
    path = tmp_path_factory.mktemp("good")
    trained, data = random_network(SHAPE), random_sequences(SHAPE)
    checkpoint.save(trained, path / "m.safetensors")
    torch.save(dict(trained.tensors), path / "m.pt")
    save_sequences(data, path / "x.npz")
    macro = Path(technology.__file__).parent / "technologies" / "macro.toml"
    (path / "t.toml").write_bytes(macro.read_bytes())
    lines = "\n".join(f'"{name}" = {{ from = "{name}" }}' for name in trained.tensors)
    model = 'cell = "cmru"\nepsilon = 1.0\nlevels = 3\nskip = true\ndecision = "mean"\nclasses = ["no", "yes"]'
    (path / "n.toml").write_text(f"[model]\n{model}\n[tensors]\n{lines}\n")
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
    folder.write(path / "d", trained, design, data)
    return Place(
        checkpoint=path / "m.safetensors",
        tensors=path / "m.pt",
        sequences=path / "x.npz",
        technology=path / "t.toml",
        names=path / "n.toml",
        design=path / "d",
    )


def montecarlo(design: Path, data: Path, out: Path) -> hostile.Done:
    return run("montecarlo", design, "--input", data, "-n", 2, "-o", out, "--json")


# --- What is no file to read -------------------------------------------------------------------------------------

READERS: dict[str, tuple[str, Callable[[Place, Path, Path], tuple[object, ...]]]] = {
    "checkpoint": ("m.safetensors", lambda g, f, t: ("inspect", f)),
    "pt": ("m.pt", lambda g, f, t: ("inspect", f)),
    "npz tensors": ("m.npz", lambda g, f, t: ("convert", f, "-o", t / "o.safetensors")),
    "names": ("n.toml", lambda g, f, t: ("convert", g.tensors, "--names", f, "-o", t / "o.safetensors")),
    "check": ("c.npz", lambda g, f, t: ("inspect", g.checkpoint, "--check", f)),
    "sequences": ("x.npz", lambda g, f, t: ("montecarlo", g.design, "--input", f, "-n", 1, "-o", t / "o")),
    "technology": ("t.toml", lambda g, f, t: ("export", g.checkpoint, "-o", t / "o", "--technology", f)),
    "current technology": (
        "t.toml",
        lambda g, f, t: ("export", g.checkpoint, "-o", t / "o", "--architecture", "cm", "--technology", f),
    ),
    "template": ("mine.cir", lambda g, f, t: ("export", g.checkpoint, "-o", t / "o", "--template", f"comparator={f}")),
    "devices": ("mine.lib", lambda g, f, t: ("characterize", f, "--dies", 0)),
    "process": ("mine.toml", lambda g, f, t: ("characterize", f, "--dies", 0)),
    "design": ("d", lambda g, f, t: ("compare", f, "--input", g.sequences)),
    "run": ("r", lambda g, f, t: ("report", f, "-o", t / "o")),
    "table": ("table.json", lambda g, f, t: ("report", f, "-o", t / "o")),
    "training data": (
        "x.npz",
        lambda g, f, t: ("train", "--data", f, "--test", f, "-o", t / "o.safetensors", "--steps", 1),
    ),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file(reader: str, kind: str, good: Place, tmp_path: Path) -> None:
    name, command = READERS[reader]
    hostile.no_file(kind, tmp_path / name)
    sound(run(*command(good, tmp_path / name, tmp_path)), (2,))
    assert not (tmp_path / "o").exists() and not (tmp_path / "o.safetensors").exists()


@pytest.mark.parametrize("kind", [kind for kind in NO_FILES if kind not in ("folder",)])
@pytest.mark.parametrize("name", [folder.NETWORK, folder.MODEL, folder.MANIFEST])
def test_a_design_folder_with_something_else_in_it(name: str, kind: str, good: Place, tmp_path: Path) -> None:
    shutil.copytree(good.design, tmp_path / "d")
    (tmp_path / "d" / name).unlink()
    hostile.no_file(kind, tmp_path / "d" / name)
    sound(run("compare", tmp_path / "d", "--input", good.sequences), (2,))


@pytest.mark.parametrize("kind", [kind for kind in NO_FILES if kind != "absent"])
def test_an_output_that_is_something_else(kind: str, good: Place, tmp_path: Path) -> None:
    """Without --force nothing is replaced; with it, only what this program wrote."""
    hostile.no_file(kind, tmp_path / "o")
    for command in (("export", good.checkpoint, "--no-verify"), ("report", good.design), ("train", "flipflop")):
        sound(run(*command, "-o", tmp_path / "o"), (2,))
        if command[0] != "train":
            sound(run(*command, "-o", tmp_path / "o", "--force"), (2,))
    assert (tmp_path / "o").is_symlink() or (tmp_path / "o").exists()


# --- Damaged files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", ["checkpoint", "tensors", "sequences"])
def test_damaged_bytes(name: str, seed: int, good: Place, tmp_path: Path) -> None:
    """Refused; or read, where the damage left a sound file."""
    source = getattr(good, name)
    path = tmp_path / source.name
    path.write_bytes(hostile.damaged(source.read_bytes(), seed))
    if name == "sequences":
        sound(montecarlo(good.design, path, tmp_path / "o"), (0, 2))
    elif name == "tensors":
        sound(run("convert", path, "--names", good.names, "-o", tmp_path / "o.safetensors"), (0, 2))
    else:
        sound(run("inspect", path), (0, 2))


@pytest.mark.parametrize("value", VALUES, ids=[repr(value)[:20] for value in VALUES])
@pytest.mark.parametrize("key", SETTINGS)
def test_settings_of_a_checkpoint(key: str, value: Any, good: Place, tmp_path: Path) -> None:
    """A setting is refused by name, or the checkpoint can be written and read again with it."""
    path = tmp_path / "m.safetensors"
    text = json.dumps({**SETTINGS, key: value})
    safetensors.torch.save_file(safetensors.torch.load_file(good.checkpoint), path, {"cmru_hw": text})
    done = run("inspect", path, "--json")
    sound(done, (0, 2))
    if done.code == 0 and key not in ("task", "training", "scores"):
        assert done.json.get(key) == value or key == "format"


SEQUENCES: dict[str, dict[str, Any]] = {
    "no inputs": {"labels": np.zeros(3, int)},
    "another array": {"inputs": np.zeros((2, 4, 3)), "weights": np.zeros(3)},
    "text": {"inputs": np.full((2, 4, 3), "a")},
    "complex": {"inputs": np.zeros((2, 4, 3), complex)},
    "boolean": {"inputs": np.zeros((2, 4, 3), bool)},
    "objects": {"inputs": np.full((2, 4, 3), None)},
    "NaN": {"inputs": np.full((2, 4, 3), np.nan)},
    "infinite": {"inputs": np.full((2, 4, 3), np.inf)},
    "beyond float32": {"inputs": np.full((2, 4, 3), 1e300)},
    "no sequences": {"inputs": np.zeros((0, 4, 3))},
    "no timesteps": {"inputs": np.zeros((2, 0, 3))},
    "no features": {"inputs": np.zeros((2, 4, 0))},
    "flat": {"inputs": np.zeros(12)},
    "scalar": {"inputs": np.float64(1)},
    "other features": {"inputs": np.zeros((2, 4, 5))},
    "records": {"inputs": np.zeros((2, 4, 3), [("a", "f4")])},
    "dates": {"inputs": np.zeros((2, 4, 3), "M8[s]")},
    "labels of text": {"inputs": np.zeros((2, 4, 3)), "labels": np.array(["a", "b"])},
    "labels of floats": {"inputs": np.zeros((2, 4, 3)), "labels": np.zeros(2)},
    "a label too many": {"inputs": np.zeros((2, 4, 3)), "labels": np.zeros(3, int)},
    "labels of no class": {"inputs": np.zeros((2, 4, 3)), "labels": np.full(2, 7)},
    "negative labels": {"inputs": np.zeros((2, 4, 3)), "labels": np.full(2, -1)},
    "huge labels": {"inputs": np.zeros((2, 4, 3)), "labels": np.full(2, 2**63, np.uint64)},
    "lengths of 0": {"inputs": np.zeros((2, 4, 3)), "lengths": np.zeros(2, int)},
    "lengths beyond": {"inputs": np.zeros((2, 4, 3)), "lengths": np.full(2, 5)},
    "lengths of floats": {"inputs": np.zeros((2, 4, 3)), "lengths": np.full(2, 4.0)},
    "lengths as a table": {"inputs": np.zeros((2, 4, 3)), "lengths": np.full((2, 1), 4)},
    "no array": {"inputs": b"nothing"},
    "empty array": {"inputs": b""},
    "code": {"inputs": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1e9, 1e9, 3), }\n"},
}  # fmt: skip


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences(name: str, good: Place, tmp_path: Path) -> None:
    hostile.npz(tmp_path / "x.npz", SEQUENCES[name])
    done = montecarlo(good.design, tmp_path / "x.npz", tmp_path / "o")
    sound(done, (2,))
    assert not (tmp_path / "o").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_sequences_that_hold_an_array_twice(good: Place, tmp_path: Path) -> None:
    import zipfile

    hostile.npz(tmp_path / "x.npz", {"inputs": np.zeros((2, 4, 3))})
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("inputs.npy", archive.read("inputs.npy"))
    done = montecarlo(good.design, tmp_path / "x.npz", tmp_path / "o")
    sound(done, (2,))
    assert "'inputs' twice" in done.stderr


# --- Technologies and maps of names ------------------------------------------------------------------------------

NUMBERS = ("0", "-1", "nan", "inf", "1e30", "1e-30", '"text"', "true", "[]", "{}", str(10**30), "1979-05-27")
MACRO = tomllib.loads(technology.text("macro"))
EDITS = [(section, key, number) for section in MACRO if isinstance(MACRO[section], dict) for key in MACRO[section]
         for number in NUMBERS]  # fmt: skip


@pytest.mark.parametrize(("section", "key", "number"), random.Random(0).sample(EDITS, 90))
def test_numbers_of_a_technology(section: str, key: str, number: str, good: Place, tmp_path: Path) -> None:
    """Refused with the key, the unit and the range; or in its range, and stored in the design as it is."""
    head, rest = technology.text("macro").split(f"[{section}]\n")
    rest = re.sub(rf"^{key} = \S+", f"{key} = {number}", rest, count=1, flags=re.MULTILINE)
    (tmp_path / "t.toml").write_text(f"{head}[{section}]\n{rest}")
    done = run("export", good.checkpoint, "-o", tmp_path / "o", "--technology", tmp_path / "t.toml", "--no-verify")
    sound(done, (0, 2))
    if done.code:
        assert key in done.stderr or "does not fit" in done.stderr or section in done.stderr, done.stderr
    else:
        allowed = ranges.CHARGE[f"{section}.{key}"]
        assert allowed.problem(float(number)) == ""
        assert json.loads((tmp_path / "o" / "design.json").read_text())["technology"][section][key] == float(number)


TEXTS = {
    "deep": "[" * 5000,
    "a deep key": ".".join("a" * 3000) + " = 1",
    "twice": "a = 1\na = 2",
    "digits": f"a = {'9' * 5000}",
    "many digits": f"a = {10**400}",
    "control": 'a = "\x00"',
    "section as number": "supply = 3",
    "sections as list": "[[supply]]\nvdd = 1.8",
    "byte order mark": "\ufeff\ufeffa = 1",
}


@pytest.mark.parametrize("reader", ["names", "technology", "current technology", "process"])
@pytest.mark.parametrize("name", TEXTS)
def test_hostile_toml(name: str, reader: str, good: Place, tmp_path: Path) -> None:
    file, command = READERS[reader]
    (tmp_path / file).write_text(TEXTS[name], encoding="utf-8")
    sound(run(*command(good, tmp_path / file, tmp_path)), (2,))


MODEL = {
    "cell": '"cmru"',
    "epsilon": "1.0",
    "levels": "3",
    "skip": "true",
    "decision": '"mean"',
    "classes": '["no", "yes"]',
}
ODD = ("0", "-1", "1.5", "nan", "true", '"x"', "[]", '["a"]', "[1, 2]", "{}", str(10**30))


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("key", MODEL)
def test_settings_of_a_map_of_names(key: str, value: Any, good: Place, tmp_path: Path) -> None:
    """What convert writes can be read; the rest is refused by name."""
    old = f"{key} = {MODEL[key]}"
    text = good.names.read_text()
    assert old in text
    (tmp_path / "n.toml").write_text(text.replace(old, f"{key} = {value}"))
    done = run("convert", good.tensors, "--names", tmp_path / "n.toml", "-o", tmp_path / "o.safetensors")
    sound(done, (0, 2))
    if done.code == 0:
        sound(run("inspect", tmp_path / "o.safetensors"), (0,))
    else:
        assert not (tmp_path / "o.safetensors").exists()


# --- Design folders ----------------------------------------------------------------------------------------------


def edits() -> list[tuple[tuple[Any, ...], Any]]:
    trained, data = random_network(SHAPE), random_sequences(SHAPE)
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
    content: dict[str, Any] = {
        "technology": asdict(design.technology),
        "calibration": asdict(design.calibration),
        "templates": {},
    }
    content |= {"format": 1, "architecture": "sc", "files": {}, "fields_sha256": {}}
    content = json.loads(json.dumps(content))
    scaled = [
        (("technology", section, key), number * factor)
        for section, numbers in content["technology"].items() if isinstance(numbers, dict)
        for key, number in numbers.items() for factor in (100.0, 1.01) if number
    ]  # fmt: skip
    return [*hostile.mutations(content, count=60, seed=1), *random.Random(2).sample(scaled, 25)]


@pytest.mark.parametrize(("place", "value"), edits(), ids=str)
def test_an_edited_manifest_is_refused_or_named_in_the_result(
    place: tuple[Any, ...], value: Any, good: Place, tmp_path: Path
) -> None:
    shutil.copytree(good.design, tmp_path / "d")
    manifest = tmp_path / "d" / "design.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(hostile.put(content, place, value)))
    done = montecarlo(tmp_path / "d", good.sequences, tmp_path / "o")
    sound(done, (0, 2))
    if done.code == 0:
        name = ".".join(map(str, place))
        assert any(name.startswith(edited) or edited.startswith(name) for edited in done.json["edited"]), name
        table = run("montecarlo", tmp_path / "d", "--input", good.sequences, "-n", 2, "-o", tmp_path / "o")
        assert "edited after export" in table.stdout


@pytest.mark.parametrize("name", ["cells/comparator.cir", "mapping.csv", "deck.cir"])
def test_an_edited_file_that_is_not_simulated_is_named(name: str, good: Place, tmp_path: Path) -> None:
    shutil.copytree(good.design, tmp_path / "d")
    with (tmp_path / "d" / name).open("a") as file:
        file.write("* mine\n")
    (edited,) = montecarlo(tmp_path / "d", good.sequences, tmp_path / "o").json["edited"]
    assert edited.startswith(name) and "not simulated" in edited


# --- Results -----------------------------------------------------------------------------------------------------

MADE: dict[str, tuple[str, Callable[[], Record]]] = {
        "montecarlo": ("summary.json", results.montecarlo), "energy": ("energy.json", results.energy),
        "corners": ("corners.json", results.corners), "retention": ("retention.json", results.retention),
        "comparison": ("summary.json", results.comparison), "versus": ("table.json", results.versus)}  # fmt: skip
CHANGES = [
    (name, place, value)
    for seed, (name, (_, make)) in enumerate(MADE.items())
    for place, value in hostile.mutations(json.loads(make().to_json()), count=25, seed=seed)
]


@pytest.mark.parametrize(("name", "place", "value"), CHANGES, ids=str)
def test_a_changed_result_is_refused_or_shown_as_it_is(
    name: str, place: tuple[Any, ...], value: Any, tmp_path: Path
) -> None:
    file, make = MADE[name]
    content = hostile.put(json.loads(make().to_json()), place, value)
    (tmp_path / "r").mkdir()
    path = tmp_path / "r" / file
    path.write_text(json.dumps(content))
    done = run("report", path if name == "versus" else tmp_path / "r", "-o", tmp_path / "o")
    sound(done, (0, 2))
    if done.code == 0:
        cells = [cell for row in csv.reader((tmp_path / "o" / "numbers.csv").open()) for cell in row]
        assert not any(cell.startswith("=") for cell in cells)
        page = (tmp_path / "o" / "index.html").read_text()
        assert "\x1b" not in page and "nan" not in page.lower().replace("dominan", "")
    else:
        assert not (tmp_path / "o").exists()


# --- Options -----------------------------------------------------------------------------------------------------

OPTIONS = [
    ("montecarlo", "--seed", str(2**70)), ("montecarlo", "--seed", "-1"), ("montecarlo", "-n", "0"),
    ("montecarlo", "-n", "9" * 5000), ("montecarlo", "--drop", "-1"), ("montecarlo", "--drop", "nan"),
    ("montecarlo", "--drop", "1" * 400), ("montecarlo", "--until-ci", "0"), ("montecarlo", "--until-ci", "inf"),
    ("montecarlo", "--paired", "2000"), ("montecarlo", "--only", "nothing"), ("montecarlo", "--without", "="),
    ("montecarlo", "--jobs", "0"), ("montecarlo", "--jobs", str(10**9)), ("montecarlo", "--timeout", "0"),
    ("montecarlo", "--timeout", "1e999"), ("montecarlo", "--engine", "foo"), ("montecarlo", "-o", ""),
    ("montecarlo", "-o", " "), ("montecarlo", "--input", ""), ("montecarlo", "--sequences", "0"),
    ("montecarlo", "--sequences", "99"), ("montecarlo", "--die", "-1"), ("montecarlo", "-o", "a" * 300),
    ("montecarlo", "-o", "/proc/nothing"), ("montecarlo", "-o", "/dev/null/x"),
    ("simulate", "--unit", "².0"), ("simulate", "--unit", "0"), ("simulate", "--unit", "9.9"),
    ("simulate", "--unit", "-1.0"),
    ("simulate", "--unit", f"0.{'1' * 5000}"), ("simulate", "--plot", "figure.jpg"), ("simulate", "--raw", ""),
    ("compare", "--resolution", "-1"), ("compare", "--resolution", "nan"), ("compare", "--refine", "5"),
    ("compare", "--cache", ""), ("compare", "--backend", "foo"), ("energy", "-o", ""), ("certify", "--frames", "0"),
    ("corners", "-o", ""), ("corners", "--agreement", "2"), ("corners", "--only", "ff"),
    ("retention", "--temperature", "1000"), ("retention", "--temperature", "nan"), ("retention", "--corner", "xx"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "option", "value"), OPTIONS, ids=lambda value: value[:20])
def test_options(
    command: Any, option: str, value: Any, good: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [command, good.design]
    if command != "retention" and option != "--input":
        given += ["--input", good.sequences]
    if command == "corners" and option != "-o":
        given += ["-o", "o"]
    plot = ["--plot", "p.svg"] if option == "--unit" else []
    sound(
        run(
            *given,
            *plot,
            f"{option}={value}" if option.startswith("--") else option,
            *([value] if not option.startswith("--") else []),
        ),
        (2,),
    )
    assert list(tmp_path.iterdir()) == []


TRAIN = [
    ("--shape", "65x1"), ("--shape", "0x1"), ("--shape", "²x1"), ("--shape", "1x100000"), ("--levels", "-1"),
    ("--levels", str(10**30)), ("--steps", "0"), ("--epsilon", "2"), ("--row-margin", "nan"), ("--best-of", "0"),
    ("--seed", str(2**64)), ("--dies", "0"), ("-o", "x.txt"), ("-o", ""), ("--technology", "foo"),
    ("--from", "absent.pt"),
    ("--tune-steps", "0"), ("--decision", "first"),
]  # fmt: skip


@pytest.mark.parametrize(("option", "value"), TRAIN, ids=lambda value: value[:20])
def test_options_of_training(option: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever could not be built or read again is refused before anything is trained."""
    monkeypatch.chdir(tmp_path)
    output = [] if option == "-o" else ["-o", "o.safetensors"]
    aware = ["--hardware-aware"] if option == "--technology" else []
    sound(run("train", "flipflop", *output, *aware, option, value), (2,))
    assert list(tmp_path.iterdir()) == []


# --- Python ------------------------------------------------------------------------------------------------------

CALLS: dict[str, dict[str, Any]] = {
    "dies": {"dies": 0}, "negative dies": {"dies": -3}, "drop": {"drop": -1.0}, "drop of percents": {"drop": 5.0},
    "drop that is none": {"drop": float("nan")}, "seed": {"seed": -1}, "large seed": {"seed": 2**70},
    "engine": {"engine": "foo"}, "leaves": {"varied": frozenset({"layer9/offset"})},
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_arguments_in_python(name: str, good: Place, tmp_path: Path) -> None:
    import cmru_hw

    given: dict[str, Any] = {"dies": 2, "folder": tmp_path / "o", **CALLS[name]}
    with pytest.raises(InputError) as caught:
        cmru_hw.run_montecarlo(cmru_hw.load_design(good.design), cmru_hw.load_sequences(good.sequences), **given)
    assert hostile.REMEDY.search(str(caught.value)) and not (tmp_path / "o").exists()
