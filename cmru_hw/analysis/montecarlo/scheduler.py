"""From a job and numbers of dies to the rows of all of them, through shards that survive any interruption."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.result import Effect, Interval
from cmru_hw.analysis.montecarlo.shards import Store, blocks
from cmru_hw.analysis.montecarlo.statistics import SCHEMA, clopper_pearson, passed
from cmru_hw.analysis.montecarlo.workers import Workers

# Intervals of fewer dies jump about; nothing is decided on them.
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
    """Rows of ``dies`` (rising), from ``store`` where it has them and from ``workers``, who add theirs to it.

    With ``until`` it stops early: at the first block of the order after which at least FEWEST dies are there and the
    95 % interval of the yield is no wider than that. Whatever order blocks are finished in, the same one is the last.
    ``report(done, all, interval)`` follows the work.
    """
    plan = blocks(job, dies)
    found = {block.number: table for block in plan if (table := store.read(block)) is not None}
    software = job.goal.accuracy

    def told() -> None:
        if report and found:
            tables = found.values()
            count = sum(len(table) for table in tables)
            good = sum(int(passed(table, software, drop).sum()) for table in tables)
            report(count, len(dies), clopper_pearson(good, count))

    def finished() -> int | None:
        """Number of blocks, from the first, that form the result; None while it is not known."""
        count = good = 0
        for place, block in enumerate(plan):
            if block.number not in found:
                return None
            count += len(block.dies)
            good += int(passed(found[block.number], software, drop).sum())
            if until is not None and count >= FEWEST and clopper_pearson(good, count).width <= until:
                return place + 1
        return len(plan)

    told()
    if finished() is None:
        for block, table in workers(job, [block for block in plan if block.number not in found]):
            store.write(block, table)
            found[block.number] = table
            told()
            if until is not None and finished() is not None:
                break
    return pa.concat_tables([SCHEMA.empty_table(), *(found[block.number] for block in plan[: finished()])])


def sensitivity(
    job: Job,
    dies: Sequence[int],
    store: Callable[[Job], Store],
    workers: Workers,
    *,
    drop: float,
    report: Callable[[str], None],
) -> list[Effect]:
    """Effect of each class of elements that varies in ``job``, alone and without it, worst first."""
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
    """Layers are made alike, so a class of elements is one leaf in all of them: ``layer1/offset`` is ``offset``."""
    group, name = leaf.split("/")
    return name if group.startswith("layer") else leaf


def _means(job: Job, table: pa.Table, drop: float) -> tuple[Interval, float, float]:
    accuracy = np.array([value or 0.0 for value in table["accuracy"].to_pylist()])
    agree, total = (
        np.array([value or 0 for value in table[name].to_pylist()]) for name in ("decisions_agree", "decisions")
    )
    good = int(passed(table, job.goal.accuracy, drop).sum())
    return clopper_pearson(good, len(table)), float(accuracy.mean()), float(agree.sum() / max(total.sum(), 1))
