"""Logits and classes from the last layer's states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge import noise
from cmru_hw.circuits.charge.fast.batching import Packed, rises
from cmru_hw.circuits.charge.fast.rows import FastRows, Lines
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.core import kernels
from cmru_hw.core.signals import Array
from cmru_hw.nn.forward import classify


@dataclass(frozen=True, kw_only=True, eq=False)
class Readout:
    """The rows of the readout. ``offset`` [V] and ``scale`` [software units per volt], (classes,), turn volts into
    logits. They are those of the nominal design, because the values of a die are unknown in practice.
    """

    rows: FastRows
    offset: Array
    scale: Array
    rule: str

    @classmethod
    def of(cls, dies: Dies, lines: Lines) -> Readout:
        nominal = dies.nominal
        row = nominal.readout
        source = noise.readout_noise(dies)
        return cls(
            rows=FastRows.of([dies.batch.readout], dies, lines, source, at=rises(nominal)["r"]),
            offset=row.offset,
            scale=(row.total + nominal.technology.capacitor.parasitic) / row.scale,
            rule=nominal.config.decision,
        )

    def classes(self, die: int, packed: Packed, states: Array) -> NDArray[np.int64]:
        """Class index (sequences,) of one die by the checkpoint's decision rule, readout noise included."""
        if self.rule == "mean":
            return self._of_means(die, packed, states)
        return classify(self.logits(die, packed, states), packed.lengths, self.rule)

    def logits(self, die: int, packed: Packed, states: Array) -> Array:
        """(sequences, timesteps, classes) of one die in software units, with noise; 0 past a sequence's end."""
        volts = self.rows.noiseless(die, states)
        self.rows.source.add(die, packed.moment, volts)
        return packed.padded(self._read(volts))

    def _of_means(self, die: int, packed: Packed, states: Array) -> NDArray[np.int64]:
        # The readout is linear: the mean of its outputs is its output for the mean state.
        sums = np.empty((len(states), len(packed.lengths)))
        kernels.totals(states, packed.alive, sums)
        means = np.empty((len(self.scale), len(packed.lengths)))
        means[:, packed.order] = self._read(self.rows.noiseless(die, sums / packed.lengths[packed.order]))
        # The mean of bounded noise has the same bound: noise matters only where the best scores are closer than that.
        bound = 2 * (self.rows.bound_from[die, 0] * self.scale).max()
        for sequence in np.flatnonzero((means >= means.max(0) - bound).sum(0) > 1):
            length = packed.lengths[sequence]
            moment = noise.moments(sequence, np.arange(1, length + 1))
            means[:, sequence] += self.rows.source.at(die, moment).mean(1) * self.scale
        return np.asarray(means.argmax(0))

    def _read(self, volts: Array) -> Array:
        return (volts - self.offset[:, None]) * self.scale[:, None]
