"""Energy, corners and retention in a report."""

from __future__ import annotations

from collections.abc import Callable

from cmru_hw.core.units import count, percent, si
from cmru_hw.report.facts import Fact, Prose, Section, Source, Table
from cmru_hw.report.published import Own
from cmru_hw.report.run import Run, copied, short, versions

WORDS = {"macro": "estimated", "transistor": "simulated"}
LEADS = {
    "macro": "These are estimates: no transistor of this network was simulated. Ideal parts move every charge, and "
    "each coulomb is priced as from a rail-to-rail driver. A block from the measured unit is the energy of one unit in "
    "transistors, times the number of units.",
    "transistor": "All transistors were simulated.",
}


def energy(source: Source) -> Run:
    """A folder of ``cmru-hw energy``."""
    word = WORDS[source.value("level")]
    timestep = source.fact(f"energy per timestep, {word}", "per_timestep_J", _joule)
    inference = source.fact(
        f"energy per inference, {word}", "per_inference_J", _joule, meaning="one sequence, from first to last timestep"
    )
    power = source.fact(
        "mean power", ("per_timestep_J", "timestep_s"), lambda e, t: si(e / t, "W"), rule="energy / timestep"
    )
    facts = [
        timestep,
        inference,
        power,
        source.fact("timestep", "timestep_s", lambda value: si(value, "s"), meaning="one frame of the input"),
    ]
    optional = (
        ("switching", "duty_cycle", percent, "share of a timestep; the rest is hold"),
        ("timesteps", "timesteps", count, "included in the mean"),
        ("from all supplies", "supply_total_J", _joule, "measured separately; the blocks must add up to it"),
        (
            "blocks and supplies differ by",
            "ledger_gap",
            _gap,
            "at most 1 % is allowed",
        ),
    )
    facts += [source.fact(name, key, show, meaning=meaning) for name, key, show, meaning in optional if source.has(key)]
    rows = tuple(_row(source, block) for block in source.value("blocks"))
    left_out = source.value("excludes") if source.has("excludes") else []
    level = source.fact("level", "level", str)
    analytic = (
        "The analytic column is an independent estimate from capacitors and voltages (CV², bias current times VDD)."
    )
    lead: Prose = (
        "A charge meter on every block gives the energy by block. ",
        LEADS[level.shown],
        " ",
        analytic,
    )
    scoped: Prose = (source.fact("sequences", "sequences", count), " sequences") if source.has("sequences") else ()
    drawn = copied(source.path.parent, "energy", source, "Energy in each timestep of one sequence, stacked by block.")
    scope = f"the design of this report; {level.shown} level, {word}; not included: {'; '.join(left_out) or 'nothing'}"
    return Run(
        source=source,
        kind="energy",
        netlist=source.fact("netlist sha256", "netlist_sha256", short) if source.has("netlist_sha256") else None,
        title="energy",
        level=level,
        scope=scoped,
        versions=versions(source),
        sections=(
            Section(
                name="energy",
                title="Energy",
                lead=(lead,),
                headlines=(timestep, inference),
                facts=tuple(facts),
                table=Table(header=("block", "static", "dynamic", "analytic", "from", "note"), rows=rows),
                figures=() if drawn is None else (drawn,),
            ),
        ),
        methods=(
            (
                f"Energy was {word} at the ",
                level,
                " level by charge meters inside the netlist, priced at the supply voltage.",
            ),
        ),
        excludes=tuple((f"The energy does not include {what}.",) for what in left_out),
        own=(Own(measure="power", fact=power, scope=scope),),
    )


def _row(source: Source, block: str) -> tuple[str | Fact, ...]:
    at = f"blocks/{block}"
    numbers: list[str | Fact] = [
        source.fact(f"{block}, {part}", f"{at}/{part}_J", _joule) if source.has(f"{at}/{part}_J") else "not modelled"
        for part in ("static", "dynamic")
    ]
    numbers.append(
        source.fact(f"{block}, analytic", f"{at}/analytic_J", _joule) if source.has(f"{at}/analytic_J") else "none"
    )
    notes = [source.value(f"{at}/{key}") if source.has(f"{at}/{key}") else "" for key in ("from", "note")]
    return (block.replace("_", " "), *numbers, *map(str, notes))


def corners(source: Source) -> Run:
    """A folder of ``cmru-hw corners``."""
    asked, failed = (
        source.fact("corners", "asked", count),
        source.fact("corners that failed to simulate", "failed", count),
    )
    right = source.fact("corners with all decisions right", ("all_right", "asked"), lambda k, n: f"{k} of {n}")
    level = source.fact("level", "level", str)
    sequences = source.fact("sequences at each corner", "sequences", count)
    facts = [asked, right, failed]
    if source.has("worst/decisions"):
        facts.append(source.fact("worst corner for decisions", "worst/decisions", str, meaning=CORNER))
        facts.append(source.fact("decisions as in software at that corner", "worst_agreement", percent))
    worst: tuple[Fact, ...] = ()
    if source.has("worst/energy"):
        word = WORDS[source.value("level")]
        worst = (
            source.fact("worst corner for energy", "worst/energy", str, meaning=CORNER),
            source.fact(f"energy per timestep at the worst corner, {word}", "worst_per_timestep_J", _joule),
        )
    lead: Prose = (
        "A corner is a combination of process, supply and temperature. All decisions agree with software at ",
        source.fact("right corners", "all_right", count),
        " of ",
        asked,
        " corners. ",
        "The transistors of each corner were measured in testbenches, and the network was simulated with the result."
        if level.shown == "macro"
        else "At every corner, all transistors were simulated.",
    )
    drawn = copied(
        source.path.parent,
        "corners",
        source,
        "Decisions and energy at each corner: one row for each process; supply and temperature in columns. The worst "
        "of each has a frame. Grey corners were not simulated.",
    )
    return Run(
        source=source,
        kind="corners",
        netlist=source.fact("netlist sha256", "netlist_sha256", short),
        title="corners",
        level=level,
        scope=(asked, " corners, ", sequences, " sequences at each"),
        versions=versions(source),
        sections=(
            Section(
                name="corners",
                title="Corners",
                lead=(lead,),
                headlines=(right, *worst[1:]),
                facts=(*facts, *worst),
                figures=() if drawn is None else (drawn,),
            ),
        ),
        methods=(
            (
                "Corners are process (typical, ff, ss, fs, sf), supply (±10 %) and temperature (−40, 27, 125 °C), on ",
                sequences,
                " sequences each.",
            ),
        ),
        excludes=tuple((f"The corners do not include {what}.",) for what in source.value("excludes")),
    )


def retention(source: Source) -> Run:
    """A folder of ``cmru-hw retention``."""
    worst = source.fact("timesteps until a level is lost, worst case", "worst_timesteps", _about)
    hot = source.fact("temperature of the worst case", "worst_temperature_C", lambda t: f"{t:g} °C")
    shortest = source.fact(
        "timesteps that every level holds, at least"
        if source.value("worst_at_least")
        else "timesteps until the first level is lost",
        ("worst_timesteps", "worst_temperature_C"),
        lambda steps, t: f"{_about(steps)} at {t:g} °C",
    )
    unit = source.fact("unit that loses its state first", "weakest_unit", str, meaning="layer.unit")
    lead, condition, header, last = (_restored if source.value("restores") else _drooping)(source, unit, worst, hot)
    rows = []
    for place, row in enumerate(source.value("temperatures")):
        at = f"temperatures/{place}"
        name = f"{row['temperature_C']:g} °C"
        rows.append(
            (
                source.fact("temperature", f"{at}/temperature_C", lambda t: f"{t:g} °C"),
                source.fact(f"timesteps at {name}", f"{at}/timesteps", _about),
                source.fact(f"time at {name}", f"{at}/seconds", lambda s: si(s, "s")),
                *last(at, name),
            )
        )
    drawn = copied(
        source.path.parent, "retention", source, "Timesteps until the first level is lost, over temperature."
    )
    return Run(
        source=source,
        kind="retention",
        netlist=source.fact("netlist sha256", "netlist_sha256", short),
        title="retention",
        level=source.fact("level", "level", str),
        scope=(source.fact("temperatures", "temperatures", lambda rows: str(len(rows))), " temperatures, one unit"),
        versions=versions(source),
        sections=(
            Section(
                name="retention",
                title="Retention",
                lead=(lead,),
                headlines=(shortest,),
                facts=(worst, hot, condition, unit),
                table=Table(header=("temperature", "timesteps", "time", *header), rows=tuple(rows)),
                figures=() if drawn is None else (drawn,),
            ),
        ),
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
        excludes=tuple((f"Retention does not include {what}.",) for what in source.value("excludes")),
    )


Kind = tuple[Prose, Fact, tuple[str, ...], Callable[[str, str], tuple[Fact, ...]]]
"""How a state is lost: lead, its fact, header of the last columns, and their entries by row."""


def _drooping(source: Source, unit: Fact, worst: Fact, hot: Fact) -> Kind:
    """A level on a capacitor."""
    half = source.fact("a level is lost at a drift of", "half_packet_V", lambda v: si(v, "V"), meaning="half a packet")
    lead = (
        "A capacitor loses its charge. The transistor integrator of unit ",
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

    return lead, half, ("obtained by", "from initial leakage"), last


def _restored(source: Source, unit: Fact, worst: Fact, hot: Fact) -> Kind:
    """A cell that restores its state."""
    window = source.fact("window relative to threshold", "window_of_threshold", percent, meaning="the narrowest")
    lead = (
        "A cell restores its state. That of unit ",
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
        return (source.fact(f"lost in simulation at {name}", f"{at}/lost_in_simulation", _kept),)

    return lead, window, ("result",), last


CORNER = "process/temperature/supply"


def _about(timesteps: float) -> str:
    return count(int(float(f"{timesteps:.3g}"))) if timesteps >= 100 else f"{timesteps:.3g}"


def _gap(share: float) -> str:
    return "less than 0.001 %" if abs(share) < 1e-5 else percent(abs(share))


def _followed(lost: bool) -> str:
    return "simulation" if lost else "extrapolation of the last drift"


def _kept(lost: bool) -> str:
    return "a state is lost" if lost else "holds for the simulated time"


def _joule(value: float) -> str:
    return si(value, "J")
