"""The figure of a sweep: energy per timestep over the number of units, one line per architecture and supply.

Filled marks are simulated, open marks are estimates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from cmru_hw.analysis.sweep.grid import ARCHITECTURES
from cmru_hw.analysis.sweep.result import SweepResult
from cmru_hw.core.figures import COLUMN, STYLE, prefixes, save

COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#555555")
MARKERS = ("o", "s", "^", "v", "D", "P", "X")
LINES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")


def energies(result: SweepResult, path: Path) -> None:
    """Energy per timestep of all finished rows."""
    rows = result.finished
    supplies = sorted({row.vdd_V for row in rows})
    sizes = sorted({row.units for row in rows})
    with plt.style.context([STYLE]):
        figure, axis = plt.subplots(figsize=(COLUMN, 2.9), layout="constrained")
        # Architectures have the same order and colour in every figure.
        for place, column in enumerate(ARCHITECTURES.values()):
            for vdd in supplies:
                line = sorted(
                    (row for row in rows if row.architecture == column.name and row.vdd_V == vdd),
                    key=lambda row: row.units,
                )
                if not line:
                    continue
                axis.plot(
                    [row.units for row in line],
                    [row.per_timestep_J or 0.0 for row in line],
                    marker=MARKERS[place],
                    linestyle=LINES[supplies.index(vdd) % len(LINES)],
                    color=COLOURS[place],
                    markerfacecolor=COLOURS[place] if column.simulated else "white",
                    markersize=4,
                )
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        prefixes(axis.yaxis, "J")
        axis.set_xlabel("units")
        axis.set_ylabel("energy per timestep")
        figure.legend(handles=_handles(result, supplies), loc="outside lower center", ncols=2)
        save(figure, path)


def _handles(result: SweepResult, supplies: list[float]) -> list[Line2D]:
    """One entry of the legend for each architecture and, of several supplies, one for each line style."""
    drawn = {row.architecture for row in result.finished}
    found = []
    for place, column in enumerate(ARCHITECTURES.values()):
        if column.name in drawn:
            face, level = (COLOURS[place], "simulated") if column.simulated else ("white", "estimate")
            line = Line2D([], [], color=COLOURS[place], marker=MARKERS[place], markerfacecolor=face, markersize=4)
            line.set_label(f"{column.title} ({level})")
            found.append(line)
    if len(supplies) > 1:
        for place, vdd in enumerate(supplies):
            line = Line2D([], [], color="#555555", label=f"{vdd:g} V")
            line.set_linestyle(LINES[place % len(LINES)])
            found.append(line)
    return found
