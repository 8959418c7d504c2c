"""The search: trials on common dies, few for hopeless ones, all for those that may be chosen.

A trial is good if at most F of the N dies of the search fail (`Goal.allowed`). All trials see the same dies, so
its simulation ends with the failure F + 1, and the result is that of all N. The first dies are a plain sample; after
them come those dies first that failed most often for the trials before. A trial that costs more than a good one
needs no die.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.shards import Block
from cmru_hw.analysis.montecarlo.statistics import passed
from cmru_hw.analysis.montecarlo.workers import Workers, serial
from cmru_hw.analysis.sizing.problem import EXPECTED, STRICT, AnyProblem
from cmru_hw.analysis.sizing.study import State, Study, Trial, standing
from cmru_hw.circuits import registry
from cmru_hw.core.errors import MappingError, OutputError

# Dies of the plain sample, of each later portion, and of one block of a worker.
SAMPLE, PORTIONS, BLOCK = 16, (48, 192), 32
# Dies for the yield of a failing trial on the Pareto front.
FRONT_DIES = 100
# Steps of the last, local part of the search: shares by which one size is changed.
STEPS = (0.35, 0.18, 0.09, 0.04)
# A good trial replaces the best one if it is cheaper by this share.
CHEAPER = 1e-3


@dataclass(frozen=True, kw_only=True)
class Progress:
    """``tried`` of ``most`` trials, ``dies`` simulated so far, the best trial."""

    tried: int
    most: int
    dies: int
    best: Trial | None


@dataclass(kw_only=True)
class Search:
    """``dies`` is the number of common dies, ``most`` that of trials."""

    study: Study
    workers: Workers = serial
    most: int
    dies: int = 0
    expected: float = EXPECTED
    report: Callable[[Progress], None] = lambda progress: None
    _failed: Counter[int] = field(default_factory=Counter)
    _tried: dict[Any, Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dies = self.dies or self.problem.goal.search_dies
        self._replay: list[Trial] = list(self.study.trials)
        self.study.trials.clear()

    @property
    def problem(self) -> AnyProblem:
        return self.study.problem

    def refuted(self, trial: Trial, *, dies: int, good: int) -> Trial | None:
        """The best trial after ``trial`` was not proven, ``good`` of ``dies`` fresh dies. The search goes on with a
        quarter of its trials more, and with twice as many common dies."""
        again = replace(trial, state="not proven", sample=dies, good_of_sample=good, dies=0, failed=0, failed_dies=())
        if self._replay:
            self._replay.pop(0)
            self.study.trials.append(again)
        else:
            self.study.add(again)
        self.dies, self.expected = 2 * self.dies, STRICT
        # The cheapest of the good ones may be lucky too: they are judged by more dies, until one is good.
        for one in sorted(self.study.good(), key=lambda other: other.cost(self.problem.goal.minimise)):
            if self._try(self._sizes(one), again=True).state == "good":
                break
        more = max(self.most // 4, 1)
        proposals = len(self.study.trials) + more * 2 // 3
        self.most = max(self.most, len(self.study.trials) + more)
        while len(self.study.trials) < proposals:
            self._try(self.study.proposed())
        self._refine()
        return self.study.best()

    def run(self) -> Trial | None:
        """The best trial of the whole search; None if none is good."""
        for sizes in self.problem.starts():
            self._try(sizes)
        proposals = self.most * 2 // 3
        # without a good trial there is nothing to refine
        while (tried := len(self.study.trials)) < self.most and (tried < proposals or self.study.best() is None):
            self._try(self.study.proposed())
        self._refine()
        return self.study.best()

    def _refine(self) -> None:
        """Change one size after the other by smaller and smaller steps, as long as the best trial gets cheaper."""
        for step in STEPS:
            improved = True
            while improved:
                improved = False
                for name in self.problem.free:
                    for factor in (1 - step, 1 / (1 - step)):
                        best = self.study.best()
                        if best is None or len(self.study.trials) >= self.most:
                            return
                        if (sizes := self.problem.moved(self._sizes(best), name, factor)) not in self._tried:
                            improved |= self._try(sizes).state == "good"

    def _sizes(self, trial: Trial) -> Any:
        return self.problem.of(trial.sizes)

    def _try(self, sizes: Any, *, again: bool = False) -> Trial:
        if self._replay:
            kept = self._replay.pop(0)
            if self._sizes(kept) != sizes:
                raise OutputError(
                    f"{self.study.path} is of another version: choose another -o, or give --force to replace it"
                )
            self.study.trials.append(kept)
            self._tried[self._sizes(kept)] = kept
            self._failed.update(int(die) for die in kept.failed_dies)
            self._told()
            return kept
        found = self._evaluated(sizes, again=again)
        self._tried[sizes] = found
        self.study.add(found)
        self._told()
        return found

    def _told(self) -> None:
        tried = self.study.trials
        self.report(
            Progress(tried=len(tried), most=self.most, dies=sum(one.dies for one in tried), best=self.study.best())
        )

    def _evaluated(self, sizes: Any, *, again: bool) -> Trial:
        values = {name: float(value) for name, value in self.problem.values(sizes).items()}
        try:
            design = self.problem.design(sizes)
        except MappingError:
            return Trial(sizes=values, state="no circuit", energy_J=None, area_m2=None)
        costs = self.problem.costs(design, sizes)
        found = Trial(sizes=values, state="dearer", energy_J=costs.energy, area_m2=costs.area)
        best, minimise = self.study.best(), self.problem.goal.minimise
        if not again and best is not None and found.cost(minimise) > best.cost(minimise) * (1 - CHEAPER):
            return found
        return self._simulated(found, design)

    def _simulated(self, found: Trial, design: Any) -> Trial:
        allowed = self.problem.goal.allowed(self.dies, self.expected)
        job = job_of(self.problem, design)
        natural = list(range(min(SAMPLE, self.dies)))
        bad = self._bad(job, natural)
        sample, dies = len(natural), len(natural)
        good = sample - len(bad)
        rest = sorted(range(dies, self.dies), key=lambda die: (-self._failed[die], die))
        for portion in (*PORTIONS, self.dies):
            if len(bad) > allowed or not rest:
                break
            now, rest = rest[:portion], rest[portion:]
            bad += self._bad(job, now)
            dies += len(now)
        self._failed.update(bad)
        state: State = "fails" if len(bad) > allowed else "good"
        if state == "good":
            sample, good = dies, dies - len(bad)
        return replace(
            found, state=state, sample=sample, good_of_sample=good, dies=dies, failed=len(bad),
            failed_dies=tuple(sorted(bad)),
        )  # fmt: skip

    def _bad(self, job: Job, dies: Sequence[int]) -> list[int]:
        """Those of ``dies`` that are not good."""
        return [die for die, good in outcomes(job, dies, self.workers, self.problem.goal.drop).items() if not good]


def job_of(problem: AnyProblem, design: Any, *, seed: int | None = None) -> Job:
    kind = registry.of(design)
    return Job(
        design=design,
        trained=problem.trained,
        sequences=problem.sequences,
        seed=problem.seed if seed is None else seed,
        varied=kind.select_variations(design),
    )


def outcomes(job: Job, dies: Sequence[int], workers: Workers, drop: float) -> dict[int, bool]:
    """Die → whether it is good, in the order of their numbers."""
    ordered = sorted(dies)
    blocks = [
        Block(number=place, dies=tuple(ordered[start : start + BLOCK]))
        for place, start in enumerate(range(0, len(ordered), BLOCK))
    ]
    found: dict[int, bool] = {}
    for _, table in workers(job, blocks):
        good = passed(table, job.goal.accuracy, drop)
        found |= dict(zip(table["die"].to_pylist(), good.tolist(), strict=True))
    return dict(sorted(found.items()))


def front(problem: AnyProblem, trials: Sequence[Trial], workers: Workers) -> list[Trial]:
    """Trials on the Pareto front of energy, area and yield, cheapest first.

    The yield of those that fail is estimated anew, on the first FRONT_DIES dies.
    """
    simulated = [one for one in standing(trials) if one.sample]
    estimated = []
    for one in _not_dominated(simulated):
        if one.sample < FRONT_DIES:
            job = job_of(problem, problem.design(problem.of(one.sizes)))
            good = sum(outcomes(job, range(FRONT_DIES), workers, problem.goal.drop).values())
            one = replace(one, sample=FRONT_DIES, good_of_sample=good)
        estimated.append(one)
    return sorted(_not_dominated(estimated), key=lambda one: (one.energy_J or math.inf, one.yield_))


def _not_dominated(trials: Sequence[Trial]) -> list[Trial]:
    if not trials:
        return []
    values = np.array([(one.energy_J, one.area_m2, -one.yield_) for one in trials], dtype=np.float64)
    return [
        one
        for one, own in zip(trials, values, strict=True)
        if not ((values <= own).all(1) & (values < own).any(1)).any()
    ]
