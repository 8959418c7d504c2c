"""The style of every figure, and how to save one: SVG or PDF by the file's suffix.

A figure is 8.5 cm wide, a column of a paper, where its letters have 7 pt or more. Exponents would be smaller, so a
logarithmic axis has prefixes of units. Colours are those of Okabe and Ito, or differ as much in lightness, for people
with colour-blindness.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from cmru_hw.core.atomic_write import write_atomically
from cmru_hw.core.errors import OutputError

# Width of a figure [inches]: 8.5 cm.
COLUMN = 3.35

STYLE = {
    "font.size": 7.0,
    "axes.titlesize": 7.0,
    "figure.titlesize": 7.0,
    "legend.columnspacing": 1.0,
    "legend.handlelength": 1.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "legend.frameon": False,
    "svg.fonttype": "none",
    # The same figure gives the same file: no date, no random ids.
    "svg.hashsalt": "cmru_hw",
}


CIRCUIT, SOFTWARE, SECOND = "#1f4e79", "#d1495b", "#E69F00"


def prefixes(axis: Axis, unit: str = "") -> None:
    """Ticks of ``axis``, which is logarithmic and has its data, with prefixes: 100 pJ, 1 nJ, 10 nJ."""
    low, high = axis.get_view_interval()
    if high < 30 * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(EngFormatter(unit=unit, sep="\N{NO-BREAK SPACE}" if unit else ""))
    axis.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: Path) -> None:
    """Write ``figure`` to ``path``, whole or not at all, and close it. Raises OutputError."""
    if path.suffix not in (".svg", ".pdf", ".png"):
        raise OutputError(f"{path}: figures are written as .svg, .pdf or .png; change the name")
    stamp = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    try:
        write_atomically(path, lambda scratch: figure.savefig(scratch, metadata=stamp, dpi=160))
    finally:
        plt.close(figure)
