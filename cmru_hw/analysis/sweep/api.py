"""Run a sweep, and write its folder.

::

    OUT/points/HASH.json      one finished point, complete or absent
    OUT/sweep.json  sweep.csv  sweep.parquet  sweep.tex  sweep.svg  sweep.pdf
    OUT/paper.tex             a two-column document that includes table and figure

An interrupted sweep resumes where it stopped. Another network, data, technology, simulator or version is another point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cmru_hw
from cmru_hw.analysis.montecarlo.workers import cluster_of
from cmru_hw.analysis.sweep import tables
from cmru_hw.analysis.sweep.grid import ARCHITECTURES, Point
from cmru_hw.analysis.sweep.point import SweepJob, row_of
from cmru_hw.analysis.sweep.result import RESULT, SweepResult, SweepRow
from cmru_hw.core.atomic_write import write_text
from cmru_hw.core.output_folder import atomic_folder
from cmru_hw.core.process_pool import process_pool

Found = Iterator[tuple[Point, SweepRow]]


def run_sweep(
    job: SweepJob,
    points: Sequence[Point],
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
) -> SweepResult:
    """The rows of all ``points``, in their order; written to the folder of ``job``.

    ``jobs`` points are computed at the same time, or those that the Dask cluster at ``scheduler`` can take. A point
    that fails or is refused is a row that says so. Raises InputError for a file that cannot be read; OutputError.
    """
    found: dict[Point, SweepRow] = {}
    for point, row in _rows(job, points, jobs, scheduler):
        found[point] = row
        if progress:
            progress(len(found), len(points))
    columns = [column for name, column in ARCHITECTURES.items() if any(point.architecture == name for point in points)]
    result = SweepResult(
        rows=tuple(found[point] for point in points),
        excludes={column.group: column.excludes for column in columns},
        versions={"cmru_hw": cmru_hw.__version__, "simulator": job.simulator},
        sequences=job.sequences,
        command=command,
    )
    write(result, job.folder)
    return result


def _rows(job: SweepJob, points: Sequence[Point], jobs: int, scheduler: str | None) -> Found:
    if scheduler is not None:
        with cluster_of(scheduler) as run:
            yield from run(row_of, job, points)
        return
    if jobs == 1 or len(points) == 1:
        yield from ((point, row_of(job, point)) for point in points)
        return
    with process_pool(min(jobs, len(points))) as pool:
        yield from pool.run(row_of, job, points)


def write(result: SweepResult, folder: Path) -> None:
    """All files of a sweep but its points. Raises OutputError."""
    with atomic_folder(folder, last=RESULT) as scratch:
        result.save(scratch / RESULT)
        write_text(scratch / "sweep.csv", tables.as_csv(result))
        tables.write_parquet(result, scratch / "sweep.parquet")
        write_text(scratch / "sweep.tex", tables.as_latex(result))
        write_text(scratch / "paper.tex", tables.PAPER)
        if result.finished:
            # Importing matplotlib takes about a second. Only a figure needs it.
            from cmru_hw.analysis.sweep import plots

            for suffix in ("svg", "pdf"):
                plots.energies(result, scratch / f"sweep.{suffix}")
