"""Published work to stand beside, each figure with its source and scope."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from cmru_hw.report.facts import Fact, Section, Table

Measure = Literal["classes", "energy", "cells", "fc", "suppression"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """``measure`` names what a run can have too; empty where none can."""

    measure: str
    quantity: str
    work: str
    value: str
    scope: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Own:
    """A figure of a run that a published one can stand beside. ``scope`` says what was simulated, and how."""

    measure: Measure
    fact: Fact
    scope: str


def load() -> tuple[Row, ...]:
    """The rows of ``published.toml``, in its order."""
    text = (resources.files("cmru_hw.report") / "published.toml").read_text(encoding="utf-8")
    return tuple(Row(**row) for row in tomllib.loads(text)["row"])


def section(own: Sequence[Own]) -> Section | None:
    """Each figure of ``own`` above the published ones of its kind, then the rest; None where there is nothing to."""
    if not own:
        return None
    published = load()
    rows: list[tuple[str | Fact, ...]] = []
    for row in published:
        first = row.measure and row.measure not in [r.measure for r in published[: published.index(row)]]
        for mine in own:
            if first and mine.measure == row.measure:
                rows.append((row.quantity, "this report", mine.fact, mine.scope, str(mine.fact.source.path)))
        rows.append((row.quantity, row.work, row.value, row.scope, row.source))
    return Section(
        name="published",
        title="Beside published work",
        lead=(
            (
                "Different circuits, tasks and levels of simulation: each row says which. The rows orient; they do "
                "not rank. The nine-transistor cell of that network is described in arXiv:2605.07936. The closest "
                "published relative of a charge-domain design is MINIMALIST (arXiv:2505.08599), a minGRU of metal "
                "capacitors, transmission gates and a clocked comparator.",
            ),
        ),
        table=Table(header=("quantity", "work", "value", "scope", "source"), rows=tuple(rows)),
    )
