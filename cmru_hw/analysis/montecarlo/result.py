"""The result of a Monte-Carlo: the contents of ``summary.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from cmru_hw.analysis.agreement import Level
from cmru_hw.analysis.provenance import Provenance
from cmru_hw.circuits.input_range import ClampedInputs
from cmru_hw.core.records import (
    INLINE,
    OMIT_NONE,
    Count,
    Invalid,
    NotNegative,
    OneOf,
    Range,
    Record,
    Share,
    approximately,
    named,
)

SUMMARY = "summary.json"
Engine = Annotated[str, OneOf(("fast", "spice"))]


@dataclass(frozen=True, kw_only=True)
class Interval(Record):
    """``k`` of ``n``, their ratio ``value``, and the Clopper-Pearson 95 % interval of the underlying share (Biometrika
    26, 404, 1934): see :func:`cmru_hw.analysis.montecarlo.interval.clopper_pearson`."""

    k: Count
    n: Annotated[int, Range(low=1)]
    value: Share
    ci95: tuple[Share, Share]

    @property
    def low(self) -> float:
        return self.ci95[0]

    @property
    def high(self) -> float:
        return self.ci95[1]

    @property
    def width(self) -> float:
        return self.high - self.low

    def check(self) -> None:
        if self.k > self.n:
            raise Invalid("k", f"is {self.k} of {self.n}")
        if not approximately(self.value, self.k / self.n):
            raise Invalid("value", f"is {self.value:g}, but k/n is {self.k / self.n:g}")
        if not self.low <= self.value <= self.high:
            raise Invalid("ci95", f"is {self.low:g} to {self.high:g}, which {self.value:g} is outside of")


@dataclass(frozen=True, kw_only=True)
class DieAccuracy(Record):
    """Accuracy of software, and median, 5th percentile and worst accuracy of the simulated dies; None without any."""

    software: Share
    median: Share | None
    p05: Share | None
    min: Share | None

    def check(self) -> None:
        found = [value for value in (self.min, self.p05, self.median) if value is not None]
        if found != sorted(found):
            raise Invalid("median", "is below p05, or p05 below min")


@dataclass(frozen=True, kw_only=True)
class LevelErrors(Record):
    """State errors in levels (αCMRU: shares of the swing): the largest over all dies, the median of the dies' largest
    ones, and the overall rms; None without any die."""

    max: NotNegative | None
    median: NotNegative | None
    rms: NotNegative | None


@dataclass(frozen=True, kw_only=True)
class TrimRange(Record):
    """Rows of all dies whose offset is out of the range of their trim code, and the number of dies that have any."""

    rows_beyond: Count
    dies_beyond: Count

    def check(self) -> None:
        if self.dies_beyond > self.rows_beyond or (self.rows_beyond and not self.dies_beyond):
            raise Invalid("dies_beyond", f"is {self.dies_beyond}, for {self.rows_beyond} rows")


@dataclass(frozen=True, kw_only=True)
class DieStatistics(Record):
    """Statistics over all dies. ``failures``: status → number of dies that failed with it. ``accuracy_of``: reference
    of a die's classes. A die is good if its accuracy is at most ``drop`` below software's. ``trim`` is None for a
    design without trim."""

    dies: Count
    failed: Count
    failures: Mapping[str, Count]
    yield_: Interval = field(metadata=named("yield"))
    accuracy: DieAccuracy
    accuracy_of: str
    drop: float
    decision_agreement: Share | None
    level_error: LevelErrors
    worst_die: Count | None
    trim: TrimRange | None = field(default=None, metadata=OMIT_NONE)

    def check(self) -> None:
        if self.yield_.n != self.dies:
            raise Invalid("yield/n", f"is {self.yield_.n}, but there are {self.dies} dies")
        if sum(self.failures.values()) != self.failed:
            raise Invalid("failed", f"is {self.failed}, but {sum(self.failures.values())} failures are listed")
        if self.yield_.k > self.dies - self.failed:
            raise Invalid("yield/k", f"is {self.yield_.k}, but only {self.dies - self.failed} dies did not fail")


@dataclass(frozen=True, kw_only=True)
class Stopping(Record):
    """The rule of ``--until-ci``: stop after the first block of ``block`` dies that brings the number of dies to
    ``fewest`` or more with an interval no wider than ``width``."""

    width: Share
    fewest: Count
    block: Count


@dataclass(frozen=True, kw_only=True)
class EngineAgreement(Record):
    """Decisions of both engines on the same ``dies``: ``agree`` of ``decisions`` are equal, with the 95 % interval of
    that share. Of the others, ``margin_limited`` are too close to call and ``unexplained`` are not."""

    dies: Count
    decisions: Count
    agree: Count
    value: Share
    ci95: tuple[Share, Share]
    margin_limited: Count
    unexplained: Count

    def check(self) -> None:
        if self.agree + self.margin_limited + self.unexplained != self.decisions:
            raise Invalid("decisions", f"is {self.decisions}, which its parts do not sum up to")
        if not self.decisions or not approximately(self.value, self.agree / self.decisions):
            raise Invalid("value", f"is {self.value:g}, which is not agree/decisions")


@dataclass(frozen=True, kw_only=True)
class PairedDies(EngineAgreement):
    """Agreement on ``requested`` dies; ``resolution`` describes the decisions that are too close to call."""

    requested: Count
    resolution: str


@dataclass(frozen=True, kw_only=True)
class FailedPairs(Record):
    """No die of the ``requested`` ones could be simulated in both engines."""

    dies: Literal[0] = 0
    requested: Count
    resolution: str


@dataclass(frozen=True, kw_only=True)
class Effect(Record):
    """Effect of a class of elements: yield with only this class varied (``alone``), and with all others (``without``).
    Accuracies and decision agreements are means over dies."""

    name: str
    alone: Interval
    without: Interval
    accuracy_alone: Share
    accuracy_without: Share
    agreement_alone: Share
    agreement_without: Share


@dataclass(frozen=True, kw_only=True)
class MonteCarloResult(DieStatistics):
    """Dies of a design: their statistics, and everything that determines them.

    ``engine`` simulated them. ``varies`` are the sources of variation, as leaves of their tree. ``sensitivity``: the
    """

    kind: Literal["montecarlo"] = "montecarlo"
    engine: Engine
    level: Level
    architecture: str
    varies: tuple[str, ...]
    sequences: Count
    provenance: Provenance = field(metadata=INLINE)
    inputs_clamped: ClampedInputs | None = field(default=None, metadata=OMIT_NONE)
    stopping: Stopping | None = field(default=None, metadata=OMIT_NONE)
    paired: PairedDies | FailedPairs | None = field(default=None, metadata=OMIT_NONE)
    sensitivity: tuple[Effect, ...] | None = field(default=None, metadata=OMIT_NONE)
