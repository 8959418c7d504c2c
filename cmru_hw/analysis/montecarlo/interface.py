"""What it takes to do Monte-Carlo on an architecture: the same dies, in its fast engine and in SPICE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cmru_hw.circuits.comparison import Reference
from cmru_hw.core.signals import Response
from cmru_hw.spice import Engine
from cmru_hw.spice.deck import Deck

if TYPE_CHECKING:
    from cmru_hw.analysis.montecarlo.statistics import Job


class Goal(Protocol):
    """What a die is held against: software's run. ``accuracy`` is software's share of sequences as wanted."""

    @property
    def accuracy(self) -> float: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """One die over the first sequence: its deck, what the fast engine says it does, and what software does."""

    deck: Deck
    response: Response
    expected: Reference


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Dies of one architecture. A row is one of `scores.SCHEMA`, by column.

    ``goal(job)`` is what they are held against, ``draw(job, dies)`` makes them. ``fast(job, dies)`` gives one row for
    each, ``simulated(job, drawn, engine)`` that of the only one drawn, from SPICE, and how the fast engine agrees with
    it. ``replay(job, die)`` looks at one. ``resolution`` says in words which decisions are too close to be held against
    the engines if they differ.
    """

    goal: Callable[[Job], Goal]
    draw: Callable[[Job, Sequence[int]], Any]
    fast: Callable[[Job, Sequence[int]], list[dict[str, Any]]]
    simulated: Callable[[Job, Any, Engine], dict[str, Any]]
    replay: Callable[[Job, int], Replay]
    resolution: str
