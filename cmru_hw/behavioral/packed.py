"""How sequences lie in memory while the fast engine works on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from cmru_hw import noise
from cmru_hw.checkpoint import Sequences
from cmru_hw.mapping import Design


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
class Lines:
    """Voltages that a layer reads: ``values`` (dies or 1, lines, places) as they were ``since`` [timesteps into one].

    They drift by ``slope`` (dies or 1, lines) [V per timestep].
    """

    values: Tensor
    slope: Tensor
    since: float


class Memory:
    """Arrays by name, whose memory serves the next dies as well.

    What is asked for anew comes from the operating system page by page, which takes longer than what is done with it.
    """

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """An array with anything in it, which is also what was last called that, if its shape was as large."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        kept = self._kept.get(name)
        if kept is None or len(kept) < size:
            kept = self._kept[name] = np.empty(size, dtype=np.uint8)
        return kept[:size].view(dtype).reshape(shape)


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


def split(place: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Rows, and places in them, of rising flat indices into rows of ``width``: ``divmod``, but without divisions."""
    rows = int(place[-1]) // width + 1 if len(place) else 0
    starts = np.arange(rows + 1) * width
    counts = np.diff(np.searchsorted(place.numpy(), starts))
    row = torch.from_numpy(np.repeat(np.arange(rows), counts))
    return row, torch.add(place, row, alpha=-width)


def rises(design: Design) -> dict[str, float]:
    """When each clock phase rises, and when states are sampled, as shares of a timestep."""
    names, phase = design.phases, design.phase
    return {name: 1 - phase * (len(names) + 1 - place) for place, name in enumerate(names)} | {"sample": 1 - phase / 4}
