"""Numbers with their 95 % intervals."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 4000


@dataclass(frozen=True)
class Estimate:
    """A value with its interval. ``n``: number of seeds (or runs) behind it."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def percent(self, sign: str = "") -> str:
        low, high = (f"{100 * bound:{sign}.1f}" for bound in (self.low, self.high))
        return f"{100 * self.value:{sign}.1f} % [{low}, {high}]"


def median(values: Sequence[float]) -> Estimate:
    """Median of one value per seed; bootstrap over seeds."""
    return _bootstrap((values,), lambda sample, axis: np.asarray(np.median(sample, axis=axis)))


def difference(one: Sequence[float], other: Sequence[float]) -> Estimate:
    """Median of ``one`` less median of ``other``; both are resampled."""
    return _bootstrap((one, other), lambda a, b, axis: np.asarray(np.median(a, axis=axis) - np.median(b, axis=axis)))


def mean_difference(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Estimate:
    """Mean over ``pairs`` of the difference of their medians; every group is resampled."""

    def statistic(*groups: np.ndarray, axis: int) -> np.ndarray:
        medians = np.stack([np.median(group, axis=axis) for group in groups])
        return np.asarray((medians[::2] - medians[1::2]).mean(axis=0))

    return _bootstrap([group for pair in pairs for group in pair], statistic)


def spread_difference(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> Estimate:
    """Range of the medians of the groups ``one``, less that of the groups ``other``; every group resampled."""

    def statistic(*groups: np.ndarray, axis: int) -> np.ndarray:
        medians = np.stack([np.median(group, axis=axis) for group in groups])
        first, second = medians[: len(one)], medians[len(one) :]
        return np.asarray(np.ptp(first, axis=0) - np.ptp(second, axis=0))

    return _bootstrap((*one, *other), statistic)


def share(count: int, total: int) -> Estimate:
    """A share with its Clopper-Pearson interval."""
    found = stats.binomtest(count, total).proportion_ci(method="exact")
    return Estimate(count / total, float(found.low), float(found.high), total)


def share_difference(one: tuple[int, int], other: tuple[int, int]) -> Estimate:
    """Difference of two shares (count, total), with Newcombe's interval from Wilson's (method 10, Stat. Med. 1998)."""
    (first, low1, high1), (second, low2, high2) = (_wilson(*part) for part in (one, other))
    gap = first - second
    low = gap - float(np.hypot(first - low1, high2 - second))
    high = gap + float(np.hypot(high1 - first, second - low2))
    return Estimate(gap, low, high, one[1] + other[1])


def paired(differences: Sequence[float], tries: int = 1) -> Estimate:
    """Mean of paired differences with Student's t interval; 95 % for the best of ``tries`` (Bonferroni)."""
    found = stats.ttest_1samp(differences, 0.0).confidence_interval(1 - 0.05 / tries)
    return Estimate(float(np.mean(differences)), float(found.low), float(found.high), len(differences))


def _wilson(count: int, total: int) -> tuple[float, float, float]:
    found = stats.binomtest(count, total).proportion_ci(method="wilson")
    return count / total, float(found.low), float(found.high)


def _bootstrap(samples: Sequence[Sequence[float]], statistic: Callable[..., np.ndarray]) -> Estimate:
    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    value = float(statistic(*arrays, axis=-1))
    if all(len(set(sample.tolist())) == 1 for sample in arrays):
        # All seeds gave the same value, and so do all resamples.
        return Estimate(value, value, value, len(arrays[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            arrays,
            statistic,
            n_resamples=RESAMPLES,
            vectorized=True,
            method="percentile",
            random_state=np.random.default_rng(0),
        ).confidence_interval
    return Estimate(value, float(found.low), float(found.high), len(arrays[0]))
