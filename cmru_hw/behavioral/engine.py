"""Dies through all timesteps, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cmru_hw import noise
from cmru_hw.behavioral.packed import Lines, Memory, Packed, pack, rises
from cmru_hw.behavioral.readout import logits
from cmru_hw.behavioral.rows import add_where, compare, weigh, weights_of
from cmru_hw.behavioral.states import drift, integrate, power_on
from cmru_hw.checkpoint import Sequences
from cmru_hw.noise import LayerNoise
from cmru_hw.signals import Response
from cmru_hw.variation import Dies


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectories:
    """What dies did. Tuples have one entry per layer, (dies, units, places).

    ``decisions`` are int8, ``states`` [V from V_cm] as sampled at the end of a timestep. ``margins`` [V] are the
    smaller distance of a unit's two rows from their comparators' thresholds, with their noise where they are near; None
    unless asked for. ``top`` is what the readout reads.
    """

    decisions: tuple[Tensor, ...]
    states: tuple[Tensor, ...]
    margins: tuple[Tensor, ...] | None
    top: Lines


def run_in_parts(dies: Dies, packed: Packed, together: int) -> Iterator[tuple[Dies, Trajectories]]:
    """As :func:`run`, ``together`` dies at a time, because memory grows with their number.

    What is yielded is good until the next is asked for, which takes its memory.
    """
    memory = Memory()
    sources = [noise.layer_noise(dies, index) for index in range(len(dies.nominal.layers))]
    for first in range(0, len(dies), together):
        part = slice(first, min(first + together, len(dies)))
        some = dies.among(part)
        yield some, _run(some, packed, [source.among(part) for source in sources], memory, margins=False)


def run(dies: Dies, packed: Packed, *, margins: bool = False) -> Trajectories:
    """All of ``dies`` on all of ``packed`` at once."""
    sources = [noise.layer_noise(dies, index) for index in range(len(dies.nominal.layers))]
    return _run(dies, packed, sources, Memory(), margins=margins)


def respond(dies: Dies, sequences: Sequences) -> list[Response]:
    """What each of ``dies`` does on ``sequences``, noise included, in full: the twin of :func:`simulate.simulate`."""
    packed = pack(dies.nominal, sequences)
    found = run(dies, packed)
    decisions = [packed.padded(layer) for layer in found.decisions]
    states = [
        packed.padded(values / torch.from_numpy(layer.step)[:, None])
        for values, layer in zip(found.states, dies.nominal.layers, strict=True)
    ]
    evidence = logits(dies, packed, found.top)
    time = sequences.inputs.shape[1]
    return [
        Response(
            lengths=sequences.lengths,
            decisions=tuple(_lengthened(layer[die], time).numpy() for layer in decisions),
            states=tuple(_lengthened(layer[die], time).numpy() for layer in states),
            logits=_lengthened(evidence[die], time).numpy(),
        )
        for die in range(len(dies))
    ]


def _run(dies: Dies, packed: Packed, noises: Sequence[LayerNoise], memory: Memory, *, margins: bool) -> Trajectories:
    nominal = dies.nominal
    rise = rises(nominal)
    inputs = Lines(values=packed.lines[None], slope=torch.zeros(1, len(packed.lines)).double(), since=0.0)
    lines = [inputs]
    decisions, states, distances = [], [], []
    for index, layer in enumerate(dies.batch.layers):
        evaluate, update = rise[f"e{index}"], rise[f"u{index}"]
        sources = noises[index]
        weights = [weights_of(row, dies, lines, at=evaluate) for row in (layer.low, layer.high)]
        above, rows = compare(weights, lines, sources.compared, packed, memory, keep=margins)
        # both above: 1, both below: −1, else 0
        shape = (len(dies), layer.units, len(packed.moment))
        moves = torch.from_numpy(memory.array(f"moves {index}", shape, np.int8))
        torch.add(above[:, : layer.units].view(torch.int8), above[:, layer.units :].view(torch.int8), out=moves)
        moves -= 1
        third = None
        if layer.packet_row is not None:
            third = weigh(*weights_of(layer.packet_row, dies, lines, at=evaluate), lines)
            add_where(moves, third, sources.alpha, packed)
        slope = drift(nominal, layer)
        # the power-on short opens when the layer evaluates; a unit that replaces its state stays short until the packet
        released = 0.0 if f"m{index}" in rise else update - evaluate
        start = power_on(dies, layer, sources.packet, packed) + (slope * released)[:, :, None]
        after = torch.from_numpy(memory.array(f"after {index}", shape))
        integrate(dies, layer, sources.packet, moves, third, packed, start, memory, after.numpy())
        decisions.append(moves)
        states.append(after + (slope * (rise["sample"] - update))[:, :, None] if slope.any() else after)
        if rows is not None:
            rows.abs_()
            distances.append(torch.minimum(rows[:, : layer.units], rows[:, layer.units :]))
        own = Lines(values=after, slope=slope, since=update)
        lines = [own, *lines] if nominal.config.skip else [own]
    return Trajectories(
        decisions=tuple(decisions),
        states=tuple(states),
        margins=tuple(distances) if margins else None,
        top=lines[0],
    )


def _lengthened(values: Tensor, time: int) -> Tensor:
    """(sequences, timesteps, units) with as many timesteps as the data was padded to."""
    return torch.nn.functional.pad(values, (0, 0, 0, time - values.shape[1]))
