"""Energy in a report."""

from __future__ import annotations

from cmru_hw.analysis.energy.result import BlockEnergy, EnergyResult
from cmru_hw.core.units import count, percent, si
from cmru_hw.report.facts import Cell, Fact, Prose, ResultFile, Section, Table
from cmru_hw.report.published import Own
from cmru_hw.report.run import ENERGY_IS, Energy, Run, clamped, copied, joule, netlist_of, versions

LEADS = {
    "macro": "These are estimates: no transistor of this network was simulated. Ideal parts move every charge, and "
    "each coulomb is priced as from a rail-to-rail driver. A block from the measured unit is the energy of one unit in "
    "transistors, times the number of units.",
    "transistor": "All transistors were simulated.",
}
QUOTE = {
    "macro": ". Quote it as an estimate: no transistor of this network was simulated. ",
    "transistor": ". Quote it as simulated, before layout. ",
}


def energy(source: ResultFile, found: EnergyResult) -> Run:
    """A folder of ``cmru-hw energy``."""
    word = ENERGY_IS[found.level]
    power = source.fact(
        "mean power", ("per_timestep_J", "timestep_s"), lambda e, t: si(e / t, "W"), rule="energy / timestep"
    )
    level = source.fact("level", "level", str)
    left_out = "; ".join(found.excludes) or "nothing"
    scope = f"{found.level} level, {word}; not included: {left_out}"
    section = _section(source, found, power)
    return Run(
        source=source,
        kind="energy",
        netlist=netlist_of(source),
        title="energy",
        level=level,
        scope=(source.fact("sequences", "sequences", count), " sequences"),
        versions=versions(source),
        sections=(section,),
        methods=(
            (
                f"Energy was {word} at the ",
                level,
                " level by charge meters inside the netlist, priced at the supply voltage.",
            ),
        ),
        excludes=tuple((f"The energy does not include {what}.",) for what in found.excludes),
        verdict=("It takes ", section.headlines[0], " per timestep", QUOTE[found.level]),
        clause=(section.headlines[0], f" per timestep, {word}"),
        energy=Energy(per_timestep_J=found.per_timestep_J, level=found.level),
        own=(Own(measure="power", fact=power, scope=scope),),
    )


def _section(source: ResultFile, found: EnergyResult, power: Fact) -> Section:
    word = ENERGY_IS[found.level]
    timestep = source.fact(f"energy per timestep, {word}", "per_timestep_J", joule)
    inference = source.fact(
        f"energy per inference, {word}", "per_inference_J", joule, meaning="one sequence, from first to last timestep"
    )
    lead: tuple[Prose, ...] = (
        ("A charge meter on every block gives the energy by block.",),
        (LEADS[found.level],),
        ("The analytic figure is an independent estimate from capacitors and voltages (CV², bias current times VDD).",),
    )
    drawn = copied(source.path.parent, "energy", source, "Energy in each timestep of one sequence, stacked by block.")
    return Section(
        name="energy",
        title="Energy",
        lead=lead,
        headlines=(timestep, inference),
        facts=(timestep, inference, power, *_conditions(source), *clamped(source)),
        table=Table(
            header=("block", "static", "dynamic", "analytic", "from", "note"),
            rows=tuple(_row(source, name, block) for name, block in found.blocks.items()),
        ),
        figures=() if drawn is None else (drawn,),
        compared=tuple(_of_block(source, name, block) for name, block in found.blocks.items()),
    )


def _conditions(source: ResultFile) -> list[Fact]:
    return [
        source.fact(name, key, show, meaning=meaning)
        for name, key, show, meaning in (
            ("timestep", "timestep_s", lambda value: si(value, "s"), "one frame of the input"),
            ("switching", "duty_cycle", percent, "share of a timestep; the rest is hold"),
            ("timesteps", "timesteps", count, "included in the mean"),
            ("from all supplies", "supply_total_J", joule, "measured separately; the blocks must add up to it"),
            ("blocks and supplies differ by", "ledger_gap", _closure, "at most 1 % is allowed"),
        )
    ]


def _row(source: ResultFile, name: str, block: BlockEnergy) -> tuple[str | Fact, ...]:
    at = f"blocks/{name}"
    numbers = [
        absent if value is None else source.fact(f"{name}, {part}", f"{at}/{part}_J", joule)
        for part, value, absent in (
            ("static", block.static_J, "not modelled"),
            ("dynamic", block.dynamic_J, "not modelled"),
            ("analytic", block.analytic_J, "none"),
        )
    ]
    return (name.replace("_", " "), *numbers, block.source or "", block.note)


def _of_block(source: ResultFile, name: str, block: BlockEnergy) -> tuple[str, Cell]:
    """Name and energy of a block for a table of several designs."""
    shown = f"block: {name.replace('_', ' ')}"
    if block.static_J is None or block.dynamic_J is None:
        return shown, "not modelled"
    keys = (f"blocks/{name}/static_J", f"blocks/{name}/dynamic_J")
    return shown, source.fact(shown, keys, lambda a, b: joule(a + b), rule="static + dynamic")


def _closure(share: float) -> str:
    return "less than 0.001 %" if abs(share) < 1e-5 else percent(abs(share))
