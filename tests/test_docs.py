"""The documentation is correct: references are current, pages show real output, links and code locations exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cmru_hw.core import package_data
from cmru_hw.core.errors import CheckpointError
from cmru_hw.nn import checkpoint, import_weights
from tools import reference, transcript

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(DOCS.glob("*.md")),
    *sorted((ROOT / "models").glob("*.md")),
    ROOT / "benchmarks" / "results" / "README.md",
]
# Technical words in README and help texts → the glossary entry that defines them.
WORDS = {
    r"candidates?": "candidate",
    r"thresholds?": "threshold",
    r"decisions?": "decision",
    r"rows?": "row",
    r"margins?": "margin",
    r"utterances?": "utterance",
    r"timesteps?": "timestep",
    r"packets?": "packet",
    r"dies?": "die",
    r"corners?": "corner",
    r"yield": "yield",
    r"retention": "retention",
    r"mismatch": "mismatch",
    r"decks?": "deck",
    r"templates?": "template",
    r"testbench(es)?": "testbench",
    r"technology": "technology",
    r"macro(-| )level": "macro level",
    r"transistor(-| )level": "transistor level",
    r"twin": "twin",
    r"current[- ]mode": "current mode",
    r"charge[- ]domain": "charge domain",
    r"power-gated": "power-gated chip",
    r"core": "core",
    r"analytic": "analytic",
    r"too close to call": "too close to call",
    r"droop": "droop",
    r"--cache": "result cache",
    r"fast engine|--engine": "fast engine",
}
# Words that the project no longer uses, or that are hard to understand.
RETIRED = r"\b(beside|held against|by hand|side by side|left alone)\b"


@pytest.mark.parametrize(("name", "make"), [("cli.md", reference.cli), ("api.md", reference.api)])
def test_references_are_current(name: str, make: Callable[[], str]) -> None:
    # Versions of click differ in the brackets of an optional choice.
    kept, made = (re.sub(r"\[(\[[^\[\]]*\])\]", r"\1", text) for text in ((DOCS / name).read_text("utf-8"), make()))
    assert kept == made, "run python -m tools.reference"


@pytest.mark.spice
@pytest.mark.parametrize("name", transcript.PAGES)
def test_pages_show_what_is_printed(name: str, tmp_path: Path) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    found = transcript.replay(text, tmp_path)
    # Another version of PyTorch, or another processor, trains another network: its verdict may have other lines.
    (before, _, _), (fixed, _, _) = (one.partition("$ cmru-hw train") for one in (found, text))
    assert transcript.masked(before) == transcript.masked(fixed), "run python -m tools.transcript"
    assert [line for line in found.splitlines() if line.startswith("$ ")] == re.findall(r"^\$ .*", text, re.M)
    if name == "own-network.md":
        # Percentages are masked above: the page promises that training on dies reaches this yield by the user's
        # accuracy, and that a trim comes near it by that of the tuned network.
        first, tuned, _, trimmed = (float(share) for share in re.findall(r"^yield +([\d.]+) % \(", found, re.M))
        assert first < 60 and tuned >= 95 and trimmed >= 85
        assert (tmp_path / "page" / "index.html").is_file()


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of ``page``, as the site generates them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S), re.M)
    plain = [re.sub(r"[^\w\s-]", "", title.lower()).strip() for title in titles]
    return {re.sub(r"[-\s]+", "-", title) for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if ":" in link:
            assert link.startswith("https://"), link
            continue
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def glossary() -> set[str]:
    """Every word that the glossary defines, in lower case: the bold words, and the options after them."""
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^- \*\*(.+?)\*\*(?: \((.+?)\))?:", text, re.M)
    return {word.strip(" `").lower() for entry in entries for part in entry for word in part.split(",") if word}


def test_technical_words_of_the_readme_and_of_help_are_in_the_glossary() -> None:
    used = (ROOT / "README.md").read_text(encoding="utf-8") + reference.cli()
    defined = glossary()
    assert {"header", "strobe", "v_cm", "trim code", "certificate", "level", "macromodel"} <= defined
    for pattern, entry in WORDS.items():
        assert re.search(rf"(?<![\w-])({pattern})(?![\w-])", used, re.I), (
            f"{pattern}: used no more, take it off the list"
        )
        assert entry in defined, f"{entry}: define it in docs/glossary.md"


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.parent in (ROOT, DOCS) and page.name != "api.md"],
    ids=lambda page: page.name,
)
def test_retired_words_stay_away(page: Path) -> None:
    assert not re.findall(RETIRED, page.read_text(encoding="utf-8"), re.I)


def test_places_of_the_architecture_page_exist() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    places = re.findall(r"`((?:cmru_hw|netlists|tests)/[a-z\d_./]*)(?:::(\w+))?`", text)
    assert len(places) > 30
    for path, name in places:
        assert (ROOT / path).exists(), path
        if name:
            source = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"^(def|class) {name}\b|^{name} = ", source, re.M), f"{path}::{name}"


@pytest.mark.needs("mkdocs")
def test_the_site_builds_without_warnings_and_fetches_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix(): path for path in (tmp_path / "site").rglob("*.html")}
    assert {"index.html", "glossary.html", "modules/circuits.html", "benchmarks/results/index.html"} <= set(pages)
    assert "cmru_hw.circuits.registry.register" in pages["modules/circuits.html"].read_text(encoding="utf-8")
    for name, path in pages.items():
        fetched = re.findall(r"<(?:script|img|link)[^>]*(?:src|href)=\"(https?:)?//", path.read_text(encoding="utf-8"))
        assert not fetched, name


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
    """A shipped network as another program would save it, and the map back."""
    trained = checkpoint.load(package_data.folder("models") / "detect-cmru-2x4.safetensors")
    tensors, lines = {}, []
    for number, (name, tensor) in enumerate(trained.tensors.items()):
        turned = transpose and tensor.ndim == 2
        tensors[f"params/{number}"] = tensor.T.contiguous() if turned else tensor
        lines.append(f'"{name}" = {{ from = "params/{number}"{", transpose = true" if turned else ""} }}')
    save_file(tensors, folder / "params.safetensors")
    arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
    np.savez(folder / "params.npz", **arrays)
    (folder / "names.toml").write_text(NAMES + "\n".join(lines))
    return folder / "params.safetensors", folder / "names.toml"


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_network_from_elsewhere_is_the_same_network(suffix: str, tmp_path: Path) -> None:
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
        (lambda text: text.replace("skip", "hop"), "has an unknown key .hop.; known are cell"),
        (lambda text: text.replace(", transpose = true", ""), "has shape"),
        (lambda text: text + "]", "cannot be read"),
    ],
)
def test_a_map_that_does_not_fit_is_refused_by_name(change: Callable[[str], str], message: str, tmp_path: Path) -> None:
    tensors, names = foreign(tmp_path, transpose=True)
    names.write_text(change(names.read_text()))
    with pytest.raises(CheckpointError, match=message):
        import_weights.convert(tensors, names)
