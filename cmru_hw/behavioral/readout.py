"""What the readout says of the last layer's states."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmru_hw import noise
from cmru_hw.behavioral.packed import Lines, Packed, rises
from cmru_hw.behavioral.rows import weigh, weights_of
from cmru_hw.cells import evidence
from cmru_hw.mapping import Design
from cmru_hw.noise import Source
from cmru_hw.variation import Dies


def classes(dies: Dies, packed: Packed, top: Lines) -> Tensor:
    """Class index (dies, sequences) by the checkpoint's decision rule, readout noise included."""
    rule = dies.nominal.config.decision
    lengths = torch.from_numpy(packed.lengths)
    if rule == "mean":
        return _of_means(dies, packed, top)
    return torch.stack([evidence(of_die, lengths, rule).argmax(-1) for of_die in logits(dies, packed, top)])


def logits(dies: Dies, packed: Packed, top: Lines) -> Tensor:
    """(dies, sequences, timesteps, classes) in software units, readout noise included; 0 past a sequence's end."""
    found = packed.padded(_quiet(dies, top))
    source = noise.readout_noise(dies)
    if source.parts:
        die, sequence = torch.meshgrid(torch.arange(len(dies)), torch.arange(len(packed.lengths)), indexing="ij")
        found += _noise(dies, source, packed, die, sequence)
    return found


def _of_means(dies: Dies, packed: Packed, top: Lines) -> Tensor:
    # the readout is linear: the mean of what it says is what it says of the mean
    lengths = torch.from_numpy(packed.lengths)
    totals = top.values.new_zeros((*top.values.shape[:2], len(lengths)))
    for count, start in zip(packed.alive, packed.starts, strict=True):
        totals[..., :count] += top.values[..., start : start + count]
    totals /= lengths[packed.order]
    means = _quiet(dies, Lines(values=totals, slope=top.slope, since=top.since))[..., packed.order.argsort()]
    best, second = means[:, 0].clone(), torch.full_like(means[:, 0], -torch.inf)
    winner = torch.zeros_like(best, dtype=torch.int64)
    for index in range(1, means.shape[1]):
        # as argmax(1) and topk(2, 1), several times faster along this axis
        value = means[:, index]
        winner[value > best] = index
        second = torch.maximum(second, torch.minimum(best, value))
        best = torch.maximum(best, value)
    source = noise.readout_noise(dies)
    if source.parts:
        # a mean of bounded noise has the same bound: only where the best two are nearer can noise decide
        scale = torch.from_numpy(_scale(dies.nominal))
        bound = (source.bound.view(len(dies), -1) * scale).amax(1)
        die, sequence = torch.nonzero(best - second <= 2 * bound[:, None], as_tuple=True)
        added = _noise(dies, source, packed, die, sequence).sum(1) / lengths[sequence, None]
        winner[die, sequence] = (means[die, :, sequence] + added).argmax(-1)
    return winner


def _quiet(dies: Dies, top: Lines) -> Tensor:
    """(dies, classes, places) of the readout, in software units and without noise."""
    nominal = dies.nominal
    volts = weigh(*weights_of(dies.batch.readout, dies, [top], at=rises(nominal)["r"]), [top])
    offset, scale = torch.from_numpy(nominal.readout.offset), torch.from_numpy(_scale(nominal))
    return volts.sub_(offset[:, None]).mul_(scale[:, None])


def _scale(nominal: Design) -> NDArray[np.float64]:
    """(classes,) software units per volt, as one who reads the rows knows it: that of the nominal design."""
    return (nominal.readout.total + nominal.technology.capacitor.parasitic) / nominal.readout.scale


def _noise(dies: Dies, source: Source, packed: Packed, die: Tensor, sequence: Tensor) -> Tensor:
    """(..., timesteps, classes) for index tensors of one shape, 0 past a sequence's end; in software units."""
    time, unit = torch.arange(len(packed.alive)), torch.arange(source.units)
    row = die[..., None, None] * source.units + unit
    row, moment = torch.broadcast_tensors(row, noise.moments(sequence[..., None, None], time[:, None] + 1))
    volts = source.at(row.flatten(), moment.flatten()).view(row.shape)
    real = time < torch.from_numpy(packed.lengths)[sequence][..., None]
    return volts * torch.from_numpy(_scale(dies.nominal)) * real[..., None]
