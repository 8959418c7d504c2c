"""Positions of the sequences in a deck, and sampling instants of each quantity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cmru_hw.core.errors import DataError
from cmru_hw.core.signals import Array, Traces


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A sampling instant: ``offset`` [s] into a frame; the ``clocks`` are then at ``high`` [V].

    If latches keep decisions until then, the decisions must equal those at the offset ``decided`` [s].
    """

    offset: float
    clocks: tuple[str, ...]
    high: float
    decided: float | None = None


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A sampling instant that no external clock sets: ``clock`` begins to fall.

    The instant is the last point above ``level`` [V] before ``clock`` falls through half of ``level``, ``begin`` to
    ``end`` [s] into a frame.
    """

    clock: str
    level: float
    begin: float
    end: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The instants [s] of an :class:`Edge` in all frames (frames,); NaN in a frame without this edge."""

    clock: str
    instants: Array


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Position of each sequence in a deck: some power-on frames, then its timesteps, one frame each.

    ``starts`` (sequences,) is the frame of each first timestep, ``lengths`` (sequences,) the number of timesteps.
    Everything is sampled before the end of a timestep, by the share ``sampled``, unless there are ``moments``: one for
    each layer, and one for the readout. If a layer does not store its decisions until its state is read, they are
    sampled when they have been ``used``; they must then equal the decisions when they were ``taken``. ``comparing``
    gives the instants when the comparators of each layer begin to compare their rows, () if these are not needed. The
    comparators hold their decisions until ``held`` [s] into the frame. ``common`` is the node of V_cm for a circuit
    that generates it, ``supply`` [V] the supply of a circuit whose signals are ratios of it.
    """

    timestep: float
    sampled: float
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    moments: tuple[Moment | Edge | Found, ...] = ()
    used: tuple[Moment | Edge | Found, ...] = ()
    taken: tuple[Moment | Edge | Found, ...] = ()
    comparing: tuple[Moment | Edge | Found, ...] = ()
    held: float = 0.0
    common: str | None = None
    supply: float | None = None

    @property
    def frames(self) -> int:
        return self.starts[-1] + self.lengths[-1]

    def edges(self, sequence: int) -> Array:
        """Beginnings of all timesteps of ``sequence`` and the end of the last (length + 1,) [s]."""
        frames = self.starts[sequence] + np.arange(self.lengths[sequence] + 1)
        return np.asarray(frames * self.timestep, dtype=np.float64)

    def instants(self, sequence: int, group: int = -1) -> Array:
        """Sampling instants (length,) [s] of ``sequence`` in layer ``group``, or the readout's."""
        if not self.moments:
            return self.edges(sequence)[1:] - self.sampled * self.timestep
        return self._at(self.moments[group], sequence)

    def deciding(self, sequence: int, group: int) -> Array:
        """Sampling instants of the decisions of layer ``group`` (length,) [s]."""
        return self._at(self.used[group], sequence) if self.used else self.instants(sequence, group)

    def _at(self, moment: Moment | Edge | Found, sequence: int) -> Array:
        if isinstance(moment, Moment):
            return self.edges(sequence)[:-1] + moment.offset
        if isinstance(moment, Edge):
            raise TypeError(f"when {moment.clock} fell is in the traces: ask the schedule that `located` returns")
        begin = self.starts[sequence]
        return moment.instants[begin : begin + self.lengths[sequence]]

    def located(self, traces: Traces) -> Schedule:
        """This schedule, with the instants of its edges taken from ``traces``."""
        found = {
            name: tuple(self._found(moment, traces) if isinstance(moment, Edge) else moment for moment in moments)
            for name, moments in (
                *(("moments", self.moments), ("used", self.used)),
                *(("taken", self.taken), ("comparing", self.comparing)),
            )
        }
        return replace(
            self,
            moments=found["moments"],
            used=found["used"],
            taken=found["taken"],
            comparing=found["comparing"],
        )

    def compared(self, sequence: int, group: int) -> Array:
        """Instants when the comparators of layer ``group`` begin to compare their rows (length,) [s]."""
        return self._at(self.comparing[group], sequence)

    @property
    def clocks(self) -> tuple[str, ...]:
        """The clocks that define sampling instants, each once."""
        every = (*self.moments, *self.used, *self.taken, *self.comparing)
        named = [moment.clocks if isinstance(moment, Moment) else (moment.clock,) for moment in every]
        return tuple(dict.fromkeys(clock for clocks in named for clock in clocks))

    def unclocked(self, traces: Traces, sequence: int) -> str | None:
        """The clock fault at the sampling instants of ``sequence``; None if the samples are valid.

        XSPICE can miss an edge, and a self-timed chip can fail to generate one.
        """
        for moment in (*self.moments, *self.used, *self.taken, *self.comparing):
            instants = self._at(moment, sequence)
            if not isinstance(moment, Moment):
                absent = {moment.clock: np.isnan(instants)}
            else:
                absent = {clock: traces.at(clock, instants) < 0.999 * moment.high for clock in moment.clocks}
            for clock, missing in absent.items():
                if missing.any():
                    late = int(np.argmax(missing))
                    return f"clock {clock} was not high in timestep {late} of sequence {sequence}"
        return None

    def _found(self, edge: Edge, traces: Traces) -> Found:
        high = traces.values[edge.clock] > edge.level / 2
        falls = np.flatnonzero(high[:-1] & ~high[1:])
        above = np.flatnonzero(traces.values[edge.clock] > edge.level)
        instants = np.full(self.frames, np.nan)
        for frame in range(self.frames):
            begin, end = (frame * self.timestep + offset for offset in (edge.begin, edge.end))
            first = np.searchsorted(traces.time[falls], begin)
            if first < len(falls) and traces.time[falls[first]] <= end:
                last = np.searchsorted(above, falls[first], side="right") - 1
                instants[frame] = traces.time[above[last]] if last >= 0 else np.nan
        return Found(clock=edge.clock, instants=instants)

    def decided(self, sequence: int, group: int) -> Array | None:
        """Instants when the latches of layer ``group`` took their decisions (length,) [s]; None without latches."""
        if self.taken:
            return self._at(self.taken[group], sequence)
        moment = self.moments[group] if self.moments else None
        offset = moment.decided if isinstance(moment, Moment) else None
        return None if offset is None else self.edges(sequence)[:-1] + offset


def schedule(timestep: float, sampled: float, lengths: Sequence[int], *, lead: int = 1, **more: Any) -> Schedule:
    """Arrange sequences of ``lengths`` timesteps one after the other, with ``lead`` power-on frames before each.

    ``more`` are the other fields of a Schedule.
    """
    if not lengths or min(lengths) < 1:
        raise DataError("there is nothing to simulate: every sequence needs at least one timestep")
    ends = np.cumsum(np.asarray(lengths) + lead)
    starts = ends - np.asarray(lengths)
    return Schedule(timestep=timestep, sampled=sampled, starts=tuple(starts.tolist()), lengths=tuple(lengths), **more)
