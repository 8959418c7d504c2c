"""A whole Monte-Carlo in one call, from an exported design to a folder that a report can be made of."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cmru_hw
from cmru_hw.analysis.montecarlo.job import EngineName, Job
from cmru_hw.analysis.montecarlo.scheduler import collect
from cmru_hw.analysis.montecarlo.shards import Store, write_results
from cmru_hw.analysis.montecarlo.statistics import Interval, clopper_pearson
from cmru_hw.analysis.montecarlo.statistics import summary as summary_of
from cmru_hw.analysis.montecarlo.workers import Workers, serial
from cmru_hw.design_folder.folder import Exported
from cmru_hw.nn.checkpoint import Sequences


def run_montecarlo(
    exported: Exported,
    data: Sequences,
    *,
    dies: int,
    folder: str | Path,
    seed: int = 0,
    drop: float = 0.01,
    engine: EngineName = "fast",
    varied: frozenset[str] | None = None,
    team: Workers = serial,
    report: Callable[[int, int, Interval], None] | None = None,
) -> dict[str, Any]:
    """Make ``dies`` dies of a design and write what becomes of them to ``folder``; returns what the summary says.

    A die is good if its accuracy on ``data`` is at most ``drop`` below software's. ``varied`` are the
    sources of variation (``exported.architecture.select_variations``; all by default), and ``team`` computes. Finished
    dies are kept, so that a second call goes on where the first was interrupted. The yield's interval is that of
    Clopper and Pearson (Biometrika 26, 404, 1934). Raises OutputError, and InputError for sources that the
    design does not have.
    """
    folder = Path(folder)
    job = Job(
        design=exported.design,
        trained=exported.trained,
        sequences=data,
        seed=seed,
        varied=exported.architecture.select_variations(exported.design) if varied is None else varied,
        engine=engine,
    )
    table = collect(job, range(dies), Store.of(folder, job), team, drop=drop, report=report)
    summary = summary_of(job, table, drop=drop) | provenance(exported, job)
    interval = clopper_pearson(summary["yield"]["k"], summary["yield"]["n"])
    from cmru_hw.analysis.montecarlo import plots

    plots.dies(table, summary["accuracy"]["software"], drop, interval, folder / "dies.svg")
    write_results(folder, table, summary)
    return summary


def provenance(exported: Exported, job: Job, *, command: str = "") -> dict[str, Any]:
    """What the rows of ``job`` follow from."""
    return {
        "engine": job.engine,
        "level": job.design.technology.level,
        "architecture": job.design.architecture,
        "seed": job.seed,
        "varies": sorted(job.varied),
        "sequences": len(job.sequences),
        "versions": {
            "cmru_hw": cmru_hw.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "netlist_sha256": exported.netlist_sha256,
        "design_sha256": exported.architecture.fingerprint(job.design),
        "job_sha256": job.sha256,
        "command": command,
    }
