"""The README is executed: its commands, its Python, and what it says that the demo prints."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from cmru_hw.cli import main
from cmru_hw.core import package_data

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.spice


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A directory that looks like a checkout, so that relative paths in the README mean what they say."""
    shutil.copytree(package_data.folder("models"), tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def command(line: str) -> tuple[int, str]:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", shlex.split(line))
        with redirect_stdout(out), pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code, out.getvalue()


@pytest.mark.parametrize("all_of_them", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_command_runs(folder, need, all_of_them):
    lines = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ cmru-hw ")]
    assert len(lines) >= 10
    for line in lines:
        if "--scheduler" in line:
            # needs a cluster; the same blocks on a Dask cluster are tested with Monte-Carlo
            continue
        if " corners " in line and not all_of_them:
            # measures transistors, for a minute
            continue
        if " train " in line:
            need("aeon")
        code, _ = command(line)
        assert code == 0, line
    assert (folder / "out" / "unit.svg").stat().st_size > 5000


def test_the_python_runs_and_agrees(folder, capsys):
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    agree, total = re.findall(r"\d+", capsys.readouterr().out)[:2]
    assert agree == total != "0"


def test_the_demo_prints_what_the_readme_shows(folder):
    code, printed = command("cmru-hw demo -o demo")
    assert code == 0
    shown = re.search(r"```text\n(exported.*?)```", README, re.DOTALL)
    assert shown is not None

    def stable(text: str) -> list[str]:
        return [re.sub(r"\s+", " ", line.strip()) for line in text.splitlines() if "CPU" not in line]

    assert stable(printed) == stable(shown[1])


def test_every_shipped_model_has_a_card_and_a_line():
    models = sorted(path.stem for path in package_data.folder("models").glob("*.safetensors"))
    assert models
    for name in models:
        assert f"`{name}`" in README
        assert (package_data.folder("models") / f"{name}.md").is_file()
