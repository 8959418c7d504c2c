"""The first screen of a report: the designs, a verdict, four to six numbers, one figure, and the main exclusions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cmru_hw.analysis.agreement import Level
from cmru_hw.report import runs
from cmru_hw.report.columns import Group, named, named_in, of_design
from cmru_hw.report.facts import Fact, Figure, Prose, Section, plain
from cmru_hw.report.run import Energy, Run

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
FIGURES = ("unit", "energy", "states", "corners", "front")


def section(groups: Sequence[Group], excluded: Sequence[Prose]) -> Section:
    """The summary of the runs of ``groups``, in at most `MOST_WORDS` words of text."""
    several = len(_designs(groups)) > 1
    numbers = _numbers_of_several(groups) if several else _numbers([run for one in groups for run in one.runs])
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
        if (found := _energy(group)) is not None:
            levels.setdefault(found[1].level, []).append(group.name)
    if len(levels) == 1:
        yield (f"Quote the energies {QUOTE_SEVERAL[next(iter(levels))]}.",)
    elif levels and sum(map(len, levels.values())) > MOST_QUOTED:
        yield (f"Quote an energy {' or '.join(QUOTE_SEVERAL.values())}: its word stands next to it.",)
    elif levels:
        quoted = [f"that of {' and '.join(names)} {QUOTE_SEVERAL[level]}" for level, names in levels.items()]
        yield (f"Which energy to quote: {'; '.join(quoted)}. State this word wherever both stand side by side.",)


def _verdict_of(group: Group) -> Prose:
    """``detect: gf180, macro level, 1.8 V, typical, 27 °C. 464 of 464 decisions as in software; yield 96 %; …``"""
    said: list[str | Fact] = []
    for run in _in_order(group):
        if run.clause:
            said += [*(["; "] if said else []), *named_in(run.clause, group.name)]
    if said and isinstance(said[0], str):
        said[0] = said[0][:1].upper() + said[0][1:]
    return (*group.heading, ". ", *said, "." if said else "No result is given.")


def _in_order(group: Group) -> list[Run]:
    """The first run of each kind of result, in the order of the kinds."""
    return [run for kind in runs.MAKERS if (run := group.of(kind)) is not None]


def _energy(group: Group) -> tuple[Run, Energy] | None:
    """The energy of a design with the run that has it."""
    return next(((run, run.energy) for run in _in_order(group) if run.energy is not None), None)


def _numbers_of_several(groups: Sequence[Group]) -> tuple[Fact, ...]:
    """As many headlines of each design as fit, energy first; the same quantities of all designs stand together."""
    designs = _designs(groups)
    each = max(1, MOST_NUMBERS // len(designs))
    found: list[Fact] = []
    for kind in runs.MAKERS:
        facts = [named(run.headline, one.name) for one in designs if (run := one.of(kind)) and run.headline]
        if facts and each:
            found += facts
            each -= 1
    return tuple(found)[:MOST_NUMBERS]


def _compared(groups: Sequence[Group]) -> Figure | None:
    """The energies of several designs, if at least two have one."""
    found = [(group.name, *energy) for group in _designs(groups) if (energy := _energy(group)) is not None]
    if len(found) < 2:
        return None
    bars = [(name, energy.per_timestep_J, energy.level == "transistor") for name, _, energy in found]

    def draw(path: Path) -> None:
        from cmru_hw.report import figures

        figures.energies(bars, path)

    return Figure(
        name="energies",
        caption="Energy per timestep of each design. Open bars are estimates; filled bars are simulated.",
        sources=tuple(run.source for _, run, _ in found),
        draw=draw,
    )
