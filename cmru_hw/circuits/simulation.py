"""A decoded simulation, for every kind of circuit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cmru_hw.circuits.certificate import NumericalCertificate
from cmru_hw.circuits.comparison import Comparison, Reference
from cmru_hw.core.signals import Response, Traces
from cmru_hw.spice.schedule import Schedule


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """A decoded simulation: the circuit's response, its computing time, and the attempts that were needed.

    ``cpu_seconds`` is the simulator's own; ``attempts`` names every run that had to be repeated with other options.
    """

    response: Response
    cpu_seconds: float
    simulator: str
    attempts: tuple[str, ...]

    def facts(self) -> dict[str, object]:
        """Facts about the run that only this kind of circuit has, as plain values."""
        return {}

    def remarks(self) -> list[tuple[str, str]]:
        """The same, formatted: rows of a table."""
        return []


def shared_decks(lengths: Sequence[int], frames_per_deck: int) -> Iterator[list[int]]:
    """Indices of the sequences of each deck, in order: as many as fit, with a power-on frame before each sequence."""
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
    """A simulation compared with software.

    ``refined`` is the number of refinements of the integration. ``certificate`` gives the change of the result with a
    further refinement; None if nothing was simulated again.
    """

    comparison: Comparison
    simulation: Simulation
    expected: Reference
    refined: int
    certificate: NumericalCertificate | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Waveforms:
    """One unit's node voltages over one sequence: rows, decisions and state, as simulated."""

    layer: int
    unit: int
    traces: Traces
    plan: Schedule


def busiest_unit(verified: Verified) -> tuple[int, int]:
    """(layer, unit) with the most changes of decision over the first sequence."""
    busiest, most = (0, 0), -1
    for layer, decisions in enumerate(verified.simulation.response.decisions):
        changes = (np.diff(decisions[0].astype(int), axis=0) != 0).sum(axis=0)
        if changes.max() > most:
            busiest, most = (layer, int(changes.argmax())), int(changes.max())
    return busiest
