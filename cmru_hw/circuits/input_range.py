"""The range of the inputs. Input drivers clamp inputs beyond it, and so does the software model of the circuit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmru_hw.core.errors import MappingError
from cmru_hw.core.records import Count, Invalid, NotNegative, Record
from cmru_hw.core.signals import Array, valid_mask
from cmru_hw.core.units import plain
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.forward import Model, classify
from cmru_hw.nn.sequences import Sequences

PERCENTILE = 99.9
"""Percentage of the timesteps of the calibration data that the range of a feature holds, unless another is asked for.
At least one timestep may lie beyond it, so that one outlier never sets a scale."""
SEQUENCES = 0.9
"""Share of the calibration sequences that the range of a feature holds entirely. Without it, an input that is seldom
active, such as one pulse per sequence, would be taken for an outlier."""
SMALLEST = 0.25
"""The smallest range of a feature, as a share of the median range: a feature that calibration hardly moved may move."""
# Data in single precision may exceed its own limit by this share of the range.
ROUNDING = 1e-6
# Magnitude of the scaled inputs where no data was given: see cmru_hw.circuits.calibration.
ASSUMED_RANGE = 4.0


@dataclass(frozen=True, kw_only=True)
class ClampedInputs(Record):
    """Input samples that lie beyond the range of a design, and their effect on the software model.

    ``clamped`` of ``samples`` (one per valid timestep and feature), in ``sequences_clamped`` of ``sequences``.
    ``feature`` has the sample that is farthest beyond its range, relative to the range: it is ``largest``, in scaled
    inputs, where the range reaches to ``limit`` and calibration saw ``calibrated``. ``classes_changed``: sequences
    that the software model classifies differently with clamped inputs.
    """

    samples: Count
    clamped: Count
    sequences: Count
    sequences_clamped: Count
    feature: Count
    largest: float
    limit: float
    calibrated: NotNegative
    classes_changed: Count

    def check(self) -> None:
        if self.clamped > self.samples:
            raise Invalid("clamped", f"is {self.clamped} of {self.samples} samples")
        if max(self.sequences_clamped, self.classes_changed) > self.sequences:
            raise Invalid("sequences", f"is {self.sequences}, fewer than were clamped or changed class")

    def sentence(self) -> str:
        """For people; "" if nothing was clamped."""
        if not self.clamped:
            return ""
        beyond = abs(self.largest) > self.calibrated * (1 + 1e-9)
        seen = f", beyond the {plain(self.calibrated)} of calibration" if beyond else ""
        return (
            f"{self.clamped} of {self.samples} samples, in {self.sequences_clamped} of {self.sequences} sequences; the "
            f"largest is {plain(self.largest)} of feature {self.feature}, whose range ends at {plain(self.limit)}{seen}"
            f"; {self.classes_changed} of {self.sequences} classes change in software"
        )

    def rows(self) -> list[tuple[str, str]]:
        """The sentence as rows of a table."""
        return [("inputs clamped", text)] if (text := self.sentence()) else []


@dataclass(frozen=True, kw_only=True, eq=False)
class InputRange:
    """Limits ``low`` and ``high`` (features,) of the scaled inputs ``scale`` x + ``offset``.

    ``calibrated`` (features,): the largest magnitudes of scaled inputs in calibration.
    """

    scale: Array
    offset: Array
    low: Array
    high: Array
    calibrated: Array

    @classmethod
    def of(
        cls, *, scale: Array, offset: Array, limits: ArrayLike, largest: ArrayLike, negative: ArrayLike = True
    ) -> InputRange:
        """The range ±``limits`` (features,); it ends at zero where ``negative`` (features,) is false."""
        high = np.array(limits)
        low = np.where(negative, -high, 0.0)
        return cls(scale=scale, offset=offset, low=low, high=high, calibrated=np.array(largest))

    def scaled(self, inputs: NDArray[np.floating]) -> Array:
        """Scaled inputs as the drivers pass them on, clamped, of ``inputs`` (..., features) in the data's own units."""
        return np.clip(self._raw(inputs), self.low, self.high)

    def _raw(self, inputs: NDArray[np.floating]) -> Array:
        return np.asarray(inputs.astype(np.float64) * self.scale + self.offset)

    def model(self, trained: Trained, *, dtype: type[np.floating[Any]] = np.float64) -> Model:
        """The software model of the circuit: ``trained`` with clamped inputs."""
        return Model.of(trained, limits=(self.low, self.high), dtype=dtype)

    def clamped(
        self, trained: Trained, data: Sequences, classes: NDArray[np.int64]
    ) -> tuple[ClampedInputs, NDArray[np.int64]]:
        """What is clamped of ``data``, and the classes (sequences,) of the software model without clamping.

        ``classes`` are those with clamped inputs.
        """
        valid = data.valid[:, :, None]
        values = self._raw(data.inputs)
        slack = ROUNDING * (self.high - self.low) if np.isfinite(self.high).all() else 0.0
        beyond = valid & ((values < self.low - slack) | (values > self.high + slack))
        own = classes
        if beyond.any():
            logits = Model.of(trained).run(data.inputs, data.lengths).logits
            own = classify(logits, data.lengths, trained.config.decision)
        excess = np.where(valid, values / np.where(values < 0, -self._reach(self.low), self._reach(self.high)), 0.0)
        place = np.unravel_index(int(np.argmax(excess)), excess.shape)
        feature, value = int(place[2]), float(values[place])
        found = ClampedInputs(
            samples=int(valid.sum()) * values.shape[2],
            clamped=int(beyond.sum()),
            sequences=len(data),
            sequences_clamped=int(beyond.any(axis=(1, 2)).sum()),
            feature=feature,
            largest=value,
            limit=float(self.low[feature] if value < 0 else self.high[feature]),
            calibrated=float(self.calibrated[feature]),
            classes_changed=int((own != classes).sum()),
        )
        return found, own

    @staticmethod
    def _reach(limit: Array) -> Array:
        """Magnitudes of a limit, with none that is zero."""
        return np.asarray(np.maximum(np.abs(limit), 1e-12))


def magnitudes(values: Array, lengths: NDArray[np.int64], percentile: float) -> tuple[Array, Array]:
    """Range and largest magnitude (features,) of scaled inputs ``values`` (sequences, timesteps, features).

    The range of a feature holds ``percentile`` % of its timesteps, and SEQUENCES of the sequences entirely. Of each,
    at least one may exceed it; at 100 % none does. It is at least SMALLEST of the median range. Raises MappingError
    if no input is ever different from zero.
    """
    valid = valid_mask(lengths, values.shape[1])
    sizes = np.abs(values)
    timesteps, sequences = sizes[valid], np.where(valid[:, :, None], sizes, 0.0).max(axis=1)
    largest = timesteps.max(axis=0)
    if not largest.any():
        raise MappingError("every calibration input is zero: give sequences that move the inputs")
    found = largest
    if percentile < 100:
        found = np.maximum(_exceeded(timesteps, 1 - percentile / 100), _exceeded(sequences, 1 - SEQUENCES))
    if not found.any():
        # all inputs are outliers: there is no other scale
        found = largest
    return np.maximum(found, SMALLEST * float(np.median(found[found > 0]))), largest


def _exceeded(values: Array, share: float) -> Array:
    """(features,): the magnitude that ``share`` of ``values`` (samples, features), at least one of them, may exceed."""
    count = len(values)
    above = min(max(1, int(share * count + 1e-9)), count - 1)
    return np.asarray(np.sort(values, axis=0)[count - 1 - above])


def span(units: Array) -> str:
    """The values of the features, lowest and highest, in a netlist's comment."""
    low, high = float(units.min()), float(units.max())
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"


def described(limits: Sequence[float], largest: Sequence[float], percentile: float) -> str:
    """The ranges of a calibration, for people."""
    low, high = min(limits), max(limits)
    ends = f"±{low:.3g}" if low == high else f"±{low:.3g} to ±{high:.3g}"
    return f"{ends} ({percentile:g} % of timesteps), scaled inputs; the largest is {max(largest):.3g}"


def from_dict(found: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a calibration that describe inputs, as design.json has them. Raises KeyError, TypeError,
    ValueError."""
    return {
        "inputs": tuple(map(float, found["inputs"])),
        "largest": tuple(map(float, found["largest"])),
        "percentile": float(found["percentile"]),
    }


def checked(limits: Sequence[float], features: int) -> Array:
    """``limits`` as an array (features,). Raises MappingError unless each feature has a positive one."""
    found = np.array(limits)
    if found.shape != (features,) or not (np.isfinite(found) & (found > 0)).all():
        raise MappingError(f"the calibration needs a positive range for each of {features} inputs: calibrate again")
    return found
