"""The style of every figure, and how to save one: SVG or PDF by the file's suffix."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cmru_hw.core.atomic_write import write_atomically
from cmru_hw.core.errors import OutputError

STYLE = {
    "font.size": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "legend.frameon": False,
    "svg.fonttype": "none",
    # The same figure gives the same file: no date, no random ids.
    "svg.hashsalt": "cmru_hw",
}


CIRCUIT, SOFTWARE, SECOND = "#1f4e79", "#d1495b", "#66a182"


def save(figure: Figure, path: Path) -> None:
    """Write ``figure`` to ``path``, whole or not at all, and close it. Raises OutputError."""
    if path.suffix not in (".svg", ".pdf", ".png"):
        raise OutputError(f"{path}: figures are written as .svg, .pdf or .png; change the name")
    stamp = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    try:
        write_atomically(path, lambda scratch: figure.savefig(scratch, metadata=stamp, dpi=160))
    finally:
        plt.close(figure)
