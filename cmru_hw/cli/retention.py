"""``retention``: how long a held level lasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cmru_hw.cli import common
from cmru_hw.core.units import percent, si
from cmru_hw.process import device_models


@click.command()
@click.argument("design_path", metavar="DESIGN", type=common.FILE)
@click.option(
    "--temperature",
    "temperatures",
    type=common.Real(-55, 150),
    multiple=True,
    metavar="C",
    help="Degrees Celsius; may be given again.  [default: seven from -40 to 125]",
)
@click.option(
    "--corner", type=click.Choice(device_models.CORNERS), default="typical", show_default=True, help="Process corner."
)
@click.option("-o", "--output", type=common.FILE, metavar="DIR", help="retention.json, .csv, .svg, .pdf.")
@common.backend_option
@common.timeout_option
@common.edited_option
@common.force_option
@common.json_option
def retention(
    design_path: Path,
    temperatures: tuple[float, ...],
    corner: str,
    output: Path | None,
    backend: Any,
    timeout: float,
    allow_edited: bool,
    force: bool,
    as_json: bool,
) -> None:
    """How many timesteps a held level lasts, over temperature.

    The transistor integrator of the unit that has the least charge to lose is left alone at five levels of its ladder,
    for as long as it takes: a level is lost when it is half a packet off. A chip wakes every timestep: what one of
    these takes off a level is simulated. A current-mode cell restores its state: the one with the narrowest window is
    left alone for 1000 seconds in either state.

    \b
    Example: cmru-hw retention out/gf180 --temperature 27 --temperature 85 -o out/retention
    """
    from cmru_hw import spice
    from cmru_hw.analysis.retention.api import TEMPERATURES, run_retention
    from cmru_hw.design_folder import folder

    if output is not None:
        common.check_output(output, force)
    exported = folder.load(design_path, allow_edited=allow_edited)
    with spice.open_engine(backend=backend, timeout=timeout) as engine, common.progress("temperatures") as report:
        found = run_retention(
            exported,
            engine,
            folder=output,
            temperatures=temperatures or TEMPERATURES,
            corner=corner,
            progress=report,
            command=common.command_line(),
        )
    if as_json:
        common.print_json(found)
        return
    title, header, rows = (_cell if found["restores"] else _integrator)(found)
    common.print_columns(f"{design_path}: unit {found['weakest_unit']} {title}", header, rows)
    click.echo()
    notes = [("not included" if not place else "", what) for place, what in enumerate(found["excludes"])]
    if found.get("doubling_C"):
        notes.insert(0, ("half as long", f"for every {found['doubling_C']:.3g} °C more, warm"))
    if output is not None:
        notes.append(("results", str(output)))
    common.print_table("", notes)


def _integrator(found: dict[str, Any]) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Title, header and rows of the table of a level that droops."""
    rows: list[tuple[str, ...]] = [
        (
            f"{row['temperature_C']:g} °C",
            f"{row['timesteps']:.3g}" + ("" if row["lost_in_simulation"] else " (by its last rate)"),
            si(row["seconds"], "s"),
            f"{si(row['level_V'], 'V')} from V_cm",
            f"{row['law_timesteps']:.3g}",
            si(row["simulated_s"], "s"),
        )
        for row in found["temperatures"]
    ]
    header = ("temperature", "timesteps", "time", "first lost at", "by its first leakage", "followed for")
    return f"loses a level when {si(found['half_packet_V'], 'V')} off", header, rows


def _cell(found: dict[str, Any]) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """The same of a cell that restores its state."""
    rows: list[tuple[str, ...]] = [
        (
            f"{row['temperature_C']:g} °C",
            ("" if row["lost_in_simulation"] else "at least ") + f"{row['timesteps']:.3g}",
            si(row["seconds"], "s"),
            "has lost a state" if row["lost_in_simulation"] else "holds",
        )
        for row in found["temperatures"]
    ]
    share = percent(found["window_of_threshold"])
    return f"has the narrowest window, {share} of its threshold", ("temperature", "timesteps", "time", ""), rows
