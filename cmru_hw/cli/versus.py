"""``versus``: a table of several designs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

import cmru_hw
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
    compare, energy, montecarlo, corners and retention whose netlist hash matches. Missing results are listed with the
    command that produces them, or the reason why there is none. For a macro-level design, transistors and area are
    those of its transistor-level twin.

    \b
    Example: cmru-hw versus out/charge out/current --runs out
    """
    from cmru_hw.analysis import versus
    from cmru_hw.core.atomic_write import write_whole
    from cmru_hw.core.units import json_text
    from cmru_hw.design_folder import folder as design_folder

    if len(designs) < 2:
        raise click.UsageError("Give two designs or more.")
    if output is not None:
        common.check_output(output, force)
    for folder in runs:
        if not folder.is_dir():
            raise InputError(
                f"--runs {folder} is not a folder: give one that contains results, or folders with results"
            )
    folders = list(runs) or sorted({path.absolute().parent for path in designs})
    found = [versus.find(design_folder.load(path), folders) for path in designs]
    lines = versus.side_by_side(found)
    kept = {
        "designs": [str(path) for path in designs],
        "lines": [asdict(line) for line in lines],
        "versions": {"cmru_hw": cmru_hw.__version__},
        "command": common.command_line(),
    }
    if output is not None:
        write_whole(output, lambda path: path.write_text(json_text(kept) + "\n", encoding="utf-8"))
    if as_json:
        common.print_json(kept)
        return
    rows = [(line.name, *(entry.shown for entry in line.entries)) for line in lines]
    common.print_columns("", ("", *map(str, designs)), rows)
    missing = {entry.source: None for line in lines for entry in line.entries if entry.value is None}
    if missing:
        click.echo()
        common.print_table("", [("not run" if not place else "", source) for place, source in enumerate(missing)])
