"""Monte-Carlo dies of the charge domain: scores from the fast engine or from SPICE, and their agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmru_hw import spice
from cmru_hw.circuits.charge import (
    fast,
    macro_netlist,
    noise,
    simulate,
    tolerance,
    trim,
    trim_drift,
    trim_search,
    trim_windows,
    variation,
)
from cmru_hw.circuits.charge.compare import reference
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.fast import Packed
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.circuits.comparison import classes_of
from cmru_hw.circuits.dies import DieJob, DieScores, DieSimulator, Replay
from cmru_hw.circuits.input_range import ClampedInputs
from cmru_hw.core import kernels
from cmru_hw.core.signals import Array, Response


@dataclass(frozen=True, kw_only=True, eq=False)
class ChargeGoal:
    """The software result, in the packed layout of the fast engine.

    ``classes`` (sequences,) are those of the software model with clamped inputs. ``wanted`` (sequences,) are the labels
    or, without labels, ``unclamped`` (sequences,): the classes of the user's own model.
    """

    packed: Packed
    decisions: tuple[NDArray[np.int8], ...]
    states: tuple[Array, ...]
    classes: NDArray[np.int64]
    wanted: NDArray[np.int64]
    unclamped: NDArray[np.int64]
    clamped: ClampedInputs

    @property
    def accuracy(self) -> float:
        return float((self.unclamped == self.wanted).mean())


def goal(job: DieJob) -> ChargeGoal:
    expected = reference(job.design, job.trained, job.sequences)
    packed = fast.pack(job.design, job.sequences)
    labels = job.sequences.labels
    return ChargeGoal(
        packed=packed,
        decisions=tuple(packed.places(layer) for layer in expected.response.decisions),
        states=tuple(packed.places(layer) for layer in expected.response.states),
        classes=expected.classes,
        wanted=expected.unclamped_classes if labels is None else labels,
        unclamped=expected.unclamped_classes,
        clamped=expected.clamped,
    )


# Memory [bytes] of the dies that are drawn at a time, and copies of a die's capacitors meanwhile.
_MEMORY, _COPIES = 2**29, 8


def _fast(job: DieJob, dies: Sequence[int]) -> list[DieScores]:
    rows = [row for layer in job.design.layers for row in (layer.low, layer.high, layer.packet_row) if row is not None]
    size = sum(row.weights.nbytes for row in (*rows, job.design.readout))
    at_once = max(1, _MEMORY // (_COPIES * size))
    chunks = (dies[first : first + at_once] for first in range(0, len(dies), at_once))
    return [row for some in chunks for row in _fast_at_once(job, some)]


def _fast_at_once(job: DieJob, dies: Sequence[int]) -> list[DieScores]:
    # Drawing costs the same for one die as for many of a small network.
    drawn = _draw(job, dies)
    beyond = trim_search.beyond(drawn)
    return [
        row(job, number, found.decisions, found.states, found.classes(), beyond=count)
        for number, count, found in zip(
            drawn.numbers.tolist(), beyond.tolist(), fast.run(drawn, job.goal.packed), strict=True
        )
    ]


def _draw(job: DieJob, dies: Sequence[int]) -> Dies:
    return trim_drift.in_use(variation.draw(job.design, seed=job.seed, dies=dies, varied=job.varied))


def _simulated(job: DieJob, drawn: Dies, engine: spice.Engine) -> DieScores:
    drawn, simulated = _calibrated(drawn, engine)
    response = simulate_die(job, simulated, engine)
    packed = job.goal.packed
    decisions = [packed.places(layer) for layer in response.decisions]
    states = [
        packed.places(values * layer.step) for values, layer in zip(response.states, job.design.layers, strict=True)
    ]
    classes = classes_of(response, job.design.config.decision)
    (number,), (beyond,) = drawn.numbers.tolist(), trim_search.beyond(simulated).tolist()
    scores = row(job, number, decisions, states, classes, beyond=beyond)
    agree, close = engines(job, drawn, decisions, states, _allowed(job.design))
    return replace(scores, engines_agree=agree, engines_close=close)


def simulate_die(job: DieJob, drawn: Dies, engine: spice.Engine) -> Response:
    """Response of the first die of ``drawn`` in SPICE, noise included."""
    lengths = job.sequences.lengths

    def columns(sequence: int) -> dict[str, NDArray[np.float64]]:
        return noise.columns(drawn, 0, sequence, int(lengths[sequence]))

    return simulate.simulate(
        drawn.one(0), job.sequences, engine, refine=job.refine, noise=columns, reader=job.design
    ).response


def row(
    job: DieJob,
    number: int,
    decisions: Sequence[NDArray[np.int8]],
    states: Sequence[Array],
    classes: NDArray[np.int64],
    *,
    beyond: int,
) -> DieScores:
    """Scores of die ``number`` from ``decisions`` and ``states`` [V], (units, places), and ``classes`` (sequences,).

    ``beyond`` rows are out of the range of their trim code.
    """
    goal, design = job.goal, job.design
    agree, largest, squares = 0, 0.0, 0.0
    for layer, got, wanted, volts, levels in zip(
        design.layers, decisions, goal.decisions, states, goal.states, strict=True
    ):
        swing = design.technology.signal.state_swing
        unit = layer.step * (1.0 if design.config.cell != "acmru" else swing / layer.unit)
        most, sum_, equal = kernels.deviation(volts, 1 / unit, levels, layer.step / unit, got, wanted)
        largest, squares, agree = max(largest, most), squares + sum_, agree + equal
    total = sum(wanted.size for wanted in goal.decisions)
    return DieScores(
        die=number,
        status="ok" if math.isfinite(squares) else "NotFinite",
        accuracy=np.count_nonzero(classes == goal.wanted) / len(classes),
        classes_alike=int(np.count_nonzero(classes == goal.classes)),
        decisions=total,
        decisions_agree=agree,
        level_error_max=largest,
        level_error_rms=math.sqrt(squares / total),
        trim_beyond=beyond if design.technology.trim_bits else None,
    )


def _calibrated(drawn: Dies, engine: spice.Engine) -> tuple[Dies, Dies]:
    """The only die of ``drawn`` twice: as the fast engine calibrates it, and as ``engine`` does.

    Where a decision of the search was too close to call, the fast engine takes the code that SPICE found.
    """
    if not drawn.nominal.technology.trim_bits:
        return drawn, drawn
    before = trim_drift.in_calibration(drawn)
    found, simulated = trim_search.search(before), trim_windows.search(before, engine)
    agreed = {
        name: np.where(found.margins[name] < _resolution(name), simulated[name], code)
        for name, code in found.codes.items()
    }
    one, other = (replace(drawn, batch=trim.with_codes(drawn.batch, codes)) for codes in (agreed, simulated))
    return one, other


def _resolution(name: str) -> float:
    """Smallest margin [V] at which rows ``name`` of :func:`.trim.rows` must decide alike in both engines."""
    return tolerance.RESOLUTION + (0.0 if name[1:] == "0_" else tolerance.LATE)


def _allowed(design: Design) -> list[Array]:
    """Row voltage [V] by layer, (units, 1), below which a decision is too close to call between both engines."""
    return [np.array([[tolerance.RESOLUTION + tolerance.late(design, index)]]) for index in range(len(design.layers))]


def engines(
    job: DieJob, drawn: Dies, simulated: Sequence[NDArray[np.int8]], states: Sequence[Array], close: Sequence[Array]
) -> tuple[int, int]:
    """Decisions that SPICE and the fast engine make alike on the same die, and others that are too close to call.

    ``states`` [V] are those of SPICE, ``close`` [V] by layer, (units, 1), the row voltages below which a decision is
    too close to call, without the errors of states. The criterion is that of a comparison with software
    (`cmru_hw.circuits.charge.tolerance`), with the fast engine in its place.
    """
    design, packed = job.design, job.goal.packed
    (found,) = fast.run(drawn, packed, margins=True)
    assert found.margins is not None
    difference = [(one - other).T for one, other in zip(states, found.states, strict=True)]
    errors = [
        tolerance.state_errors(design, layer, one.T, other.T)
        for layer, one, other in zip(design.layers, states, found.states, strict=True)
    ]
    # From the first decision of a sequence that fell the other way because it was too close, those that read a state
    # which it has changed follow it, until the states agree again.
    since = np.full(len(packed.lengths), len(packed.alive))
    moved: NDArray[np.bool_] = np.zeros(len(packed.time), dtype=bool)
    explained = alike = 0
    for index, layer in enumerate(design.layers):
        differ = simulated[index] != found.decisions[index]
        lines = tolerance.line_errors(design, index, errors)
        allowed = close[index] + np.maximum(
            *(np.abs(tolerance.shift(design, row, lines)).T for row in (layer.low, layer.high))
        )
        follows = moved & (packed.time >= since[packed.sequence])
        excused = differ & ((found.margins[index] < allowed) | follows)
        explained += int(excused.sum())
        alike += int((~differ).sum())
        turned = np.flatnonzero(excused.any(axis=0))
        np.minimum.at(since, packed.sequence[turned], packed.time[turned])
        own = (np.abs(difference[index]) > tolerance.accepted(design, layer)).any(axis=1)
        moved = np.logical_or(own, moved) if design.config.skip else np.asarray(own)
    return alike, explained


def _replay(job: DieJob, number: int) -> Replay:
    drawn = _draw(job, [number])
    first = job.sequences.first(1)
    length = int(first.lengths[0])
    columns = noise.columns(drawn, 0, 0, length)
    inputs = first.inputs[0, :length].astype(np.float64)
    deck, _ = macro_netlist.deck(drawn.one(0), [inputs], noise=[columns] if columns else None, refine=job.refine)
    (response,) = fast.respond(drawn, first)
    return Replay(deck=deck, response=response, expected=reference(job.design, job.trained, first))


DIES = DieSimulator(
    goal=goal,
    draw=_draw,
    fast=_fast,
    simulated=_simulated,
    replay=_replay,
    resolution=f"within {tolerance.RESOLUTION * 1e6:g} µV and the error of the states that the row reads "
    f"({tolerance.LATE * 1e6:g} µV more where they settle or droop), or after a decision that was, until the states "
    "agree again",
    # two rows for each weight; measured by benchmarks.scale
    fast_seconds=1e-9,
    simulated_seconds=3e-6,
)
