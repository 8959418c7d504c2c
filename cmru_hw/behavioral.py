"""The fast engine: the equations of the macro circuit, one step per timestep, for many dies at once.

It computes what SPICE computes, from the same design and the same draws, because between two clock phases the circuit
is capacitors and ideal switches, whose charges have a closed form. With C_s, C_int, gain A, r = C_s/C_int, state
y = V_o − V_cm and ζ = V_zp − V_cm, the charge at the virtual ground V_x = V_cm − y/A is conserved while a packet of V
volts is sent::

    C_int (1 + 1/A) y + C_s (V − ζ) = (C_int (1 + 1/A) + C_s/A) y'
    y' = ρ y + g (V − ζ),    ρ = (1 + 1/A) / (1 + (1 + r)/A),    g = r / (1 + (1 + r)/A)

so finite gain shortens the packet and also lets a share 1 − ρ of the held state leak into C_s, but only when a packet
is sent: with no decision the left plate floats and nothing moves. A packet that has not settled is one of a smaller
C_s. Leakage moves the state by I T / (C_int (1 + 1/A)) per timestep, always. A packet is sent only while the state is
below the level limit. A unit that replaces its state empties C_int first, which is ρ = 0.

A row settles at its precharge level plus Σ±C V / ΣC. Its decision needs the sign alone, and noise is bounded
(:data:`cmru_hw.streams.BOUND`), so noise is computed only for rows that it could still turn over; the decisions are
those of a row that has all of it.

Layout. Timesteps of all sequences are packed, without padding, along the last axis: timestep-major, longest sequence
first, so that the sequences alive at timestep t are a prefix. Units come before it, dies first of all. Matrix products
are made die by die: then a die's numbers do not depend, to the last bit, on which dies are computed with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmru_hw import netlist, noise
from cmru_hw.cells import evidence
from cmru_hw.checkpoint import Sequences
from cmru_hw.mapping import Design, Layer, Row
from cmru_hw.noise import Source
from cmru_hw.signals import Response
from cmru_hw.variation import Dies


@dataclass(frozen=True, kw_only=True, eq=False)
class Packed:
    """Sequences without padding. Place m belongs to sequence ``sequence[m]`` at timestep ``time[m]``.

    ``order`` (sequences,) lists sequences, longest first; ``alive[t]`` of them have a timestep t, and those lie from
    ``starts[t]`` on, in that order. ``moment`` is how noise numbers a place. ``lines`` (features, places) are the
    inputs [V from V_cm].
    """

    lengths: NDArray[np.int64]
    order: Tensor
    alive: tuple[int, ...]
    starts: tuple[int, ...]
    sequence: Tensor
    time: Tensor
    moment: Tensor
    lines: Tensor

    def padded(self, values: Tensor) -> Tensor:
        """(..., units, places) → (..., sequences, timesteps, units), 0 past a sequence's end."""
        out = values.new_zeros((*values.shape[:-2], len(self.lengths), len(self.alive), values.shape[-2]))
        out[..., self.sequence, self.time, :] = values.transpose(-1, -2)
        return out

    def places(self, values: NDArray[np.generic]) -> Tensor:
        """(sequences, timesteps, units) → (units, places)."""
        return torch.from_numpy(values)[self.sequence, self.time].T.contiguous()


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectories:
    """What dies did. Tuples have one entry per layer, (dies, units, places).

    ``decisions`` are int8, ``states`` [V from V_cm] as sampled at the end of a timestep. ``margins`` [V] are the
    smaller distance of a unit's two rows from their comparators' thresholds, with their noise where they are near; None
    unless asked for. ``readout`` (dies, classes, places) is in software units of the logits, without noise.
    """

    decisions: tuple[Tensor, ...]
    states: tuple[Tensor, ...]
    margins: tuple[Tensor, ...] | None
    readout: Tensor


def pack(design: Design, sequences: Sequences) -> Packed:
    """Lay ``sequences`` out for the engine, as voltages of ``design``'s input lines."""
    lengths = sequences.lengths
    noise.check(len(lengths), int(lengths.max()))
    order = np.argsort(-lengths, kind="stable")
    alive = [int((lengths > t).sum()) for t in range(int(lengths.max()))]
    sequence = np.concatenate([order[:count] for count in alive])
    time = np.repeat(np.arange(len(alive)), alive)
    volts = design.voltages(sequences.inputs[sequence, time]) - design.technology.supply.common_mode
    return Packed(
        lengths=lengths,
        order=torch.from_numpy(order),
        alive=tuple(alive),
        starts=tuple(np.concatenate(([0], np.cumsum(alive)[:-1])).tolist()),
        sequence=torch.from_numpy(sequence),
        time=torch.from_numpy(time),
        moment=noise.moments(torch.from_numpy(sequence), torch.from_numpy(time) + 1),
        lines=torch.from_numpy(np.ascontiguousarray(volts.T)),
    )


def run(dies: Dies, packed: Packed, *, margins: bool = False) -> Trajectories:
    """All of ``dies`` on all of ``packed``. Memory grows with the number of dies: give it a few at a time."""
    nominal = dies.nominal
    rises = _rises(nominal)
    inputs = _Lines(values=packed.lines[None], slope=torch.zeros(1, len(packed.lines)).double(), since=0.0)
    lines = [inputs]
    decisions, states, distances = [], [], []
    for index, layer in enumerate(dies.batch.layers):
        evaluate, update = rises[f"e{index}"], rises[f"u{index}"]
        sources = noise.layer_noise(dies, index)
        rows = []
        for row, source in ((layer.low, sources.low), (layer.high, sources.high)):
            values = _weigh(row, dies, lines, packed, at=evaluate)
            _disturb(values, source, packed)
            rows.append(values)
        # both above: 1, both below: −1, else 0
        moves = (rows[0] > 0).view(torch.int8) + (rows[1] > 0).view(torch.int8) - 1
        third = None
        if layer.packet_row is not None:
            third = _weigh(layer.packet_row, dies, lines, packed, at=evaluate)
            _add_where(moves, third, sources.alpha, packed)
        slope = _slope(nominal, layer)
        # the power-on short opens when the layer evaluates; a unit that replaces its state stays short until the packet
        released = 0.0 if f"m{index}" in rises else update - evaluate
        start = _power_on(dies, layer, sources.packet, packed) + (slope * released)[:, :, None]
        after = _integrate(dies, layer, sources.packet, moves, third, packed, start)
        decisions.append(moves)
        states.append(after + (slope * (rises["sample"] - update))[:, :, None])
        if margins:
            distances.append(torch.minimum(rows[0].abs_(), rows[1].abs_()))
        own = _Lines(values=after, slope=slope, since=update)
        lines = [own, *lines] if nominal.config.skip else [own]
    scale = torch.from_numpy(_logit_scale(nominal))[:, None]
    offset = torch.from_numpy(nominal.readout.offset)[:, None]
    readout = _weigh(dies.batch.readout, dies, lines[:1], packed, at=rises["r"])
    return Trajectories(
        decisions=tuple(decisions),
        states=tuple(states),
        margins=tuple(distances) if margins else None,
        readout=readout.sub_(offset).mul_(scale),
    )


def classes(dies: Dies, packed: Packed, trajectories: Trajectories) -> Tensor:
    """Class index (dies, sequences) by the checkpoint's decision rule, readout noise included."""
    rule = dies.nominal.config.decision
    source = noise.readout_noise(dies)
    lengths = torch.from_numpy(packed.lengths)
    if rule != "mean":
        logits = packed.padded(trajectories.readout)
        if source.parts:
            logits += _logit_noise(dies, source, packed, *_grid(len(dies), len(lengths)))
        return torch.stack([evidence(of_die, lengths, rule).argmax(-1) for of_die in logits])
    totals = trajectories.readout.new_zeros((*trajectories.readout.shape[:2], len(lengths)))
    for count, start in zip(packed.alive, packed.starts, strict=True):
        totals[..., :count] += trajectories.readout[..., start : start + count]
    means = torch.empty_like(totals)
    means[..., packed.order] = totals
    means = (means / lengths).transpose(1, 2)
    if source.parts:
        # a mean of bounded noise has the same bound: only where the best two are nearer can noise decide
        scale = torch.from_numpy(_logit_scale(dies.nominal))
        bound = (source.bound.view(len(dies), -1) * scale).amax(1)
        best = means.topk(min(2, means.shape[2]), dim=2).values
        die, sequence = torch.nonzero(best[..., 0] - best[..., -1] <= 2 * bound[:, None], as_tuple=True)
        added = _logit_noise(dies, source, packed, die, sequence)
        means[die, sequence] += added.sum(1) / lengths[sequence, None]
    return means.argmax(-1)


def respond(dies: Dies, sequences: Sequences) -> list[Response]:
    """What each of ``dies`` does on ``sequences``, noise included, in full: the twin of :func:`simulate.simulate`."""
    packed = pack(dies.nominal, sequences)
    found = run(dies, packed)
    decisions = [packed.padded(layer) for layer in found.decisions]
    states = [
        packed.padded(values / torch.from_numpy(layer.step)[:, None])
        for values, layer in zip(found.states, dies.nominal.layers, strict=True)
    ]
    logits = packed.padded(found.readout)
    source = noise.readout_noise(dies)
    if source.parts:
        die, sequence = _grid(len(dies), len(sequences))
        logits += _logit_noise(dies, source, packed, die, sequence)
    time = sequences.inputs.shape[1]
    return [
        Response(
            lengths=sequences.lengths,
            decisions=tuple(_lengthened(layer[die], time).numpy() for layer in decisions),
            states=tuple(_lengthened(layer[die], time).numpy() for layer in states),
            logits=_lengthened(logits[die], time).numpy(),
        )
        for die in range(len(dies))
    ]


# --- Rows --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class _Lines:
    """Voltages that a layer reads: ``values`` (dies or 1, lines, places) as they were ``since`` [timesteps into one].

    They drift by ``slope`` (dies or 1, lines) [V per timestep].
    """

    values: Tensor
    slope: Tensor
    since: float


def _weigh(row: Row, dies: Dies, lines: list[_Lines], packed: Packed, *, at: float) -> Tensor:
    """Top plates (dies, units, places) [V from V_cm] at the phase that rises ``at``, without noise."""
    total = row.total + dies.nominal.technology.capacitor.parasitic
    constant = row.offset + (row.bias + row.threshold) * dies.batch.bias[:, None] / total
    weights = torch.from_numpy(row.weights / total[:, :, None])
    level = torch.from_numpy(constant)[:, :, None].clone()
    first = 0
    for group in lines:
        part = weights[:, :, first : first + group.slope.shape[1]]
        level += part @ (group.slope * (at - group.since))[:, :, None]
        first += group.slope.shape[1]
    out = level.expand(*weights.shape[:2], packed.lines.shape[1]).contiguous()
    for place, values in enumerate(out):
        first = 0
        for group in lines:
            part = weights[place, :, first : first + group.slope.shape[1]]
            values.addmm_(part, group.values[place if len(group.values) > 1 else 0])
            first += group.slope.shape[1]
    return out


def _disturb(rows: Tensor, source: Source, packed: Packed) -> None:
    """Add noise to ``rows`` in place, as far as it takes to know their signs."""
    if not source.parts:
        return
    left, flat = source.bound, rows.view(-1)
    place = _nonzero(rows.abs() <= left.view(*rows.shape[:2], 1))
    row, moment = _indices(place, packed)
    values = flat.take(place)
    for part in source.parts:
        values = values + part.at(row, moment)
        flat.put_(place, values)
        left = left - part.bound
        near = _nonzero(values.abs() <= left.take(row))
        place, values, row, moment = (x.take(near) for x in (place, values, row, moment))


def _add_where(moves: Tensor, rows: Tensor, source: Source, packed: Packed, scale: Tensor | None = None) -> None:
    """Add all noise, times ``scale`` (dies, units), to ``rows`` in place where a packet is sent."""
    if not source.parts:
        return
    place = _nonzero(moves)
    row, moment = _indices(place, packed)
    values = source.at(row, moment)
    rows.view(-1).put_(place, values if scale is None else values * scale.flatten().take(row), accumulate=True)


def _indices(place: Tensor, packed: Packed) -> tuple[Tensor, Tensor]:
    """Row and moment, as noise has them, of flat indices into (dies, units, places)."""
    places = len(packed.moment)
    row = place // places
    return row, packed.moment.take(place - row * places)


def _nonzero(mask: Tensor) -> Tensor:
    # numpy's is several times faster than torch's
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


# --- States ------------------------------------------------------------------------------------------------------


def _integrate(
    dies: Dies, layer: Layer, source: Source, moves: Tensor, third: Tensor | None, packed: Packed, state: Tensor
) -> Tensor:
    """States (dies, units, places) [V from V_cm] just after each packet, from ``state`` on, which is overwritten."""
    batch = dies.batch
    gain, settled = _tensor(layer.gain), 1 - _tensor(layer.unsettled)
    ratio = _tensor(layer.packet / layer.integrator) * settled
    packet = ratio / (1 + (1 + ratio) / gain)
    kept = (1 + 1 / gain) / (1 + (1 + ratio) / gain)
    if dies.nominal.config.epsilon == 0.0 and third is None:
        kept = torch.zeros_like(kept)
    up, down = _tensor(batch.reference_up)[:, None], _tensor(batch.reference_down)[:, None]
    error = _tensor(layer.packet_offset)
    sign = moves.double()
    # g (V − ζ) up, −g (V + ζ) down: the part that changes sign with the decision, and the part that does not
    if third is None:
        sent = sign * (packet * (up + down) / 2)[:, :, None]
        common = packet * ((up - down) / 2 - error)
    else:
        sent = sign * packet[:, :, None] * third
        common = -packet * error
    if common.any():
        sent.addcmul_(sign.abs(), common[:, :, None])
    _add_where(moves, sent, source, packed, scale=-packet)

    slope = _slope(dies.nominal, layer)[:, :, None]
    loss, limit = (kept - 1)[:, :, None], _tensor(layer.limit)[:, :, None]
    after = torch.empty_like(sent)
    for count, start in zip(packed.alive, packed.starts, strict=True):
        now = slice(start, start + count)
        before, toward = state[..., :count], sign[..., now]
        before += slope
        outward = toward * before
        allowed = outward < limit
        change = torch.addcmul(sent[..., now], toward, outward.mul_(loss))
        before += change.mul_(allowed)
        after[..., now] = before
    return after


def _power_on(dies: Dies, layer: Layer, source: Source, packed: Packed) -> Tensor:
    """States (dies, units, sequences in packed order) [V from V_cm] after the power-on packet."""
    gain, settled = _tensor(layer.gain), 1 - _tensor(layer.unsettled)
    ratio = _tensor(layer.start_packet / layer.integrator) * settled
    packet = (ratio / (1 + (1 + ratio) / gain))[:, :, None]
    rises = torch.from_numpy(layer.initial > 0)
    up, down = _tensor(dies.batch.reference_up)[:, None], _tensor(dies.batch.reference_down)[:, None]
    error = _tensor(layer.packet_offset)[:, :, None].expand(-1, -1, len(packed.lengths))
    if source.parts:
        row, sequence = torch.broadcast_tensors(torch.arange(len(dies) * layer.units)[:, None], packed.order)
        error = error + source.at_start(row, sequence).view(error.shape)
    return packet * (torch.where(rises, up, -down)[:, :, None] - error)


def _slope(nominal: Design, layer: Layer) -> Tensor:
    """(dies, units) [V per timestep]: how leakage moves the state."""
    capacitance = layer.integrator * (1 + 1 / layer.gain)
    return torch.from_numpy(layer.leak * nominal.technology.timing.timestep / capacitance)


# --- Readout -----------------------------------------------------------------------------------------------------


def _logit_scale(nominal: Design) -> NDArray[np.float64]:
    """(classes,) software units per volt, as one who reads the rows knows it: that of the nominal design."""
    return (nominal.readout.total + nominal.technology.capacitor.parasitic) / nominal.readout.scale


def _logit_noise(dies: Dies, source: Source, packed: Packed, die: Tensor, sequence: Tensor) -> Tensor:
    """(..., timesteps, classes) for index tensors of one shape, 0 past a sequence's end; in software units."""
    time, unit = torch.arange(len(packed.alive)), torch.arange(source.units)
    row = die[..., None, None] * source.units + unit
    volts = source.at(*torch.broadcast_tensors(row, noise.moments(sequence[..., None, None], time[:, None] + 1)))
    real = time < torch.from_numpy(packed.lengths)[sequence][..., None]
    return volts * torch.from_numpy(_logit_scale(dies.nominal)) * real[..., None]


def _grid(dies: int, sequences: int) -> tuple[Tensor, Tensor]:
    die, sequence = torch.meshgrid(torch.arange(dies), torch.arange(sequences), indexing="ij")
    return die, sequence


# --- Time and tensors --------------------------------------------------------------------------------------------


def _rises(design: Design) -> dict[str, float]:
    """When each clock phase rises, and when states are sampled, as shares of a timestep."""
    names, phase = netlist.phases(design), netlist.phase_share(design)
    return {name: 1 - phase * (len(names) + 1 - place) for place, name in enumerate(names)} | {"sample": 1 - phase / 4}


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def _lengthened(values: Tensor, time: int) -> Tensor:
    """(sequences, timesteps, units) with as many timesteps as the data was padded to."""
    return torch.nn.functional.pad(values, (0, 0, 0, time - values.shape[1]))
