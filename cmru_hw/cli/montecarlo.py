"""``montecarlo``: the share of dies that do the task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmru_hw.cli import common
from cmru_hw.core.errors import SimulationError
from cmru_hw.core.units import percent, plain

if TYPE_CHECKING:
    from cmru_hw.analysis.montecarlo.job import Job
    from cmru_hw.analysis.montecarlo.result import Effect, MonteCarloResult

# An upper bound far above practical use; the plan of blocks has room for it.
MOST = 10_000_000
# What a drift comes from, by the values of --drift.
_CAUSES = {"temperature": "the temperature, 27 to 85 °C", "supply": "the supply, less 10 %"}


@click.command()
@click.argument("design_path", metavar="DESIGN", type=common.FILE)
@common.input_option
@common.sequences_option
@common.spread_option
@click.option("-n", "--dies", type=click.IntRange(1, MOST), default=1000, show_default=True, help="Number of dies.")
@click.option(
    "-o", "--output", type=common.FILE, metavar="DIR", help="Folder of results.  [default: DESIGN-montecarlo]"
)
@click.option(
    "--engine",
    type=click.Choice(["fast", "spice"]),
    default="fast",
    show_default=True,
    help="fast: the equations of the circuit; spice: ngspice.",
)
@common.seed_option
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="Vary only these elements: a leaf, a branch or a kind of the tree of names. Repeatable.",
)
@click.option("--without", multiple=True, metavar="NAME", help="Do not vary these elements. Repeatable.")
@click.option(
    "--drift",
    multiple=True,
    type=click.Choice([*_CAUSES]),
    help="With trim: rows have drifted since their codes were found, because the temperature rose from 27 to 85 °C, or "
    "because the supply fell by 10 %. Repeatable.",
)
@common.drop_option
@click.option(
    "--accuracy",
    type=common.Real(0, 1),
    metavar="A",
    help="A die is good if it has at least this accuracy, such as 0.76. Instead of --drop.",
)
@click.option(
    "--paired", type=click.IntRange(1), metavar="N", help="Also run N random dies in ngspice, and compare both engines."
)
@click.option(
    "--die",
    "replay",
    type=click.IntRange(0, MOST - 1),
    metavar="N",
    help="Replay die N alone, and write its netlist and a figure.",
)
@click.option(
    "--until-ci",
    type=common.Real(0, 1, min_open=True),
    metavar="WIDTH",
    help="Stop when the 95 % interval of the yield is at most this wide. It is checked after each block of dies, from "
    "100 dies on; -n is the upper limit. Repeated checks make the stated 95 % slightly optimistic.",
)
@click.option(
    "--sensitivity", is_flag=True, help="Rank the classes of elements by their effect on decisions and yield."
)
@common.workers_option
@common.scheduler_option
@common.backend_option
@common.timeout_option
@common.refine_option
@common.force_option
@common.json_option
def montecarlo(
    design_path: Path,
    input_path: Path | None,
    sequences: int | None,
    spread: bool,
    dies: int,
    output: Path | None,
    engine: Any,
    seed: int,
    only: tuple[str, ...],
    without: tuple[str, ...],
    drift: tuple[str, ...],
    drop: float,
    accuracy: float | None,
    paired: int | None,
    replay: int | None,
    until_ci: float | None,
    sensitivity: bool,
    jobs: int,
    scheduler: str | None,
    backend: Any,
    timeout: float,
    refine: int,
    force: bool,
    as_json: bool,
) -> None:
    """Simulate many dies of a design, and print the yield.

    Each die has its own mismatch and noise. The yield is the share of dies that do the task.

    A chip in transistors needs --engine spice, and minutes per die. Every transistor and capacitor deviates by the
    mismatch of its models, and there is no noise.

    Finished dies are kept: after an interruption, the same command resumes, and ends with the same result. Exit code 4
    if no die could be simulated.

    \b
    Example: cmru-hw montecarlo out/vowels --input models/vowels-eval.npz -n 1000 --jobs 2
    """
    from cmru_hw.analysis.montecarlo import workers as pools
    from cmru_hw.analysis.montecarlo.api import Plan, run_job
    from cmru_hw.analysis.montecarlo.job import Job
    from cmru_hw.analysis.montecarlo.result import SUMMARY, MonteCarloResult
    from cmru_hw.analysis.montecarlo.shards import Store
    from cmru_hw.design_folder import folder as design_folder

    if refine and engine == "fast" and paired is None and replay is None:
        raise click.UsageError("--refine needs --engine spice, --paired or --die: the fast engine takes no time steps")
    exported = design_folder.load(design_path)
    data = common.load_sequences(input_path, sequences, spread=spread)
    exported.trained.check(data)
    job = Job(
        design=exported.design,
        trained=exported.trained,
        sequences=data,
        seed=seed,
        varied=exported.architecture.select_variations(exported.design, only=only, without=without, drift=drift),
        engine=engine,
        backend=backend,
        timeout=timeout,
        refine=refine,
    )
    folder = output or design_path.with_name(f"{design_path.name}-montecarlo")
    if replay is not None:
        _replay(job, replay, folder / f"die-{replay:06d}", force=force, as_json=as_json)
        return
    if paired is not None and (engine == "spice" or paired > dies):
        raise click.UsageError("--paired needs --engine fast, and at most as many dies as --dies")
    common.check_folder(folder)
    # one folder can hold shards of several jobs, and the results of one
    common.claim(folder / SUMMARY, job.sha256, MonteCarloResult.load, force=force)
    if accuracy is not None:
        drop = job.goal.accuracy - accuracy
    try:
        with pools.opened(jobs, scheduler) as workers:
            summary = run_job(
                exported,
                job,
                folder,
                Plan(dies=dies, drop=drop, until=until_ci, paired=paired, sensitivity=sensitivity),
                workers=workers,
                phases=common.die_progress,
                command=common.command_line(),
            )
    except KeyboardInterrupt:
        shards = Store.of(folder, job).folder
        click.echo(f"finished dies are kept in {shards}: run the same command again to resume", err=True)
        raise
    if as_json:
        common.print_json(summary)
    else:
        _print(design_path, folder, summary, common.edited_rows(exported))
    if summary.failed == summary.dies:
        raise SimulationError(f"all {summary.dies} dies failed to simulate: {dict(summary.failures)}")


def _replay(job: Job, number: int, folder: Path, *, force: bool, as_json: bool) -> None:
    """Simulate one die, and write its row, its netlist with the noise of the first sequence, and a figure."""
    from cmru_hw import spice
    from cmru_hw.analysis.montecarlo import plots
    from cmru_hw.analysis.montecarlo import statistics as scoring
    from cmru_hw.core.atomic_write import write_bytes
    from cmru_hw.core.output_folder import atomic_folder

    common.check_output(folder, force)
    (row,) = scoring.scores(job, [number]).to_pylist()
    found = job.simulator.replay(job, number)
    deck = found.deck
    files = {
        **deck.files,
        "deck.cir": spice.complete_text(deck).encode(),
        ".spiceinit": spice.startup_text(deck.settings).encode(),
    }
    with atomic_folder(folder) as scratch:
        for name, content in files.items():
            write_bytes(scratch / name, content)
        plots.die(job.design, found.expected, found.response, number, scratch / "die.svg")
    row |= {"software": job.goal.accuracy, "seed": job.seed, "engine": job.engine, "folder": str(folder)}
    if as_json:
        common.print_json(row)
    else:
        common.print_table(f"die {number}", [(key, _shown(value)) for key, value in row.items()])
    if row["status"] != "ok":
        raise SimulationError(f"die {number} failed to simulate: {row['status']}")


def _print(design_path: Path, folder: Path, summary: MonteCarloResult, more: list[tuple[str, str]]) -> None:
    yielded, accuracy = summary.yield_, summary.accuracy
    rows = [
        (
            "yield",
            f"{_share(yielded.value)} ({yielded.k} of {yielded.n}), 95 % interval "
            f"{_share(yielded.low)} to {_share(yielded.high)}",
        ),
        (
            "a good die has",
            f"accuracy of at least {_share(accuracy.software - summary.drop)} (software's is "
            f"{_share(accuracy.software)}), with respect to {summary.accuracy_of}",
        ),
        (
            "accuracy",
            f"median {_share(accuracy.median)}, 5th percentile {_share(accuracy.p05)}, worst "
            f"{_share(accuracy.min)} (die {summary.worst_die})",
        ),
        ("decisions as in software", _share(summary.decision_agreement)),
        *(summary.inputs_clamped.rows() if summary.inputs_clamped else []),
        ("failed", f"{summary.failed} {dict(summary.failures) or ''}"),
        *_trim_rows(summary),
        *_paired_rows(summary),
        ("results", str(folder)),
        *more,
    ]
    common.print_table(f"{summary.dies} dies of {design_path}, {summary.engine} engine", rows)
    if summary.sensitivity:
        click.echo()
        header = ("decisions as in software", "varied alone", "yield", "not varied", "yield")
        common.print_columns("", header, [_effect_row(effect) for effect in summary.sensitivity])


def _trim_rows(summary: MonteCarloResult) -> list[tuple[str, str]]:
    found = summary.trim
    if found is None:
        return []
    moved = {leaf.rpartition("/drift_")[2] for leaf in summary.varies}
    causes = [cause for name, cause in _CAUSES.items() if name in moved]
    drift = [("drift since calibration", f"with {' and '.join(causes)}")] if causes else []
    if not found.rows_beyond:
        return [("trim codes", "every row is within their range"), *drift]
    return [
        *drift,
        (
            "trim codes",
            f"{found.rows_beyond} rows on {found.dies_beyond} dies are out of their range: raise trim.reach in the "
            "technology, and BITS to keep the step",
        ),
    ]


def _paired_rows(summary: MonteCarloResult) -> list[tuple[str, str]]:
    from cmru_hw.analysis.montecarlo.result import PairedDies

    paired = summary.paired
    if paired is None:
        return []
    if not isinstance(paired, PairedDies):
        return [("both engines", "no die could be simulated in ngspice")]
    return [
        (
            "both engines",
            f"{paired.agree} of {paired.decisions} decisions agree on {paired.dies} "
            f"dies, 95 % interval from {_share(paired.ci95[0])}; {paired.margin_limited} of the others "
            f"too close to call ({paired.resolution}), {paired.unexplained} not explained",
        )
    ]


def _effect_row(effect: Effect) -> tuple[str, ...]:
    numbers = (effect.agreement_alone, effect.alone.value, effect.agreement_without, effect.without.value)
    return (effect.name, *map(_share, numbers))


def _share(value: float | None) -> str:
    return "none" if value is None else percent(value)


def _shown(value: Any) -> str:
    return plain(value, 6) if isinstance(value, float) else str(value)
