"""docs/ says what the program does: references are current, and pages show what their commands print."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cmru_hw.core import package_data
from cmru_hw.core.errors import CheckpointError
from cmru_hw.nn import checkpoint, import_weights
from tools import reference, transcript

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(("name", "make"), [("cli.md", reference.cli), ("api.md", reference.api)])
def test_references_are_current(name, make):
    assert (DOCS / name).read_text(encoding="utf-8") == make(), "run python -m tools.reference"


@pytest.mark.spice
@pytest.mark.parametrize("name", transcript.PAGES)
def test_pages_show_what_is_printed(name, tmp_path):
    text = (DOCS / name).read_text(encoding="utf-8")
    assert transcript.masked(transcript.replay(text, tmp_path)) == transcript.masked(text), (
        "run python -m tools.transcript"
    )


def test_links_between_pages_lead_somewhere():
    root = DOCS.parent
    for page in [root / "README.md", *DOCS.glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), (page.name, link)


NAMES = """
[model]
cell = "cmru"
epsilon = 1.0
levels = 7
skip = false
decision = "mean"
classes = ["other", "speaker 3"]

[tensors]
"""


def foreign(folder: Path, *, transpose: bool) -> tuple[Path, Path]:
    """A shipped network as another program would have saved it, and the map back."""
    trained = checkpoint.load(package_data.folder("models") / "detect-cmru-2x4.safetensors")
    tensors, lines = {}, []
    for number, (name, tensor) in enumerate(trained.tensors.items()):
        turned = transpose and tensor.ndim == 2
        tensors[f"params/{number}"] = tensor.T.contiguous() if turned else tensor
        lines.append(f'"{name}" = {{ from = "params/{number}"{", transpose = true" if turned else ""} }}')
    save_file(tensors, folder / "params.safetensors")
    np.savez(folder / "params.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
    (folder / "names.toml").write_text(NAMES + "\n".join(lines))
    return folder / "params.safetensors", folder / "names.toml"


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_network_from_elsewhere_is_the_same_network(suffix, tmp_path):
    tensors, names = foreign(tmp_path, transpose=True)
    found = import_weights.convert(tensors.with_suffix(suffix), names)
    wanted = checkpoint.load(package_data.folder("models") / "detect-cmru-2x4.safetensors")
    assert all(torch.equal(found.tensors[name], wanted.tensors[name]) for name in wanted.tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"params/3"', '"params/x"'), "there is no 'params/x'"),
        (lambda text: text.replace('{ from = "params/3" }', "{ fill = 1.0, size = 8 }"), "'params/3' is used by no"),
        (lambda text: text.replace('{ from = "params/3" }', "{ fill = 1.0, size = -1 }"), "the size of .* is -1"),
        (lambda text: text.replace('{ from = "params/3" }', "3"), "change it"),
        (lambda text: text.replace("[model]", "[network]"), "two tables"),
        (lambda text: text.replace("skip", "hop"), "look at hop"),
        (lambda text: text.replace(", transpose = true", ""), "has shape"),
        (lambda text: text + "]", "cannot be read"),
    ],
)
def test_a_map_that_does_not_fit_is_refused_by_name(change, message, tmp_path):
    tensors, names = foreign(tmp_path, transpose=True)
    names.write_text(change(names.read_text()))
    with pytest.raises(CheckpointError, match=message):
        import_weights.convert(tensors, names)


def test_a_pickle_is_no_source_of_tensors(tmp_path):
    np.savez(tmp_path / "params.npz", objects=np.array([{}], dtype=object))
    (tmp_path / "names.toml").write_text(NAMES)
    with pytest.raises(CheckpointError, match="it is damaged"):
        import_weights.convert(tmp_path / "params.npz", tmp_path / "names.toml")
