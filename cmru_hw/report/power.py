"""Energy in a report: the ledger, what is not in it, and its course over a sequence."""

from __future__ import annotations

from cmru_hw.quantity import count, percent, si
from cmru_hw.report.facts import Fact, Prose, Section, Source, Table
from cmru_hw.report.published import Own
from cmru_hw.report.run import Run, copied, short, versions

WORDS = {"macro": "estimated", "transistor": "simulated"}
LEADS = {
    "macro": "No transistor of this network was simulated: these are estimates. Ideal parts moved every charge, and a "
    "coulomb is priced as a driver between the rails would pay for it; a block marked as measured unit is one "
    "simulated unit times the number of units.",
    "transistor": "Transistors were simulated.",
}


def energy(source: Source) -> Run:
    """A folder of ``cmru-hw energy``."""
    word = WORDS[source.value("level")]
    timestep = source.fact(f"energy per timestep, {word}", "per_timestep_J", _joule)
    inference = source.fact(
        f"energy per inference, {word}", "per_inference_J", _joule, meaning="one sequence, first timestep to last"
    )
    facts = [
        timestep,
        inference,
        source.fact(
            "mean power", ("per_timestep_J", "timestep_s"), lambda e, t: si(e / t, "W"), rule="energy / timestep"
        ),
        source.fact("timestep", "timestep_s", lambda value: si(value, "s"), meaning="one frame of the input"),
    ]
    optional = (
        ("switching", "duty_cycle", percent, "share of a timestep; the rest is hold"),
        ("timesteps", "timesteps", count, "over which the mean was taken"),
        ("from all supplies", "supply_total_J", _joule, "by an account of its own: what the blocks must add up to"),
        (
            "blocks and supplies differ by",
            "ledger_gap",
            lambda gap: f"{100 * abs(gap):.2g} %",
            "at most 1 % is allowed",
        ),
    )
    facts += [source.fact(name, key, show, meaning=meaning) for name, key, show, meaning in optional if source.has(key)]
    rows = tuple(_row(source, block) for block in source.value("blocks"))
    left_out = source.value("excludes") if source.has("excludes") else []
    level = source.fact("level", "level", str)
    by_hand = "Beside each block stands what its capacitors and voltages say by hand (CV², bias current times VDD)."
    lead: Prose = (
        "Every block has an account of its own, so the ledger is by block. ",
        LEADS[level.shown],
        " ",
        by_hand,
    )
    drawn = copied(source.path.parent, "energy", source, "Energy in each timestep of one sequence, block on block.")
    scope = f"the design of this report; {level.shown} level, {word}; left out: {'; '.join(left_out) or 'nothing'}"
    return Run(
        source=source,
        kind="energy",
        netlist=source.fact("netlist sha256", "netlist_sha256", short) if source.has("netlist_sha256") else None,
        identity=("energy", level, versions(source)),
        sections=(
            Section(
                name="energy",
                title="Energy",
                lead=(lead,),
                headlines=(timestep, inference),
                facts=tuple(facts),
                table=Table(header=("block", "static", "dynamic", "by hand", "from", "note"), rows=rows),
                figures=() if drawn is None else (drawn,),
            ),
        ),
        methods=(
            (
                f"Energy was {word} at the ",
                level,
                " level from charge accounts inside the netlist, priced at the supply voltage.",
            ),
        ),
        excludes=tuple((f"The energy leaves out {what}.",) for what in left_out),
        own=(Own(measure="energy", fact=timestep, scope=scope),),
    )


def _row(source: Source, block: str) -> tuple[str | Fact, ...]:
    at = f"blocks/{block}"
    numbers: list[str | Fact] = [
        source.fact(f"{block}, {part}", f"{at}/{part}_J", _joule) if source.has(f"{at}/{part}_J") else "not modelled"
        for part in ("static", "dynamic")
    ]
    numbers.append(
        source.fact(f"{block}, by hand", f"{at}/analytic_J", _joule) if source.has(f"{at}/analytic_J") else "none"
    )
    notes = [source.value(f"{at}/{key}") if source.has(f"{at}/{key}") else "" for key in ("from", "note")]
    return (block.replace("_", " "), *numbers, *map(str, notes))


def _joule(value: float) -> str:
    return si(value, "J")
