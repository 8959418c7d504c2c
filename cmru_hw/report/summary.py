"""The first screen of a report: the design, a verdict, four to six numbers, one figure, and the main exclusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cmru_hw.report.facts import Fact, Figure, Prose, ResultFile, Section, plain
from cmru_hw.report.run import Run

NAME = "summary"
MOST_WORDS = 250
MOST_NUMBERS = 6
MOST_EXCLUDED = 4
# The figure that says most, first.
FIGURES = ("unit", "energy", "states", "corners", "accuracy")


def section(runs: Sequence[Run], excluded: Sequence[Prose]) -> Section:
    """The summary of ``runs``, in at most `MOST_WORDS` words of text."""
    numbers = _numbers(runs)
    lead = tuple(prose for prose in (_design(runs), tuple(piece for run in runs for piece in run.verdict)) if prose)
    used = sum(words(prose) for prose in lead) + sum(
        len(fact.name.split()) + len(fact.shown.split()) for fact in numbers
    )
    points: list[Prose] = []
    for prose in excluded:
        if len(points) < MOST_EXCLUDED and used + words(prose) < MOST_WORDS - 10:
            points.append(prose)
            used += words(prose)
    if len(points) < len(excluded):
        points.append(("The rest of what is not included is at the end.",))
    figure = _figure(runs)
    return Section(
        name=NAME,
        title="Summary",
        lead=lead,
        points=tuple(points),
        headlines=numbers,
        figures=() if figure is None else (figure,),
    )


def words(prose: Prose) -> int:
    return len(plain(prose).split())


def design_of(source: ResultFile) -> Prose:
    """Name, technology, level, supply and corner of the design of a result; () if it does not state them."""
    if not source.has("design_label"):
        return ()
    parts: list[str | Fact] = [source.fact("design", "design_label", str)]
    for name, key, before, after in (
        ("technology", "technology", ": ", ""),
        ("level", "level", ", ", " level"),
        ("supply", "supply_V", ", ", ""),
        ("corner", "operating_corner", ", ", ""),
    ):
        if source.has(key):
            shown = (lambda volts: f"{volts:g} V") if key == "supply_V" else str
            parts += [before, source.fact(name, key, shown), after]
    return tuple(part for part in parts if part != "")


def _design(runs: Sequence[Run]) -> Prose:
    for run in runs:
        if run.source.has("design_label") and run.source.has("technology") and run.source.has("level"):
            return (*design_of(run.source), ".")
    return ()


def _numbers(runs: Sequence[Run]) -> tuple[Fact, ...]:
    """The first headline of each section, then the second ones, without those that say the same."""
    columns = [part.headlines for run in runs for part in run.sections if part.headlines]
    order = [
        column[place] for place in range(max(map(len, columns), default=0)) for column in columns if place < len(column)
    ]
    found: dict[tuple[str, str], Fact] = {}
    for fact in order:
        found.setdefault((fact.name, fact.shown), fact)
    return tuple(found.values())[:MOST_NUMBERS]


def _figure(runs: Sequence[Run]) -> Figure | None:
    drawn = [figure for run in runs for part in run.sections for figure in part.figures]
    return min(drawn, key=lambda one: FIGURES.index(one.name) if one.name in FIGURES else len(FIGURES), default=None)


def without(sections: Sequence[Section], figure: Figure) -> list[Section]:
    """``sections`` in which ``figure``, which the summary shows, does not occur again."""
    return [replace(one, figures=tuple(other for other in one.figures if other is not figure)) for one in sections]
