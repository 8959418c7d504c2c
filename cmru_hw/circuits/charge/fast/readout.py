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
    logits. They are those of the nominal design, because the values of a die are unknown in practice. Noise can change
    the order of two mean logits that differ by at most ``bound`` (dies,).
    """

    rows: FastRows
    offset: Array
    scale: Array
    bound: Array
    rule: str

    @classmethod
    def of(cls, dies: Dies, lines: Lines) -> Readout:
        nominal = dies.nominal
        row = nominal.readout
        source = noise.readout_noise(dies)
        rows = FastRows.of([dies.batch.readout], dies, lines, source, at=rises(nominal)["r"])
        scale = (row.total + nominal.technology.capacitor.parasitic) / row.scale
        return cls(
            rows=rows,
            offset=row.offset,
            scale=scale,
            # The mean of bounded noise has the same bound: noise matters only where the best scores are closer.
            bound=2 * (rows.bound_from[:, 0] * scale).max(1),
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
        order = packed.order
        averages = np.empty((len(states), len(order)))
        kernels.means(states, packed.alive, packed.lengths[order], averages)
        logits = self.rows.noiseless(die, averages)
        found, close = np.empty(len(order), dtype=np.int64), np.empty(len(order), dtype=np.bool_)
        kernels.read(logits, self.offset, self.scale, self.bound[die], found, close)
        for place in np.flatnonzero(close):
            sequence = order[place]
            moment = noise.moments(sequence, np.arange(1, packed.lengths[sequence] + 1))
            noisy = logits[:, place] + self.rows.source.at(die, moment).mean(1) * self.scale
            found[place] = noisy.argmax()
        classes = np.empty_like(found)
        classes[order] = found
        return classes

    def _read(self, volts: Array) -> Array:
        return (volts - self.offset[:, None]) * self.scale[:, None]
