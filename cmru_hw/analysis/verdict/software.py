"""The software model of a verdict: sequences without padding, and the decisions and classes of the network itself.

A *place* is one timestep of one sequence. The places of the first timestep come first, then those of the second one,
and so on, the longest sequence first: the sequences that still go on at a timestep are the first ones of the timestep
before. Arrays of dies are (places, dies, units) in single precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.input_range import InputRange
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.forward import Model, classify
from cmru_hw.nn.sequences import Sequences

Single = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """The valid timesteps of sequences. ``order`` (sequences,) lists these, the longest first; ``alive`` (timesteps,)
    of them go on at a timestep. Each of ``sequence``, ``time`` is (places,), and ``inputs`` is (places, features)."""

    lengths: NDArray[np.int64]
    order: NDArray[np.int64]
    alive: tuple[int, ...]
    sequence: NDArray[np.int64]
    time: NDArray[np.int64]
    inputs: Single

    @classmethod
    def of(cls, sequences: Sequences) -> Places:
        lengths = sequences.lengths
        order = np.argsort(-lengths, kind="stable")
        alive = tuple(int((lengths > time).sum()) for time in range(int(lengths.max())))
        sequence = np.concatenate([order[:count] for count in alive])
        time = np.repeat(np.arange(len(alive)), alive)
        return cls(
            lengths=lengths,
            order=order,
            alive=alive,
            sequence=sequence,
            time=time,
            inputs=sequences.inputs[sequence, time],
        )

    def packed(self, values: NDArray[Any]) -> NDArray[Any]:
        """(sequences, timesteps, units) → (places, units)."""
        return np.asarray(values[self.sequence, self.time])

    def classes(self, logits: Single, rule: str) -> NDArray[np.int64]:
        """Classes (sequences, dies) of ``logits`` (places, dies, classes), as `cmru_hw.nn.forward.classify`."""
        votes = np.eye(logits.shape[-1], dtype=np.float32)[logits.argmax(-1)] if rule == "majority" else logits
        scores = np.zeros((len(self.order), *logits.shape[1:]), dtype=np.float32)
        first = 0
        for count in self.alive:
            now = votes[first : first + count]
            if rule == "last":
                scores[:count] = now
            else:
                scores[:count] += now
            first += count
        found = np.empty(scores.shape[:2], dtype=np.int64)
        found[self.order] = (scores / self.lengths[self.order][:, None, None]).argmax(-1)
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Expected:
    """What dies are compared with: decisions of the software model with clamped inputs, by layer (places, units), and
    ``right`` classes (sequences,), which are the labels or, without labels, those of the network itself. ``software``
    is the accuracy of the network itself, and ``inputs`` the range to which inputs are clamped.
    """

    places: Places
    decisions: tuple[NDArray[np.int8], ...]
    right: NDArray[np.int64]
    software: float
    inputs: InputRange

    @classmethod
    def of(cls, trained: Trained, inputs: InputRange, sequences: Sequences) -> Expected:
        places = Places.of(sequences)
        found = inputs.model(trained, dtype=np.float32).run(sequences.inputs, sequences.lengths)
        own = classes(Model.of(trained, dtype=np.float32), sequences)
        right = own if sequences.labels is None else sequences.labels
        return cls(
            places=places,
            decisions=tuple(places.packed(one) for one in found.decisions),
            right=right,
            software=float((own == right).mean()),
            inputs=inputs,
        )

    def clamps_to(self, inputs: InputRange) -> bool:
        """Whether ``inputs`` is the range of this software run."""
        return bool((self.inputs.low == inputs.low).all() and (self.inputs.high == inputs.high).all())


def classes(model: Model, sequences: Sequences) -> NDArray[np.int64]:
    """Classes (sequences,) of ``model``."""
    found = model.run(sequences.inputs, sequences.lengths)
    return classify(found.logits, sequences.lengths, model.config.decision)


def accuracy(trained: Trained, changed: Model, sequences: Sequences) -> float:
    """Share of ``sequences`` that the network ``changed`` classifies as labelled or, without labels, as ``trained``."""
    right = sequences.labels
    if right is None:
        right = classes(Model.of(trained, dtype=np.float32), sequences)
    return float((classes(changed, sequences) == right).mean())
