"""Retention in a report."""

from __future__ import annotations

from collections.abc import Callable

from cmru_hw.analysis.retention.result import RetentionResult
from cmru_hw.circuits.retention import HeldState
from cmru_hw.core.units import count, percent, plain, si
from cmru_hw.report.facts import Fact, Prose, ResultFile, Section, Table
from cmru_hw.report.run import Run, copied, netlist_of, versions

LastColumns = Callable[[str, str], tuple[Fact, ...]]
"""The last columns of a row, from its place in the file and its name."""


def retention(source: ResultFile, found: RetentionResult) -> Run:
    """A folder of ``cmru-hw retention``."""
    return Run(
        source=source,
        kind="retention",
        netlist=netlist_of(source),
        title="retention",
        level=source.fact("level", "level", str),
        scope=(source.fact("temperatures", "temperatures", lambda rows: str(len(rows))), " temperatures, one unit"),
        versions=versions(source),
        sections=(_section(source, found),),
        methods=(
            (
                "Retention was simulated on ",
                source.fact("testbench", "testbench", str),
                " with the models of ",
                source.fact("models", "models", str),
                ", process corner ",
                source.fact("process corner", "corner", str),
                ".",
            ),
        ),
        excludes=tuple((f"Retention does not include {what}.",) for what in found.excludes),
    )


def _section(source: ResultFile, found: RetentionResult) -> Section:
    worst = source.fact("timesteps until a level is lost, worst case", "worst_timesteps", _about)
    hot = source.fact("temperature of the worst case", "worst_temperature_C", lambda t: f"{t:g} °C")
    shortest = source.fact(
        "timesteps that every level holds, at least"
        if found.worst_at_least
        else "timesteps until the first level is lost",
        ("worst_timesteps", "worst_temperature_C"),
        lambda steps, t: f"{_about(steps)} at {t:g} °C",
    )
    unit = source.fact("unit that loses its state first", "weakest_unit", str, meaning="layer.unit")
    lead, condition, header, last = (_restored if found.restores else _drooping)(source, unit, worst, hot)
    drawn = copied(
        source.path.parent, "retention", source, "Timesteps until the first level is lost, over temperature."
    )
    rows = tuple(_row(source, place, state, last) for place, state in enumerate(found.temperatures))
    return Section(
        name="retention",
        title="Retention",
        lead=lead,
        headlines=(shortest,),
        facts=(worst, hot, condition, unit),
        table=Table(header=("temperature", "timesteps", "time", *header), rows=rows),
        figures=() if drawn is None else (drawn,),
        compared=tuple(
            (f"timesteps at {state.temperature_C:g} °C", row[1])
            for state, row in zip(found.temperatures, rows, strict=True)
        ),
    )


def _row(source: ResultFile, place: int, state: HeldState, last: LastColumns) -> tuple[Fact, ...]:
    at = f"temperatures/{place}"
    name = f"{state.temperature_C:g} °C"
    return (
        source.fact("temperature", f"{at}/temperature_C", lambda t: f"{t:g} °C"),
        source.fact(f"timesteps at {name}", f"{at}/timesteps", _about),
        source.fact(f"time at {name}", f"{at}/seconds", lambda s: si(s, "s")),
        *last(at, name),
    )


Loss = tuple[tuple[Prose, ...], Fact, tuple[str, ...], LastColumns]
"""Description of a state loss: lead, its fact, header of the last columns, and their entries by row."""


def _drooping(source: ResultFile, unit: Fact, worst: Fact, hot: Fact) -> Loss:
    """A level on a capacitor."""
    half = source.fact("a level is lost at a drift of", "half_packet_V", lambda v: si(v, "V"), meaning="half a packet")
    lead: Prose = (
        "The transistor integrator of unit ",
        unit,
        " was held at five of its levels until one had drifted by ",
        half,
        ": ",
        worst,
        " timesteps at ",
        hot,
        ". The last column extrapolates the initial leakage.",
    )

    def last(at: str, name: str) -> tuple[Fact, ...]:
        return (
            source.fact(f"lost in simulation at {name}", f"{at}/lost_in_simulation", _followed),
            source.fact(f"from initial leakage at {name}", f"{at}/law_timesteps", _about),
        )

    return (("A capacitor loses its charge.",), lead), half, ("obtained by", "from initial leakage"), last


def _restored(source: ResultFile, unit: Fact, worst: Fact, hot: Fact) -> Loss:
    """A cell that restores its state."""
    window = source.fact("window relative to threshold", "window_of_threshold", percent, meaning="the narrowest")
    lead: Prose = (
        "The state of unit ",
        unit,
        ", whose window is ",
        window,
        " of its threshold, was held in either state, with its candidate in the middle of the window. Worst case: ",
        worst,
        " timesteps at ",
        hot,
        ".",
    )

    def last(at: str, name: str) -> tuple[Fact, ...]:
        return (source.fact(f"lost in simulation at {name}", f"{at}/lost_in_simulation", _outcome),)

    return (("A cell restores its state.",), lead), window, ("result",), last


def _about(timesteps: float) -> str:
    return count(int(float(f"{timesteps:.3g}"))) if timesteps >= 100 else plain(timesteps)


def _followed(lost: bool) -> str:
    return "simulation" if lost else "extrapolation of the last drift"


def _outcome(lost: bool) -> str:
    return "a state is lost" if lost else "holds for the simulated time"
