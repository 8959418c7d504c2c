"""The figure of a search: yield over the cost that is minimised, the other cost as the size of a point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from cmru_hw.analysis.sizing.result import SizingResult
from cmru_hw.analysis.sizing.study import Trial
from cmru_hw.core.figures import CIRCUIT, COLUMN, SECOND, SOFTWARE, STYLE, save


def front(found: SizingResult, trials: Sequence[Trial], path: Path) -> None:
    """All simulated trials, the Pareto front of energy, area and yield, the goal and the chosen trial."""
    simulated = [one for one in trials if one.sample]
    of_area = found.minimise == "area"
    largest = max(_other(one, of_area) for one in simulated)

    def points(some: Sequence[Trial]) -> tuple[list[float], list[float], list[float]]:
        return (
            [1e12 * ((one.area_m2 if of_area else one.energy_J) or np.nan) for one in some],
            [100 * one.yield_ for one in some],
            [40 * _other(one, of_area) / largest for one in some],
        )

    with plt.style.context([STYLE]):
        figure, axis = plt.subplots(figsize=(COLUMN, 3.2), layout="constrained")
        energy, share, size = points(simulated)
        other = "energy" if of_area else "area"
        axis.scatter(energy, share, size, color="#bbbbbb", label=f"trials (size: {other})")
        energy, share, size = points(found.front)
        axis.scatter(energy, share, size, color=CIRCUIT, label="Pareto front")
        axis.axhline(100 * found.goal, color=SECOND, linestyle="--", linewidth=0.8, label="goal")
        own = found.own.area_m2 if of_area else found.own.energy_J
        axis.axvline(1e12 * own, color="#777777", linestyle=":", linewidth=0.8, label="own sizes")
        if found.chosen is not None:
            energy, share, _ = points([found.chosen])
            axis.plot(energy, share, "*", color=SOFTWARE, markersize=9, label="chosen")
        axis.set_xlabel("area before layout, estimate [µm²]" if of_area else "energy per timestep, estimate [pJ]")
        axis.set_ylabel("yield [%]")
        figure.legend(loc="outside lower center", ncols=2)
        save(figure, path)


def _other(one: Trial, of_area: bool) -> float:
    """The cost that is not minimised."""
    return (one.energy_J if of_area else one.area_m2) or 0.0
