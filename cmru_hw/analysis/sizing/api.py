"""Size a circuit for a yield: search on common dies, prove on fresh ones, and say what limits it next."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cmru_hw.analysis.montecarlo.api import Phases, Plan, run_job
from cmru_hw.analysis.montecarlo.result import PairedDies
from cmru_hw.analysis.montecarlo.workers import Workers, serial
from cmru_hw.analysis.provenance import provenance
from cmru_hw.analysis.sizing import chosen, limits
from cmru_hw.analysis.sizing.problem import ATTEMPTS, AnyProblem
from cmru_hw.analysis.sizing.result import FIGURE, RESULT, Proof, SizingResult
from cmru_hw.analysis.sizing.search import Progress, Search, front, job_of
from cmru_hw.analysis.sizing.study import Study, Trial
from cmru_hw.core.atomic_write import write_text
from cmru_hw.core.csv_text import csv_text
from cmru_hw.design_folder import folder as design_folder
from cmru_hw.design_folder.folder import Exported

TECHNOLOGY, DESIGN, TRIALS, FRONT = "technology.toml", "design", "trials.csv", "front.csv"
# Trials that are tried, unless given.
MOST = 160


@dataclass(frozen=True, kw_only=True)
class Follow:
    """Progress callbacks: ``search`` after each trial, ``phases`` for the dies of a proof."""

    search: Callable[[Progress], None]
    phases: Phases


@dataclass(frozen=True, kw_only=True)
class _Proven:
    proof: Proof
    exported: Exported


@dataclass(kw_only=True)
class _Run:
    problem: AnyProblem
    folder: Path
    search: Search
    workers: Workers
    follow: Follow
    paired: int
    command: str
    proofs: list[Proof] = field(default_factory=list)

    def prove(self, trial: Trial) -> _Proven:
        """Export the design of ``trial``, and simulate dies of it that no trial has seen."""
        problem, goal = self.problem, self.problem.goal
        design = problem.design(problem.of(trial.sizes))
        exported = _exported(self, design)
        seed = problem.seed + 1 + len(self.proofs)
        place = self.folder / f"proof-{len(self.proofs) + 1}"
        found = run_job(
            exported,
            job_of(problem, design, seed=seed),
            place,
            Plan(dies=goal.proof_dies, drop=goal.drop, paired=self.paired or None),
            workers=self.workers,
            phases=self.follow.phases,
            command=self.command,
        )
        pairs = found.paired if isinstance(found.paired, PairedDies) else None
        bound = goal.bound(found.yield_.k, found.yield_.n)
        proof = Proof(
            seed=seed,
            dies=found.yield_.n,
            good=found.yield_.k,
            bound=bound,
            passed=bound >= goal.yield_,
            folder=str(place),
            spice_dies=0 if pairs is None else pairs.dies,
            spice_decisions=None if pairs is None else pairs.decisions,
            spice_unexplained=None if pairs is None else pairs.unexplained,
        )
        self.proofs.append(proof)
        return _Proven(proof=proof, exported=exported)


def run_sizing(
    problem: AnyProblem,
    folder: str | Path,
    *,
    follow: Follow,
    most: int = MOST,
    paired: int = 0,
    workers: Workers = serial,
    force: bool = False,
    command: str = "",
) -> SizingResult:
    """Search, prove, and write the result to ``folder``.

    ``most`` trials are tried. ``paired`` dies of each proof are simulated in SPICE too. An interrupted search goes
    on in the same folder. ``command`` reproduces the result. Raises OutputError if the folder holds another search,
    unless ``force``.
    """
    folder = Path(folder)
    study = Study.open(problem, folder, force=force)
    run = _Run(
        problem=problem,
        folder=folder,
        search=Search(study=study, workers=workers, most=most, report=follow.search),
        workers=workers,
        follow=follow,
        paired=paired,
        command=command,
    )
    trial = run.search.run()
    proven: _Proven | None = None
    taken = trial
    while taken is not None and len(run.proofs) < ATTEMPTS:
        proven = run.prove(taken)
        if proven.proof.passed:
            break
        if len(run.proofs) < ATTEMPTS:
            following = run.search.refuted(taken, dies=proven.proof.dies, good=proven.proof.good)
            if following is None:
                break
            taken = following
    reached = bool(run.proofs) and run.proofs[-1].passed
    shown = taken if taken is not None else _most_yielding(study.trials)
    result = _result(run, shown, proven, chosen_trial=taken if reached else None)
    _write(result, run, shown, folder)
    return result


def _most_yielding(trials: Sequence[Trial]) -> Trial:
    """The trial whose sample has the most good dies; of equals the cheapest."""
    return max(trials, key=lambda one: (one.yield_, -(one.energy_J or np.inf)))


def _result(run: _Run, shown: Trial, proven: _Proven | None, *, chosen_trial: Trial | None) -> SizingResult:
    problem, trials = run.problem, run.search.study.trials
    goal = problem.goal
    sizes = problem.of(shown.sizes)
    design = problem.design(sizes)
    exported = proven.exported if proven is not None else _exported(run, design)
    # limits are estimated on dies that the search has not seen either
    job = job_of(problem, design, seed=problem.seed + 1 + ATTEMPTS)
    effects = limits.effects(job, run.workers, drop=goal.drop)
    return SizingResult(
        goal=goal.yield_,
        confidence=goal.confidence,
        minimise=goal.minimise,
        drop=goal.drop,
        technology=problem.technology.name,
        fixed={name: float(value) for name, value in problem.fixed.items()},
        reached=chosen_trial is not None,
        chosen=chosen_trial,
        figures=None if chosen_trial is None else chosen.figures(problem, sizes),
        own=chosen.figures(problem, problem.base),
        trials=len(trials),
        die_evaluations=sum(one.dies for one in trials),
        search_dies=run.search.dies,
        front=tuple(front(problem, trials, run.workers)),
        proofs=tuple(run.proofs),
        limits=effects,
        limited_by=()
        if chosen_trial is not None
        else limits.limited_by(job, run.workers, drop=goal.drop, goal=goal.yield_),
        provenance=provenance(
            exported,
            versions={"python": platform.python_version(), "numpy": np.__version__, "optuna": _optuna()},
            command=run.command,
            seed=problem.seed,
            job_sha256=problem.sha256,
        ),
        yield_of_best=shown.yield_,
        own_sizes={name: float(value) for name, value in problem.values(problem.base).items()},
        level=problem.technology.level,
    )


def _exported(run: _Run, design: Any) -> Exported:
    problem = run.problem
    return design_folder.write(
        run.folder / DESIGN,
        problem.trained,
        design,
        problem.sequences,
        force=True,
        command=run.command,
        label=_label(run.folder),
    )


def _label(folder: Path) -> str:
    """Name of a sized design in tables: that of the folder of results, if it can be a label."""
    name = folder.absolute().name
    return name if name.isprintable() and len(name) <= design_folder.LONGEST_LABEL else ""


def _optuna() -> str:
    from importlib.metadata import version

    return version("optuna")


def _write(result: SizingResult, run: _Run, shown: Trial, folder: Path) -> None:
    # Importing matplotlib takes about a second. Only the process that draws needs it.
    from cmru_hw.analysis.sizing import plots

    problem = run.problem
    technology = problem.technology_at(problem.of(shown.sizes))
    write_text(folder / TECHNOLOGY, chosen.technology_toml(technology, command=run.command))
    write_text(folder / TRIALS, _csv(problem, run.search.study.trials))
    write_text(folder / FRONT, _csv(problem, result.front))
    for suffix in (".svg", ".pdf"):
        plots.front(result, run.search.study.trials, folder / f"{FIGURE}{suffix}")
    result.save(folder / RESULT)


def _csv(problem: AnyProblem, trials: Sequence[Trial]) -> str:
    names = list(problem.names)
    rows = [
        (one.state, one.energy_J, one.area_m2, one.yield_ if one.sample else None, one.sample, one.dies, one.failed,
         *(one.sizes[name] for name in names))
        for one in trials
    ]  # fmt: skip
    return csv_text(("state", "energy_J", "area_m2", "yield", "yield_of_dies", "dies", "failed", *names), rows)
