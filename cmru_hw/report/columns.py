"""Several designs, or several runs of one kind, in one report: they are the columns of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cmru_hw.core.units import si
from cmru_hw.report.facts import Cell, Fact, Figure, Prose, ResultFile, Section, Table, plain
from cmru_hw.report.run import ENERGY_IS, Run, short

ABSENT = "\N{EN DASH}"
# "energy per timestep, estimated" and "energy per timestep, simulated" share a row, in which every value has its word.
_MARKS = tuple(f", {word}" for word in ENERGY_IS.values())
# Name of the design, its operating point and its level in a result
_POINT = (
    ("technology", "technology", ": ", ""),
    ("level", "level", ", ", " level"),
    ("supply", "supply_V", ", ", ""),
    ("corner", "operating_corner", ", ", ""),
)


@dataclass(frozen=True, kw_only=True)
class Group:
    """The runs of one circuit. ``heading``: its ``name``, with technology, level, supply and corner if a run states
    them. The runs of no single circuit (``sweep``, ``versus``) are a group without a name."""

    name: str
    heading: Prose
    runs: tuple[Run, ...]

    def of(self, kind: str) -> Run | None:
        """The first run of ``kind``."""
        return next((run for run in self.runs if run.kind == kind), None)


def design_of(source: ResultFile) -> Prose:
    """Name, technology, level, supply and corner of the design of a result; () if it does not state them."""
    if not source.has("design_label"):
        return ()
    parts: list[str | Fact] = [source.fact("design", "design_label", str)]
    for name, key, before, after in _POINT:
        if source.has(key):
            shown = partial(si, unit="V") if key == "supply_V" else str
            parts += [before, source.fact(name, key, shown), after]
    return tuple(part for part in parts if part != "")


def groups(runs: Sequence[Run]) -> tuple[Group, ...]:
    """``runs`` by netlist hash, in the order of their first runs. Designs of the same name get a part of their hash."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(_hash(run), []).append(run)
    names = {digest: _name(digest, of) for digest, of in found.items()}
    shared = [name for name in names.values() if list(names.values()).count(name) > 1]
    return tuple(
        _group(f"{names[digest]} ({short(digest)})" if names[digest] in shared else names[digest], of)
        for digest, of in found.items()
    )


def _hash(run: Run) -> str:
    return "" if run.netlist is None else str(run.netlist.source.value(run.netlist.keys[0]))


def _name(digest: str, runs: Sequence[Run]) -> str:
    """Label of a design; without one, the name of its folder or its hash."""
    if not digest:
        return ""
    for run in runs:
        key = "label" if run.kind == "design" else "design_label"
        if run.source.has(key):
            return str(run.source.value(key))
    folder = next((run.source.path.parent.name for run in runs if run.kind == "design"), "")
    return folder or f"circuit {short(digest)}"


def _group(name: str, runs: Sequence[Run]) -> Group:
    stated = (design_of(run.source) for run in runs if run.source.has("technology") and run.source.has("level"))
    heading = next((found for found in stated if found), ())
    if heading and plain(heading[0]) != name:
        heading = (name, *heading[1:])
    return Group(name=name, heading=heading or (name,), runs=tuple(runs))


@dataclass(frozen=True, kw_only=True)
class Column:
    """A section of one run. ``heading`` stands over its values, ``name`` before its sentences and in its facts."""

    name: str
    heading: str
    section: Section


def sections(found: Sequence[Group], hidden: Sequence[Figure] = ()) -> list[Section]:
    """The sections of all runs, without ``hidden`` figures. Sections of one kind are the columns of one section."""
    columns: dict[str, list[Column]] = {}
    for group in found:
        for run in group.runs:
            for section in run.sections:
                shown = replace(section, figures=tuple(one for one in section.figures if one not in hidden))
                columns.setdefault(section.name, []).append(_column(found, group, run, shown))
    made: list[Section] = []
    for alike in columns.values():
        if len(alike) == 1:
            made.append(replace(alike[0].section, design=alike[0].heading))
        elif any(column.section.facts or column.section.compared for column in alike):
            made.append(_side_by_side(alike))
        else:
            made += _numbered(alike)
    return made


def _column(found: Sequence[Group], group: Group, run: Run, section: Section) -> Column:
    """The design, and the folder of a run if the design has several with this section."""
    again = sum(section.name == other.name for one in group.runs for other in one.sections) > 1
    named = [group.name] if len([one for one in found if one.name]) > 1 and group.name else []
    folder = [str(run.source.path.parent)] if again else []
    heading = plain(group.heading) if len(group.heading) > 1 or named else ""
    return Column(
        name=", ".join([*named, *folder]),
        heading=", ".join([*([heading] if heading else []), *folder]),
        section=section,
    )


def _side_by_side(columns: Sequence[Column]) -> Section:
    rows: dict[str, list[Cell]] = {}
    meanings: dict[str, str] = {}
    for place, column in enumerate(columns):
        for name, cell, meaning in _entries(column):
            row = rows.setdefault(name, [ABSENT] * len(columns))
            if row[place] == ABSENT:
                row[place] = cell
            # A meaning that differs between designs, such as that of their level, explains none of them.
            meanings[name] = meaning if meanings.get(name, meaning) == meaning else ""
    first = columns[0].section
    return Section(
        name=first.name,
        title=first.title,
        lead=tuple(common([(column.name, _general(column.section)) for column in columns])),
        table=Table(
            header=("", *(f"{column.heading}{_mark(column.section)}" for column in columns)),
            rows=tuple((name, *cells) for name, cells in rows.items()),
            meanings=tuple(meanings[name] for name in rows),
        ),
        figures=tuple(_figures(columns)),
    )


def _mark(section: Section) -> str:
    """ ", estimated" or ", simulated" for a section of energies, else ""."""
    return next((mark for fact in section.facts for mark in _MARKS if fact.name.endswith(mark)), "")


def _entries(column: Column) -> Iterator[tuple[str, Cell, str]]:
    """Name, value and meaning of all values of a section. Those of its sentences are last."""
    section = column.section
    said = [piece for prose in section.lead for piece in prose if isinstance(piece, Fact)]
    known = {fact.name for fact in section.facts}
    for fact in section.facts:
        yield _entry(column, fact)
    for name, cell in section.compared:
        yield name, named(cell, column.name) if isinstance(cell, Fact) else cell, ""
    for fact in said:
        if fact.name not in known:
            yield _entry(column, fact)


def _entry(column: Column, fact: Fact) -> tuple[str, Cell, str]:
    mark = next((mark for mark in _MARKS if fact.name.endswith(mark)), "")
    found = named(fact, column.name)
    return fact.name.removesuffix(mark), (found, mark) if mark else found, fact.meaning


def named_in(prose: Prose, name: str) -> Prose:
    """``prose`` with the design of this ``name`` in the names of its facts."""
    return tuple(named(piece, name) if isinstance(piece, Fact) else piece for piece in prose)


def named(fact: Fact, name: str) -> Fact:
    """``fact`` with the design of this ``name`` in its own, so that the list of numbers tells designs apart."""
    return replace(fact, name=f"{fact.name}, {name}") if name else fact


def _general(section: Section) -> list[Prose]:
    """Sentences without values, which are in the table."""
    return [prose for prose in section.lead if not any(isinstance(piece, Fact) for piece in prose)]


def common(said: Sequence[tuple[str, Sequence[Prose]]]) -> Iterator[Prose]:
    """Each of the sentences of several designs once. One that is not of all designs begins with their names.

    The first sentences of all designs come before the second ones.
    """
    owners: dict[Prose, list[str]] = {}
    for place in range(max((len(proses) for _, proses in said), default=0)):
        for name, proses in said:
            of = owners.setdefault(proses[place], []) if place < len(proses) else [name]
            if name not in of:
                of.append(name)
    everyone = {name for name, _ in said}
    for prose, of in owners.items():
        yield prose if set(of) == everyone else (f"{', '.join(of)}: ", *prose)


def _figures(columns: Sequence[Column]) -> Iterator[Figure]:
    """All figures, with the name of their design. Names of files are numbered by column."""
    for place, column in enumerate(columns, 1):
        for figure in column.section.figures:
            yield of_design(figure, column.name, place)


def of_design(figure: Figure, name: str, place: int) -> Figure:
    """``figure`` of the design ``name``, which is in column ``place``."""
    return replace(
        figure,
        name=figure.name if place == 1 else f"{figure.name}-{place}",
        caption=f"{name}: {figure.caption}" if name else figure.caption,
    )


def _numbered(columns: Sequence[Column]) -> Iterator[Section]:
    """Tables of sweeps and of ``versus``, which have columns of their own."""
    for place, column in enumerate(columns, 1):
        suffix = "" if place == 1 else f"-{place}"
        yield replace(
            column.section,
            name=f"{column.section.name}{suffix}",
            title=f"{column.section.title}: {column.name}",
            figures=tuple(of_design(figure, column.name, place) for figure in column.section.figures),
        )
