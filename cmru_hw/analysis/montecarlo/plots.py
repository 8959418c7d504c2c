"""Figures of a Monte-Carlo: scores of dies, effect of each class of elements, and the response of one die."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from cmru_hw.analysis.montecarlo.result import Effect, Interval
from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.core.figures import CIRCUIT, COLUMN, SECOND, SOFTWARE, STYLE, save
from cmru_hw.core.signals import Response


def dies(table: pa.Table, software: float, drop: float, yielded: Interval, path: Path) -> None:
    """Histograms of accuracy and of decision agreement over all simulated dies."""
    good = [row for row in table.to_pylist() if row["status"] == "ok"]
    accuracy = 100 * np.array([row["accuracy"] for row in good])
    agreement = 100 * np.array([row["decisions_agree"] / row["decisions"] for row in good])
    with plt.style.context([STYLE]):
        figure, (upper, lower) = plt.subplots(2, 1, figsize=(COLUMN, 3.6), layout="constrained")
        if good:
            upper.hist(accuracy, bins=_bins(accuracy), color=CIRCUIT)
            lower.hist(agreement, bins=40, color=SECOND)
        upper.axvline(100 * software, color=SOFTWARE, label="software")
        upper.axvline(
            100 * (software - drop), color="black", linestyle="--", linewidth=0.8, label="limit of a good die"
        )
        upper.set_xlabel("accuracy of a die [%]")
        for side in (upper, lower):
            side.set_ylabel("dies")
            side.xaxis.set_major_locator(MaxNLocator(6))
            side.yaxis.set_major_locator(MaxNLocator(integer=True))
        upper.legend(loc="lower left", ncols=2, bbox_to_anchor=(0, 1))
        lower.set_xlabel("decisions as in software [%]")
        failed = len(table) - len(good)
        figure.suptitle(
            f"{len(table)} dies, {failed} failed: yield {100 * yielded.value:.4g} % "
            f"({100 * yielded.low:.4g} to {100 * yielded.high:.4g} %)"
        )
        save(figure, path)


def sensitivity(effects: Sequence[Effect], path: Path) -> None:
    """Decisions lost with only one class of elements, and decisions gained without it."""
    names = [effect.name for effect in effects]
    places = np.arange(len(effects))
    alone = [100 * (1 - effect.agreement_alone) for effect in effects]
    left_over = [100 * (1 - effect.agreement_without) for effect in effects]
    with plt.style.context([STYLE]):
        figure, axis = plt.subplots(figsize=(COLUMN, 0.8 + 0.26 * len(effects)), layout="constrained")
        axis.barh(places - 0.18, alone, height=0.36, color=CIRCUIT, label="this alone")
        axis.barh(places + 0.18, left_over, height=0.36, color=SECOND, label="all but this")
        axis.set_yticks(places, names)
        axis.invert_yaxis()
        axis.set_xlabel("decisions that differ from software [%]")
        axis.legend(loc="lower left", ncols=2, bbox_to_anchor=(0, 1))
        save(figure, path)


def die(design: AnyDesign, expected: Reference, response: Response, number: int, path: Path) -> None:
    """One die over the first sequence: its states, their difference from software, and the decisions that differ."""
    length = int(response.lengths[0])
    wanted = expected.response
    circuit, software = (np.concatenate([s[0, :length] for s in r.states], axis=1).T for r in (response, wanted))
    moved, meant = (
        np.concatenate([d[0, :length] for d in r.decisions], axis=1).T.astype(int) for r in (response, wanted)
    )
    unit, timestep = np.nonzero(moved != meant)
    largest = max(float(np.abs(software).max()), float(np.abs(circuit).max()), 1e-12)
    name = "h" if design.config.cell == "acmru" else "levels"
    with plt.style.context([STYLE]):
        figure, axes = plt.subplots(2, 1, figsize=(COLUMN, 3.8), sharex=True, layout="constrained")
        panels = ((f"die {number}", circuit, "RdBu_r"), ("die − software", circuit - software, "PuOr"))
        for axis, (title, values, colours) in zip(axes, panels, strict=True):
            image = axis.imshow(
                values, aspect="auto", cmap=colours, vmin=-largest, vmax=largest, interpolation="nearest"
            )
            figure.colorbar(image, ax=axis, label=f"state [{name}]", pad=0.02)
            axis.set_title(title, loc="left")
            axis.set_ylabel("unit, layer by layer")
            for border in np.cumsum(design.config.units)[:-1]:
                axis.axhline(border - 0.5, color="black", linewidth=0.6)
        axes[1].plot(
            timestep,
            unit,
            "x",
            color="black",
            markersize=3,
            markeredgewidth=0.7,
            label="decision that differs from software",
        )
        axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[1].legend(loc="lower right", bbox_to_anchor=(1, 0.98))
        axes[1].set_xlabel(f"timestep ({design.timestep * 1e3:g} ms each)")
        save(figure, path)


def _bins(percent: np.ndarray) -> np.ndarray:
    """Histogram bins that are no finer than the possible shares of one number of sequences, to avoid empty bins."""
    values = np.unique(percent)
    width = max(float(np.diff(values).min(initial=np.inf)), (values[-1] - values[0]) / 40, 1e-3)
    if not np.isfinite(width):
        width = 1.0
    return np.arange(values[0] - width / 2, values[-1] + width, width)
