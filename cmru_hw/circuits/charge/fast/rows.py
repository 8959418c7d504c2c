"""Rows of capacitors and the decisions of their comparators.

A row settles at its precharge level plus Σ±C V / ΣC. A decision depends on the sign only, and noise is bounded
(:data:`cmru_hw.core.counter_rng.BOUND`), so noise is computed only for rows whose sign it can still change. The
decisions equal those with all noise computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge import trim
from cmru_hw.circuits.charge.design import Row
from cmru_hw.circuits.charge.fast.batching import Packed
from cmru_hw.circuits.charge.noise import NoiseSource
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.core import kernels
from cmru_hw.core.signals import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Lines:
    """Drift of the voltages that rows read: ``slope`` (dies, lines) [V per timestep], starting at ``since`` (lines,),
    a share of the timestep.
    """

    slope: Array
    since: Array

    def among(self, places: slice) -> Lines:
        """The lines at ``places``."""
        return Lines(slope=self.slope[:, places], since=self.since[places])


@dataclass(frozen=True, kw_only=True, eq=False)
class FastRows:
    """Rows of one die batch: normalized ``weights`` (dies, rows, lines), ``level`` (dies, rows) and noise ``source``.

    ``level`` [V from V_cm] is the voltage of the top plates with all lines at V_cm. ``bound_from[:, k]`` (dies, rows):
    upper bound [V] on the sum of the parts k, k+1, … of ``source``.
    """

    weights: Array
    level: Array
    source: NoiseSource
    bound_from: Array

    @classmethod
    def of(cls, rows: Sequence[Row], dies: Dies, lines: Lines, source: NoiseSource, *, at: float) -> FastRows:
        """Concatenate ``rows``, evaluated at the phase that rises ``at``, with the drift of their lines until then."""
        parasitic, drifted = dies.nominal.technology.capacitor.parasitic, lines.slope * (at - lines.since)
        weights, levels = [], []
        for row in rows:
            total = row.total + parasitic
            weights.append(row.weights / total[:, :, None])
            own = row.offset - trim.shift(row, dies.nominal.technology)
            own = own + (row.bias + row.threshold) * dies.batch.bias[:, None] / total
            levels.append(own + (weights[-1] * drifted[:, None]).sum(2))
        return cls(
            weights=np.concatenate(weights, axis=1),
            level=np.concatenate(levels, axis=1),
            source=source,
            bound_from=source.bound_from,
        )

    def noiseless(self, die: int, lines: Array) -> Array:
        """Top plates (rows, places) [V from V_cm] of one die without noise, for ``lines`` (lines, places)."""
        out = np.empty((self.level.shape[1], lines.shape[1]))
        kernels.weigh(self.weights[die], self.level[die], lines, 0, lines.shape[1], out)
        return out

    def decide(self, die: int, lines: Array, packed: Packed, moves: NDArray[np.int8], margins: Array) -> None:
        """Decisions of the units of one die; low rows come before high rows. See
        :func:`cmru_hw.core.loops.decide`."""
        source = self.source
        kernels.decide(
            self.weights[die],
            self.level[die],
            lines,
            source.key[die],
            source.sigma[die],
            source.octave,
            self.bound_from[die],
            packed.moment,
            moves,
            margins,
        )
