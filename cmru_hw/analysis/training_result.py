"""The result of ``train``: scores of the network, of all seeds tried, and of dies before and after tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cmru_hw.analysis.montecarlo.result import DieStatistics
from cmru_hw.core.records import OMIT_NONE, Count, Record, Sha256


@dataclass(frozen=True, kw_only=True)
class SeedScores(Record):
    """One of several networks: its ``loss`` on variations of the training data, and its scores by split."""

    seed: Count
    loss: float
    scores: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Improvement(Record):
    """Dies of ``technology`` before and after ``steps`` of training on dies, with the same goal for both."""

    technology: str
    steps: Count
    seed: Count
    before: DieStatistics
    after: DieStatistics


@dataclass(frozen=True, kw_only=True)
class CounterpartOf(Record):
    """The network ``file`` whose counterpart was trained, with its accuracy on the same ``test`` sequences."""

    file: str
    cell: str
    sha256: Sha256
    test: float


@dataclass(frozen=True, kw_only=True)
class TrainingResult(Record):
    """The checkpoint ``output`` with the hash ``sha256``, and its ``scores``, as the checkpoint holds them."""

    output: str
    scores: Mapping[str, object]
    sha256: Sha256
    tried: tuple[SeedScores, ...] | None = field(default=None, metadata=OMIT_NONE)
    hardware_aware: Improvement | None = field(default=None, metadata=OMIT_NONE)
    counterpart_of: CounterpartOf | None = field(default=None, metadata=OMIT_NONE)
