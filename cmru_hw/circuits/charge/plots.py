"""Figures that compare a circuit's response with its software model. The file's suffix selects SVG or PDF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from cmru_hw.circuits.charge.continuation import row_gain
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.simulation import Waveforms
from cmru_hw.core.figures import CIRCUIT, COLUMN, SECOND, SOFTWARE, STYLE, save
from cmru_hw.core.units import si


# long: one figure, panel after panel
def unit(design: Design, waveforms: Waveforms, expected: Reference, path: Path) -> None:
    """One unit over one sequence: candidate and thresholds, the two rows that carry them, decisions, and the state.

    ``expected`` is the software result of the same sequence (its first), drawn next to decisions and state.
    Candidate and thresholds are computed from the circuit's rows: half their sum and half their difference, in software
    units.
    """
    layer, number = waveforms.layer, waveforms.unit
    here, mapped = f"{layer}_{number}", design.layers[layer]
    traces, plan = waveforms.traces, waveforms.plan
    common = design.technology.supply.common_mode
    instants = plan.instants(0)
    steps = np.arange(len(instants))
    sampled = {row: traces.at(f"{row}{here}", instants) - common for row in ("a", "b")}
    low, high = (
        sampled[row] / row_gain(design, weights)[number] for row, weights in (("a", mapped.low), ("b", mapped.high))
    )
    candidate, threshold = (low + high) / 2, np.abs(high - low) / 2
    with plt.style.context([STYLE]):
        figure, (compared, rows, decisions, state) = plt.subplots(
            4, 1, figsize=(COLUMN, 5.2), sharex=True, height_ratios=(2, 2, 1, 2), layout="constrained"
        )
        compared.fill_between(
            steps,
            -threshold,
            threshold,
            step="mid",
            color=SECOND,
            alpha=0.25,
            linewidth=0,
            label="between thresholds: hold",
        )
        compared.plot(steps, candidate, "o-", color=CIRCUIT, markersize=2.5, linewidth=0.6, label="candidate")
        compared.set_ylabel("software units")
        compared.legend(loc="lower left", ncols=2, bbox_to_anchor=(0, 1))
        for row, colour, name, shift in (
            ("a", CIRCUIT, "candidate − threshold", -0.12),
            ("b", SECOND, "candidate + threshold", 0.12),
        ):
            values = 1e3 * sampled[row]
            rows.vlines(steps + shift, 0, values, color=colour, linewidth=0.8)
            rows.plot(steps + shift, values, "o", color=colour, markersize=2.5, label=f"row {row}: {name}")
        rows.axhline(0, color="black", linewidth=0.6)
        rows.set_ylabel("row − V_cm [mV]")
        rows.legend(loc="lower left", ncols=2, bbox_to_anchor=(0, 1))
        up = [traces.at(f"{q}{here}", instants) > design.technology.supply.vdd / 2 for q in ("qa", "qb")]
        moved = (up[0] & up[1]).astype(int) - (~up[0] & ~up[1]).astype(int)
        wanted = expected.response.decisions[layer][0, : len(steps), number]
        decisions.step(steps, wanted, where="mid", color=SOFTWARE, linewidth=2.5, alpha=0.4, label="software")
        decisions.plot(steps, moved, "o", color=CIRCUIT, markersize=2.5, label="circuit")
        decisions.set_yticks([-1, 0, 1], ["down", "hold", "up"])
        decisions.set_ylim(-1.4, 1.4)
        step = mapped.step[number]
        # The power-on frame precedes timestep 0.
        time = traces.time / plan.timestep - plan.starts[0] - 1
        # software has no time within a timestep: it is drawn where the circuit is compared with it
        state.plot(
            steps,
            expected.response.states[layer][0, : len(steps), number],
            "s",
            color=SOFTWARE,
            markersize=5,
            markeredgewidth=0,
            alpha=0.5,
            label="software",
        )
        state.plot(time, (traces.values[f"o{here}"] - common) / step, color=CIRCUIT, label="circuit")
        state.set_ylabel("state [h]" if design.config.cell == "acmru" else "state [levels]")
        state.set_xlabel(f"end of timestep ({si(plan.timestep, 's')} each): the circuit moves before it")
        state.set_xlim(-1, len(steps))
        state.xaxis.set_major_locator(MaxNLocator(integer=True))
        state.legend(loc="lower left", ncols=2, bbox_to_anchor=(0, 1))
        figure.suptitle(f"layer {layer}, unit {number} in ngspice ({design.technology.level} level)")
        save(figure, path)
