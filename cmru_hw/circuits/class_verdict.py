"""Classes of a circuit compared with those of software, for every kind of circuit.

A class is judged only where software's scores decide it: not where two scores are closer than the readout's error (an
exact tie is the extreme case), not where software itself gets another class after a decision too close to call, and not
where there is only one score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core.records import Count
from cmru_hw.core.signals import Array
from cmru_hw.nn.one_score import ONE_SCORE


@dataclass(frozen=True, kw_only=True)
class ClassVerdict:
    """Of ``total`` sequences, ``agree`` have software's class and ``differ`` another one. The others are not judged.

    ``close``: scores closer than the readout's error. ``followed``: the class follows from a decision too close to
    call. ``one_score``: there is no class at all.
    """

    total: Count
    agree: Count
    close: Count = 0
    followed: Count = 0
    one_score: bool = False

    @property
    def not_judged(self) -> int:
        return self.total if self.one_score else self.close + self.followed

    @property
    def judged(self) -> int:
        return self.total - self.not_judged

    @property
    def differ(self) -> int:
        return self.judged - self.agree

    def __str__(self) -> str:
        if self.one_score:
            return f"not judged: {ONE_SCORE}"
        reasons = [
            f"{count} {why}"
            for count, why in (
                (self.close, "with scores closer than the readout's error"),
                (self.followed, "after a decision too close to call"),
            )
            if count
        ]
        agree = f"{self.agree} of {self.total} agree"
        return (
            f"{agree}, {self.differ} differ, {self.not_judged} not judged ({', '.join(reasons)})" if reasons else agree
        )


def judge(
    found: NDArray[np.int64],
    original: NDArray[np.int64],
    logits: Array,
    lengths: NDArray[np.int64],
    rule: str,
    *,
    moved: Array | None = None,
    fixed: Array | float = 0.0,
) -> ClassVerdict:
    """The verdict on ``found`` (sequences,), classes of the circuit, against software's ``logits``.

    ``original`` are software's classes before it was continued from any decision of the circuit; ``logits`` (sequences,
    timesteps, classes) those after. ``moved``, of the same shape, is how far the circuit's state errors move each
    logit, and ``fixed`` (classes,) what else may. ``rule`` is the checkpoint's decision.
    """
    if logits.shape[2] == 1:
        return ClassVerdict(total=len(found), agree=0, one_score=True)
    moved = np.zeros_like(logits) if moved is None else moved
    fixed = np.broadcast_to(np.asarray(fixed, dtype=np.float64), logits.shape[2:])
    agree = close = followed = 0
    for sequence, length in enumerate(lengths):
        scores, shifts = logits[sequence, :length], moved[sequence, :length]
        if rule == "majority":
            possible = _of_votes(scores, shifts, fixed)
        elif rule == "last":
            possible = _possible(scores[-1:], shifts[-1:], fixed)[0]
        else:
            possible = _possible(scores.mean(0, keepdims=True), shifts.mean(0, keepdims=True), fixed)[0]
        # outside of what is possible, a class is wrong however close its scores are
        if not possible[found[sequence]]:
            continue
        if possible.sum() > 1:
            close += 1
        elif not possible[original[sequence]]:
            followed += 1
        else:
            agree += 1
    return ClassVerdict(total=len(found), agree=agree, close=close, followed=followed)


def _possible(scores: Array, moved: Array, fixed: Array) -> NDArray[np.bool_]:
    """(places, classes): whether a class may be the largest of ``scores`` (places, classes)."""
    best = scores.argmax(1)[:, None]
    behind = np.take_along_axis(scores, best, 1) - scores
    error = np.abs(np.take_along_axis(moved, best, 1) - moved) + fixed[best] + fixed
    possible: NDArray[np.bool_] = (behind <= error) | (np.arange(scores.shape[1]) == best)
    return possible


def _of_votes(scores: Array, moved: Array, fixed: Array) -> NDArray[np.bool_]:
    """(classes,): whether a class may win most timesteps; the same number of votes is a tie."""
    each = _possible(scores, moved, fixed)
    sure = (each & (each.sum(1, keepdims=True) == 1)).sum(0)
    most = each.sum(0)
    # votes that a class cannot get go to others, which share them at best evenly
    rest = np.ceil((len(scores) - most) / (scores.shape[1] - 1))
    return np.asarray(most >= np.maximum(sure.max(), rest))
