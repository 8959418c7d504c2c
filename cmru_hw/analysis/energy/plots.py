"""Figures of energy: by block over the timesteps of a sequence, and over the size of a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from cmru_hw.analysis.energy.result import EnergyResult, ScalingResult
from cmru_hw.core.figures import STYLE, save
from cmru_hw.core.units import joules, plain

COLOURS = {
    "inputs": "#9ecae1",
    "weighted_sums": "#1f4e79",
    "references": "#a1a1a1",
    "amplifiers": "#d1495b",
    "readout": "#66a182",
    "comparators": "#edae49",
    "logic": "#8d6a9f",
    "clocks": "#7a5c3e",
    "fc": "#1f4e79",
    "cells": "#d1495b",
}
OTHER = "#555555"


def over_time(found: EnergyResult, path: Path) -> None:
    """Stacked energy of each block in each timestep of the first sequence. The dashed line is the mean of all."""
    series = {name: np.array(values) for name, values in found.series.blocks_J.items()}
    # The largest block at the bottom, where its value is easy to read.
    names = sorted(series, key=lambda name: -float(series[name].sum()))
    timesteps = len(next(iter(series.values())))
    scale, unit = joules(max(map(sum, zip(*series.values(), strict=True))))
    with plt.style.context([STYLE]):
        figure, axis = plt.subplots(figsize=(5.6, 3.0), layout="constrained")
        floor = np.zeros(timesteps)
        for name in names:
            axis.bar(np.arange(timesteps), scale * series[name], 0.85, bottom=scale * floor,
                     color=COLOURS.get(name, OTHER), label=name.replace("_", " "))  # fmt: skip
            floor = floor + series[name]
        mean = scale * found.per_timestep_J
        axis.axhline(mean, color="black", linestyle="--", linewidth=0.8, label=f"mean {plain(mean)} {unit}")
        axis.set_xlabel(f"timestep ({1e3 * found.timestep_s:g} ms each)")
        axis.set_ylabel(f"energy [{unit}]")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlim(-0.7, timesteps - 0.3)
        handles, labels = axis.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right upper", fontsize=7)
        axis.set_title(f"{found.level} level, {found.label}d" if found.label == "estimate" else
                       f"{found.level} level, {found.label}", loc="left", fontsize=8)  # fmt: skip
        save(figure, path)


def scaling(found: ScalingResult, path: Path) -> None:
    """Energy per timestep over units per layer and over layers: every network, and the fitted laws."""
    with plt.style.context([STYLE]):
        figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.0), sharey=True, layout="constrained")
        titles = {"units": "units of one layer", "layers": "layers of four units"}
        for axis, (name, title) in zip(axes, titles.items(), strict=True):
            points = [point for point in found.points if point.axis == name]
            sizes = np.array([point.size for point in points])
            grid = np.geomspace(sizes.min(), sizes.max(), 20)
            for block, law in found.laws[name].items():
                total = block == "all"
                colour = "black" if total else COLOURS.get(block, OTHER)
                energy = [point.per_timestep_J if total else point.blocks_J[block] for point in points]
                axis.plot(sizes, 1e12 * np.array(energy), "o", color=colour, markersize=2)
                label = f"{block.replace('_', ' ')}: n^{law.exponent:.2f}"
                axis.plot(grid, 1e12 * law.factor * grid**law.exponent, color=colour,
                          linewidth=1.4 if total else 0.8, label=label)  # fmt: skip
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_xticks(sorted(set(sizes.tolist())), [str(size) for size in sorted(set(sizes.tolist()))])
            axis.set_xlabel(title)
            axis.legend(fontsize=5.5, loc="upper left", ncols=2, bbox_to_anchor=(0, 1.32), columnspacing=1.0)
        axes[0].set_ylabel("energy per timestep [pJ]")
        save(figure, path)
