"""Noise in time: what a die adds at every precharge, as a pure function of (seed, die, element, sequence, timestep).

Everything that is random in time enters at a precharge node, as it does in the circuit: a row is sampled when its
precharge switch opens, a packet when that of its capacitor does. A :class:`Source` is the noise at the nodes of one
kind in one layer; SPICE takes it as stimulus columns, the fast engine asks for the few values that decide something.

* row: √(kT/ΣC); a comparator's own noise and its 1/f wander are referred to the row it looks at.
* packet: charging and emptying C_s each leave √(kT C_s) of charge, together √(2kT C_s). As a voltage that C_s is
  precharged to, of which (C_s/C_int) arrives at the state, that is √(2kT/C_s).
* emptying C_int leaves √(kT/C_int) on the state: at power-on, and before every packet of a unit that replaces its
  state. It is referred to the same node, through the same ratio.
* 1/f: one normal number for each octave of frequency, held for 1, 2, 4, ... timesteps (Voss and McCartney), because
  such a sum can be evaluated at any timestep without those before it. What is slower than the last octave is an offset.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmru_hw import streams
from cmru_hw.errors import DataError
from cmru_hw.mapping import Layer, Row
from cmru_hw.signals import Array
from cmru_hw.variation import Dies

BOLTZMANN = 1.380649e-23  # J/K, exact
OCTAVES = 10
# Fields of a counter: unit | sequence | frame. Frame 0 is the power-on frame, frame t + 1 the timestep t.
_SEQUENCE, _UNIT = 20, 44
_AT_ONCE = 1 << 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One stream of every unit on every die, flat: row d·units + u belongs to unit u of the d-th die.

    ``key`` (rows,) and standard deviations ``start`` (in the power-on frame) and ``sigma`` (rows,) [V]. A value is held
    for 2^``octave`` frames.
    """

    key: Tensor
    start: Tensor
    sigma: Tensor
    octave: int = 0

    @property
    def bound(self) -> Tensor:
        """(rows,) [V]: what no value after power-on exceeds in magnitude."""
        return self.sigma * streams.BOUND

    def at(self, row: Tensor, moment: Tensor) -> Tensor:
        """Noise [V] of rows at :func:`moments` after power-on: index tensors, int64, of one length."""
        found = torch.empty(len(row), dtype=torch.float64)
        # index_select is several times faster than take() and brackets, and memory that fits the processor than more
        for out, rows, counter in zip(found.split(_AT_ONCE), row.split(_AT_ONCE), moment.split(_AT_ONCE), strict=True):
            key, sigma = self.key.index_select(0, rows), self.sigma.index_select(0, rows)
            torch.mul(streams.normals(key, counter >> self.octave if self.octave else counter), sigma, out=out)
        return found

    def on(self, place: NDArray[np.int64], moment: Tensor, out: Array) -> None:
        """Noise [V] of all rows at all ``moment``, but only at flat places in that; 0 elsewhere. All is left in ``out``
        (rows, moments).
        """
        counter = moment >> self.octave if self.octave else moment
        torch.add(self.key[:, None], counter * streams.STEP, out=torch.from_numpy(out.view(np.int64)))
        flat = out.reshape(-1)
        where = torch.from_numpy(flat.view(np.int64)[place])
        flat.fill(0.0)
        flat[place] = streams.numbers(where).numpy()
        out *= self.sigma.numpy()[:, None]

    def at_start(self, sequences: Tensor) -> Tensor:
        """Noise [V] (rows, sequences) in the power-on frame of ``sequences``."""
        return self.start[:, None] * streams.normals(self.key[:, None], moments(sequences, 0) >> self.octave)

    def among(self, rows: slice) -> Part:
        """That of some of the rows."""
        return replace(self, key=self.key[rows], start=self.start[rows], sigma=self.sigma[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """The sum of independent parts at the nodes ``z<kind><layer>_<unit>``; ``name`` is what comes before the unit."""

    name: str
    units: int
    parts: tuple[Part, ...]

    @property
    def bound(self) -> Tensor:
        """(rows,) [V]: what no value after power-on exceeds in magnitude. Only for a source that has parts."""
        return torch.stack([part.bound for part in self.parts]).sum(0)

    def at(self, row: Tensor, moment: Tensor) -> Tensor:
        """As :meth:`Part.at`, of all parts together."""
        first, *others = (part.at(row, moment) for part in self.parts)
        for other in others:
            first += other
        return first

    def on(self, place: NDArray[np.int64], moment: Tensor, out: Array) -> None:
        """As :meth:`Part.on`, of all parts together."""
        first, *others = self.parts
        first.on(place, moment, out)
        for other in others:
            more = np.empty_like(out)
            other.on(place, moment, more)
            out += more

    def at_start(self, sequences: Tensor) -> Tensor:
        """As :meth:`Part.at_start`, of all parts together."""
        return torch.stack([part.at_start(sequences) for part in self.parts]).sum(0)

    def among(self, dies: slice) -> Source:
        """That of some of the dies, which are then numbered from 0."""
        rows = slice(dies.start * self.units, dies.stop * self.units)
        return replace(self, parts=tuple(part.among(rows) for part in self.parts))


def moments(sequence: Tensor, frame: Tensor | int) -> Tensor:
    """One number for a frame of a sequence. Divided by a power of two it still tells sequences apart."""
    return (sequence << _SEQUENCE) + frame


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerNoise:
    """``alpha`` is the third row of an αCMRU, and has no parts elsewhere."""

    low: Source
    high: Source
    alpha: Source
    packet: Source

    @property
    def compared(self) -> Source:
        """``low`` and ``high`` as one, a die's low rows before its high rows; its loudest parts come first."""
        units = self.low.units
        parts = [
            Part(
                **{
                    name: torch.cat([getattr(part, name).view(-1, units) for part in pair], dim=1).flatten()
                    for name in ("key", "start", "sigma")
                },
                octave=pair[0].octave,
            )
            for pair in zip(self.low.parts, self.high.parts, strict=True)
        ]
        parts.sort(key=lambda part: -float(part.sigma.mean()))
        return Source(name="", units=2 * units, parts=tuple(parts))

    def among(self, dies: slice) -> LayerNoise:
        """As :meth:`Source.among`."""
        return LayerNoise(**{field.name: getattr(self, field.name).among(dies) for field in fields(self)})


def check(sequences: int, timesteps: int) -> None:
    """Raises DataError for data that is larger than a counter's fields."""
    if sequences >= 1 << (_UNIT - _SEQUENCE) or timesteps + 1 >= 1 << _SEQUENCE:
        raise DataError(
            f"{sequences} sequences of {timesteps} timesteps are more than noise is numbered for: split them"
        )


def layer_noise(dies: Dies, index: int) -> LayerNoise:
    """The noise sources of layer ``index``."""
    layer, name = dies.batch.layers[index], f"layer{index}"
    third = layer.packet_row
    # the third row drives a buffer, not a comparator
    alpha = () if third is None else _row(dies, f"{name}/g", third, compared=False)
    parts = {
        "a": _row(dies, f"{name}/a", layer.low),
        "b": _row(dies, f"{name}/b", layer.high),
        "g": alpha,
        "p": _packet(dies, f"{name}/p", layer),
    }
    low, high, third_row, packet = (
        Source(name=f"z{kind}{index}_", units=layer.units, parts=own) for kind, own in parts.items()
    )
    return LayerNoise(low=low, high=high, alpha=third_row, packet=packet)


def readout_noise(dies: Dies) -> Source:
    """The noise of the readout rows."""
    parts = _row(dies, "readout/y", dies.batch.readout, leaf="class", compared=False)
    return Source(name="zy", units=len(dies.nominal.readout.bias), parts=parts)


def columns(dies: Dies, place: int, sequence: int, timesteps: int) -> dict[str, Array]:
    """For a netlist of the die at ``place``: node → noise [V] of ``sequence``, power-on frame first, then timesteps."""
    found: dict[str, Array] = {}
    sources = [readout_noise(dies)]
    for index in range(len(dies.nominal.layers)):
        each = layer_noise(dies, index)
        sources += (each.low, each.high, each.alpha, each.packet)
    number = torch.tensor([sequence])
    moment = moments(number, torch.arange(1, timesteps + 1))
    for source in (source.among(slice(place, place + 1)) for source in sources if source.parts):
        later = source.at(torch.arange(source.units).repeat_interleave(timesteps), moment.repeat(source.units))
        values = torch.cat((source.at_start(number), later.view(source.units, timesteps)), dim=1)
        found |= {f"{source.name}{unit}": one for unit, one in enumerate(values.numpy())}
    return found


def _row(dies: Dies, name: str, row: Row, *, leaf: str = "row", compared: bool = True) -> tuple[Part, ...]:
    technology = dies.nominal.technology
    noise = technology.noise
    total = row.total + technology.capacitor.parasitic
    parts = []
    if f"noise/{leaf}" in dies.on:
        parts.append(_part(dies, f"noise/{leaf}/{name}", np.sqrt(BOLTZMANN * noise.temperature / total)))
    if compared and "noise/decision" in dies.on:
        parts.append(_part(dies, f"noise/decision/{name}", np.full_like(total, noise.comparator)))
    if compared and "noise/wander" in dies.on:
        parts += [
            _part(dies, f"noise/wander/{name}/{octave}", np.full_like(total, noise.wander), octave=octave)
            for octave in range(OCTAVES)
        ]
    return tuple(part for part in parts if part.sigma.any())


def _packet(dies: Dies, name: str, layer: Layer) -> tuple[Part, ...]:
    if "noise/charge" not in dies.on:
        return ()
    thermal = BOLTZMANN * dies.nominal.technology.noise.temperature
    packet, start, integrator = layer.packet, layer.start_packet, layer.integrator
    emptied = dies.nominal.config.epsilon == 0.0 and layer.packet_row is None
    variance = 2 * thermal / packet + (thermal * integrator / packet**2 if emptied else 0.0)
    sigma_start = np.sqrt(2 * thermal / start + thermal * integrator / start**2)
    part = _part(dies, f"noise/charge/{name}", np.sqrt(variance), start=sigma_start)
    return (part,) if part.sigma.any() else ()


def _part(dies: Dies, name: str, sigma: Array, *, start: Array | None = None, octave: int = 0) -> Part:
    key = streams.keys(dies.seed, name, dies.numbers)
    unit = (torch.arange(sigma.shape[1]) << _UNIT) >> octave
    own = torch.from_numpy(sigma).flatten()
    return Part(
        key=streams.advanced(key[:, None], unit).flatten(),
        sigma=own,
        start=own if start is None else torch.from_numpy(start).flatten(),
        octave=octave,
    )
