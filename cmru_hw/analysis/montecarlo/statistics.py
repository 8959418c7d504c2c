"""Per-die scores and yield statistics.

A :class:`Job` says what is computed for a die, and nothing about how: a die's row is the same whichever process on
whichever machine makes it, and in whatever company. A die whose simulation fails is a row too, with ``status`` saying
how, and it counts as a die that does not do its task.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import betaincinv

from cmru_hw import spice
from cmru_hw.analysis.montecarlo.job import EngineName, Job, one_thread
from cmru_hw.analysis.montecarlo.result import DieAccuracy, DieStatistics, EngineAgreement, Interval, LevelErrors
from cmru_hw.circuits.dies import DieScores
from cmru_hw.core.errors import SimulationError

# Dies that are computed and stored together: some seconds of work, so that an interruption costs no more than that.
BLOCK: dict[EngineName, int] = {"fast": 128, "spice": 2}

SCHEMA = pa.schema(
    [
        ("die", pa.int64()),
        ("status", pa.string()),
        ("accuracy", pa.float64()),
        ("classes_alike", pa.int64()),
        ("decisions", pa.int64()),
        ("decisions_agree", pa.int64()),
        ("level_error_max", pa.float64()),
        ("level_error_rms", pa.float64()),
        ("engines_agree", pa.int64()),
        ("engines_close", pa.int64()),
    ]
)
"""One row per die. ``accuracy`` is the share of sequences classified as labelled (without labels: as software does).

``decisions_agree`` of ``decisions`` are software's. Level errors are in levels (αCMRU: shares of the swing), against
software. ``engines_agree`` decisions are the same in both engines, and ``engines_close`` are not but are below the
resolution of a comparison, or follow from one that is; both are null for a die that SPICE did not simulate.
"""


def scores(job: Job, dies: Sequence[int]) -> pa.Table:
    """One row of SCHEMA for each of ``dies``. Raises what would meet every die, like SimulatorMissing."""
    with one_thread():
        rows = job.simulator.fast(job, dies) if job.engine == "fast" else _spice(job, dies)
    return pa.Table.from_pylist([vars(row) for row in rows], schema=SCHEMA)


def _spice(job: Job, dies: Sequence[int]) -> list[DieScores]:
    rows: list[DieScores] = []
    with spice.open_engine(backend=job.backend, timeout=job.timeout) as engine:
        for number in dies:
            try:
                rows.append(job.simulator.simulated(job, job.simulator.draw(job, [number]), engine))
            except SimulationError as error:
                rows.append(DieScores(die=number, status=type(error).__name__))
    return rows


# --- Together ----------------------------------------------------------------------------------------------------


def clopper_pearson(k: int, n: int, *, confidence: float = 0.95) -> Interval:
    """The exact interval of a share of which ``k`` in ``n`` ≥ 1 were seen."""
    tail = (1 - confidence) / 2
    # quantiles of beta distributions; scipy.stats, which has them too, takes a second to load
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Interval(k=k, n=n, value=k / n, ci95=(low, high))


def passed(table: pa.Table, software: float, drop: float) -> NDArray[np.bool_]:
    """(dies,): whether each die did the task, within ``drop`` of software's accuracy."""
    ok = np.array([status == "ok" for status in table["status"].to_pylist()], dtype=bool)
    accuracy = np.array(table["accuracy"].to_pylist(), dtype=np.float64)
    # A share of sequences is a ratio of whole numbers: rounding must not fail a die that is exactly at the limit.
    return ok & (accuracy >= software - drop - 1e-12)


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
    )


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
    """``count`` of ``dies`` at random, in rising order: which ones is a function of the seed."""
    return sorted(np.random.default_rng([seed, 0]).permutation(dies)[:count].tolist())


def _quantile(values: NDArray[np.float64], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None


def _counts(names: Sequence[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}
