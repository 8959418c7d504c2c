"""Location of the package's data folders: next to it in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """The folder ``netlists`` (templates) or ``models`` (trained checkpoints)."""
    package = Path(__file__).parent.parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
