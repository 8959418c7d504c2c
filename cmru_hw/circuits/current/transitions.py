"""Accept a state change of a cell only if its candidate crossed the cell's threshold; else it is a simulator error.

A cell is bistable, and Newton's iteration can converge to the other stable state. The correct state is known from the
candidate in the same simulation, independent of the mirrors and layers before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.current.netlist import released
from cmru_hw.circuits.current.thresholds import Thresholds
from cmru_hw.core.errors import UncausedTransition
from cmru_hw.core.signals import Array, Traces
from cmru_hw.core.units import si
from cmru_hw.spice.schedule import Schedule

# A state is high if its output exceeds this share of its level. Decisions and classes follow from the same rule.
HIGH = 0.5
# In a network the threshold of a cell equals its separately measured one within this share of the upper threshold. A
# slow ramp is accurate to 0.1 % of it, and so is the table of cells (0.5 % where a level exceeds ten times the
# threshold). Over 18 000 states of the shipped network and 27 000 of random ones, no transition missed its threshold by
# 0.2 %.
TOLERANCE = 0.005
# A cell is at rest if its output is within this share of one of its levels. If it was not at rest when it was last
# sampled, it was already switching, and the cause is earlier.
REST = 0.1


def require_causes(
    design: CurrentDesign,
    traces: Traces,
    plan: Schedule,
    place: int,
    states: Sequence[Array],
    thresholds: Sequence[Thresholds],
    *,
    name: int,
) -> None:
    """Raise UncausedTransition unless every transition of the ``place``-th sequence of a deck has a cause.

    ``states`` are outputs over their level at the sampling instants, by layer (timesteps, units). ``name`` is the
    number of the sequence in messages.
    """
    instants = plan.instants(place)
    for index, (layer, own) in enumerate(zip(design.layers, thresholds, strict=True)):
        begin = (plan.starts[place] - 1 + released(index, len(design.layers))) * plan.timestep
        edges = np.concatenate([[begin], instants])
        high = np.concatenate([layer.initial[None] > HIGH, states[index] > HIGH])
        resting = np.concatenate([np.ones((1, layer.units), bool), np.abs(states[index] - high[1:]) < REST])
        for t, i in np.argwhere(high[1:] != high[:-1]).tolist():
            first = t
            while not resting[first, i]:
                first -= 1
            candidate = _within(traces, f"i(vc{index}_{i})", edges[first], edges[t + 1])
            upward = bool(high[t + 1, i])
            missed = float(own.up[i] - candidate.max() if upward else candidate.min() - own.down[i])
            if missed > TOLERANCE * layer.upper[i]:
                move = "rose above its upper" if upward else "fell below its lower"
                raise UncausedTransition(
                    f"unit {index}.{i} was {'set' if upward else 'reset'} in timestep {t} of sequence {name}, but its "
                    f"candidate never {move} threshold of {si(float((own.up if upward else own.down)[i]), 'A')}: it "
                    f"missed it by {si(missed, 'A')}, so the simulator's steps are too long: give a larger --refine"
                )


def _within(traces: Traces, vector: str, begin: float, end: float) -> Array:
    """All values of ``vector`` between two instants, both ends included."""
    first, last = np.searchsorted(traces.time, [begin, end])
    ends: NDArray[np.float64] = traces.at(vector, np.array([begin, end]))
    return np.concatenate([ends, traces.values[vector][first:last]])
