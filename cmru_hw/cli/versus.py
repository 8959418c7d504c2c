"""``versus``: a table of several designs."""

from __future__ import annotations

from pathlib import Path

import click

from cmru_hw.cli import common
from cmru_hw.core.errors import InputError


@click.command()
@click.argument("designs", metavar="DESIGN DESIGN...", nargs=-1, required=True, type=common.FILE)
@click.option(
    "--runs",
    multiple=True,
    type=common.FILE,
    metavar="DIR",
    help="Folder to search for results, with its subfolders of one level. Repeatable.  [default: those of the designs]",
)
@click.option("-o", "--output", type=common.FILE, metavar="FILE.json", help="Write the table, with its sources.")
@common.force_option
@common.json_option
def versus(designs: tuple[Path, ...], runs: tuple[Path, ...], output: Path | None, force: bool, as_json: bool) -> None:
    """Tabulate several designs.

    Prints energy, accuracy, yield, worst corner, retention, transistors and area. Figures come from results of
    compare, energy, montecarlo, corners, retention and size whose netlist hash matches. Missing results are listed with
    the command that produces them, or the reason why there is none. For a macro-level design, transistors and area are
    those of its transistor-level twin. A DESIGN may be the folder of size: energy and yield are then those of its
    result, unless there are runs of them.

    \b
    Example: cmru-hw versus out/charge out/current --runs out
    """
    from cmru_hw.analysis.versus import api
    from cmru_hw.design_folder import folder as design_folder

    if len(designs) < 2:
        raise click.UsageError("Give two designs or more.")
    places = [api.design_in(path) for path in designs]
    if output is not None:
        common.check_output(output, force)
    for folder in runs:
        if not folder.is_dir():
            raise InputError(
                f"--runs {folder} is not a folder: give one that contains results, or folders with results"
            )
    folders = list(runs) or sorted({path.absolute().parent for path in (*designs, *places)})
    loaded = [design_folder.load(path) for path in places]
    for folder in runs:
        api.require_own(loaded, folder)
    table = api.versus(loaded, folders, command=common.command_line())
    if output is not None:
        table.save(output)
    if as_json:
        common.print_json(table)
        return
    rows = [(line.name, *(entry.shown for entry in line.entries)) for line in table.lines]
    common.print_columns("", ("", *table.headings), rows)
    missing = {entry.source: None for line in table.lines for entry in line.entries if entry.value is None}
    if missing:
        click.echo()
        common.print_table("", [("not run" if not place else "", source) for place, source in enumerate(missing)])
