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
(:data:`cmru_hw.streams.BOUND`), so noise is computed only for rows that it could still turn over. In the same way rows
are computed in single precision, whose error is bounded too, and in double precision where that leaves a doubt. The
decisions are those of rows in double precision that have all of their noise.

Layout. Timesteps of all sequences are packed, without padding, along the last axis: timestep-major, longest sequence
first, so that the sequences alive at timestep t are a prefix. Units come before it, dies first of all. Matrix products
are made die by die: then a die's numbers do not depend, to the last bit, on which dies are computed with it. That also
keeps what a step works on near the processor, which this is about: it does little with each of many numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmru_hw import noise
from cmru_hw.cells import evidence
from cmru_hw.checkpoint import Sequences
from cmru_hw.mapping import Design, Layer, Row
from cmru_hw.noise import LayerNoise, Source
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
    unless asked for. ``top`` is what the readout reads.
    """

    decisions: tuple[Tensor, ...]
    states: tuple[Tensor, ...]
    margins: tuple[Tensor, ...] | None
    top: Lines


@dataclass(frozen=True, kw_only=True, eq=False)
class Lines:
    """Voltages that a layer reads: ``values`` (dies or 1, lines, places) as they were ``since`` [timesteps into one].

    They drift by ``slope`` (dies or 1, lines) [V per timestep].
    """

    values: Tensor
    slope: Tensor
    since: float


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


def run_in_parts(dies: Dies, packed: Packed, together: int) -> Iterator[tuple[Dies, Trajectories]]:
    """As :func:`run`, ``together`` dies at a time, because memory grows with their number."""
    sources = [noise.layer_noise(dies, index) for index in range(len(dies.nominal.layers))]
    for first in range(0, len(dies), together):
        part = slice(first, min(first + together, len(dies)))
        some = dies.among(part)
        yield some, _run(some, packed, [source.among(part) for source in sources], margins=False)


def run(dies: Dies, packed: Packed, *, margins: bool = False) -> Trajectories:
    """All of ``dies`` on all of ``packed`` at once."""
    sources = [noise.layer_noise(dies, index) for index in range(len(dies.nominal.layers))]
    return _run(dies, packed, sources, margins=margins)


def _run(dies: Dies, packed: Packed, noises: Sequence[LayerNoise], *, margins: bool) -> Trajectories:
    nominal = dies.nominal
    rises = _rises(nominal)
    inputs = Lines(values=packed.lines[None], slope=torch.zeros(1, len(packed.lines)).double(), since=0.0)
    lines = [inputs]
    decisions, states, distances = [], [], []
    for index, layer in enumerate(dies.batch.layers):
        evaluate, update = rises[f"e{index}"], rises[f"u{index}"]
        sources = noises[index]
        weights = [_weights(row, dies, lines, at=evaluate) for row in (layer.low, layer.high)]
        above, rows = _compare(weights, lines, sources.compared, packed, keep=margins)
        # both above: 1, both below: −1, else 0
        moves = above[:, : layer.units].view(torch.int8) + above[:, layer.units :].view(torch.int8)
        moves -= 1
        third = None
        if layer.packet_row is not None:
            third = _weigh(*_weights(layer.packet_row, dies, lines, at=evaluate), lines)
            _add_where(moves, third, sources.alpha, packed)
        slope = _slope(nominal, layer)
        # the power-on short opens when the layer evaluates; a unit that replaces its state stays short until the packet
        released = 0.0 if f"m{index}" in rises else update - evaluate
        start = _power_on(dies, layer, sources.packet, packed) + (slope * released)[:, :, None]
        after = _integrate(dies, layer, sources.packet, moves, third, packed, start)
        decisions.append(moves)
        states.append(after + (slope * (rises["sample"] - update))[:, :, None] if slope.any() else after)
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


def classes(dies: Dies, packed: Packed, trajectories: Trajectories) -> Tensor:
    """Class index (dies, sequences) by the checkpoint's decision rule, readout noise included."""
    rule = dies.nominal.config.decision
    source = noise.readout_noise(dies)
    lengths = torch.from_numpy(packed.lengths)
    if rule != "mean":
        logits = packed.padded(_logits(dies, trajectories.top))
        if source.parts:
            logits += _logit_noise(dies, source, packed, *_grid(len(dies), len(lengths)))
        return torch.stack([evidence(of_die, lengths, rule).argmax(-1) for of_die in logits])
    # the readout is linear: the mean of what it says is what it says of the mean
    top = trajectories.top
    totals = top.values.new_zeros((*top.values.shape[:2], len(lengths)))
    for count, start in zip(packed.alive, packed.starts, strict=True):
        totals[..., :count] += top.values[..., start : start + count]
    totals /= lengths[packed.order]
    means = _logits(dies, Lines(values=totals, slope=top.slope, since=top.since))
    means = means[..., packed.order.argsort()].transpose(1, 2)
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
    logits = packed.padded(_logits(dies, found.top))
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


def _weights(row: Row, dies: Dies, lines: list[Lines], *, at: float) -> tuple[Tensor, Tensor]:
    """What lines weigh (dies, units, lines), and top plates (dies, units) [V from V_cm] if the lines were at V_cm.

    That is at the phase that rises ``at``, with what the lines have drifted by then, and without noise.
    """
    total = row.total + dies.nominal.technology.capacitor.parasitic
    level = torch.from_numpy(row.offset + (row.bias + row.threshold) * dies.batch.bias[:, None] / total)[:, :, None]
    weights = torch.from_numpy(row.weights / total[:, :, None])
    first = 0
    for group in lines:
        part = weights[:, :, first : first + group.slope.shape[1]]
        level = level + part @ (group.slope * (at - group.since))[:, :, None]
        first += group.slope.shape[1]
    return weights, level[..., 0]


def _weigh(weights: Tensor, level: Tensor, lines: list[Lines]) -> Tensor:
    """Top plates (dies, units, places) [V from V_cm] without noise."""
    out = level[:, :, None].repeat(1, 1, lines[0].values.shape[2])
    for place, values in enumerate(out):
        first = 0
        for group in lines:
            part = weights[place, :, first : first + group.slope.shape[1]]
            values.addmm_(part, group.values[place if len(group.values) > 1 else 0])
            first += group.slope.shape[1]
    return out


def _compare(
    rows: list[tuple[Tensor, Tensor]], lines: list[Lines], source: Source, packed: Packed, *, keep: bool
) -> tuple[Tensor, Tensor | None]:
    """Whether rows, low ones before high ones, are above their thresholds: (dies, 2 units, places), bool.

    With ``keep`` all rows are in double precision, and are returned too, with as much noise as it took to know signs.
    """
    weights, level = (torch.cat(both, dim=1) for both in zip(*rows, strict=True))
    shape = (*level.shape, len(packed.moment))
    kept = _weigh(weights, level, lines) if keep else None
    bound = source.bound.view(level.shape) if source.parts else torch.zeros_like(level)
    above = torch.empty(shape, dtype=torch.bool)
    sizes, near = np.empty(shape[1:], dtype=np.float64 if keep else np.float32), np.empty(shape[1:], dtype=bool)
    found: list[tuple[Tensor, Tensor]] = []
    doubts = []
    for die, (values, doubt) in enumerate(_rounded(weights, level, lines) if kept is None else _known(kept)):
        np.greater(values.numpy(), 0, out=above[die].numpy())
        # not <=, because what is not a number is no certainty; the factor covers the rounding of the limit
        limit = ((bound[die] + doubt) * (1 + 1e-6)).to(values.dtype)[:, None]
        np.greater(np.abs(values.numpy(), out=sizes), limit.numpy(), out=near)
        np.logical_not(near, out=near)
        place = torch.from_numpy(np.flatnonzero(near))
        found.append((place + die * values.numel(), values.view(-1).index_select(0, place)))
        doubts.append(doubt)
    place, values = (torch.cat(parts) for parts in zip(*found, strict=True))
    values, doubt = values.double(), torch.cat(doubts)
    row, within = _split(place, shape[2])
    moment = packed.moment.index_select(0, within)
    left, added = bound.flatten(), torch.zeros_like(values)
    for part in source.parts:
        more = part.at(row, moment)
        values += more
        added += more
        _put(above, place, values > 0)
        if kept is not None:
            _put(kept, place, values)
        left = left - part.bound
        open_ = _nonzero(~(values.abs() > (left + doubt).index_select(0, row)))
        place, values, added, row, moment = (x.index_select(0, open_) for x in (place, values, added, row, moment))
    if kept is None and len(place):
        _put(above, place, _exactly(weights, level, lines, row, place % shape[2]) + added > 0)
    return above, kept


def _rounded(weights: Tensor, level: Tensor, lines: list[Lines]) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows (2 units, places) of each die in single precision, and (2 units,) what they may be off by."""
    count, places = weights.shape[2], lines[0].values.shape[2]
    read = torch.empty(count, places)
    out = torch.empty(weights.shape[1], places)
    weight, base = weights.float(), level.float()[:, :, None]
    # Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.5, with twice the unit roundoff 2^-24
    error = (count + 4) * 0.5**23
    reach, rest = weights.abs().sum(2) * error, level.abs() * error
    for die in range(len(weights)):
        first = 0
        for group in lines:
            if die == 0 or len(group.values) > 1:
                read[first : first + group.values.shape[1]] = group.values[die if len(group.values) > 1 else 0]
            first += group.values.shape[1]
        torch.addmm(base[die], weight[die], read, out=out)
        low, high = torch.aminmax(read)
        yield out, torch.add(rest[die], reach[die], alpha=max(-float(low), float(high)))


def _known(rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for values in rows:
        yield values, values.new_zeros(len(values))


def _exactly(weights: Tensor, level: Tensor, lines: list[Lines], row: Tensor, place: Tensor) -> Tensor:
    """Rows in double precision at a few places, in an order of summation that their number cannot change."""
    die = row // weights.shape[1]
    read = [group.values[die if len(group.values) > 1 else torch.zeros_like(die), :, place] for group in lines]
    terms = weights.flatten(0, 1)[row] * torch.cat(read, dim=1)
    return level.flatten()[row] + terms.cumsum(1)[:, -1]


def _add_where(moves: Tensor, rows: Tensor, source: Source, packed: Packed) -> None:
    """Add all noise to ``rows`` in place where a packet is sent."""
    if source.parts:
        place = _nonzero(moves)
        row, within = _split(place, len(packed.moment))
        rows.view(-1).put_(place, source.at(row, packed.moment.index_select(0, within)), accumulate=True)


# Where steps are this small, numpy is several times faster than torch at finding, placing and comparing with a column.


def _nonzero(mask: Tensor) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def _put(values: Tensor, place: Tensor, new: Tensor) -> None:
    values.view(-1).numpy()[place.numpy()] = new.numpy()


def _split(place: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Rows, and places in them, of rising flat indices into rows of ``width``: ``divmod``, but without divisions."""
    rows = int(place[-1]) // width + 1 if len(place) else 0
    starts = np.arange(rows + 1) * width
    counts = np.diff(np.searchsorted(place.numpy(), starts))
    row = torch.from_numpy(np.repeat(np.arange(rows), counts))
    return row, torch.add(place, row, alpha=-width)


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
    # g (V − ζ) up, −g (V + ζ) down: the part that changes sign with the decision, and the part that does not
    half = packet if third is not None else packet * (up + down) / 2
    common = -packet * error if third is not None else packet * ((up - down) / 2 - error)
    half, common, noisy, loss = (x.flatten() for x in (half, common, -packet, kept - 1))

    slope = _slope(dies.nominal, layer)[:, :, None]
    leaks, limit = bool(slope.any()), layer.limit[:, :, None]
    after = torch.empty(moves.shape, dtype=torch.float64)
    for count, start in zip(packed.alive, packed.starts, strict=True):
        now = slice(start, start + count)
        before, toward = state[..., :count], moves[..., now].contiguous()
        if leaks:
            before += slope
        # most units send nothing at a time: the rest of the arithmetic is for those that do
        volts, way = before.numpy(), toward.numpy()
        sends = ((volts < limit) & (way > 0)) | ((volts > -limit) & (way < 0))
        sent = torch.from_numpy(np.flatnonzero(sends))
        row, sequence = _split(sent, count)
        sign = toward.view(-1).index_select(0, sent).double()
        change = sign.mul_(half.index_select(0, row))
        if third is not None:
            change *= third.view(-1).index_select(0, row * moves.shape[2] + sequence + start)
        change += common.index_select(0, row)
        if source.parts:
            change += source.at(row, packed.moment[now].index_select(0, sequence)).mul_(noisy.index_select(0, row))
        held = torch.add(sequence, row, alpha=state.shape[2])
        old = state.view(-1).index_select(0, held)
        change.addcmul_(old, loss.index_select(0, row))
        _put(state, held, old.add_(change))
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
        error = error + source.at_start(packed.order).view(error.shape)
    return packet * (torch.where(rises, up, -down)[:, :, None] - error)


def _slope(nominal: Design, layer: Layer) -> Tensor:
    """(dies, units) [V per timestep]: how leakage moves the state."""
    capacitance = layer.integrator * (1 + 1 / layer.gain)
    return torch.from_numpy(layer.leak * nominal.technology.timing.timestep / capacitance)


# --- Readout -----------------------------------------------------------------------------------------------------


def _logits(dies: Dies, top: Lines) -> Tensor:
    """(dies, classes, places) of the readout, in software units and without noise."""
    nominal = dies.nominal
    volts = _weigh(*_weights(dies.batch.readout, dies, [top], at=_rises(nominal)["r"]), [top])
    offset, scale = torch.from_numpy(nominal.readout.offset), torch.from_numpy(_logit_scale(nominal))
    return volts.sub_(offset[:, None]).mul_(scale[:, None])


def _logit_scale(nominal: Design) -> NDArray[np.float64]:
    """(classes,) software units per volt, as one who reads the rows knows it: that of the nominal design."""
    return (nominal.readout.total + nominal.technology.capacitor.parasitic) / nominal.readout.scale


def _logit_noise(dies: Dies, source: Source, packed: Packed, die: Tensor, sequence: Tensor) -> Tensor:
    """(..., timesteps, classes) for index tensors of one shape, 0 past a sequence's end; in software units."""
    time, unit = torch.arange(len(packed.alive)), torch.arange(source.units)
    row = die[..., None, None] * source.units + unit
    row, moment = torch.broadcast_tensors(row, noise.moments(sequence[..., None, None], time[:, None] + 1))
    volts = source.at(row.flatten(), moment.flatten()).view(row.shape)
    real = time < torch.from_numpy(packed.lengths)[sequence][..., None]
    return volts * torch.from_numpy(_logit_scale(dies.nominal)) * real[..., None]


def _grid(dies: int, sequences: int) -> tuple[Tensor, Tensor]:
    die, sequence = torch.meshgrid(torch.arange(dies), torch.arange(sequences), indexing="ij")
    return die, sequence


# --- Time and tensors --------------------------------------------------------------------------------------------


def _rises(design: Design) -> dict[str, float]:
    """When each clock phase rises, and when states are sampled, as shares of a timestep."""
    names, phase = design.phases, design.phase
    return {name: 1 - phase * (len(names) + 1 - place) for place, name in enumerate(names)} | {"sample": 1 - phase / 4}


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def _lengthened(values: Tensor, time: int) -> Tensor:
    """(sequences, timesteps, units) with as many timesteps as the data was padded to."""
    return torch.nn.functional.pad(values, (0, 0, 0, time - values.shape[1]))
