"""The first screen of a report: the designs, a verdict, four to six numbers, one figure, and the main exclusions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cmru_hw.analysis.agreement import Level
from cmru_hw.report.columns import Group, named, of_design
from cmru_hw.report.facts import Fact, Figure, Prose, Section, plain
from cmru_hw.report.run import ENERGY_IS, Run

NAME = "summary"
MOST_WORDS = 250
MOST_NUMBERS = 6
MOST_EXCLUDED = 4
# The verdicts of several designs take at most so many words; designs after that are named.
VERDICT_WORDS = 90
# Of more designs, the sentence on quoting does not repeat the names.
MOST_QUOTED = 4
QUOTE_SEVERAL: dict[Level, str] = {
    "macro": "as an estimate (no transistor of the network was simulated)",
    "transistor": "as simulated, before layout",
}
# The figure that says most, first.
FIGURES = ("unit", "energy", "states", "corners", "accuracy")


def section(groups: Sequence[Group], excluded: Sequence[Prose]) -> Section:
    """The summary of the runs of ``groups``, in at most `MOST_WORDS` words of text."""
    several = len(_designs(groups)) > 1
    numbers = _numbers_of_several(groups) if several else _numbers([run for group in groups for run in group.runs])
    lead = tuple(_of_several(groups)) if several else tuple(_of_one(groups))
    shown = _shown(groups)
    used = sum(words(prose) for prose in lead) + sum(
        len(fact.name.split()) + len(fact.shown.split()) for fact in numbers
    )
    if shown is not None:
        used += len(shown.caption.split()) + len(shown.sources)
    points: list[Prose] = []
    for prose in excluded:
        if len(points) < MOST_EXCLUDED and used + words(prose) < MOST_WORDS - 60:
            points.append(prose)
            used += words(prose)
    if len(points) < len(excluded):
        points.append(("The rest of what is not included is at the end.",))
    return Section(
        name=NAME,
        title="Summary",
        lead=lead,
        points=tuple(points),
        headlines=numbers,
        figures=() if shown is None else (shown,),
    )


def words(prose: Prose) -> int:
    return len(plain(prose).split())


def figure(groups: Sequence[Group]) -> Figure | None:
    """The figure of a run that the summary shows, so that the details do not show it again; None for none."""
    if _compared(groups) is not None:
        return None
    drawn = [one for group in groups for one in _drawn(group)]
    return min(drawn, key=lambda one: FIGURES.index(one.name) if one.name in FIGURES else len(FIGURES), default=None)


def _shown(groups: Sequence[Group]) -> Figure | None:
    """The figure of the summary."""
    first = figure(groups)
    if first is None:
        return _compared(groups)
    owner = next(group for group in groups if first in _drawn(group))
    return of_design(first, owner.name if len(_designs(groups)) > 1 else "", 1)


def _designs(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if group.name]


def _drawn(group: Group) -> list[Figure]:
    return [figure for run in group.runs for part in run.sections for figure in part.figures]


# --- One design ------------------------------------------------------------------------------------------------------


def _of_one(groups: Sequence[Group]) -> Iterator[Prose]:
    for group in _designs(groups):
        if len(group.heading) > 1:
            yield (*group.heading, ".")
    verdict = tuple(piece for group in groups for run in group.runs for piece in run.verdict)
    if verdict:
        yield verdict


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


def _headline(run: Run | None) -> Fact | None:
    return None if run is None else next((part.headlines[0] for part in run.sections if part.headlines), None)


# --- Several designs -------------------------------------------------------------------------------------------------


def _of_several(groups: Sequence[Group]) -> Iterator[Prose]:
    """Each design by name with its verdict, as far as words allow, and which figure to quote."""
    used = 0
    others: list[str] = []
    for group in _designs(groups):
        prose = _verdict_of(group)
        if others or used + words(prose) > VERDICT_WORDS:
            others.append(group.name)
        else:
            used += words(prose)
            yield prose
    if others:
        yield (f"Also in the tables: {'; '.join(others)}.",)
    levels: dict[Level, list[str]] = {}
    for group in _designs(groups):
        if (run := group.of("energy")) is not None:
            levels.setdefault(run.source.value("level"), []).append(group.name)
    if len(levels) == 1:
        yield (f"Quote the energies {QUOTE_SEVERAL[next(iter(levels))]}.",)
    elif levels and sum(map(len, levels.values())) > MOST_QUOTED:
        yield (f"Quote an energy {' or '.join(QUOTE_SEVERAL.values())}: its word stands next to it.",)
    elif levels:
        quoted = [f"that of {' and '.join(names)} {QUOTE_SEVERAL[level]}" for level, names in levels.items()]
        yield (f"Which energy to quote: {'; '.join(quoted)}. State this word wherever both stand side by side.",)


def _verdict_of(group: Group) -> Prose:
    """``detect: gf180, macro level, 1.8 V, typical, 27 °C. 464 of 464 decisions as in software; yield 96 %; …``"""
    parts: list[Prose] = []
    if (right := _headline(group.of("comparison"))) is not None:
        parts.append((named(right, group.name), " decisions as in software"))
    if (good := _headline(group.of("montecarlo"))) is not None:
        parts.append(("yield " if parts else "Yield ", named(good, group.name)))
    energy = group.of("energy")
    if energy is not None and (joules := _headline(energy)) is not None:
        parts.append((named(joules, group.name), f" per timestep, {ENERGY_IS[energy.source.value('level')]}"))
    said: list[str | Fact] = []
    for place, part in enumerate(parts):
        said += ["; " if place else "", *part]
    return (*group.heading, ". ", *said, "." if said else "No result is given.")


def _numbers_of_several(groups: Sequence[Group]) -> tuple[Fact, ...]:
    """As many headlines of each design as fit, energy first; the same quantities of all designs stand together."""
    designs = _designs(groups)
    each = max(1, MOST_NUMBERS // len(designs))
    found: list[Fact] = []
    for kind in ("energy", "comparison", "montecarlo", "corners", "retention"):
        facts = [(_headline(group.of(kind)), group.name) for group in designs]
        if any(fact for fact, _ in facts) and each:
            found += [named(fact, name) for fact, name in facts if fact is not None]
            each -= 1
    return tuple(found)[:MOST_NUMBERS]


def _compared(groups: Sequence[Group]) -> Figure | None:
    """The energies of several designs, if at least two have one."""
    runs = [(group.name, run) for group in _designs(groups) if (run := group.of("energy")) is not None]
    if len(runs) < 2:
        return None
    bars = [
        (name, float(run.source.value("per_timestep_J")), run.source.value("level") == "transistor")
        for name, run in runs
    ]

    def draw(path: Path) -> None:
        from cmru_hw.report import figures

        figures.energies(bars, path)

    return Figure(
        name="energies",
        caption="Energy per timestep of each design. Open bars are estimates; filled bars are simulated.",
        sources=tuple(run.source for _, run in runs),
        draw=draw,
    )
