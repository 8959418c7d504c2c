"""A table of designs, which ``versus -o`` writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cmru_hw.core.records import Invalid, Record


@dataclass(frozen=True, kw_only=True)
class TableEntry(Record):
    """One value of one design: ``value`` as plain numbers, ``shown`` as text, and its ``source``.

    ``value`` is None for a missing result. ``source`` is then the command that produces it, or the
    reason why there is none.
    """

    value: object
    shown: str
    source: str


@dataclass(frozen=True, kw_only=True)
class TableRow(Record):
    """One property of all designs, in their order."""

    name: str
    entries: tuple[TableEntry, ...]


@dataclass(frozen=True, kw_only=True)
class VersusResult(Record):
    """``designs`` are paths, ``labels`` their names in the same order; every row has one entry for each."""

    kind: Literal["versus"] = "versus"
    designs: tuple[str, ...]
    lines: tuple[TableRow, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    labels: tuple[str, ...] = ()

    @property
    def headings(self) -> tuple[str, ...]:
        """The heading of each column."""
        return self.labels or self.designs

    def check(self) -> None:
        if self.labels and len(self.labels) != len(self.designs):
            raise Invalid("labels", f"has {len(self.labels)} for {len(self.designs)} designs")
        for place, line in enumerate(self.lines):
            if len(line.entries) != len(self.designs):
                raise Invalid(f"lines/{place}/entries", f"has {len(line.entries)} for {len(self.designs)} designs")
