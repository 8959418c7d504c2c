"""Dies of the charge domain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmru_hw import behavioral, netlist, noise, simulate, spice, variation
from cmru_hw.behavioral import Packed
from cmru_hw.compare import RESOLUTION, classes_of, reference
from cmru_hw.montecarlo.bench import Bench, Replay
from cmru_hw.signals import Response
from cmru_hw.variation import Dies

if TYPE_CHECKING:
    from cmru_hw.montecarlo.scores import Job

# Below this a row that reads states cannot be asked to decide alike in both engines: their states, after some tens of
# packets, differ by microvolts of ngspice's integration. [V]
STATE_RESOLUTION = 5e-6
# Values of one kind that the fast engine holds at a time: with fewer, calls cost more than what they do.
_WORKING_SET = 1 << 22


@dataclass(frozen=True, kw_only=True, eq=False)
class ChargeGoal:
    """Software's run, packed as the fast engine has it. ``wanted`` (sequences,) are classes."""

    packed: Packed
    decisions: tuple[Tensor, ...]
    states: tuple[Tensor, ...]
    classes: Tensor
    wanted: Tensor

    @property
    def accuracy(self) -> float:
        return float((self.classes == self.wanted).double().mean())


def _goal(job: Job) -> ChargeGoal:
    expected = reference(job.design, job.trained, job.sequences)
    packed = behavioral.pack(job.design, job.sequences)
    classes = torch.from_numpy(expected.classes)
    labels = job.sequences.labels
    return ChargeGoal(
        packed=packed,
        decisions=tuple(packed.places(layer) for layer in expected.response.decisions),
        states=tuple(packed.places(layer) for layer in expected.response.states),
        classes=classes,
        wanted=classes if labels is None else torch.from_numpy(labels),
    )


def _fast(job: Job, dies: Sequence[int]) -> list[dict[str, Any]]:
    goal = job.goal
    widest = max(layer.units for layer in job.design.layers)
    chunk = max(1, _WORKING_SET // (widest * goal.packed.lines.shape[1]))
    rows: list[dict[str, Any]] = []
    # drawing costs the same for one die as for many
    drawn = _draw(job, dies)
    for some, found in behavioral.run_in_parts(drawn, goal.packed, chunk):
        rows += _rows(
            job, some.numbers, found.decisions, found.states, behavioral.classes(some, goal.packed, found.top)
        )
    return rows


def _draw(job: Job, dies: Sequence[int]) -> Dies:
    return variation.draw(job.design, seed=job.seed, dies=dies, on=job.on)


def _simulated(job: Job, drawn: Dies, engine: spice.Engine) -> dict[str, Any]:
    response = simulate_die(job, drawn, engine)
    packed = job.goal.packed
    places = [packed.places(layer)[None] for layer in response.decisions]
    states = [
        packed.places(values * layer.step)[None]
        for values, layer in zip(response.states, job.design.layers, strict=True)
    ]
    classes = torch.from_numpy(classes_of(response, job.design.config.decision))[None]
    (row,) = _rows(job, drawn.numbers, places, states, classes)
    return row | _engines(job, drawn, places)


def simulate_die(job: Job, drawn: Dies, engine: spice.Engine) -> Response:
    """The first of ``drawn`` in SPICE, noise and all."""
    lengths = job.sequences.lengths

    def columns(sequence: int) -> dict[str, NDArray[np.float64]]:
        return noise.columns(drawn, 0, sequence, int(lengths[sequence]))

    return simulate.simulate(drawn.one(0), job.sequences, engine, noise=columns, reader=job.design).response


def _rows(
    job: Job,
    numbers: NDArray[np.int64],
    decisions: Sequence[Tensor],
    states: Sequence[Tensor],
    classes: Tensor,
) -> list[dict[str, Any]]:
    """Scores from ``decisions`` and ``states`` [V], (dies, units, places), and ``classes``, (dies, sequences)."""
    goal, design = job.goal, job.design
    agree = np.zeros(len(numbers), dtype=np.int64)
    largest, squares = np.zeros(len(numbers)), np.zeros(len(numbers))
    total = sum(wanted.numel() for wanted in goal.decisions)
    for layer, got, wanted, volts, levels in zip(
        design.layers, decisions, goal.decisions, states, goal.states, strict=True
    ):
        unit = layer.step * (
            1.0 if design.config.cell != "acmru" else design.technology.signal.state_swing / layer.unit
        )
        expected = levels.numpy() * (layer.step / unit)[:, None]
        error = np.empty(expected.shape)
        # one die at a time stays near the processor
        for place in range(len(numbers)):
            agree[place] += np.count_nonzero(got[place].numpy() == wanted.numpy())
            np.multiply(volts[place].numpy(), (1 / unit)[:, None], out=error)
            error -= expected
            error *= error
            largest[place] = np.maximum(largest[place], math.sqrt(error.max()))
            squares[place] += error.sum()
    correct = (classes == goal.wanted).double().mean(1)
    alike = (classes == goal.classes).sum(1)
    return [
        {
            "die": int(numbers[place]),
            "status": "ok" if math.isfinite(largest[place]) else "NotFinite",
            "accuracy": float(correct[place]),
            "classes_alike": int(alike[place]),
            "decisions": total,
            "decisions_agree": int(agree[place]),
            "level_error_max": float(largest[place]),
            "level_error_rms": math.sqrt(float(squares[place]) / total),
        }
        for place in range(len(numbers))
    ]


def _engines(job: Job, drawn: Dies, simulated: Sequence[Tensor]) -> dict[str, int]:
    """How the decisions that SPICE made compare with the fast engine's on the same die."""
    packed = job.goal.packed
    found = behavioral.run(drawn, packed, margins=True)
    assert found.margins is not None
    differ = [(a != b)[0] for a, b in zip(simulated, found.decisions, strict=True)]
    # rows of the first layer read inputs, which are the same to the last bit; the others read states
    close = [margin[0] < (STATE_RESOLUTION if layer else RESOLUTION) for layer, margin in enumerate(found.margins)]
    # From the first decision that fell the other way because it was too close, later ones of its sequence follow it:
    # in the same layer none do (an integrator does not decide for itself), in the layers above all may.
    since = torch.full((len(packed.lengths),), len(packed.alive))
    explained = 0
    for layer_differ, layer_close in zip(differ, close, strict=True):
        follows = packed.time >= since[packed.sequence]
        explained += int((layer_differ & (layer_close | follows)).sum())
        undecided = (layer_differ & (layer_close | follows)).any(0)
        since.scatter_reduce_(0, packed.sequence[undecided], packed.time[undecided], "amin")
    total = sum(layer.numel() for layer in differ)
    return {"engines_agree": total - sum(int(layer.sum()) for layer in differ), "engines_close": explained}


def _replay(job: Job, number: int) -> Replay:
    drawn = _draw(job, [number])
    first = job.sequences.first(1)
    length = int(first.lengths[0])
    columns = noise.columns(drawn, 0, 0, length)
    inputs = first.inputs[0, :length].astype(np.float64)
    deck, _ = netlist.deck(drawn.one(0), [inputs], noise=[columns] if columns else None)
    (response,) = behavioral.respond(drawn, first)
    return Replay(deck=deck, response=response, expected=reference(job.design, job.trained, first))


BENCH = Bench(
    goal=_goal,
    draw=_draw,
    fast=_fast,
    simulated=_simulated,
    replay=_replay,
    resolution=f"within {RESOLUTION * 1e6:g} µV on rows that read inputs, {STATE_RESOLUTION * 1e6:g} µV on rows that "
    "read states, or later in the sequence of one that was",
)
