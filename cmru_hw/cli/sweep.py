"""``sweep``: one table over sizes, supplies, corners, technologies and architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cmru_hw.cli import common
from cmru_hw.core.errors import SimulationError


@click.command()
@click.argument("checkpoints", metavar="[CHECKPOINT]...", nargs=-1, type=common.FILE)
@click.option("-o", "--output", type=common.FILE, required=True, metavar="DIR", help="Folder of the sweep.")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="F:U+U:C",
    help="A random network: features, units of each layer, classes, such as 12:64+64:2. Each architecture gets its own "
    "cell, CMRU or FQ-BMRU. Repeatable.",
)
@click.option(
    "--architecture",
    "architectures",
    multiple=True,
    metavar="NAME",
    default=("charge", "current-static", "digital-8", "digital-ternary"),
    show_default=True,
    help="charge (macro level), charge-transistor, current (transistors), current-static (static currents only), "
    "digital-8, digital-4 or digital-ternary. Repeatable.",
)
@click.option(
    "--technology",
    "technologies",
    multiple=True,
    metavar="NAME",
    help="Technology of the designs. Repeatable.  [default: gf180]",
)
@click.option(
    "--vdd", "supplies", multiple=True, type=common.Real(0.5, 3.6), default=(1.8,), show_default=True, metavar="VOLT",
    help="Supply voltage [V]. Repeatable.",
)  # fmt: skip
@click.option(
    "--corner", "corners", multiple=True, default=("typical/27",), show_default=True, metavar="P/T",
    help="Process corner and temperature, such as ff/125. Repeatable.",
)  # fmt: skip
@click.option(
    "--input",
    "data",
    type=common.FILE,
    metavar="FILE.npz",
    help="Evaluation sequences of all checkpoints.  [default: TASK-eval.npz next to each, or else noise]",
)
@click.option(
    "--sequences",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Number of evaluation sequences of each checkpoint, at equal distances in the file.",
)
@click.option(
    "--dies",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Dies for the yield of charge-domain macromodels and of current mode, in the fast engine, on all evaluation "
    "sequences, at typical/27. 0: no yield.",
)
@common.workers_option
@common.scheduler_option
@common.backend_option
@common.timeout_option
@common.json_option
def sweep(
    checkpoints: tuple[Path, ...],
    output: Path,
    shapes: tuple[str, ...],
    architectures: tuple[str, ...],
    technologies: tuple[str, ...],
    supplies: tuple[float, ...],
    corners: tuple[str, ...],
    data: Path | None,
    sequences: int,
    dies: int,
    jobs: int,
    scheduler: str | None,
    backend: Any,
    timeout: float,
    as_json: bool,
) -> None:
    """Energy and area over sizes, supplies, corners, technologies and architectures.

    Every combination is one row. Each row states its level: estimate, or simulated if all transistors of the network
    were. Another supply is measured on transistors, never scaled. A digital row is an estimate with a range, from gates
    of the same process that were simulated at that supply, and the least energy at any supply (docs/proposal.md).
    --dies adds the yield, with its 95 % interval (Clopper-Pearson) and its level.
    A combination that does not exist is a row with the reason. Finished rows are kept: after an interruption, the same
    command resumes. Exit code 4 if no row could be computed.

    \b
    Example: cmru-hw sweep models/detect-cmru-2x4.safetensors models/vowels-cmru-2x16.safetensors \\
               --shape 12:64+64:2 --vdd 1.5 --vdd 1.8 -o out/sweep
    """
    from cmru_hw import spice
    from cmru_hw.analysis.sweep import grid, tables
    from cmru_hw.analysis.sweep.api import run_sweep
    from cmru_hw.analysis.sweep.point import SweepJob
    from cmru_hw.core import cache_folder
    from cmru_hw.nn import checkpoint
    from cmru_hw.nn.sequences import load_sequences
    from cmru_hw.process import pdk

    networks = [grid.NetworkSource(checkpoint=path, data=data) for path in checkpoints]
    networks += [grid.NetworkSource(shape=shape) for shape in shapes]
    if not networks:
        raise click.UsageError("Give a CHECKPOINT, or --shape.")
    for network in networks:
        if network.checkpoint is None:
            network.numbers()
        else:
            trained = checkpoint.load(network.checkpoint)
            if data is not None:
                trained.check(load_sequences(data))
    points = grid.points(networks, architectures, technologies or (pdk.DEFAULT,), supplies, corners)
    common.check_folder(output)
    job = SweepJob(
        folder=output,
        measured=cache_folder.measured(),
        simulator=spice.installed(backend),
        sequences=sequences,
        dies=dies,
        backend=backend,
        timeout=timeout,
    )
    with common.progress("computing, rows") as report:
        found = run_sweep(job, points, jobs=jobs, scheduler=scheduler, progress=report, command=common.command_line())
    if as_json:
        common.print_json(found)
    else:
        common.print_columns(
            f"energy per timestep, {len(found.finished)} of {len(found.rows)} rows", *tables.columns(found)
        )
        if refused := tables.refused(found):
            click.echo()
            common.print_columns("not computed", tables.REFUSED_HEADER, refused)
        if yields := tables.yields(found):
            click.echo()
            common.print_columns(f"yield, {tables.YIELD}", tables.YIELD_HEADER, yields)
        click.echo()
        excluded = [(kind, "; ".join(items)) for kind, items in found.excludes.items()]
        common.print_table("not included", excluded)
        click.echo(f"results    {output}")
    if not found.finished:
        raise SimulationError("no row of the sweep could be computed: the table has the reason of each")
