"""``energy``: joule per timestep and inference, by block."""

from __future__ import annotations

from pathlib import Path

import click

from cmru_hw.cli import common


@click.command()
@common.simulates
@click.option("-o", "--output", type=common.FILE, metavar="DIR", help="energy.json, .csv, .tex (booktabs), .svg, .pdf.")
@click.option("--scaling", is_flag=True, help="Energy against units and layers instead, of random networks.")
@common.seed_option
def energy(asked: common.Asked, output: Path | None, scaling: bool, seed: int) -> None:
    """Energy of a design per timestep and per inference: a ledger by block, with what is not in it.

    Every source and driver of the netlist keeps an account of its charge; beside it stands the calculation by hand. At
    macro level these are estimates: ideal parts move the charges, and what comparators, amplifiers, logic and clocks
    take comes from the technology's measured unit (gf180 has one, macro has none). In current mode, and at transistor
    level, transistors are simulated. Exit code 1 if the accounts do not add up to what all supplies delivered.
    --scaling needs no --input; its weights are drawn from --seed.

    \b
    Example: cmru-hw energy out/vowels --input models/vowels-eval.npz --sequences 3 -o out/energy
    """
    from cmru_hw.analysis.energy import tables
    from cmru_hw.analysis.energy.api import run_energy

    if output is not None:
        common.check_output(output, asked.force)
    if scaling:
        _scaling(asked, output, seed)
        return
    exported, data = asked.load()
    with asked.engine() as engine, common.progress("metering, timesteps") as report:
        found = run_energy(exported, data, engine, folder=output, progress=report, command=common.command_line())
    if asked.as_json:
        common.print_json(found)
        return
    common.print_table(f"energy of {asked.design_path}, {found['level']} level", tables.summary_rows(found))
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
    title = f"random networks like {asked.design_path}: {found['label']}, {found['level']} level, exponents (95 %)"
    common.print_columns(title, header, law_rows(found))
    click.echo()
    common.print_table(
        "", [("not included" if not place else "", what) for place, what in enumerate(found["excludes"])]
    )
    if output is not None:
        click.echo(f"results    {output}")
