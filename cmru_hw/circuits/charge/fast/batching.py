"""Memory layout of the sequences in the fast engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge import noise
from cmru_hw.circuits.charge.design import Design
from cmru_hw.core.counter_rng import Hashed
from cmru_hw.core.signals import Array
from cmru_hw.nn.sequences import Sequences


@dataclass(frozen=True, kw_only=True, eq=False)
class Packed:
    """Sequences without padding. Place m belongs to sequence ``sequence[m]`` at timestep ``time[m]``.

    ``order`` (sequences,) lists the sequences, longest first. ``alive[t]`` sequences have a timestep t; their places
    are contiguous, in that order, after those of earlier timesteps. ``moment`` is the counter of a place in the random
    numbers of noise. ``lines`` (features, places) are the inputs [V from V_cm]. ``timesteps`` is the padded length.
    """

    lengths: NDArray[np.int64]
    order: NDArray[np.int64]
    alive: NDArray[np.int64]
    sequence: NDArray[np.int64]
    time: NDArray[np.int64]
    moment: Hashed
    lines: Array
    timesteps: int

    def padded(self, values: NDArray[Any]) -> NDArray[Any]:
        """(units, places) → (sequences, timesteps, units), 0 past a sequence's end."""
        out = np.zeros((len(self.lengths), self.timesteps, len(values)), dtype=values.dtype)
        out[self.sequence, self.time] = values.T
        return out

    def places(self, values: NDArray[Any]) -> NDArray[Any]:
        """(sequences, timesteps, units) → (units, places)."""
        return np.ascontiguousarray(values[self.sequence, self.time].T)


def pack(design: Design, sequences: Sequences) -> Packed:
    """Arrange ``sequences`` for the engine, as voltages of ``design``'s input lines."""
    lengths = sequences.lengths
    noise.check(len(lengths), int(lengths.max()))
    order = np.argsort(-lengths, kind="stable")
    alive = np.array([(lengths > t).sum() for t in range(int(lengths.max()))])
    sequence = np.concatenate([order[:count] for count in alive])
    time = np.repeat(np.arange(len(alive)), alive)
    volts = design.voltages(sequences.inputs[sequence, time]) - design.technology.supply.common_mode
    return Packed(
        lengths=lengths,
        order=order,
        alive=alive,
        sequence=sequence,
        time=time,
        moment=noise.moments(sequence, time + 1),
        lines=np.ascontiguousarray(volts.T),
        timesteps=sequences.inputs.shape[1],
    )


def rises(design: Design) -> dict[str, float]:
    """Rising edge of each clock phase, and the sampling instant of states, as shares of a timestep."""
    names, phase = design.phases, design.phase
    return {name: 1 - phase * (len(names) + 1 - place) for place, name in enumerate(names)} | {"sample": 1 - phase / 4}
