"""Statements of published work to compare with, each with its source and scope."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from cmru_hw.report.facts import Fact, Section, Table

Measure = Literal["classes", "power", "suppression"]


@dataclass(frozen=True, kw_only=True)
class PublishedFigure:
    """One published statement. ``measure`` names a measure that runs have too, or is empty."""

    measure: str
    quantity: str
    work: str
    value: str
    scope: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Own:
    """A figure of a run that can be compared with a published one. ``scope``: level, technology and excluded parts.

    ``work`` names the run in the table.
    """

    measure: Measure
    fact: Fact
    scope: str
    work: str = "this report"


def load() -> tuple[PublishedFigure, ...]:
    """The rows of ``published.toml``, in its order."""
    text = (resources.files("cmru_hw.report") / "published.toml").read_text(encoding="utf-8")
    return tuple(PublishedFigure(**row) for row in tomllib.loads(text)["row"])


def section(own: Sequence[Own]) -> Section | None:
    """Each figure of ``own`` above the published ones of its measure, then the others. None if ``own`` is empty."""
    if not own:
        return None
    published = load()
    rows: list[tuple[str | Fact, ...]] = []
    for row in published:
        first = row.measure and row.measure not in [r.measure for r in published[: published.index(row)]]
        for mine in own:
            if first and mine.measure == row.measure:
                rows.append((row.quantity, mine.work, mine.fact, mine.scope, str(mine.fact.source.path)))
        rows.append((row.quantity, row.work, row.value, row.scope, row.source))
    return Section(
        name="published",
        title="Compared with published work",
        lead=(
            (
                "The rows differ in circuit, task and level of simulation, so they are not a ranking. The "
                "nine-transistor cell of the FQ-BMRU is described in arXiv:2605.07936. The published circuit most "
                "similar to a charge-domain design is MINIMALIST (arXiv:2505.08599), a minGRU of metal capacitors, "
                "transmission gates and a clocked comparator.",
            ),
        ),
        table=Table(header=("quantity", "work", "value", "scope", "source"), rows=tuple(rows)),
    )
