"""Move thresholds away from the candidates of given sequences, without changing any decision on them.

A threshold can lie anywhere between the largest candidate below it and the smallest one above it. Training ends where
the loss is flat, which may be close to one of the two. In the middle, both sides bear the largest error of a circuit.
Behind a layer of bits candidates take few values, and the gaps between them are wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core.errors import InputError
from cmru_hw.core.signals import Array
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.forward import Model
from cmru_hw.nn.sequences import Sequences

NARROWEST = 0.02
"""Narrowest window that is made, as a share of the upper threshold. A narrower one that is there already stays."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A unit whose thresholds moved: layer, unit, and thresholds (low, high) before and after."""

    layer: int
    unit: int
    before: tuple[float, float]
    after: tuple[float, float]


def centred(trained: Trained, sequences: Sequences) -> tuple[Trained, tuple[Moved, ...]]:
    """``trained`` with every threshold in the middle of its gap on ``sequences``, and the units that moved.

    A cell that is reset reads only its upper threshold, and one that is set only the lower one, so each gap is that of
    the candidates in this state. A threshold without a candidate on either side stays, and so does a unit of which a
    decision would change. Raises InputError unless the cells are FQ-BMRU, DataError for sequences that do not fit.
    """
    if trained.config.cell != "fq-bmru":
        raise InputError(
            f"thresholds of a {trained.config.cell.upper()} follow its inputs and cannot be centred: give an FQ-BMRU"
        )
    trained.check(sequences)
    tensors = {name: array.astype(np.float64) for name, array in trained.arrays.items()}
    out = Model.of(trained).run(sequences.inputs, sequences.lengths)
    found = []
    for index in range(len(trained.config.units)):
        name = f"layers.{index}"
        states = out.states[index] > 0.5
        initial = np.broadcast_to(tensors[f"{name}.initial_state"] > 0.5, states[:, :1].shape)
        before = np.concatenate([initial, states[:, :-1]], axis=1)
        for unit in range(trained.config.units[index]):
            candidate, was = out.candidates[index][..., unit][sequences.valid], before[..., unit][sequences.valid]
            low = float(tensors[f"{name}.low"][unit])
            high = low + float(tensors[f"{name}.width"][unit])
            after = _middle(candidate, was, low, high)
            if after == (low, high) or not _alike(candidate, was, (low, high), after):
                continue
            tensors[f"{name}.low"][unit], tensors[f"{name}.width"][unit] = after[0], after[1] - after[0]
            found.append(Moved(layer=index, unit=unit, before=(low, high), after=after))
    return Trained.of_arrays(trained.config, tensors), tuple(found)


def _middle(candidate: Array, was: NDArray[np.bool_], low: float, high: float) -> tuple[float, float]:
    """(low, high) in the middles of their gaps; ``was`` is the state in front of each candidate."""
    new_low, new_high = _gap_middle(candidate[was], low), _gap_middle(candidate[~was], high)
    if new_high - new_low < min(NARROWEST * new_high, high - low):
        # Both lie in one gap: the window is laid around its middle.
        middle, half = (new_low + new_high) / 2, NARROWEST * new_high / 2
        new_low, new_high = middle - half, middle + half
    return new_low, new_high


def _gap_middle(candidate: Array, threshold: float) -> float:
    below, above = candidate[candidate < threshold], candidate[candidate >= threshold]
    if not len(below) or not len(above):
        return threshold
    return float((below.max() + above.min()) / 2)


def _alike(candidate: Array, was: NDArray[np.bool_], before: tuple[float, float], after: tuple[float, float]) -> bool:
    """Whether all states behind ``candidate`` stay, with thresholds rounded as in a checkpoint."""
    low, width = np.float64(np.float32(after[0])), np.float64(np.float32(after[1] - after[0]))
    return bool(
        width > 0
        and (np.where(was, candidate >= before[0], candidate >= before[1])
             == np.where(was, candidate >= low, candidate >= low + width)).all()
    )  # fmt: skip
