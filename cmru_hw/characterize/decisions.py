"""Decisions of testbenches that depend on the simulator's time steps, found by simulating again with halved steps.

The circuit of a testbench has a known answer. An answer that differs from it is either the circuit's or the
simulator's: halved steps tell them apart. A search for an offset has no known answer, so some of its dies are repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from cmru_hw.characterize.testbench import Conditions, Testbench, drawn
from cmru_hw.core.errors import UncausedTransition
from cmru_hw.core.units import si
from cmru_hw.spice import Engine
from cmru_hw.spice.finer import finer

MOST_REFINEMENTS = 2
# One die of so many is searched again with halved steps, and at least two.
REPEATED = 10
# Largest difference between two searches of one die [V]. The last correction of a search is a third of it or less.
SAME_OFFSET = 0.1e-3


T = TypeVar("T")


def settled(
    measure: Callable[[Engine], T],
    engine: Engine,
    what: str,
    *,
    decisions: Callable[[T], Sequence[int]],
    right: Callable[[T], bool],
) -> T:
    """The result of ``measure``, with steps halved until its ``decisions`` are ``right`` or stay the same.

    Raises UncausedTransition, with the name ``what``, if they still change after MOST_REFINEMENTS.
    """
    found = measure(engine)
    for times in range(1, MOST_REFINEMENTS + 1):
        if right(found):
            return found
        again = measure(finer(engine, times))
        if tuple(decisions(again)) == tuple(decisions(found)):
            return again
        found = again
    if right(found):
        return found
    raise UncausedTransition(
        f"{what}: decisions change with every halving of the simulator's time steps; give --refine {times + 1}"
    )


def offsets(
    engine: Engine, testbench: Testbench, conditions: Conditions, seeds: Sequence[int], node: str
) -> tuple[list[float], int]:
    """Search in ``testbench`` with the mismatch of each of ``seeds``: the last voltage of ``node`` [V] of each die, and
    the number of dies whose simulation failed.

    One die of REPEATED is searched again with halved steps. If its result moves by more than SAME_OFFSET, every die is
    searched again with them, up to MOST_REFINEMENTS times. Raises UncausedTransition if the results still move.
    """
    sample = seeds[:: min(REPEATED, max(1, len(seeds) // 2))]
    for times in range(MOST_REFINEMENTS + 1):
        found = _searched(finer(engine, times), testbench, conditions, seeds, node)
        again = _searched(finer(engine, times + 1), testbench, conditions, sample, node)
        moved = {seed: abs(again[seed] - found[seed]) for seed in again if seed in found}
        if all(move <= SAME_OFFSET for move in moved.values()):
            return list(found.values()), len(seeds) - len(found)
    worst = max(moved, key=moved.__getitem__)
    raise UncausedTransition(
        f"{testbench.name}: the offset of die {worst} moves by {si(moved[worst], 'V')} when the simulator's time steps "
        f"are halved; give --refine {times + 1}"
    )


def _searched(
    engine: Engine, testbench: Testbench, conditions: Conditions, seeds: Sequence[int], node: str
) -> dict[int, float]:
    traces = drawn(engine, testbench, conditions, seeds)
    return {seed: float(one.values[node][-1]) for seed, one in traces.items()}
