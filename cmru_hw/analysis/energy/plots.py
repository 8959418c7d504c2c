"""Figures of energy: by block over the timesteps of a sequence, and over the size of a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from cmru_hw.analysis.energy.result import EnergyResult, ScalingResult
from cmru_hw.core.figures import COLUMN, STYLE, prefixes, save
from cmru_hw.core.units import joules, plain

# Blocks have this order and these colours in every figure, from the bottom of a stack.
COLOURS = {
    "inputs": "#56B4E9",
    "weighted_sums": "#0072B2",
    "fc": "#0072B2",
    "cells": "#D55E00",
    "amplifiers": "#D55E00",
    "references": "#BBBBBB",
    "readout": "#009E73",
    "comparators": "#E69F00",
    "logic": "#CC79A7",
    "clocks": "#F0E442",
}
OTHER = "#555555"


def _ordered(blocks: Iterable[str]) -> list[str]:
    """``blocks`` in the order of COLOURS, and then by name."""
    order = list(COLOURS)
    return sorted(blocks, key=lambda name: (order.index(name) if name in order else len(order), name))


def over_time(found: EnergyResult, path: Path) -> None:
    """Stacked energy of each block in each timestep of the first sequence. The dashed line is the mean of all."""
    series = {name: np.array(values) for name, values in found.series.blocks_J.items()}
    names = _ordered(series)
    timesteps = len(next(iter(series.values())))
    scale, unit = joules(max(map(sum, zip(*series.values(), strict=True))))
    with plt.style.context([STYLE]):
        figure, axis = plt.subplots(figsize=(COLUMN, 3.0), layout="constrained")
        floor = np.zeros(timesteps)
        for name in names:
            axis.bar(np.arange(timesteps), scale * series[name], 0.85, bottom=scale * floor, edgecolor="white",
                     linewidth=0.2, color=COLOURS.get(name, OTHER), label=name.replace("_", " "))  # fmt: skip
            floor = floor + series[name]
        mean = scale * found.per_timestep_J
        axis.axhline(mean, color="black", linestyle="--", linewidth=0.8, label=f"mean {plain(mean)} {unit}")
        axis.set_xlabel(f"timestep ({1e3 * found.timestep_s:g} ms each)")
        axis.set_ylabel(f"energy [{unit}]")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlim(-0.7, timesteps - 0.3)
        figure.legend(loc="outside lower center", ncols=3)
        axis.set_title(f"{found.level} level, {found.label}d" if found.label == "estimate" else
                       f"{found.level} level, {found.label}", loc="left")  # fmt: skip
        save(figure, path)


def scaling(found: ScalingResult, path: Path) -> None:
    """Energy per timestep over units per layer and over layers: every network, and the fitted laws."""
    with plt.style.context([STYLE]):
        figure, axes = plt.subplots(2, 1, figsize=(COLUMN, 4.6), sharey=True, layout="constrained")
        titles = {"units": "units of one layer", "layers": "layers of four units"}
        for axis, (name, title) in zip(axes, titles.items(), strict=True):
            points = [point for point in found.points if point.axis == name]
            sizes = np.array([point.size for point in points])
            grid = np.geomspace(sizes.min(), sizes.max(), 20)
            for block in ("all", *_ordered(found.laws[name].keys() - {"all"})):
                law, total = found.laws[name][block], block == "all"
                colour = "black" if total else COLOURS.get(block, OTHER)
                energy = [point.per_timestep_J if total else point.blocks_J[block] for point in points]
                axis.plot(sizes, np.array(energy), "o", color=colour, markersize=2)
                label = f"{block.replace('_', ' ')}: n^{law.exponent:.2f}"
                axis.plot(grid, law.factor * grid**law.exponent, color=colour,
                          linewidth=1.4 if total else 0.8, label=label)  # fmt: skip
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_xticks(sorted(set(sizes.tolist())), [str(size) for size in sorted(set(sizes.tolist()))])
            axis.set_xlabel(title)
            axis.set_ylabel("energy per timestep")
            prefixes(axis.yaxis, "J")
            axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
        save(figure, path)
