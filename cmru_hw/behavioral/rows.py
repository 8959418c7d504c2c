"""Rows of capacitors, and what their comparators say.

A row settles at its precharge level plus Σ±C V / ΣC. Its decision needs the sign alone, and noise is bounded
(:data:`cmru_hw.streams.BOUND`), so noise is computed only for rows that it could still turn over. In the same way rows
are computed in single precision, whose error is bounded too, and in double precision where that leaves a doubt. The
decisions are those of rows in double precision that have all of their noise.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cmru_hw.behavioral.packed import Lines, Memory, Packed, split
from cmru_hw.mapping import Row
from cmru_hw.noise import Source
from cmru_hw.variation import Dies

# Part of a bound that is left, above which it is not worth asking what that decides.
ENOUGH = 0.75


def weights_of(row: Row, dies: Dies, lines: list[Lines], *, at: float) -> tuple[Tensor, Tensor]:
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


def weigh(weights: Tensor, level: Tensor, lines: list[Lines]) -> Tensor:
    """Top plates (dies, units, places) [V from V_cm] without noise."""
    out = level[:, :, None].repeat(1, 1, lines[0].values.shape[2])
    for place, values in enumerate(out):
        first = 0
        for group in lines:
            part = weights[place, :, first : first + group.slope.shape[1]]
            values.addmm_(part, group.values[place if len(group.values) > 1 else 0])
            first += group.slope.shape[1]
    return out


def compare(
    rows: list[tuple[Tensor, Tensor]], lines: list[Lines], source: Source, packed: Packed, memory: Memory, *, keep: bool
) -> tuple[Tensor, Tensor | None]:
    """Whether rows, low ones before high ones, are above their thresholds: (dies, 2 units, places), bool.

    With ``keep`` all rows are in double precision, and are returned too, with as much noise as it took to know signs.
    """
    weights, level = (torch.cat(both, dim=1) for both in zip(*rows, strict=True))
    shape = (*level.shape, len(packed.moment))
    kept = weigh(weights, level, lines) if keep else None
    bound = source.bound.view(level.shape) if source.parts else torch.zeros_like(level)
    above = torch.from_numpy(memory.array("above", shape, bool))
    found: list[tuple[Tensor, Tensor]] = []
    doubts = []
    for die, (values, doubt) in enumerate(_rounded(weights, level, lines, memory) if kept is None else _known(kept)):
        np.greater(values.numpy(), 0, out=above[die].numpy())
        # the factor covers the rounding of the limit
        place = _near(values, ((bound[die] + doubt) * (1 + 1e-6)).to(values.dtype), memory)
        found.append((place + die * values.numel(), values.view(-1).index_select(0, place)))
        doubts.append(doubt)
    place, values = (torch.cat(parts) for parts in zip(*found, strict=True))
    values, doubt = values.double(), torch.cat(doubts)
    row, within = split(place, shape[2])
    moment = packed.moment.index_select(0, within)
    left, added = bound.flatten(), torch.zeros_like(values)
    was, told = values > 0, left
    for index, part in enumerate(source.parts):
        more = part.at(row, moment)
        values += more
        added += more
        left = left - part.bound
        # most are decided by the loudest parts; to look after each of many faint ones would cost more than it saves
        if index + 1 < len(source.parts) and float(left.sum()) > ENOUGH * float(told.sum()):
            continue
        told, now = left, values > 0
        turned = _where(now != was)
        _put(above, place[turned], now[turned])
        if kept is not None:
            _put(kept, place, values)
        open_ = _where(~(values.abs() > (left + doubt).index_select(0, row)))
        place, values, added, row, moment, was = (
            x.index_select(0, open_) for x in (place, values, added, row, moment, now)
        )
    if kept is None and len(place):
        _put(above, place, _exactly(weights, level, lines, row, place % shape[2]) + added > 0)
    return above, kept


def _near(values: Tensor, limit: Tensor, memory: Memory) -> Tensor:
    """Flat places in ``values`` (rows, places) that are not further from zero than ``limit`` (rows,)."""
    sizes = memory.array("sizes", tuple(values.shape), values.numpy().dtype)
    eights = memory.array("near", (-(-values.numel() // 8),), np.uint64)
    eights[-1:] = 0
    near = eights.view(bool)[: values.numel()].reshape(values.shape)
    np.greater(np.abs(values.numpy(), out=sizes), limit.numpy()[:, None], out=near)
    # not <=, because what is not a number is no certainty
    np.logical_not(near, out=near)
    # Of a few percent of all, numpy finds one after the other and the processor guesses wrong each time: so first which
    # eights of values hold any.
    some = np.flatnonzero(eights != 0)
    within = np.flatnonzero(eights[some].view(bool))
    return torch.from_numpy((some[within >> 3] << 3) + (within & 7))


def _rounded(weights: Tensor, level: Tensor, lines: list[Lines], memory: Memory) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows (2 units, places) of each die in single precision, and (2 units,) what they may be off by."""
    count, places = weights.shape[2], lines[0].values.shape[2]
    read = torch.from_numpy(memory.array("read", (count, places), np.float32))
    out = torch.from_numpy(memory.array("rows", (weights.shape[1], places), np.float32))
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


def add_where(moves: Tensor, rows: Tensor, source: Source, packed: Packed) -> None:
    """Add all noise to ``rows`` in place where a packet is sent."""
    if source.parts:
        place = _where(moves != 0)
        row, within = split(place, len(packed.moment))
        rows.view(-1).put_(place, source.at(row, packed.moment.index_select(0, within)), accumulate=True)


def _where(mask: Tensor) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def _put(values: Tensor, place: Tensor, new: Tensor) -> None:
    # several times faster than put_ where there are few
    values.view(-1).numpy()[place.numpy()] = new.numpy()
