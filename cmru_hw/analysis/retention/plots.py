"""Retention over temperature, as simulated and by the law of constant leakage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from cmru_hw.analysis.retention.result import RetentionResult
from cmru_hw.core.figures import CIRCUIT, COLUMN, SECOND, SOFTWARE, STYLE, prefixes, save
from cmru_hw.core.units import percent


def over_temperature(found: RetentionResult, path: Path) -> None:
    """Timesteps until the first level is lost; open circles were not simulated until the loss."""
    rows, facts = found.temperatures, found.facts
    droops = facts.half_packet_V is not None
    with plt.style.context([STYLE]):
        figure, axis = plt.subplots(figsize=(COLUMN, 3.2), layout="constrained")
        for row in rows if droops else ():
            steps = [level.timesteps for level in row.levels or ()]
            axis.vlines(row.temperature_C, min(steps), max(steps), color=SECOND, linewidth=1.5,
                        label="_nolegend_" if row is not rows[0] else "all levels")  # fmt: skip
        warm = [row.temperature_C for row in rows]
        axis.plot(warm, [row.timesteps for row in rows], "-", color=CIRCUIT, linewidth=0.8)
        for lost, fill, label in (
            (True, CIRCUIT, "first level lost, simulated"),
            (False, "white", "extrapolated" if droops else "lower limit: the state holds"),
        ):
            some = [row for row in rows if row.lost_in_simulation == lost]
            if some:
                axis.plot([row.temperature_C for row in some], [row.timesteps for row in some], "o",
                          color=CIRCUIT, markerfacecolor=fill, markersize=4, label=label)  # fmt: skip
        law = [row.law_timesteps for row in rows if row.law_timesteps is not None]
        if len(law) == len(rows):
            axis.plot(warm, law, "--", color=SOFTWARE, linewidth=0.8,
                      label="law, from the initial leakage")  # fmt: skip
        what = ""
        if facts.half_packet_V is not None:
            what = f": lost at a drift of {1e3 * facts.half_packet_V:.3g} mV"
        if facts.window_of_threshold is not None:
            what = f": window {percent(facts.window_of_threshold)} of its threshold"
        axis.set_yscale("log")
        axis.set_xlabel("temperature [°C]")
        axis.set_ylabel(f"timesteps of {1e3 * found.timestep_s:g} ms")
        seconds = axis.secondary_yaxis(
            "right",
            functions=(lambda n: np.multiply(n, found.timestep_s), lambda s: np.divide(s, found.timestep_s)),
        )
        seconds.set_ylabel("time [s]")
        seconds.spines["right"].set_visible(True)
        for scale in (axis, seconds):
            prefixes(scale.yaxis)
        figure.legend(loc="outside lower center", ncols=2)
        axis.set_title(f"unit {found.weakest_unit}{what}\n{found.technology}, {found.corner}", loc="left")
        save(figure, path)
