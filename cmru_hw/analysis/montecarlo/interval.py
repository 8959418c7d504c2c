"""The exact interval of a yield, and which dies count for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmru_hw.analysis.montecarlo.result import Interval


def clopper_pearson(k: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Exact interval of a share of which ``k`` of ``n`` ≥ 1 were observed."""
    # Quantiles of beta distributions. scipy.stats has them too, but takes a second to import.
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Interval(k=k, n=n, value=k / n, ci95=(low, high))


def within_drop(accuracy: NDArray[np.float64], software: float, drop: float) -> NDArray[np.bool_]:
    """(dies,): whether ``accuracy`` (dies,) is at most ``drop`` below that of ``software``."""
    # Shares of sequences are ratios of integers: rounding must not fail a die that is exactly at the limit.
    return np.asarray(accuracy >= software - drop - 1e-12)
