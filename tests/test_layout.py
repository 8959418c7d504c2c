"""Imports point in one direction, by folder and by file, and starting the program loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cmru_hw"
TOP_LEVEL_MODULES = {"__init__.py"}

# A folder imports from the folders listed here, from those that these import from, and from itself.
BELOW = {
    "core": set(),
    "nn": {"core"},
    "spice": {"core"},
    # Device models are netlists, which spice/lexer reads.
    "process": {"spice"},
    "characterize": {"process"},
    "circuits": {"nn", "characterize"},
    "design_folder": {"circuits"},
    "analysis": {"design_folder"},
    "report": {"analysis"},
    "cli": {"report"},
}
# Pairs of folders that do not import each other.
STRANGERS = [("circuits/charge", "circuits/current")]


def reachable(folder: str) -> set[str]:
    found = {folder}
    for lower in BELOW[folder]:
        found |= reachable(lower)
    return found


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Modules of the package that ``path`` imports anywhere, also for type checkers only."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "cmru_hw"}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            if node.module and node.module.split(".")[0] == "cmru_hw":
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    found.add(full if full in MODULES else node.module)
    return found


GRAPH = {name: imports(path) - {name} for name, path in MODULES.items()}


def test_every_module_has_its_folder() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} <= TOP_LEVEL_MODULES
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(BELOW)
    assert all(name in MODULES for names in GRAPH.values() for name in names)


def test_folders_import_in_one_direction() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        if name != "cmru_hw"
        for other in sorted(others - {"cmru_hw"})
        if other.split(".")[1] not in reachable(name.split(".")[1])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("one", "other"), [*STRANGERS, *(pair[::-1] for pair in STRANGERS)])
def test_kinds_of_circuit_know_nothing_of_each_other(one: str, other: str) -> None:
    ours, theirs = (f"cmru_hw.{place.replace('/', '.')}" for place in (one, other))
    wrong = [
        f"{name} imports {target}"
        for name, targets in GRAPH.items()
        if name.startswith(ours)
        for target in sorted(targets)
        if target.startswith(theirs)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_files() -> None:
    lazy = GRAPH | {"cmru_hw": set()}  # its names are loaded when they are first used
    try:
        TopologicalSorter(lazy).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys, cmru_hw.cli\n"
        "sys.argv = ['cmru-hw', '--help']\n"
        "try: cmru_hw.cli.main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numba', 'PySpice') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
