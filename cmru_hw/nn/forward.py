"""The network in NumPy, forward only: the software model that circuits are compared with.

The cells are those of :mod:`cmru_hw.nn.cells`, where PyTorch trains them. A command that only runs a network needs no
gradients, and does not wait for PyTorch to load. The two agree up to rounding in the last bits of weighted sums
(``tests/test_forward.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core.errors import InputError
from cmru_hw.core.signals import Array, valid_mask
from cmru_hw.nn import levels
from cmru_hw.nn.cell_config import DECISIONS
from cmru_hw.nn.checkpoint import ModelConfig, Trained

Follow = Callable[[int, Array], None]
"""``follow(layer, h)`` sees the outputs of each layer, (batch, time, units)."""
Override = Callable[[int, Array, Array, NDArray[np.int8]], NDArray[np.int8]]
"""``override(layer, candidate, threshold, decision) -> decision``, all (batch, time, units).

It continues software from decisions that something else made, such as a circuit where two answers are right.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Output:
    """All signals of a network. Tuples have one entry per layer, (batch, time, units) unless stated otherwise.

    ``logits`` is (batch, time, classes). ``decisions`` is int8: +1 up, −1 down, 0 hold (fq-bmru: set, reset, hold).
    ``states`` are s in levels (αCMRU: h), ``outputs`` are h, ``candidates`` c and ``thresholds`` β the
    pre-activations (fq-bmru: ĉ, and (2, units) with rows β_lo and β_hi). ``scaled`` are the scaled inputs (batch, time,
    features).
    """

    scaled: Array
    logits: Array
    decisions: tuple[NDArray[np.int8], ...]
    states: tuple[Array, ...]
    outputs: tuple[Array, ...]
    candidates: tuple[Array, ...]
    thresholds: tuple[Array, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A network that runs in the precision of its ``weights``, which have the names of a checkpoint.

    ``limits``: lower and upper limits (features,) of the scaled inputs, to which they are clamped as the input drivers
    of a circuit do; None for no limits.
    """

    config: ModelConfig
    weights: Mapping[str, NDArray[Any]]
    limits: tuple[NDArray[Any], NDArray[Any]] | None = None

    @classmethod
    def of(
        cls, trained: Trained, *, limits: tuple[Array, Array] | None = None, dtype: type[np.floating[Any]] = np.float64
    ) -> Model:
        weights = {name: array.astype(dtype) for name, array in trained.arrays.items()}
        clamped = None if limits is None else (limits[0].astype(dtype), limits[1].astype(dtype))
        return cls(config=trained.config, weights=weights, limits=clamped)

    def run(
        self,
        inputs: NDArray[Any],
        lengths: NDArray[np.int64] | None = None,
        *,
        follow: Follow | None = None,
        override: Override | None = None,
    ) -> Output:
        """``inputs`` (batch, time, features) in the data's own units; ``lengths`` (batch,) counts the valid timesteps.

        A sequence is held after its length: there is no decision, and states do not change.
        """
        valid = None if lengths is None else valid_mask(lengths, inputs.shape[1])[..., None]
        scaled = seen = self.scaled(inputs)
        if self.config.cell == "fq-bmru":
            seen = self.linear("projection", seen)
        found = []
        for index in range(len(self.config.units)):
            one = self._layer(index, seen, valid, override)
            h = one[2]
            found.append(one)
            if follow is not None:
                follow(index, h)
            seen = self.following(index, seen, h)
        decisions, states, outputs, candidates, thresholds = zip(*found, strict=True)
        return Output(
            scaled=scaled,
            logits=self.linear("readout", seen),
            decisions=decisions,
            states=states,
            outputs=outputs,
            candidates=candidates,
            thresholds=thresholds,
        )

    def scaled(self, inputs: NDArray[Any]) -> Array:
        """Scaled and clamped ``inputs`` (..., features)."""
        scale, offset = self.weights["input.scale"], self.weights["input.offset"]
        found = offset + scale * inputs.astype(scale.dtype)
        return np.asarray(found if self.limits is None else np.clip(found, *self.limits))

    def linear(self, name: str, x: NDArray[Any]) -> NDArray[Any]:
        """The affine map ``name`` of ``x`` (..., columns)."""
        weight = self.weights[f"{name}.weight"]
        flat = x.reshape(-1, x.shape[-1]) @ weight.T
        flat += self.weights[f"{name}.bias"]
        return np.asarray(flat.reshape(*x.shape[:-1], len(weight)))

    def following(self, index: int, seen: NDArray[Any], h: NDArray[Any]) -> NDArray[Any]:
        """The input of the layer (or readout) behind layer ``index``, which read ``seen`` and gave ``h``."""
        if self.config.cell == "fq-bmru":
            new = np.maximum(self.linear(f"layers.{index}.output", h), 0)
            return np.asarray(seen + new if self.config.skip and new.shape == seen.shape else new)
        behind = self.config.skip and index + 1 < len(self.config.units)
        return np.asarray(np.concatenate((h, seen), axis=-1) if behind else h)

    def highest(self, index: int) -> Any:
        """The largest level of layer ``index``: a number, (units,), or None."""
        found = None if self.config.cell == "fq-bmru" else levels.of_layer(self.config.levels, index)
        return found if found is None else np.asarray(found, dtype=self.weights["input.scale"].dtype)

    def _layer(
        self, index: int, x: Array, valid: NDArray[np.bool_] | None, override: Override | None
    ) -> tuple[NDArray[np.int8], Array, Array, Array, Array]:
        """Decisions, states, outputs, candidates and thresholds."""
        name, cell = f"layers.{index}", self.config.cell
        if cell == "fq-bmru":
            candidate = np.maximum(self.linear(f"{name}.candidate", np.maximum(x, 0)), 0)
            low = self.weights[f"{name}.low"]
            threshold = np.stack((low, low + self.weights[f"{name}.width"]))
            decision = (candidate >= threshold[0]).astype(np.int8) + (candidate >= threshold[1]) - np.int8(1)
        else:
            candidate, threshold = (self.linear(f"{name}.{part}", x) for part in ("candidate", "threshold"))
            moves = np.abs(candidate) - np.abs(threshold) >= 0
            decision = np.where(moves, np.where(candidate >= 0, np.int8(1), np.int8(-1)), np.int8(0))
        if override is not None:
            decision = override(index, candidate, threshold, decision)
        if valid is not None:
            decision = decision * valid
        packets: Array = decision.astype(x.dtype)
        if cell == "acmru":
            packets = packets * self.linear(f"{name}.alpha", x)
        states = self.states(index, decision, packets, [x.shape[0]] * x.shape[1])
        h = states if cell == "acmru" else self.weights[f"{name}.alpha"] * states
        return decision, states, h, candidate, threshold

    def states(self, index: int, decision: NDArray[np.int8], packets: Array, alive: Iterable[int]) -> Array:
        """States (batch, time, units) that follow from decisions and packets of that shape."""
        swapped = np.ascontiguousarray(packets.swapaxes(0, 1))
        found = recurred(
            self.config.epsilon if self.config.cell != "fq-bmru" else None,
            np.ascontiguousarray(decision.swapaxes(0, 1)).reshape(-1, *decision.shape[2:]),
            swapped.reshape(-1, *packets.shape[2:]),
            self.weights[f"layers.{index}.initial_state"],
            self.highest(index),
            alive,
        )
        return np.asarray(found.reshape(swapped.shape).swapaxes(0, 1))


def recurred(
    epsilon: float | None,
    decision: NDArray[np.int8],
    packets: NDArray[Any],
    initial: Any,
    highest: Any,
    alive: Iterable[int],
) -> NDArray[Any]:
    """States (places, ...) after each timestep: s ← clamp(a s + packet, −K, K), with a = 1 − (1 − ε)|decision|.

    Places are the sequences of the first timestep, then those of the second one, and so on; ``alive`` has the number
    of sequences of each timestep, which does not rise. ``initial`` broadcasts to a sequence. ``epsilon`` None is the
    bit of an fq-bmru, which +1 sets and −1 resets. ``highest`` is K, or None for no limit.
    """
    states = np.empty_like(packets)
    bit = epsilon is None
    keeps = None if epsilon == 1 else 1 - (1 - (epsilon or 0.0)) * np.abs(decision).astype(packets.dtype)
    before, first = np.broadcast_to(initial, packets.shape), 0
    for count in alive:
        now = slice(first, first + count)
        state = states[now]
        if keeps is None:
            np.add(before[:count], packets[now], out=state)
        else:
            np.multiply(before[:count], keeps[now], out=state)
            state += np.maximum(packets[now], 0) if bit else packets[now]
        if highest is not None:
            np.minimum(np.maximum(state, -highest, out=state), highest, out=state)
        before, first = state, first + count
    return states


def classify(logits: Array, lengths: NDArray[np.int64], decision: str) -> NDArray[np.int64]:
    """Class index (batch,) from ``logits`` (batch, time, classes) over the valid timesteps.

    ``decision`` is "mean" (argmax of the mean logits), "last" (argmax at the last valid timestep) or "majority" (the
    class that wins most timesteps). A tie goes to the lower index. Raises InputError for another one.
    """
    if decision not in DECISIONS:
        raise InputError(f"decision {decision!r} is unknown; it must be one of {', '.join(DECISIONS)}")
    batch, time, classes = logits.shape
    if decision == "last":
        return np.asarray(logits[np.arange(batch), lengths - 1].argmax(-1))
    votes = logits if decision == "mean" else np.eye(classes)[logits.argmax(-1)]
    valid = valid_mask(lengths, time)[..., None]
    return np.asarray(((votes * valid).sum(axis=1) / lengths[:, None]).argmax(-1))
