"""README and pages are executed: their commands, their Python, and the demo output in README."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from cmru_hw.cli import main
from cmru_hw.core import package_data

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Pages whose commands run in the order of the page. The two pages that also show output have their own test.
PAGES = (
    "README.md",
    "docs/workflow.md",
    "docs/charge-domain.md",
    "docs/chip.md",
    "docs/handover.md",
    "docs/montecarlo.md",
    "docs/energy.md",
    "docs/current-mode.md",
    "docs/proposal.md",
)
WORDS = 1200


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the layout of a checkout, in which the relative paths of README are valid."""
    shutil.copytree(package_data.folder("models"), tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def command(line: str) -> tuple[int, str]:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", shlex.split(line))
        with redirect_stdout(out), pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    assert isinstance(code, int)
    return code, out.getvalue()


def commands(page: str) -> list[str]:
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    return [line[2:] for line in lines if line.startswith("$ cmru-hw ")]


@pytest.mark.spice
@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs(page: str, folder: Path, need: Callable[[str], None]) -> None:
    lines = commands(page)
    assert lines
    for line in lines:
        if "--scheduler" in line:
            # Needs a cluster. The Monte-Carlo tests run the same blocks on a Dask cluster.
            continue
        if " corners " in line:
            # Measures transistors for a minute: tested by the slow test below.
            continue
        if " train " in line:
            need("aeon")
        code, _ = command(line)
        assert code == 0, line
    assert (folder / "out").is_dir()


@pytest.mark.slow
@pytest.mark.spice
def test_corners_of_the_page_on_energy_run(folder: Path) -> None:
    lines = commands("docs/energy.md")
    for line in (lines[0], *(line for line in lines if " corners " in line)):
        assert command(line)[0] == 0, line
    assert (folder / "out" / "corners" / "corners.json").is_file()


@pytest.mark.spice
def test_the_python_runs_and_agrees(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("docs/workflow.md", "python")
    exec(compile(code, "workflow.md", "exec"), {"__name__": "workflow"})
    agree, total = re.findall(r"\d+", capsys.readouterr().out)[:2]
    assert agree == total != "0"


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= WORDS


@pytest.mark.spice
def test_the_demo_prints_what_the_readme_shows(folder: Path) -> None:
    code, printed = command("cmru-hw demo -o demo")
    assert code == 0
    shown = re.search(r"```text\n(exported.*?)```", README, re.DOTALL)
    assert shown is not None

    def stable(text: str) -> list[str]:
        return [re.sub(r"\s+", " ", line.strip()) for line in text.splitlines() if "CPU" not in line]

    assert stable(printed) == stable(shown[1])


def test_every_shipped_model_has_a_card_and_a_line() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    models = sorted(path.stem for path in package_data.folder("models").glob("*.safetensors"))
    assert models
    for name in models:
        assert f"`{name}`" in page
        assert (package_data.folder("models") / f"{name}.md").is_file()
