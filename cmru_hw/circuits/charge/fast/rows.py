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
    """Rows of a batch of dies, those of all ``rows`` one after the other, and their noise ``source``.

    ``totals`` of each of ``rows`` is (dies, units) [F]. ``level`` (dies, rows) [V from V_cm] is the voltage of the top
    plates with all lines where they were when they had settled, ``drifted`` (dies, lines) [V] their drift since then,
    or None without. ``bound_from[:, k]`` (dies, rows): upper bound [V] on the sum of the parts k, k+1, … of ``source``.
    """

    rows: tuple[Row, ...]
    totals: tuple[Array, ...]
    level: Array
    drifted: Array | None
    source: NoiseSource
    bound_from: Array

    @classmethod
    def of(cls, rows: Sequence[Row], dies: Dies, lines: Lines, source: NoiseSource, *, at: float) -> FastRows:
        """Concatenate ``rows``, evaluated at the phase that rises ``at``, with the drift of their lines until then."""
        parasitic, drifted = dies.nominal.technology.capacitor.parasitic, lines.slope * (at - lines.since)
        totals, levels = [], []
        for row in rows:
            totals.append(row.total + parasitic)
            own = row.offset - trim.shift(row, dies.nominal.technology)
            levels.append(own + (row.bias + row.threshold) * dies.batch.bias[:, None] / totals[-1])
        return cls(
            rows=tuple(rows),
            totals=tuple(totals),
            level=np.concatenate(levels, axis=1),
            drifted=drifted if drifted.any() else None,
            source=source,
            bound_from=source.bound_from,
        )

    def noiseless(self, die: int, lines: Array) -> Array:
        """Top plates (rows, places) [V from V_cm] of one die without noise, for ``lines`` (lines, places)."""
        out = np.empty((self.level.shape[1], lines.shape[1]))
        kernels.weigh(*self._of_die(die), lines, 0, lines.shape[1], out)
        return out

    def decide(self, die: int, lines: Array, packed: Packed, moves: NDArray[np.int8], margins: Array) -> None:
        """Decisions of the units of one die; low rows come before high rows. See
        :func:`cmru_hw.core.loops.decide`. Without margins, (0, 0), the same decisions take half the time."""
        source = self.source
        row = (*self._of_die(die), lines, source.key[die], source.sigma[die], source.octave, self.bound_from[die])
        if margins.size:
            kernels.decide(*row, packed.moment, moves, margins)
        else:
            kernels.decide_singly(*row, packed.moment, moves)

    def _of_die(self, die: int) -> tuple[Array, Array]:
        """Normalized weights (rows, lines) and levels (rows,) of one die."""
        weights, first = np.empty((self.level.shape[1], self.rows[0].weights.shape[2])), 0
        for row, total in zip(self.rows, self.totals, strict=True):
            last = first + total.shape[1]
            np.divide(row.weights[die], total[die][:, None], out=weights[first:last])
            first = last
        level = self.level[die]
        return weights, level if self.drifted is None else level + (weights * self.drifted[die]).sum(1)
