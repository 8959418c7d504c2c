"""A sweep in a report: networks and architectures as rows, supplies as columns, each row with its level."""

from __future__ import annotations

from collections.abc import Sequence

from cmru_hw.analysis.sweep import tables
from cmru_hw.analysis.sweep.dies import DROP
from cmru_hw.analysis.sweep.result import SweepResult, SweepRow
from cmru_hw.core.units import count, percent, si
from cmru_hw.report.facts import Cell, Fact, Prose, ResultFile, Section, Table
from cmru_hw.report.run import Run, copied, versions

MOST_HEADLINES = 6


def sweep(source: ResultFile, found: SweepResult) -> Run:
    """A folder of ``cmru-hw sweep``."""
    rows = source.fact("rows", "rows", lambda rows: count(len(rows)))
    drawn = copied(
        source.path.parent,
        "sweep",
        source,
        "Energy per timestep over the number of units. Open marks are estimates, filled marks are simulated.",
    )
    lead: Prose = (
        "Energy per timestep of each network at each supply. A row is simulated only if all transistors of the network "
        "were; all others are estimates. The range of a digital estimate is in brackets.",
    )
    headlines = _headlines(source, found)
    section = Section(
        name="sweep",
        title="Sizes, supplies and architectures",
        lead=(lead,),
        points=_refused(found),
        headlines=headlines,
        table=_table(source, found),
        figures=() if drawn is None else (drawn,),
    )
    return Run(
        source=source,
        kind="sweep",
        title="sweep",
        level="of each row",
        scope=(rows, " rows"),
        netlist=None,
        versions=versions(source),
        sections=(section, *_yield_section(source, found)),
        methods=(),
        excludes=tuple(
            (f"Energies of {kind} rows do not include {'; '.join(of)}.",) for kind, of in found.excludes.items()
        ),
        verdict=_verdict(headlines),
    )


def _refused(found: SweepResult) -> tuple[Prose, ...]:
    """What could not be computed, with the reason."""
    return tuple(
        (f"{network}, {title}, {supplies}: {status}.",) for network, title, supplies, status in tables.refused(found)
    )


def _verdict(headlines: Sequence[Fact]) -> Prose:
    if not headlines:
        return ()
    first = headlines[0]
    return (first.name, ": ", first, ". Quote an estimate as such, and a digital one with its range. ")


def _yield_section(source: ResultFile, found: SweepResult) -> tuple[Section, ...]:
    """Yields with their intervals and levels; nothing without any."""
    places = [place for place, row in enumerate(found.rows) if row.yield_ is not None]
    if not places:
        return ()
    rows: list[tuple[Cell, ...]] = []
    for place in places:
        row, at = found.rows[place], f"rows/{place}"
        name = f"{row.network}, {row.title}, {row.vdd_V:g} V"
        rows.append(
            (
                row.network,
                row.title,
                f"{row.vdd_V:g} V",
                source.fact(f"yield, {name}", (f"{at}/yield_k", f"{at}/dies"), lambda k, n: percent(k / n)),
                source.fact(f"interval of the yield, {name}", (f"{at}/yield_low", f"{at}/yield_high"), _interval),
                source.fact(f"dies, {name}", f"{at}/dies", count),
                str(row.yield_level),
            )
        )
    header = ("network", "architecture", "supply", "yield", "95 % interval", "dies", "level")
    lead = (
        f"A die is good if its accuracy on all evaluation sequences is at most {percent(DROP)} below that of software. "
        "The interval is that of Clopper and Pearson. Dies are those of the fast engine."
    )
    table = Table(header=header, rows=tuple(rows))
    return (Section(name="sweep-yield", title="Yield", lead=((lead,),), table=table),)


def _interval(low: float, high: float) -> str:
    return f"{percent(low)} to {percent(high)}"


def _headlines(source: ResultFile, found: SweepResult) -> tuple[Fact, ...]:
    """The energy of each architecture of the first network that has it, at its highest supply."""
    best: dict[str, int] = {}
    for place, row in enumerate(found.rows):
        first = best.get(row.architecture)
        if row.done and (first is None or _later(row, found.rows[first])):
            best[row.architecture] = place
    return tuple(_energy(source, place, found.rows[place]) for place in best.values())[:MOST_HEADLINES]


def _later(row: SweepRow, first: SweepRow) -> bool:
    return row.network == first.network and row.vdd_V > first.vdd_V


def _energy(source: ResultFile, place: int, row: SweepRow) -> Fact:
    name = f"{row.network}, {row.title}, {row.vdd_V:g} V, {row.level}"
    at = f"rows/{place}"
    if row.low_J is None:
        return source.fact(name, f"{at}/per_timestep_J", lambda joules: si(joules, "J", 3))
    keys = (f"{at}/per_timestep_J", f"{at}/low_J", f"{at}/high_J")
    return source.fact(name, keys, lambda e, low, high: f"{si(e, 'J', 3)} ({si(low, 'J', 3)} to {si(high, 'J', 3)})")


def _table(source: ResultFile, found: SweepResult) -> Table:
    supplies = sorted({row.vdd_V for row in found.finished})
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(found.rows):
        groups.setdefault((row.network, row.title, row.level, row.technology, row.corner), []).append(place)
    groups = {key: places for key, places in groups.items() if any(found.rows[place].done for place in places)}
    rows = [_row(source, found, key, places, supplies) for key, places in groups.items()]
    header = (
        "network",
        "architecture",
        "level",
        "technology, corner",
        *(f"{vdd:g} V" for vdd in supplies),
        "best supply",
    )
    return Table(header=header, rows=tuple(rows))


def _row(
    source: ResultFile, found: SweepResult, key: tuple[str, ...], places: Sequence[int], supplies: Sequence[float]
) -> tuple[Cell, ...]:
    network, title, level, technology, corner = key
    cells: dict[float, Cell] = {}
    best: Cell = ""
    for place in places:
        row = found.rows[place]
        cells[row.vdd_V] = _energy(source, place, row) if row.done else "not computed"
        if row.least_J is not None:
            keys = (f"rows/{place}/least_J", f"rows/{place}/least_vdd_V")
            name = f"{network}, {title}, best supply"
            best = source.fact(name, keys, lambda joules, volts: f"{si(joules, 'J', 3)} at {volts:g} V")
    return (network, title, level, f"{technology}, {corner}", *(cells.get(vdd, "") for vdd in supplies), best)
