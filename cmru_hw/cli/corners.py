"""``corners``: decisions and energy over process, supply and temperature."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmru_hw.cli import common
from cmru_hw.core.errors import CheckFailed, SimulationError
from cmru_hw.core.units import percent, si

if TYPE_CHECKING:
    from cmru_hw.analysis.corners.result import CornersResult


@click.command()
@common.simulates
@click.option(
    "-o",
    "--output",
    type=common.FILE,
    metavar="DIR",
    required=True,
    help="Folder of results. Finished corners are kept.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="CORNER",
    help="Simulate only this corner: process/temperature/supply, such as ff/125/1.98. * matches any. Repeatable.",
)
@click.option(
    "--agreement",
    type=common.Real(0, 1),
    metavar="SHARE",
    help="Exit with code 1 if, at any corner, a smaller share of decisions agrees with software.",
)
def corners(asked: common.Asked, output: Path, only: tuple[str, ...], agreement: float | None) -> None:
    """Simulate a design at corners of process, supply and temperature.

    Prints decisions and energy at 5 process corners, 3 supplies and 3 temperatures.

    At macro level, the transistors of each corner are measured first (about a minute each, stored in DIR/measured),
    because gain, leakage and energy do not follow from the nominal values by a simple law. Finished corners are kept:
    after an interruption, the same command resumes. Exit code 4 if no corner could be simulated.

    \b
    Example: cmru-hw corners out/gf180 --input models/detect-eval.npz --sequences 2 --only ff/125/1.98 -o out/corners
    """
    from cmru_hw import spice
    from cmru_hw.analysis.corners.api import CornersJob, run_job
    from cmru_hw.analysis.corners.result import RESULT as CORNERS
    from cmru_hw.analysis.corners.result import CornersResult

    common.check_folder(output)
    exported, data = asked.load()
    job = CornersJob(
        exported=exported,
        data=data,
        folder=output,
        simulator=spice.installed(asked.backend),
        backend=asked.backend,
        timeout=asked.timeout,
        cache=asked.cache,
        refine=asked.refine,
    )
    common.claim(output / CORNERS, job.sha256(), CornersResult.load, force=asked.force)
    with common.progress("corners") as report:
        found = run_job(job, only=only, jobs=asked.jobs, progress=report, command=common.command_line())
    if asked.as_json:
        common.print_json(found)
    else:
        _print(found, asked.design_path, output)
        if exported.edited:
            click.echo()
            common.print_table("", common.edited_rows(exported))
    if found.worst_agreement is None:
        raise SimulationError(f"no corner could be simulated: {found.corners[0].status}")
    if agreement is not None and found.worst_agreement < agreement:
        raise CheckFailed(
            f"at {found.worst.decisions}, only {percent(found.worst_agreement)} of decisions agree with software"
        )


def _print(found: CornersResult, design: Path, output: Path) -> None:
    from cmru_hw.analysis.corners.result import CornerFigures

    header = ("corner", "decisions as in software", "classes", f"per timestep, {found.label}", "amplifier gain")
    # Only macro-level designs of the charge domain have an amplifier gain.
    columns = len(header) if any(result.facts.gain is not None for result in found.good) else len(header) - 1
    rows = []
    for result in found.corners:
        if not isinstance(result, CornerFigures):
            rows.append((result.corner, result.status, "", "", ""))
            continue
        rows.append(
            (
                result.corner,
                percent(result.decisions.share),
                str(result.classification),
                si(result.per_timestep_J, "J"),
                "" if result.facts.gain is None else f"{result.facts.gain:.0f}",
            )
        )
    title = f"{design}, {found.level} level, {found.timesteps} timesteps"
    common.print_columns(title, header[:columns], [row[:columns] for row in rows])
    worst = found.worst
    if found.worst_agreement is not None and found.worst_per_timestep_J is not None:
        summary = [
            ("all decisions right", f"{found.all_right} of {found.asked} corners, {found.failed} failed"),
            ("worst decisions", f"{worst.decisions}: {percent(found.worst_agreement)}" if worst.decisions else "none"),
            ("worst energy", f"{worst.energy}: {si(found.worst_per_timestep_J, 'J')} per timestep"),
            ("not included", "; ".join(found.excludes)),
            ("results", str(output)),
        ]
        click.echo()
        common.print_table("", summary)
