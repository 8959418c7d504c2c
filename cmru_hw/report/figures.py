"""Figures that exist only in a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib import pyplot as plt

from cmru_hw.analysis.montecarlo.interval import clopper_pearson
from cmru_hw.analysis.montecarlo.statistics import passed
from cmru_hw.core.figures import CIRCUIT, COLUMN, SOFTWARE, STYLE, prefixes, save
from cmru_hw.core.units import si


def yield_by_drop(table: pa.Table, software: float, drop: float, path: Path) -> None:
    """Yield against the accepted loss of accuracy; ``drop`` marks the loss accepted in this report."""
    accuracy = np.array([value for value in table["accuracy"].to_pylist() if value is not None])
    # The yield is a step function that changes only at the losses of individual dies.
    losses = np.unique(np.round(np.append(software - accuracy, [0.0, drop]), 12))
    losses = losses[losses >= 0]
    shares = [clopper_pearson(int(passed(table, software, loss).sum()), len(table)) for loss in losses]
    end = max(1.5 * drop, float(losses[-1]) * 1.1, 1e-3)
    x = 100 * np.append(losses, end)
    middle, low, high = (
        100 * np.array([*(getattr(share, name) for share in shares), getattr(shares[-1], name)])
        for name in ("value", "low", "high")
    )
    with plt.style.context([STYLE]):
        figure, axis = plt.subplots(figsize=(COLUMN, 2.4), layout="constrained")
        axis.fill_between(x, low, high, step="post", color=CIRCUIT, alpha=0.2, linewidth=0, label="95 % interval")
        axis.step(x, middle, where="post", color=CIRCUIT, label="good dies")
        axis.axvline(100 * drop, color=SOFTWARE, linewidth=0.8, linestyle="--", label="accepted in this report")
        axis.set_xlim(0, float(x[-1]))
        axis.set_ylim(0, 102)
        axis.set_xlabel("accepted loss of accuracy [percentage points]")
        axis.set_ylabel("yield [%]")
        axis.legend(loc="best")
        save(figure, path)


def energies(bars: Sequence[tuple[str, float, bool]], path: Path) -> None:
    """Bars of (name, energy per timestep [J], whether it was simulated), in this order from the top."""
    with plt.style.context([STYLE]):
        figure, axis = plt.subplots(figsize=(COLUMN, 0.8 + 0.3 * len(bars)), layout="constrained")
        for place, (_, joules, simulated) in enumerate(bars):
            axis.barh(place, joules, height=0.6, color=CIRCUIT if simulated else "none", edgecolor=CIRCUIT)
            axis.annotate(
                f"{si(joules, 'J', 3)}, {'simulated' if simulated else 'estimate'}",
                (joules, place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
            )
        values = [joules for _, joules, _ in bars]
        axis.set_xscale("log")
        # Room on the right for the text of the longest bar
        axis.set_xlim(min(values) / 3, max(values) * 60)
        axis.set_yticks(range(len(bars)), [name for name, _, _ in bars])
        axis.invert_yaxis()
        prefixes(axis.xaxis, "J")
        axis.set_xlabel("energy per timestep")
        save(figure, path)
