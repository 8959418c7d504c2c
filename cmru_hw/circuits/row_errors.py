"""What moves the weighted sums and the states of a circuit, in units of the software model.

An architecture refers its errors to the numbers that the software model compares: each comparison of a unit is a
*row* with an error of known standard deviation, and each state has errors of its own.
:mod:`cmru_hw.analysis.verdict` runs the software model with these errors, without a netlist or a simulation.

A unit has two rows, in this order: candidate − threshold and candidate + threshold of a window comparison, candidate −
β_lo and candidate − β_hi of a hysteretic cell. Arrays of rows are (2, units), or (2, sequences, timesteps, units) if
an error depends on the signal. The readout has one row per class, (1, classes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import ndtr

from cmru_hw.circuits.input_range import InputRange
from cmru_hw.core.records import Count, NotNegative, Record
from cmru_hw.core.signals import Array
from cmru_hw.nn.checkpoint import Trained


@dataclass(frozen=True, kw_only=True, eq=False)
class RowTrim:
    """The offset trim of rows: each die finds the code that is nearest to the constant offset of a row.

    ``before`` (rows, units) [V]: standard deviation of that offset before the trim. ``noise`` (rows, units) [V]: that
    of the decision on a code. ``moves`` (codes,) [V]: moves of the codes, in ascending order. ``step`` [V]: the
    smallest move. ``scale`` (rows, units) [V] as in `LayerErrors`.
    """

    before: Array
    noise: Array
    moves: Array
    step: float
    scale: Array

    def left(self, offset: Array, noise: Array) -> Array:
        """The offsets [V] that the codes leave of ``offset`` [V], decided with ``noise`` [V], of the same shape."""
        place = np.searchsorted(self.moves, offset + noise + self.step / 2) - 1
        return np.asarray(offset - self.moves[np.clip(place, 0, None)])

    def spread(self) -> Array:
        """Root mean square (rows, units) [V] of what is left."""
        normal = np.linspace(-5, 5, 2001)
        weight = np.exp(-(normal**2) / 2)
        offset = self.before[..., None] * normal
        left = self.left(offset, np.zeros_like(offset))
        return np.asarray(np.sqrt(left**2 @ (weight / weight.sum()) + self.noise**2))

    def beyond(self) -> Array:
        """Probability (rows, units) that an offset is out of the range of the codes, by more than a step."""
        low, high = self.moves[0] - self.step, self.moves[-1] + self.step
        return np.asarray(ndtr(low / self.before) + ndtr(-high / self.before))


@dataclass(frozen=True, kw_only=True, eq=False)
class RowErrors:
    """Standard deviations of the errors of rows, by source.

    Each is constant on a die. Errors ``per_row`` are independent from row to row. Those ``per_unit`` and ``per_die``
    are one normal number per unit, or per die, times a signed coefficient of each row. ``inherited`` errors reach a row
    through states and weights, which have errors of their own on a die; here they only count for the total.
    ``noise`` is independent at each decision. ``trim``, if any, leaves another error that is independent from row to
    row; ``inherited`` has its size.
    """

    per_row: Mapping[str, Array]
    noise: Array
    per_unit: Mapping[str, Array] = field(default_factory=dict)
    per_die: Mapping[str, Array] = field(default_factory=dict)
    inherited: Mapping[str, Array] = field(default_factory=dict)
    trim: RowTrim | None = None

    def variance(self) -> Array:
        """Total variance of each row, (2, units) or (2, sequences, timesteps, units)."""
        kinds = (self.per_row, self.per_unit, self.per_die, self.inherited)
        parts = [value**2 for kind in kinds for value in kind.values()]
        signals = [_broadcast(part) for part in (self.noise**2, *parts)]
        total = sum(signals, np.zeros(1))
        return np.asarray(total if any(part.ndim > 2 for part in parts) else total[:, 0, 0])


@dataclass(frozen=True, kw_only=True, eq=False)
class StateErrors:
    """Errors of the outputs h of one layer, (units,) each, in units of h where no other unit is given.

    ``offset`` is added to h wherever it is read; ``kick``, the same normal number, with every packet. ``kick_die`` is
    added with every packet too, but one normal number for all units of a die. ``size`` (by source) are relative errors
    of a level, ``size_die`` those that all units of a die share, and ``short`` the relative shortfall of each level,
    which is no random error. ``lost`` is the share of h that a packet takes away. ``walk`` is the noise of one packet,
    ``droop`` the drift per timestep. ``limit``: error of the level limit in levels.
    """

    offset: Array
    kick: Array
    kick_die: Array
    size: Mapping[str, Array]
    size_die: float
    short: Array
    lost: Array
    walk: Array
    droop: Array
    limit: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerErrors:
    """Errors of one layer. ``alpha`` are those of α (αCMRU only), (1, units). ``scale`` (2, units) [V or A] turns the
    software units of a row into those of the circuit.
    """

    rows: RowErrors
    states: StateErrors
    scale: Array
    alpha: RowErrors | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearErrors:
    """Relative errors of one linear map, for a circuit whose errors are those of its weights.

    Standard deviations: ``weight`` (rows, columns) and ``bias`` (rows,) of single numbers, ``row`` (rows,) of whole
    rows, ``line`` and ``fold`` (rows, columns) of whole columns, and ``constant`` of the constant 1, which all biases
    of a network share.
    """

    weight: Array
    bias: Array
    row: Array
    line: Array
    fold: Array
    constant: float


@dataclass(frozen=True, kw_only=True)
class SmallestPart(Record):
    """The smallest part that carries a weight, against the smallest that can be drawn.

    ``cause`` is the name of the errors that follow from a part below the limit.
    ``size`` and ``limit`` are in ``unit``; a ``limit`` of 0 means that the technology states none. ``below`` weights
    of ``count`` were smaller than the limit, and were raised to it or left out.
    """

    part: str
    cause: str
    size: NotNegative
    limit: NotNegative
    unit: str
    below: Count
    count: Count


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkErrors:
    """Errors of a design on given sequences.

    ``inputs`` is the range to which inputs are clamped. ``realised`` is the software network that the parts compute.
    In ``drawn``, parts below the smallest that can be drawn are raised to it or left out, which a technology of ideal
    parts may not do itself.
    ``linear``: errors of linear maps by the names of their tensors, without ``.weight``; their source is MIRRORS.
    ``unit`` is that of the rows: "V" or "A". ``assumptions`` are sentences about what is left out.
    """

    inputs: InputRange
    realised: Trained
    drawn: Trained
    layers: tuple[LayerErrors, ...]
    readout: RowErrors
    unit: str
    smallest: SmallestPart
    linear: Mapping[str, LinearErrors] = field(default_factory=dict)
    assumptions: tuple[str, ...] = field(default=())


NOISE = "noise"
OFFSETS = "comparator offsets"
AMPLIFIERS = "amplifier offsets"
TRIMMED = "offsets that the trim leaves"
CAPACITORS = "capacitor mismatch"
REFERENCES = "references"
GAIN = "finite amplifier gain"
LEAKAGE = "leakage"
LIMITS = "offsets of the level limit"
MIRRORS = "mirror mismatch"
CELLS = "mismatch of the cells"
CLAMPED = "inputs beyond their range"
OUTLIERS = "outliers of the inputs"
SMALL_CAPACITORS = "weights below the smallest capacitor"
SMALL_ARMS = "weights below the smallest arm"


def _broadcast(value: Array) -> Array:
    """With axes for sequences and timesteps."""
    return value[:, None, None] if value.ndim == 2 else value


def no_state_errors(units: int) -> StateErrors:
    """States without any error."""
    zero = np.zeros(units)
    return StateErrors(
        offset=zero,
        kick=zero,
        kick_die=zero,
        size={},
        size_die=0.0,
        short=zero,
        lost=zero,
        walk=zero,
        droop=zero,
        limit=zero,
    )


def with_size(states: StateErrors, size: Mapping[str, Array]) -> StateErrors:
    """``states`` with other relative errors of their levels."""
    return replace(states, size=size)
