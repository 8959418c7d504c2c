"""Per-die scores and yield statistics.

A :class:`Job` determines a die's row completely: the row does not depend on the process, the machine or the other dies
of a call. A die whose simulation fails is a row too; its ``status`` names the failure, and it counts as a die that does
not do its task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cmru_hw.analysis.montecarlo.interval import clopper_pearson, within_drop
from cmru_hw.analysis.montecarlo.job import EngineName, Job
from cmru_hw.analysis.montecarlo.result import (
    DieAccuracy,
    DieStatistics,
    EngineAgreement,
    LevelErrors,
    TrimRange,
)
from cmru_hw.analysis.montecarlo.rows import SCHEMA
from cmru_hw.circuits.dies import DieScores
from cmru_hw.core.errors import SimulationError, SimulationTimeout, SimulatorCrashed

BLOCK: dict[EngineName, int] = {"fast": 128, "spice": 16}
"""Most dies per block, which is computed and stored as one."""
BLOCK_SECONDS = 2.0
"""About the CPU time [s] of a block, unless BLOCK is reached: the most that an interruption can lose."""

TRANSIENT = frozenset(error.__name__ for error in (SimulationTimeout, SimulatorCrashed))
"""Status of a die that failed for want of time, or whose simulator was killed: another try may succeed."""


def block_size(job: Job) -> int:
    """Dies per block of ``job``, a power of two or BLOCK.

    It follows from the sizes of the job and not from a measurement, so that the same command finds the blocks of an
    earlier one. A die's row does not depend on it.
    """
    simulator = job.simulator
    seconds = simulator.fast_seconds if job.engine == "fast" else simulator.simulated_seconds
    weights = sum(array.size for name, array in job.trained.arrays.items() if name.endswith("weight"))
    dies = BLOCK_SECONDS / (seconds * weights * int(job.sequences.lengths.sum()))
    return min(BLOCK[job.engine], 1 << max(0, math.floor(math.log2(dies))))


def scores(job: Job, dies: Sequence[int]) -> pa.Table:
    """One row of SCHEMA for each of ``dies``. Raises errors that would affect every die, such as SimulatorMissing."""
    rows = job.simulator.fast(job, dies) if job.engine == "fast" else _spice(job, dies)
    return pa.Table.from_pylist([vars(row) for row in rows], schema=SCHEMA)


def _spice(job: Job, dies: Sequence[int]) -> list[DieScores]:
    rows: list[DieScores] = []
    job.require_same_simulator()
    with job.engines.borrowed() as engine:
        for number in dies:
            try:
                rows.append(job.simulator.simulated(job, job.simulator.draw(job, [number]), engine))
            except SimulationError as error:
                rows.append(DieScores(die=number, status=type(error).__name__))
    return rows


# --- Together ----------------------------------------------------------------------------------------------------


def passed(table: pa.Table, software: float, drop: float) -> NDArray[np.bool_]:
    """(dies,): whether the accuracy of each die is at most ``drop`` below software's."""
    ok = np.array([status == "ok" for status in table["status"].to_pylist()], dtype=bool)
    accuracy = np.array(table["accuracy"].to_pylist(), dtype=np.float64)
    return ok & within_drop(accuracy, software, drop)


def summary(job: Job, table: pa.Table, *, drop: float) -> DieStatistics:
    """Statistics over the dies of ``table``."""
    good = table.filter(pc.equal(table["status"], "ok"))
    accuracy = good["accuracy"].to_numpy()
    decisions = int(good["decisions"].to_numpy().sum())
    return DieStatistics(
        dies=len(table),
        failed=len(table) - len(good),
        failures=_counts([status for status in table["status"].to_pylist() if status != "ok"]),
        yield_=clopper_pearson(int(passed(table, job.goal.accuracy, drop).sum()), len(table)),
        accuracy=DieAccuracy(
            software=job.goal.accuracy,
            median=_quantile(accuracy, 0.5),
            p05=_quantile(accuracy, 0.05),
            min=_quantile(accuracy, 0.0),
        ),
        accuracy_of="labels" if job.sequences.labels is not None else "software's classes",
        drop=drop,
        decision_agreement=int(good["decisions_agree"].to_numpy().sum()) / decisions if decisions else None,
        level_error=LevelErrors(
            max=_quantile(good["level_error_max"].to_numpy(), 1.0),
            median=_quantile(good["level_error_max"].to_numpy(), 0.5),
            rms=float(np.sqrt(np.mean(good["level_error_rms"].to_numpy() ** 2))) if len(good) else None,
        ),
        worst_die=int(good["die"].to_numpy()[np.argmin(accuracy)]) if len(good) else None,
        trim=_trim_range(good),
    )


def _trim_range(table: pa.Table) -> TrimRange | None:
    rows = [count for count in table["trim_beyond"].to_pylist() if count is not None]
    return TrimRange(rows_beyond=sum(rows), dies_beyond=sum(count > 0 for count in rows)) if rows else None


def engine_agreement(table: pa.Table) -> EngineAgreement | None:
    """Agreement of SPICE and the fast engine on the dies that both simulated; None if there are none."""
    both = table.filter(pc.is_valid(table["engines_agree"]))
    if not len(both):
        return None
    agree, total = int(both["engines_agree"].to_numpy().sum()), int(both["decisions"].to_numpy().sum())
    close = int(both["engines_close"].to_numpy().sum())
    interval = clopper_pearson(agree, total)
    return EngineAgreement(
        dies=len(both),
        decisions=total,
        agree=agree,
        value=interval.value,
        ci95=interval.ci95,
        margin_limited=close,
        unexplained=total - agree - close,
    )


def subset(seed: int, dies: int, count: int) -> list[int]:
    """``count`` of ``dies`` at random, in rising order, as a function of the seed."""
    return sorted(np.random.default_rng([seed, 0]).permutation(dies)[:count].tolist())


def _quantile(values: NDArray[np.float64], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None


def _counts(names: Sequence[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}
