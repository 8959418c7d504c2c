"""Figures of a current-mode unit: candidate and thresholds, decisions, and output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.simulation import Waveforms
from cmru_hw.core.figures import CIRCUIT, COLUMN, SECOND, SOFTWARE, STYLE, save


def unit(design: CurrentDesign, waveforms: Waveforms, expected: Reference, path: Path) -> None:
    """One unit over one sequence: candidate between its thresholds, decisions, and output next to the software's.

    ``expected`` is the software result of the same sequence (its first).
    """
    index, number = waveforms.layer, waveforms.unit
    here, layer = f"{index}_{number}", design.layers[index]
    traces, plan = waveforms.traces, waveforms.plan
    instants = plan.instants(0)
    steps = np.arange(len(instants))
    # The power-on frame precedes timestep 0.
    time = traces.time / plan.timestep - plan.starts[0]
    upper, low, high = (1e9 * float(values[number]) for values in (layer.upper, layer.low, layer.high))
    candidate = 1e9 * traces.values[f"i(vc{here})"]
    with plt.style.context([STYLE]):
        figure, (compared, decisions, state) = plt.subplots(
            3, 1, figsize=(COLUMN, 4.2), sharex=True, height_ratios=(2, 1, 2), layout="constrained"
        )
        compared.plot(time, candidate, color=CIRCUIT, label="candidate")
        compared.axhline(upper, color=SECOND, linewidth=0.8, label="upper threshold")
        if low > 0:
            compared.axhline(low, color=SECOND, linewidth=0.8, linestyle="--", label="lower threshold")
        compared.set_ylabel("current [nA]")
        compared.legend(loc="lower left", ncols=2, bbox_to_anchor=(0, 1))
        sampled = 1e9 * traces.at(f"i(vc{here})", instants)
        above = traces.at(f"s{here}", instants) > design.technology.vdd / 2
        moved = (above & (sampled >= upper)).astype(int) - (~above & (sampled < low)).astype(int)
        wanted = expected.response.decisions[index][0, : len(steps), number]
        decisions.step(steps + 0.5, wanted, where="mid", color=SOFTWARE, linewidth=2.5, alpha=0.4, label="software")
        decisions.plot(steps + 0.5, moved, "o", color=CIRCUIT, markersize=2.5, label="circuit")
        decisions.set_yticks([-1, 0, 1], ["low", "hold", "high"])
        decisions.set_ylim(-1.4, 1.4)
        states = expected.response.states[index][0, : len(steps), number]
        state.step(steps, high * states, where="post", color=SOFTWARE, linewidth=2.5, alpha=0.4, label="software")
        state.plot(time, 1e9 * traces.values[f"i(vh{here})"], color=CIRCUIT, label="circuit")
        state.set_ylabel("output [nA]")
        state.set_xlabel(f"timestep ({plan.timestep * 1e3:g} ms each)")
        state.set_xlim(-1, len(steps))
        state.xaxis.set_major_locator(MaxNLocator(integer=True))
        state.legend(loc="lower left", ncols=2, bbox_to_anchor=(0, 1))
        figure.suptitle(f"layer {index}, unit {number} in ngspice ({design.technology.level} level)")
        save(figure, path)
