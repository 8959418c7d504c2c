"""Monte-Carlo dies of a power-gated chip in transistors: SPICE, and the fast engine on each die's macro twin.

Every transistor and capacitor of the chip, sequencer and generator of V_cm included, has its own deviation
(`cmru_hw.circuits.charge.device_draws`). A chip with a trim finds its own codes at power-on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cmru_hw import spice
from cmru_hw.circuits.charge import (
    device_draws,
    die_blocks,
    dies,
    fast,
    simulate,
    tolerance,
    transistor_deck,
    trim_codes,
)
from cmru_hw.circuits.charge.compare import reference
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.charge.simulate import ChargeSimulation
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.circuits.comparison import classes_of
from cmru_hw.circuits.dies import DieJob, DieScores, DieSimulator, Replay
from cmru_hw.core.errors import InputError
from cmru_hw.core.signals import Array
from cmru_hw.spice import Engine


@dataclass(frozen=True, kw_only=True, eq=False)
class ChipDie:
    """Die ``number``: its ``design``, which draws the deviations of all devices."""

    number: int
    design: Design


def require(design: Design) -> None:
    """Raise InputError for a design in transistors whose dies cannot be drawn: all but power-gated chips."""
    if not registry.of_design(design).power_gated:
        raise InputError(
            "in transistors, dies are drawn of power-gated chips only: export with --memory power-gated, or with "
            "--level macro"
        )


def die(design: Design, *, seed: int, number: int, varied: frozenset[str] = frozenset(device_draws.LEAVES)) -> Design:
    """Die ``number`` of ``seed``: ``design`` with the mismatch of all its devices."""
    draws = device_draws.DeviceDraws(seed=seed, die=number, varied=varied)
    return replace(design, operating=replace(design.operating, die=draws))


def _draw(job: DieJob, numbers: Sequence[int]) -> ChipDie:
    (number,) = numbers
    return ChipDie(number=number, design=die(job.design, seed=job.seed, number=number, varied=job.varied))


def _fast(job: DieJob, numbers: Sequence[int]) -> list[DieScores]:
    raise InputError("the fast engine has no dies of a chip in transistors: give --engine spice")


def _simulated(job: DieJob, drawn: ChipDie, engine: Engine) -> DieScores:
    found = simulate.simulate(drawn.design, job.sequences, engine, refine=job.refine)
    return scores(job, drawn, found, engine)


def scores(job: DieJob, drawn: ChipDie, simulated: ChargeSimulation, engine: Engine) -> DieScores:
    """Scores of a ``simulated`` die, and its agreement with the fast engine on its macro twin."""
    goal, response = job.goal, simulated.response
    decisions = [goal.packed.places(layer) for layer in response.decisions]
    states = [
        goal.packed.places(values * layer.step)
        for values, layer in zip(response.states, job.design.layers, strict=True)
    ]
    classes = classes_of(response, job.design.config.decision)
    beyond = trim_codes.at_end(simulated.codes)
    row = dies.row(job, drawn.number, decisions, states, classes, beyond=len(beyond))
    codes = simulated.codes[0] if simulated.codes else {}
    blocks = die_blocks.measured(drawn.design, engine)
    # In the twin, the amplifier's offset is part of the rows that read a state, and not of the state.
    bare = [values - layer.state[:, None] for values, layer in zip(states, blocks, strict=True)]
    agree, close = dies.engines(job, _twin(job, drawn, codes, blocks), decisions, bare, _allowed(job.design))
    return replace(row, engines_agree=agree, engines_close=close)


def _twin(job: DieJob, drawn: ChipDie, codes: Mapping[str, int], blocks: Sequence[die_blocks.LayerOffsets]) -> Dies:
    reached = [
        np.where(layer.max(axis=1, initial=0.0) >= -layer.min(axis=1, initial=0.0), 1.0, -1.0)
        for layer in job.goal.states
    ]
    return die_blocks.twin(drawn.design, blocks, codes, reached)


def _allowed(design: Design) -> list[Array]:
    """Row voltage [V] by layer, (units, 1), below which a decision is too close to call: as against software."""
    return [
        np.maximum(*(tolerance.fixed(design, index, row) for row in (layer.low, layer.high)))[:, None]
        + tolerance.RESOLUTION
        for index, layer in enumerate(design.layers)
    ]


def _replay(job: DieJob, number: int) -> Replay:
    """The deck of the die over the first sequence, and its macro twin. Codes of a trim are those that SPICE finds."""
    drawn, first = _draw(job, [number]), job.sequences.first(1)
    inputs = first.inputs[0, : int(first.lengths[0])].astype(np.float64)
    deck, _ = transistor_deck.deck(drawn.design, [inputs], refine=job.refine)
    with spice.open_engine(backend=job.backend, timeout=job.timeout) as engine:
        codes: dict[str, int] = {}
        if drawn.design.technology.trim_bits:
            # The search is over before the first timestep.
            one = replace(first, inputs=first.inputs[:, :1], lengths=np.ones(1, dtype=np.int64))
            (codes,) = simulate.simulate(drawn.design, one, engine, refine=job.refine).codes
        blocks = die_blocks.measured(drawn.design, engine)
    (response,) = fast.respond(_twin(job, drawn, codes, blocks), first)
    return Replay(deck=deck, response=response, expected=reference(job.design, job.trained, first))


DIES = DieSimulator(
    goal=dies.goal,
    draw=_draw,
    fast=_fast,
    simulated=_simulated,
    replay=_replay,
    resolution="within the tolerance of the comparators' kick and the error of the states that the row reads, or after "
    "a decision that was, until the states agree again",
    # A timestep takes seconds: every die is a block of its own.
    simulated_seconds=10.0,
    engines=("spice",),
    certified=False,
)
