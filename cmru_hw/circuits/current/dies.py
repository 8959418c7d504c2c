"""Dies of current mode: the PDK's mismatch in every signal transistor. There is no noise in time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.comparison import Reference, classes_of
from cmru_hw.circuits.current import compare, netlist, simulate, variation
from cmru_hw.circuits.current import fast as fast_engine
from cmru_hw.circuits.current.variation import CurrentDies
from cmru_hw.circuits.dies import DieJob, DieScores, DieSimulator, Replay
from cmru_hw.circuits.input_range import ClampedInputs
from cmru_hw.core.signals import Response
from cmru_hw.spice import Engine

# The fast engine's mirrors are static. Its candidates match SPICE within this share of the threshold, so a decision
# closer to its threshold may differ between the engines.
CLOSE = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class CurrentGoal:
    """The software result. ``wanted`` (sequences,) are labels or, without any, the classes of the user's model."""

    expected: Reference
    wanted: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        return float((self.expected.unclamped_classes == self.wanted).mean())

    @property
    def clamped(self) -> ClampedInputs:
        return self.expected.clamped


def _goal(job: DieJob) -> CurrentGoal:
    expected = compare.reference(job.design, job.trained, job.sequences)
    labels = job.sequences.labels
    return CurrentGoal(expected=expected, wanted=expected.unclamped_classes if labels is None else labels)


def _draw(job: DieJob, numbers: Sequence[int]) -> CurrentDies:
    return variation.draw(job.design, seed=job.seed, dies=numbers, varied=job.varied)


def _fast(job: DieJob, numbers: Sequence[int]) -> list[DieScores]:
    found = []
    # Process a few dies at a time: responses need much memory, scores little.
    for first in range(0, len(numbers), fast_engine.DIES_AT_ONCE):
        some = _draw(job, numbers[first : first + fast_engine.DIES_AT_ONCE])
        run = fast_engine.run(some, job.sequences)
        found += [_row(job, int(number), run.response(place)) for place, number in enumerate(some.numbers)]
    return found


def _simulated(job: DieJob, drawn: CurrentDies, engine: Engine) -> DieScores:
    response = simulate_die(job, drawn, engine)
    agree, close = _engines(job, drawn, response)
    return replace(_row(job, int(drawn.numbers[0]), response), engines_agree=agree, engines_close=close)


def simulate_die(job: DieJob, drawn: CurrentDies, engine: Engine) -> Response:
    """Response of the first die of ``drawn`` in SPICE."""
    text = netlist.network_text(job.design, strengths=drawn.one(0))
    return simulate.simulate(job.design, job.sequences, engine, network=text, refine=job.refine).response


def _row(job: DieJob, number: int, response: Response) -> DieScores:
    wanted = job.goal.expected.response
    valid = wanted.valid[:, :, None]
    agree = sum(int((valid & (a == b)).sum()) for a, b in zip(response.decisions, wanted.decisions, strict=True))
    pairs = zip(response.states, wanted.states, strict=True)
    errors = np.concatenate([np.where(valid, a - b, 0.0).ravel() for a, b in pairs])
    total = int(valid.sum()) * sum(layer.units for layer in job.design.layers)
    classes = classes_of(response, job.design.config.decision)
    return DieScores(
        die=number,
        status="ok" if np.isfinite(errors).all() else "NotFinite",
        accuracy=float((classes == job.goal.wanted).mean()),
        classes_alike=int((classes == job.goal.expected.classes).sum()),
        decisions=total,
        decisions_agree=agree,
        level_error_max=float(np.abs(errors).max()),
        level_error_rms=math.sqrt(float((errors**2).sum()) / total),
    )


def _engines(job: DieJob, drawn: CurrentDies, simulated: Response) -> tuple[int, int]:
    """Number of decisions in which both engines agree on the same die, and of differing ones too close to call."""
    run = fast_engine.run(drawn, job.sequences)
    fast = run.response(0)
    valid = fast.valid[:, :, None]
    agree = explained = 0
    # (sequences, timesteps, 1): a preceding layer, or an earlier state of the same unit, already differed.
    front = np.zeros_like(valid)
    for index, layer in enumerate(job.design.layers):
        decided = fast.decisions[index] != simulated.decisions[index]
        differ = decided | ((fast.states[index] > 0.5) != (simulated.states[index] > 0.5))
        near = run.margins[index][0] < CLOSE * layer.upper
        caused = np.maximum.accumulate(differ & (near | front), axis=1)
        follows = front | np.concatenate([np.zeros_like(caused[:, :1]), caused[:, :-1]], axis=1)
        agree += int((valid & ~decided).sum())
        explained += int((valid & decided & (near | follows)).sum())
        front = front | caused.any(axis=2, keepdims=True)
    return agree, explained


def _replay(job: DieJob, number: int) -> Replay:
    drawn = _draw(job, [number])
    first = job.sequences.first(1)
    inputs = first.inputs[0, : first.lengths[0]].astype(np.float64)
    text = netlist.network_text(job.design, strengths=drawn.one(0))
    deck, _ = netlist.deck(job.design, [inputs], network=text, refine=job.refine)
    response = fast_engine.run(drawn, first).response(0)
    return Replay(deck=deck, response=response, expected=compare.reference(job.design, job.trained, first))


DIES = DieSimulator(
    goal=_goal,
    draw=_draw,
    fast=_fast,
    simulated=_simulated,
    replay=_replay,
    resolution=f"within {CLOSE:.0%} of the threshold, or after one that was",
)
