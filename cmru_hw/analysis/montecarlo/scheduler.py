"""Compute the rows of all dies of a job, through shards that survive an interruption."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from cmru_hw.analysis.montecarlo.interval import clopper_pearson
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.result import Effect, Interval
from cmru_hw.analysis.montecarlo.rows import SCHEMA
from cmru_hw.analysis.montecarlo.shards import Store, blocks
from cmru_hw.analysis.montecarlo.statistics import passed
from cmru_hw.analysis.montecarlo.workers import Workers

# No decision is based on fewer dies, because the interval of their yield fluctuates.
FEWEST = 100

Report = Callable[[int, int, Interval], None]


def collect(
    job: Job,
    dies: Sequence[int],
    store: Store,
    workers: Workers,
    *,
    drop: float,
    until: float | None = None,
    report: Report | None = None,
) -> pa.Table:
    """Rows of ``dies`` (rising), from ``store`` if it has them, else from ``workers``, which store theirs.

    A stored die that timed out, or whose simulator was killed, is simulated again.

    With ``until`` it stops at the first block, in order, after which there are at least FEWEST dies and the 95 %
    interval of the yield is no wider than ``until``. The order in which blocks finish does not matter.
    ``report(done, all, interval)`` reports progress.
    """
    plan = {block.number: block for block in blocks(job, dies)}
    stored = {number: store.read(block) for number, block in plan.items()}
    found = {number: table for number, table in stored.items() if len(table) == len(plan[number].dies)}
    software = job.goal.accuracy

    def report_progress() -> None:
        if report and found:
            tables = found.values()
            count = sum(len(table) for table in tables)
            good = sum(int(passed(table, software, drop).sum()) for table in tables)
            report(count, len(dies), clopper_pearson(good, count))

    def finished() -> int | None:
        """Number of leading blocks that form the result; None while it is not known."""
        count = good = 0
        for place, block in enumerate(plan.values()):
            if block.number not in found:
                return None
            count += len(block.dies)
            good += int(passed(found[block.number], software, drop).sum())
            if until is not None and count >= FEWEST and clopper_pearson(good, count).width <= until:
                return place + 1
        return len(plan)

    report_progress()
    if finished() is None:
        lacking = [store.missing(block) for number, block in plan.items() if number not in found]
        for block, table in workers(job, lacking):
            found[block.number] = store.add(plan[block.number], table)
            report_progress()
            if until is not None and finished() is not None:
                break
    return pa.concat_tables([SCHEMA.empty_table(), *(found[number] for number in list(plan)[: finished()])])


def sensitivity(
    job: Job,
    dies: Sequence[int],
    store: Callable[[Job], Store],
    workers: Workers,
    *,
    drop: float,
    report: Callable[[str], None],
) -> list[Effect]:
    """Effect of each class of elements that varies in ``job``, alone and without it; the worst first."""
    effects = []
    for name in sorted({kind(leaf) for leaf in job.varied}):
        members = frozenset(leaf for leaf in job.varied if kind(leaf) == name)
        report(name)
        tables = [
            collect(one, dies, store(one), workers, drop=drop)
            for one in (replace(job, varied=members), replace(job, varied=job.varied - members))
        ]
        (alone, accuracy_alone, agreement_alone), (without, accuracy_without, agreement_without) = (
            _means(job, table, drop) for table in tables
        )
        effects.append(
            Effect(
                name=name,
                alone=alone,
                without=without,
                accuracy_alone=accuracy_alone,
                accuracy_without=accuracy_without,
                agreement_alone=agreement_alone,
                agreement_without=agreement_without,
            )
        )
    return sorted(effects, key=lambda effect: (effect.agreement_alone, effect.name))


def kind(leaf: str) -> str:
    """Class of elements of ``leaf``. It is the same in all layers: that of ``layer1/offset`` is ``offset``."""
    group, name = leaf.split("/")
    return name if group.startswith("layer") else leaf


def _means(job: Job, table: pa.Table, drop: float) -> tuple[Interval, float, float]:
    accuracy = np.array([value or 0.0 for value in table["accuracy"].to_pylist()])
    agree, total = (
        np.array([value or 0 for value in table[name].to_pylist()]) for name in ("decisions_agree", "decisions")
    )
    good = int(passed(table, job.goal.accuracy, drop).sum())
    return clopper_pearson(good, len(table)), float(accuracy.mean()), float(agree.sum() / max(total.sum(), 1))
