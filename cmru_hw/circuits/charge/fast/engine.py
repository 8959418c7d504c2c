"""Run dies through all timesteps, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge import noise
from cmru_hw.circuits.charge.fast.batching import Packed, pack, rises
from cmru_hw.circuits.charge.fast.integrators import Integrators, drift
from cmru_hw.circuits.charge.fast.readout import Readout
from cmru_hw.circuits.charge.fast.rows import FastRows, Lines
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.core.signals import Array, Response
from cmru_hw.nn.sequences import Sequences

_NOTHING: Array = np.empty((0, 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """Decisions and states of the die at ``die``. Tuples have one entry per layer, (units, places).

    ``decisions`` are int8. ``states`` [V from V_cm] are sampled at the end of a timestep. ``margins`` [V] are the
    smaller distance of a unit's two rows from their comparators' thresholds; where noise could matter, it is included.
    None unless requested.
    """

    die: int
    decisions: tuple[NDArray[np.int8], ...]
    states: tuple[Array, ...]
    margins: tuple[Array, ...] | None
    packed: Packed
    readout: Readout
    top: Array

    def classes(self) -> NDArray[np.int64]:
        """Class index (sequences,) by the checkpoint's decision rule, readout noise included."""
        return self.readout.classes(self.die, self.packed, self.top)

    def logits(self) -> Array:
        """(sequences, timesteps, classes) in software units, readout noise included; 0 past a sequence's end."""
        return self.readout.logits(self.die, self.packed, self.top)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stage:
    """One layer. ``reads`` and ``own`` are its places among all lines. ``sampled`` (dies, units) [V] is the drift of
    its states from the packets to the end of the timestep.
    """

    reads: slice
    own: slice
    rows: FastRows
    third: FastRows | None
    integrators: Integrators
    sampled: Array


def run(dies: Dies, packed: Packed, *, margins: bool = False) -> Iterator[Trajectory]:
    """Run one die after the other on all of ``packed``.

    A yielded trajectory is valid until the next one is requested, which reuses its memory.
    """
    stages, readout = _prepared(dies)
    places = len(packed.moment)
    # Top layer first and inputs last, so that the lines that a layer reads are contiguous.
    lines = np.empty((stages[0].reads.stop, places))
    lines[stages[0].reads] = packed.lines
    shapes = [(stage.own.stop - stage.own.start, places) for stage in stages]
    decisions = [np.empty(shape, dtype=np.int8) for shape in shapes]
    distances = [np.empty(shape) if margins else _NOTHING for shape in shapes]
    for die in range(len(dies)):
        states = []
        for stage, moves, distance in zip(stages, decisions, distances, strict=True):
            read, own = lines[stage.reads], lines[stage.own]
            stage.rows.decide(die, read, packed, moves, distance)
            third = _NOTHING
            if stage.third is not None:
                third = stage.third.noiseless(die, read)
                stage.third.source.add(die, packed.moment, third)
            stage.integrators.follow(die, moves, third, packed, own)
            sampled = stage.sampled[die]
            states.append(own + sampled[:, None] if sampled.any() else own)
        yield Trajectory(
            die=die,
            decisions=tuple(decisions),
            states=tuple(states),
            margins=tuple(distances) if margins else None,
            packed=packed,
            readout=readout,
            top=lines[stages[-1].own],
        )


def respond(dies: Dies, sequences: Sequences) -> list[Response]:
    """Response of each of ``dies`` to ``sequences``, noise included: the fast engine's equivalent of
    :func:`simulate.simulate`."""
    packed = pack(dies.nominal, sequences)
    steps = [layer.step for layer in dies.nominal.layers]
    return [
        Response(
            lengths=sequences.lengths,
            decisions=tuple(packed.padded(moves) for moves in found.decisions),
            states=tuple(
                packed.padded(values / step[:, None]) for values, step in zip(found.states, steps, strict=True)
            ),
            logits=found.logits(),
        )
        for found in run(dies, packed)
    ]


def _prepared(dies: Dies) -> tuple[list[_Stage], Readout]:
    nominal = dies.nominal
    rise, features = rises(nominal), nominal.config.features
    first = sum(layer.units for layer in nominal.layers)
    end = first + features
    slope, since = np.zeros((len(dies), end)), np.zeros(end)
    lines = Lines(slope=slope, since=since)
    reads = slice(first, end)
    stages = []
    for index, layer in enumerate(dies.batch.layers):
        evaluate, update = rise[f"e{index}"], rise[f"u{index}"]
        sources = noise.layer_noise(dies, index)
        own = slice(reads.start - layer.units, reads.start)
        slope[:, own], since[own] = drift(nominal, layer), update
        # The power-on short opens when the layer evaluates; in a unit that replaces its state, at the packet.
        released = 0.0 if f"m{index}" in rise else update - evaluate
        third = layer.packet_row
        stages.append(
            _Stage(
                reads=reads,
                own=own,
                rows=FastRows.of((layer.low, layer.high), dies, lines.among(reads), sources.compared, at=evaluate),
                third=None
                if third is None
                else FastRows.of([third], dies, lines.among(reads), sources.alpha, at=evaluate),
                integrators=Integrators.of(dies, layer, sources.packet, released=released),
                sampled=slope[:, own] * (rise["sample"] - update),
            )
        )
        reads = slice(own.start, end if nominal.config.skip else own.stop)
    return stages, Readout.of(dies, lines.among(slice(0, nominal.layers[-1].units)))
