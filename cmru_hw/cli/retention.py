"""``retention``: how long a unit holds its level."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmru_hw.cli import common
from cmru_hw.core.units import percent, plain, si
from cmru_hw.process import CORNERS

if TYPE_CHECKING:
    from cmru_hw.analysis.retention.result import RetentionResult


@click.command()
@click.argument("design_path", metavar="DESIGN", type=common.FILE)
@click.option(
    "--temperature",
    "temperatures",
    type=common.Real(-55, 150),
    multiple=True,
    metavar="C",
    help="Temperature [degrees Celsius]. Repeatable.  [default: seven from -40 to 125]",
)
@click.option("--corner", type=click.Choice(CORNERS), default="typical", show_default=True, help="Process corner.")
@click.option("-o", "--output", type=common.FILE, metavar="DIR", help="Folder for retention.json, .csv, .svg, .pdf.")
@common.backend_option
@common.timeout_option
@common.refine_option
@common.force_option
@common.json_option
def retention(
    design_path: Path,
    temperatures: tuple[float, ...],
    corner: str,
    output: Path | None,
    backend: Any,
    timeout: float,
    refine: int,
    force: bool,
    as_json: bool,
) -> None:
    """Simulate how many timesteps a unit holds its level.

    Holds the transistor integrator of the unit with the smallest packet unclocked, at five of its levels, until the
    level has drifted by half a packet. For a power-gated chip, which wakes every timestep, it simulates the droop over
    one timestep and extrapolates. A current-mode cell restores its state: the cell with the narrowest window is held
    for 1000 seconds in either state.

    \b
    Example: cmru-hw retention out/gf180 --temperature 27 --temperature 85 -o out/retention
    """
    from cmru_hw import spice
    from cmru_hw.analysis.retention.api import TEMPERATURES, run_retention
    from cmru_hw.design_folder import folder

    if output is not None:
        common.check_output(output, force)
    # An edited netlist is refused below, with the reason.
    exported = folder.load(design_path, allow_edited=True)
    with spice.open_engine(backend=backend, timeout=timeout) as engine, common.progress("temperatures") as report:
        found = run_retention(
            exported,
            engine,
            folder=output,
            temperatures=temperatures or TEMPERATURES,
            corner=corner,
            progress=report,
            command=common.command_line(),
            refine=refine,
        )
    if as_json:
        common.print_json(found)
        return
    title, header, rows = (_cell if found.restores else _integrator)(found)
    common.print_columns(f"{design_path}: unit {found.weakest_unit} {title}", header, rows)
    click.echo()
    notes = [("not included" if not place else "", what) for place, what in enumerate(found.excludes)]
    if found.finer_steps is not None:
        moved = percent(found.finer_steps.difference)
        notes.append(("with finer steps", f"the timesteps of the worst temperature move by {moved}"))
    if found.doubling_C:
        notes.insert(0, ("halved", f"by every {plain(found.doubling_C)} °C more, at high temperature"))
    notes += common.edited_rows(exported)
    if output is not None:
        notes.append(("results", str(output)))
    common.print_table("", notes)


def _integrator(found: RetentionResult) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Title, header and rows for a level that droops."""
    rows: list[tuple[str, ...]] = [
        (
            f"{row.temperature_C:g} °C",
            plain(row.timesteps) + ("" if row.lost_in_simulation else " (extrapolated)"),
            si(row.seconds, "s"),
            f"{si(row.level_V or 0.0, 'V')} from V_cm",
            "" if row.law_timesteps is None else plain(row.law_timesteps),
            si(row.simulated_s, "s"),
        )
        for row in found.temperatures
    ]
    header = ("temperature", "timesteps", "time", "first lost level", "from initial leakage", "simulated for")
    return f"loses a level at a drift of {si(found.facts.half_packet_V or 0.0, 'V')}", header, rows


def _cell(found: RetentionResult) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Title, header and rows for a cell that restores its state."""
    rows: list[tuple[str, ...]] = [
        (
            f"{row.temperature_C:g} °C",
            ("" if row.lost_in_simulation else "at least ") + plain(row.timesteps),
            si(row.seconds, "s"),
            "loses a state" if row.lost_in_simulation else "holds",
        )
        for row in found.temperatures
    ]
    share = percent(found.facts.window_of_threshold or 0.0)
    return f"has the narrowest window, {share} of its threshold", ("temperature", "timesteps", "time", ""), rows
