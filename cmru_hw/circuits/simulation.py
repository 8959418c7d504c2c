"""A decoded simulation, for every kind of circuit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cmru_hw.circuits.comparison import Comparison, Reference
from cmru_hw.core.signals import Response, Traces
from cmru_hw.spice.schedule import Schedule


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """A decoded simulation: the circuit's response, what it cost, and how it was obtained.

    ``cpu_seconds`` is the simulator's own; ``attempts`` names every run that had to be repeated with other options.
    """

    response: Response
    cpu_seconds: float
    simulator: str
    attempts: tuple[str, ...]


def shared_decks(lengths: Sequence[int], frames_per_deck: int) -> Iterator[list[int]]:
    """Indices of sequences that go into one deck each, in order: as many as fit, with a power-on frame before each."""
    batch: list[int] = []
    frames = 0
    for index, length in enumerate(lengths):
        if batch and frames + length + 1 > frames_per_deck:
            yield batch
            batch, frames = [], 0
        batch.append(index)
        frames += length + 1
    yield batch


@dataclass(frozen=True, kw_only=True, eq=False)
class Verified:
    """A simulation held against software. ``refined`` says how often the largest time step was halved for it."""

    comparison: Comparison
    simulation: Simulation
    expected: Reference
    refined: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Waveforms:
    """One unit's node voltages over one sequence: rows, decisions and state, as simulated."""

    layer: int
    unit: int
    traces: Traces
    plan: Schedule
