"""Run a Monte-Carlo of an exported design, and write a result folder for a report."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow as pa

from cmru_hw import spice
from cmru_hw.analysis.montecarlo import scheduler, statistics
from cmru_hw.analysis.montecarlo.job import EngineName, Job
from cmru_hw.analysis.montecarlo.result import (
    SUMMARY,
    Effect,
    FailedPairs,
    Interval,
    MonteCarloResult,
    PairedDies,
    Stopping,
)
from cmru_hw.analysis.montecarlo.shards import Store, write_results
from cmru_hw.analysis.montecarlo.workers import Workers, serial
from cmru_hw.analysis.provenance import provenance
from cmru_hw.circuits.certificate import NumericalCertificate
from cmru_hw.core.errors import InputError, SimulationError
from cmru_hw.core.output_folder import atomic_folder
from cmru_hw.design_folder.folder import Exported
from cmru_hw.nn.sequences import Sequences

# Dies for the sensitivity ranking. Each class of elements needs twice as many.
SENSITIVITY_DIES = 200


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Number of ``dies``, and optional analyses.

    A die is good if its accuracy is at most ``drop`` below software's; a negative ``drop`` asks for more than
    software's. With ``until`` the run stops when the interval
    of the yield is at most that wide. ``paired``: number of dies to simulate in SPICE, too. ``sensitivity``: rank the
    classes of elements.
    """

    dies: int
    drop: float = 0.01
    until: float | None = None
    paired: int | None = None
    sensitivity: bool = False

    def __post_init__(self) -> None:
        if self.dies < 1:
            raise InputError(f"dies is {self.dies}: give 1 or more")
        if not -1 < self.drop <= 1:
            raise InputError(f"drop is {self.drop}: give a share of the sequences, above -1 and up to 1")
        if self.until is not None and not 0 < self.until <= 1:
            raise InputError(f"until is {self.until}: give the width of an interval, above 0 and up to 1")
        if self.paired is not None and self.paired < 1:
            raise InputError(f"paired is {self.paired}: give 1 or more, or None for no dies in both engines")


@dataclass(frozen=True, kw_only=True)
class Follow:
    """Progress callbacks: ``dies(done, all, interval)`` after blocks of dies, ``element(name)`` before each
    class of elements."""

    dies: Callable[[int, int, Interval], None]
    element: Callable[[str], None]


Phases = Callable[[str], AbstractContextManager[Follow]]
"""Opens the progress display of one phase, by its name."""


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
    workers: Workers = serial,
    report: Callable[[int, int, Interval], None] | None = None,
) -> MonteCarloResult:
    """Simulate ``dies`` dies of a design and write their scores to ``folder``.

    A die is good if its accuracy on ``data`` is at most ``drop`` below software's. ``varied`` are the sources of
    variation (``exported.architecture.select_variations``; default: all). ``workers`` computes the dies. Finished
    dies are stored, so a second call resumes an interrupted one. The interval of the yield is that of Clopper and
    Pearson (Biometrika 26, 404, 1934). Raises OutputError, and InputError for sources that the design does not have.
    """
    job = Job(
        design=exported.design,
        trained=exported.trained,
        sequences=data,
        seed=seed,
        varied=exported.architecture.select_variations(exported.design) if varied is None else varied,
        engine=engine,
    )

    @contextmanager
    def phases(_: str) -> Iterator[Follow]:
        yield Follow(dies=report or (lambda done, count, interval: None), element=lambda name: None)

    return run_job(exported, job, Path(folder), Plan(dies=dies, drop=drop), workers=workers, phases=phases)


def run_job(
    exported: Exported, job: Job, folder: Path, plan: Plan, *, workers: Workers, phases: Phases, command: str = ""
) -> MonteCarloResult:
    """Execute ``plan`` and write the result to ``folder``. ``command`` reproduces it.

    Raises OutputError, and InputError for a ranking of elements of a design that the fast engine cannot simulate.
    """
    if plan.sensitivity:
        replace(job, engine="fast")
    with phases(f"{job.engine}, dies") as follow:
        table = scheduler.collect(
            job,
            range(plan.dies),
            Store.of(folder, job),
            workers,
            drop=plan.drop,
            until=plan.until,
            report=follow.dies,
        )
    in_spice = job.engine == "spice" or bool(plan.paired)
    result = MonteCarloResult(
        **vars(statistics.summary(job, table, drop=plan.drop)),
        engine=job.engine,
        level=job.design.technology.level,
        architecture=job.design.architecture,
        varies=tuple(sorted(job.varied)),
        sequences=len(job.sequences),
        provenance=provenance(
            exported, versions=_versions(), simulator=spice.installed(job.backend) if in_spice else "",
            command=command, seed=job.seed, job_sha256=job.sha256,
            certificate=_nominal(exported, job) if in_spice and job.simulator.certified else None,
        ),
        inputs_clamped=job.goal.clamped,
        stopping=None if plan.until is None else _stopping(job, plan.until),
        paired=None if plan.paired is None else _paired(job, table, folder, plan, workers, phases),
        sensitivity=_sensitivity(job, folder, plan, workers, phases) if plan.sensitivity else None,
    )  # fmt: skip
    with atomic_folder(folder, last=SUMMARY) as scratch:
        _draw(result, table, scratch)
        write_results(scratch, table, result)
    return result


def _nominal(exported: Exported, job: Job) -> NumericalCertificate | None:
    """Certificate of the nominal die in SPICE on the first sequence; None if SPICE fails."""
    first, kind = job.sequences.first(1), exported.architecture
    with spice.open_engine(backend=job.backend, timeout=job.timeout) as engine:
        try:
            result = kind.simulate(exported.design, first, engine, network=exported.network, refine=job.refine)
            return kind.certify(exported.design, first, result, engine, network=exported.network, seed=job.seed)
        except SimulationError:
            # A failed die is a value of the result. A missing certificate is, too.
            return None


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "torch": metadata.version("torch"), "numpy": np.__version__}


def _stopping(job: Job, width: float) -> Stopping:
    return Stopping(width=width, fewest=scheduler.FEWEST, block=statistics.block_size(job))


def _paired(
    job: Job, table: pa.Table, folder: Path, plan: Plan, workers: Workers, phases: Phases
) -> PairedDies | FailedPairs:
    """Simulate some of the dies of ``table`` in SPICE, and compare them with the fast engine."""
    twin = replace(job, engine="spice")
    chosen = statistics.subset(job.seed, len(table), min(plan.paired or 0, len(table)))
    with phases("spice, dies") as follow:
        both = scheduler.collect(twin, chosen, Store.of(folder, twin), workers, drop=plan.drop, report=follow.dies)
    agreed = statistics.engine_agreement(both)
    resolution = job.simulator.resolution
    if agreed is None:
        return FailedPairs(requested=len(chosen), resolution=resolution)
    return PairedDies(**vars(agreed), requested=len(chosen), resolution=resolution)


def _sensitivity(job: Job, folder: Path, plan: Plan, workers: Workers, phases: Phases) -> tuple[Effect, ...]:
    with phases("sensitivity") as follow:
        effects = scheduler.sensitivity(
            replace(job, engine="fast"),
            range(min(plan.dies, SENSITIVITY_DIES)),
            lambda one: Store.of(folder, one),
            workers,
            drop=plan.drop,
            report=follow.element,
        )
    return tuple(effects)


def _draw(result: MonteCarloResult, table: pa.Table, folder: Path) -> None:
    # Importing matplotlib takes about a second. Only the process that draws needs it.
    from cmru_hw.analysis.montecarlo import plots

    if result.sensitivity is not None:
        plots.sensitivity(result.sensitivity, folder / "sensitivity.svg")
    plots.dies(table, result.accuracy.software, result.drop, result.yield_, folder / "dies.svg")
