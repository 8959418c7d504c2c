"""Corners as a map: processes down, supply and temperature across; decisions above, energy below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colors
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from cmru_hw.analysis.corners.result import CornerFigures, CornersResult
from cmru_hw.core.figures import COLUMN, STYLE, save
from cmru_hw.core.units import joules, plain


def heat_map(summary: CornersResult, path: Path) -> None:
    """Decision agreement, and energy per timestep. A frame marks the worst corner; a grey one was not simulated."""
    found = summary.corners
    processes = list(dict.fromkeys(result.process for result in found))
    columns = sorted({(result.vdd_V, result.temperature_C) for result in found})
    agreement, energy = (np.full((len(processes), len(columns)), np.nan) for _ in range(2))
    place = {}
    for result in found:
        here = processes.index(result.process), columns.index((result.vdd_V, result.temperature_C))
        place[result.corner] = here
        if isinstance(result, CornerFigures):
            agreement[here] = 100 * result.decisions.share
            energy[here] = result.per_timestep_J
    scale, unit = joules(float(np.nanmax(energy)))
    energy *= scale
    low = min(99.0, float(np.nanmin(agreement)))
    spread = colors.LogNorm(float(np.nanmin(energy)), max(float(np.nanmax(energy)), 1.001 * float(np.nanmin(energy))))
    panels = (
        ("decisions as in software [%]", agreement, "cividis", colors.Normalize(low, 100), summary.worst.decisions),
        (f"energy per timestep [{unit}], {summary.label}", energy, "YlOrRd", spread, summary.worst.energy),
    )
    with plt.style.context([STYLE]):
        figure, axes = plt.subplots(2, 1, figsize=(COLUMN, 1.4 + 0.4 * len(processes)), sharex=True,
                                    layout="constrained")  # fmt: skip
        for axis, (title, values, colours, norm, worst) in zip(axes, panels, strict=True):
            palette = plt.get_cmap(colours).with_extremes(bad="#dddddd")
            axis.imshow(values, aspect="auto", cmap=palette, norm=norm)
            for (row, column), value in np.ndenumerate(values):
                if np.isfinite(value):
                    dark = sum(palette(norm(value))[:3]) < 1.4
                    axis.text(column, row, _short(value), ha="center", va="center", color="w" if dark else "k")
            if worst:
                row, column = place[worst]
                frame = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.6)
                axis.add_patch(frame)
            axis.set_yticks(range(len(processes)), processes)
            axis.set_title(f"{title}; {f'worst {worst}' if worst else 'all right'}", loc="left")
            axis.spines[:].set_visible(False)
            axis.tick_params(length=0)
        axes[1].set_xticks(range(len(columns)), [f"{temperature:g}" for _, temperature in columns])
        supplies = axes[1].secondary_xaxis(-0.14)
        places = {vdd: [place for place, (one, _) in enumerate(columns) if one == vdd] for vdd, _ in columns}
        supplies.set_xticks([float(np.mean(of)) for of in places.values()], [f"{vdd:g} V" for vdd in places])
        supplies.tick_params(length=0)
        supplies.spines[:].set_visible(False)
        supplies.set_xlabel("temperature [°C], and supply below")
        save(figure, path)


def _short(value: float) -> str:
    """Three digits, which fit a cell. Less than 100 is not rounded to 100."""
    return "99.9" if 99.95 <= value < 100 else plain(value)
