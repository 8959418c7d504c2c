"""Notebooks run from the first cell to the last, and contain no outputs."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import matplotlib
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[tuple[str, str]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in content["cells"]]


def test_there_are_some() -> None:
    assert 3 <= len(NOTEBOOKS) <= 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped_and_text_leads(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert all(not c["outputs"] and c["execution_count"] is None for c in content["cells"] if c["cell_type"] == "code")
    kinds = [kind for kind, _ in cells(path)]
    assert kinds[0] == "markdown" and kinds.count("markdown") >= 3
    assert all(len(line) <= 120 for kind, text in cells(path) for line in text.splitlines() if kind == "code")


@pytest.mark.spice
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in this process: a kernel for each notebook would load torch again."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    names: dict[str, object] = {"__name__": "__main__"}
    for number, (kind, source) in enumerate(cells(path)):
        if kind == "code":
            tree = ast.parse(source, filename=f"{path.name}, cell {number}")
            exec(compile(tree, f"{path.name}, cell {number}", "exec"), names)
