"""``report``: one page from the results of other commands."""

from __future__ import annotations

from pathlib import Path

import click

from cmru_hw.cli import common


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=common.FILE)
@click.option(
    "-o",
    "--output",
    type=common.FILE,
    default=Path("report"),
    show_default=True,
    metavar="DIR",
    help="Folder of the report.",
)
@click.option("--title", default="", help="Title of the page.")
@common.force_option
@common.json_option
def report(runs: tuple[Path, ...], output: Path, title: str, force: bool, as_json: bool) -> None:
    """Make a page, tables and figures from the results of other commands.

    A RUN is a folder that export, compare -o, demo, montecarlo, energy, corners, retention, size or sweep wrote, or the
    file that versus -o wrote. The page is DIR/index.html. DIR also has report.tex with tables/*.tex, numbers.csv, and
    figures as SVG and PDF. Nothing is simulated. Runs of several designs, or several runs of one kind, are columns of
    one table.

    \b
    Example: cmru-hw report out/vowels out/vowels-compare out/vowels-montecarlo -o out/report
             cmru-hw report out/charge-energy out/chip-energy out/current-energy -o out/report
    """
    from cmru_hw.report import write

    common.check_place(output)
    written = write.write(runs, output, title=title, force=force)
    if as_json:
        found = {"page": str(written.page), "numbers": written.numbers, "figures": list(written.figures)}
        common.print_json({**found, "sections": list(written.runs)})
    else:
        rows = [
            ("page", str(written.page)),
            ("numbers", f"{written.numbers}, each with its file"),
            ("figures", ", ".join(written.figures) or "none"),
        ]
        common.print_table(str(output), rows)
