"""``energy``: energy per timestep and per inference, by block."""

from __future__ import annotations

from pathlib import Path

import click

from cmru_hw.cli import common


@click.command()
@common.simulates
@click.option(
    "-o", "--output", type=common.FILE, metavar="DIR", help="Folder for energy.json, .csv, .tex (booktabs), .svg, .pdf."
)
@click.option("--scaling", is_flag=True, help="Measure random networks instead: energy against units and layers.")
@common.vdd_option
@common.seed_option
def energy(asked: common.Asked, output: Path | None, scaling: bool, vdd: float | None, seed: int) -> None:
    """Energy of a design per timestep and per inference, by block.

    A meter on every source and driver of the netlist integrates its charge. The table prints an independent analytic
    estimate next to it. At macro level, energy is an estimate: ideal parts move the charges, and the energy of
    comparators, amplifiers, logic and clocks comes from the technology's measured unit (gf180 has one, macro has
    none). At transistor level and in current mode, energy is simulated. Exit code 1 if the blocks do not add up to the
    charge that all supplies delivered. --scaling needs no --input; it draws weights from --seed.

    \b
    Example: cmru-hw energy out/vowels --input models/vowels-eval.npz --sequences 3 -o out/energy
    """
    from cmru_hw.analysis.energy import tables
    from cmru_hw.analysis.energy.api import run_energy
    from cmru_hw.core import cache_folder
    from cmru_hw.design_folder.at_supply import at_supply

    if output is not None:
        common.check_output(output, asked.force)
    if scaling and vdd is not None:
        raise click.UsageError(
            "--scaling takes the supply of the design: export the design with --vdd, and leave it out here"
        )
    if scaling:
        _scaling(asked, output, seed)
        return
    exported, data = asked.load()
    with asked.engine() as engine, common.progress("metering, timesteps") as report:
        if vdd is not None:
            exported = at_supply(exported, vdd, engine, cache_folder.measured())
        found = run_energy(
            exported, data, engine, folder=output, progress=report, command=common.command_line(), refine=asked.refine
        )
    if asked.as_json:
        common.print_json(found)
        return
    common.print_table(
        f"energy of {exported.title}, {exported.point}", tables.summary_rows(found) + common.edited_rows(exported)
    )
    click.echo()
    common.print_columns("", tables.HEADER, tables.rows(found))
    if output is not None:
        click.echo(f"results    {output}")


def _scaling(asked: common.Asked, output: Path | None, seed: int) -> None:
    from cmru_hw.analysis.energy.scaling import law_rows, run_scaling
    from cmru_hw.design_folder import folder

    exported = folder.load(asked.design_path, allow_edited=asked.allow_edited)
    with asked.engine() as engine, common.progress("metering, networks") as report:
        found = run_scaling(exported, engine, folder=output, seed=seed, progress=report, command=common.command_line())
    if asked.as_json:
        common.print_json(found)
        return
    header = ("energy grows as n^…", "units of one layer", "layers of four units")
    title = f"random networks like {asked.design_path}: {found.label}, {found.level} level, exponents (95 %)"
    common.print_columns(title, header, law_rows(found))
    click.echo()
    common.print_table("", [("not included" if not place else "", what) for place, what in enumerate(found.excludes)])
    if output is not None:
        click.echo(f"results    {output}")
