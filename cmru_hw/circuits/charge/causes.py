"""Accept a transistor-level decision only if its row had that sign when the comparator evaluated it.

A time step that is too long can flip a regenerating comparator. The correct decision is known from the comparator's two
inputs in the same simulation, independent of the lines and layers before them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge import fidelity
from cmru_hw.circuits.charge.design import Design
from cmru_hw.core.errors import UncausedTransition
from cmru_hw.core.signals import Array, Traces
from cmru_hw.core.units import si
from cmru_hw.spice.schedule import Schedule


def row_nodes(design: Design) -> tuple[str, ...]:
    """The nodes that :func:`rows` reads. Decks of transistors save them always."""
    return tuple(node for pair in fidelity.of(design).comparator_inputs(design) for node in pair if node)


def rows(design: Design, traces: Traces, plan: Schedule, sequence: int) -> tuple[Array, ...]:
    """Differential comparator inputs [V], by layer (timesteps, units, 2): rows a and b less their reference nodes.

    Empty for macromodels whose rows were not saved.
    """
    pairs = fidelity.of(design).comparator_inputs(design)
    if any(node and node not in traces.values for pair in pairs for node in pair):
        return ()
    waiting = iter(pairs)
    found = []
    for index, layer in enumerate(design.layers):
        # The rows of macromodels do not move until the end of the timestep.
        instants = plan.compared(sequence, index) if plan.comparing else plan.instants(sequence, index)
        drives = [
            traces.at(row, instants) - (traces.at(other, instants) if other else design.technology.supply.common_mode)
            for row, other in itertools.islice(waiting, 2 * layer.units)
        ]
        found.append(np.stack(drives, axis=1).reshape(len(instants), layer.units, 2))
    return tuple(found)


def require_causes(seen: Sequence[Array], decided: Sequence[NDArray[np.bool_]], *, tolerance: float, name: int) -> None:
    """Raise UncausedTransition unless every decision has the sign of its row.

    ``seen`` is the result of :func:`rows`. ``decided`` has the same shape by layer: whether qa and qb are high.
    ``tolerance`` [V] is :func:`fidelity.least_drive` of the design. ``name`` is the number of the sequence in messages.
    """
    for index, (drive, high) in enumerate(zip(seen, decided, strict=True)):
        wrong = np.argwhere((high != (drive > 0)) & (np.abs(drive) > tolerance))
        if len(wrong):
            timestep, unit, row = wrong[0].tolist()
            amount = float(drive[timestep, unit, row])
            raise UncausedTransition(
                f"unit {index}.{unit} decided {'yes' if high[timestep, unit, row] else 'no'} on its row {'ab'[row]} in "
                f"timestep {timestep} of sequence {name}, but that row was {si(abs(amount), 'V')} "
                f"{'above' if amount > 0 else 'below'} its reference, so the simulator's steps are too long: "
                "give a larger --refine"
            )


def late_flips(design: Design, traces: Traces, plan: Schedule, sequence: int) -> int:
    """Number of decisions that flipped after their use and before their comparators were released.

    Such a flip moves no state, because its packet is complete. It indicates a numerical error, because a latched
    comparator does not flip.
    """
    if not plan.comparing or plan.supply is None:
        return 0
    count = 0
    end = plan.edges(sequence)[:-1] + plan.held
    for index, layer in enumerate(design.layers):
        begin = plan.deciding(sequence, index)
        for first, last in zip(begin, end, strict=True):
            inside = slice(*np.searchsorted(traces.time, [first, last]))
            for node in (f"{q}{index}_{i}" for i in range(layer.units) for q in ("qa", "qb")):
                high = traces.values[node][inside] > plan.supply / 2
                count += bool(high.size and (high != high[0]).any())
    return count
