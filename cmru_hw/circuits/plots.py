"""Figures for every kind of circuit: states of the circuit compared with those of software."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from cmru_hw.circuits.design import AnyDesign
from cmru_hw.circuits.simulation import Verified
from cmru_hw.core.figures import COLUMN, STYLE, save


def states(design: AnyDesign, verified: Verified, path: Path) -> None:
    """All units over the first sequence: the circuit's states, and below them their difference from software."""
    expected, response = verified.expected.response, verified.simulation.response
    length = int(response.lengths[0])
    circuit = np.concatenate([s[0, :length] for s in response.states], axis=1).T
    software = np.concatenate([s[0, :length] for s in expected.states], axis=1).T
    largest = float(np.abs(software).max())
    difference = circuit - software
    worst = max(float(np.abs(difference).max()), 1e-12)
    name = "h" if design.config.cell == "acmru" else "levels"
    with plt.style.context([STYLE]):
        figure, axes = plt.subplots(2, 1, figsize=(COLUMN, 3.8), sharex=True, layout="constrained")
        panels = (("circuit", circuit, largest, "RdBu_r"), ("circuit − software", difference, worst, "PuOr"))
        for axis, (title, values, limit, colours) in zip(axes, panels, strict=True):
            image = axis.imshow(values, aspect="auto", cmap=colours, vmin=-limit, vmax=limit, interpolation="nearest")
            figure.colorbar(image, ax=axis, label=f"state [{name}]", pad=0.02)
            axis.set_title(title, loc="left")
            axis.set_ylabel("unit, layer by layer")
            for border in np.cumsum(design.config.units)[:-1]:
                axis.axhline(border - 0.5, color="black", linewidth=0.6)
        axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[1].set_xlabel(f"timestep ({design.timestep * 1e3:g} ms each)")
        save(figure, path)
