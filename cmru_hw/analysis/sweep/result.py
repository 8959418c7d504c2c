"""The result of a sweep: the contents of ``sweep.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cmru_hw.core.records import OMIT_NONE, Count, Invalid, Positive, Record

RESULT = "sweep.json"


@dataclass(frozen=True, kw_only=True)
class SweepRow(Record):
    """One point. ``level`` of its energy: "simulated" only if all transistors of the network were.

    ``per_timestep_J``, with the range ``low_J`` to ``high_J`` of a digital estimate. ``least_J`` is the energy of a
    digital datapath at ``least_vdd_V``, its supply of least energy, and ``lowest_J`` its low figure at any supply.
    ``area_m2`` is before layout. ``decisions_agree``: share
    of the circuit's decisions that software makes; ``classes_agree``: share of all evaluation sequences that keep their
    class with the digital datapath's weights, which were not trained again. ``status`` is "done",
    or begins with "refused" or "failed" and has the reason; all figures are None then.

    ``yield_k`` of ``dies`` dies are good, with the Clopper-Pearson interval ``yield_low`` to ``yield_high`` of this
    share; None where no dies were asked for, and where none can be drawn. ``yield_level``: engine and level of dies.
    """

    network: str
    units: Count
    cell: str
    architecture: str
    title: str
    technology: str
    vdd_V: Positive
    corner: str
    level: Literal["estimate", "simulated"]
    timestep_s: float | None
    per_timestep_J: float | None
    low_J: float | None
    high_J: float | None
    least_J: float | None
    least_vdd_V: float | None
    lowest_J: float | None
    area_m2: float | None
    transistors: int | None
    decisions_agree: float | None
    classes_agree: float | None
    status: str
    source: str
    dies: int | None = field(default=None, metadata=OMIT_NONE)
    yield_k: int | None = field(default=None, metadata=OMIT_NONE)
    yield_low: float | None = field(default=None, metadata=OMIT_NONE)
    yield_high: float | None = field(default=None, metadata=OMIT_NONE)
    yield_level: str | None = field(default=None, metadata=OMIT_NONE)

    @property
    def yield_(self) -> tuple[float, float, float] | None:
        """Yield and its 95 % interval; None without dies."""
        if self.dies is None or self.yield_k is None or self.yield_low is None or self.yield_high is None:
            return None
        return self.yield_k / self.dies, self.yield_low, self.yield_high

    @property
    def done(self) -> bool:
        return self.status == "done"

    def check(self) -> None:
        if self.done == (self.per_timestep_J is None):
            raise Invalid("per_timestep_J", f"does not fit the status {self.status!r}")
        if self.level == "simulated" and self.low_J is not None:
            raise Invalid("low_J", "is the range of an estimate, but the row is simulated")
        given = (self.dies, self.yield_k, self.yield_low, self.yield_high, self.yield_level)
        if any(value is None for value in given) != all(value is None for value in given):
            raise Invalid("dies", "has no yield, interval or level")
        if self.yield_ is not None and not 0 <= self.yield_[1] <= self.yield_[0] <= self.yield_[2] <= 1:
            raise Invalid("yield_k", "is out of its interval")


@dataclass(frozen=True, kw_only=True)
class StoredRow(Record):
    """The file of a finished point. ``job_sha256``: hash of everything that determines it."""

    kind: Literal["sweep point"] = "sweep point"
    row: SweepRow
    job_sha256: str


@dataclass(frozen=True, kw_only=True)
class SweepResult(Record):
    """All points in the order of the table. ``excludes``: architecture → items that its energies leave out."""

    kind: Literal["sweep"] = "sweep"
    rows: tuple[SweepRow, ...]
    excludes: Mapping[str, tuple[str, ...]]
    versions: Mapping[str, str]
    sequences: Count
    command: str = field(default="")

    @property
    def finished(self) -> tuple[SweepRow, ...]:
        return tuple(row for row in self.rows if row.done)
