"""What ``inspect`` and ``export`` say about a network before any simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated

from cmru_hw.analysis.montecarlo.result import DieAccuracy, Interval
from cmru_hw.circuits.row_errors import SmallestPart
from cmru_hw.core.records import Count, Invalid, NotNegative, OneOf, Record, Share, named
from cmru_hw.core.units import percent

BUILDS_WELL, AT_RISK, WILL_NOT_WORK = "builds well", "at risk", "will not work"
WELL, HOPELESS = 0.95, 0.2
"""Yields: from the first one on a network builds well, below the second one it will not work."""


def band(share: float) -> str:
    """The verdict on a yield."""
    return BUILDS_WELL if share >= WELL else AT_RISK if share >= HOPELESS else WILL_NOT_WORK


@dataclass(frozen=True, kw_only=True)
class LayerMargin(Record):
    """Distances of the rows of one layer from their thresholds, for each decision that of the nearer row.

    ``sigma`` [``unit``]: median of the standard deviations of all that moves a row. ``p05`` and ``median``: 5th
    percentile and median of the distances in units of it. ``wrong_own``: expected share of wrong decisions where
    all states that the layer reads are right; ``wrong``: with the consequences of errors in front.
    """

    layer: Count
    unit: str
    sigma: NotNegative
    p05: NotNegative
    median: NotNegative
    wrong_own: Share
    wrong: Share


@dataclass(frozen=True, kw_only=True)
class LargestInput(Record):
    """The input that is farthest from the mean of its feature: ``value`` of ``feature`` (from 0), ``deviations``
    standard deviations away."""

    feature: Count
    value: float
    deviations: NotNegative


@dataclass(frozen=True, kw_only=True)
class Cause(Record):
    """One cause of errors. Without it, the mean accuracy of dies rises by ``accuracy`` and their yield is ``yield_``;
    None for a cause that dies of the estimate do not have, and that costs software itself ``accuracy``.

    ``remedy`` says in words what mends it, ``command`` is the command to do it.
    """

    cause: str
    accuracy: float
    yield_: Share | None = field(metadata=named("yield"))
    remedy: str
    command: str


@dataclass(frozen=True, kw_only=True)
class TrimOffer(Record):
    """The estimated ``yield_`` and mean ``accuracy`` gained by dies with an offset trim of ``bits``, and the command
    for it."""

    bits: Count
    accuracy: float
    yield_: Share = field(metadata=named("yield"))
    remedy: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Verdict(Record):
    """The verdict, and the figures that it rests on.

    ``yield_`` is the estimate, its interval that of the number of dies alone. A die is good if its accuracy is at most
    ``drop`` below software's. ``causes`` are in order of the accuracy that they cost, the dearest first. ``trim``: the
    effect of an offset trim, for a design without one whose dies lose accuracy by offsets; else None.
    """

    verdict: Annotated[str, OneOf((BUILDS_WELL, AT_RISK, WILL_NOT_WORK))]
    yield_: Interval = field(metadata=named("yield"))
    accuracy: DieAccuracy
    accuracy_of: str
    drop: float
    sequences: Count
    layers: tuple[LayerMargin, ...]
    largest_input: LargestInput
    smallest_part: SmallestPart
    causes: tuple[Cause, ...]
    assumptions: tuple[str, ...]
    trim: TrimOffer | None = None

    def check(self) -> None:
        if self.verdict != band(self.yield_.value):
            raise Invalid("verdict", f"is {self.verdict!r}, but a yield of {self.yield_.value:g} is not")

    def sentence(self) -> str:
        """For people."""
        low, high = math.floor(100 * self.yield_.low), math.ceil(100 * self.yield_.high)
        return f"{self.verdict}: {percent(self.yield_.value)} of dies do the task (95 % interval {low} % to {high} %)"
