"""Inputs and outputs of a circuit: plain arrays in SI units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core.errors import DataError

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """Node voltages that hold for one timestep each.

    ``values`` has shape (timesteps, columns) in V; column j drives the node ``names[j]``. The circuit's clocks use
    the window at the end of each timestep, so a value is stable long before it is used.
    """

    timestep: float
    names: tuple[str, ...]
    values: Array

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names):
            raise DataError(f"stimulus of shape {self.values.shape} does not have {len(self.names)} columns")
        if not self.timestep > 0:
            raise DataError(f"a timestep of {self.timestep} s is not positive")
        if not np.isfinite(self.values).all():
            raise DataError("stimulus holds NaN or infinite voltages")


@dataclass(frozen=True, kw_only=True)
class Traces:
    """A finished transient analysis.

    ``time`` has shape (points,) in s, strictly rising. ``values`` maps a vector's name, lower case as ngspice prints
    it (``"o0_3"`` for a node, ``"i(vdd)"`` for the current of a source), to an array of the same length [V or A].
    """

    title: str
    time: Array
    values: Mapping[str, Array]

    def at(self, name: str, instants: NDArray[np.floating[Any]]) -> Array:
        """Vector ``name``, linearly interpolated at ``instants`` [s]."""
        found: Array = np.interp(instants, self.time, self.values[name])
        return found

    def charge(self, source: str, edges: NDArray[np.floating[Any]]) -> Array:
        """Charge [C] that flows through voltage source ``source`` between consecutive ``edges`` [s].

        Right-rectangle sum. It is exact only for first-order integration, where the current at a point is the charge
        moved since the last point, divided by the step. With second-order Gear the error can reach tens of percent.
        For an accurate charge, put a meter in the circuit: a capacitor integrates with the simulator's own formula.
        """
        current = self.values[f"i({source})"]
        moved = np.concatenate(([0.0], np.cumsum(current[1:] * np.diff(self.time))))
        return np.diff(np.interp(edges, self.time, moved))


def valid_mask(lengths: Sequence[int] | NDArray[np.int64], timesteps: int) -> NDArray[np.bool_]:
    """(sequences, timesteps): true for the first ``lengths[i]`` timesteps of sequence i; the others are padding."""
    return np.arange(timesteps)[None, :] < np.asarray(lengths)[:, None]


def padded(arrays: Sequence[NDArray[Any]], timesteps: int) -> NDArray[Any]:
    """Arrays of shape (length, ...) as one of shape (arrays, timesteps, ...), with 0 past each one's length."""
    out = np.zeros((len(arrays), timesteps, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class Response:
    """A network's response to a batch of sequences, computed by software, SPICE or the fast engine.

    Arrays are padded to (sequences, timesteps, ...), and ``lengths`` (sequences,) are the valid timesteps of each; the
    rest is 0. ``decisions`` has one int8 array per layer, +1 up, 0 hold, −1 down. ``states`` has one array per layer,
    in levels (αCMRU, which has none: in software units of h). ``logits`` is (sequences, timesteps, classes).
    """

    lengths: NDArray[np.int64]
    decisions: tuple[NDArray[np.int8], ...]
    states: tuple[Array, ...]
    logits: Array

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(sequences, timesteps): whether a timestep is valid, not padding."""
        return valid_mask(self.lengths, self.logits.shape[1])
