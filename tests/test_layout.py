"""The order of the modules: imports point down only, and starting the program loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "cmru_hw"

# Each floor may import from the floors below it, and from its own where the order within the line says so.
FLOORS = [
    ["errors", "shipped", "quantity", "files"],
    ["signals", "compiled", "recurrence", "cells"],
    ["checkpoint", "technology", "ladder_cells"],
    ["convert"],
    ["tasks", "row_margin", "training", "streams"],
    ["designs"],
    ["mapping"],
    ["variation", "noise", "compare"],
    ["pdk", "inventory", "netlist", "memories", "transistor", "chip", "decks"],
    ["spice", "doctor"],
    ["simulate", "alone", "behavioral", "characterize", "ladder", "gated"],
    ["plots", "waveform_files"],
    ["current"],
    ["architectures"],
    ["templates", "design_folder"],
    ["results", "energy", "corners", "retention"],
    ["montecarlo"],
    ["hardware_aware"],
    ["report", "versus"],
    ["cli"],
]
RANK = {name: (floor, place) for floor, names in enumerate(FLOORS) for place, name in enumerate(names)}


def top(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").split("_store")[0]


def imports(path: Path) -> set[str]:
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in typing_only or not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module == "cmru_hw":
            found |= {
                alias.name
                for alias in node.names
                if (PACKAGE / alias.name).exists() or (PACKAGE / f"{alias.name}.py").exists()
            }
        elif node.module.startswith("cmru_hw."):
            found.add(node.module.split(".")[1])
    return found


def test_imports_point_down_only():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = top(path)
        if name == "__init__":
            continue
        assert name in RANK, f"{name} has no floor: give it one"
        wrong += [
            f"{name} imports {other}" for other in sorted(imports(path)) if other != name and RANK[other] >= RANK[name]
        ]
    assert not wrong


def test_help_does_not_wait_for_torch():
    code = (
        "import sys, cmru_hw.cli\n"
        "sys.argv = ['cmru-hw', '--help']\n"
        "try: cmru_hw.cli.main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numba', 'PySpice') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
