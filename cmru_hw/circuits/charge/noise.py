"""Noise in time, added at every precharge: a pure function of (seed, die, element, sequence, timestep).

All noise enters at a precharge node, as in the circuit: a row is sampled when its precharge switch opens, a packet when
the switch of its capacitor opens. A :class:`NoiseSource` is the noise at the nodes of one kind in one layer. SPICE
takes it as stimulus columns. The fast engine computes only the values that can change a decision.

* row: √(kT/ΣC). A comparator of transistors, or one with trim, compares its row with a replica, a capacitor that is
  sampled by the same clock: its √(kT/C) adds (:func:`sampled`). The white noise and the 1/f noise of a comparator are
  referred to its row.
* packet: charging and emptying C_s each leave √(kT C_s) of charge, together √(2kT C_s). Referred to the precharge
  voltage of C_s, of which (C_s/C_int) arrives at the state, that is √(2kT/C_s).
* emptying C_int leaves √(kT/C_int) on the state: at power-on, and before every packet of a unit that replaces its
  state. It is referred to the same node, through the same ratio.
* 1/f: one normal number for each octave of frequency, held for 1, 2, 4, ... timesteps (Voss and McCartney). Such a sum
  can be evaluated at any timestep without the earlier ones. Noise slower than the last octave acts as an offset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge import trim
from cmru_hw.circuits.charge.design import Layer, Row
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.core import counter_rng, kernels
from cmru_hw.core.counter_rng import Hashed
from cmru_hw.core.errors import DataError
from cmru_hw.core.signals import Array
from cmru_hw.process.technology import Technology

BOLTZMANN = 1.380649e-23  # J/K, exact
OCTAVES = 10
# Fields of a counter: unit | sequence | frame. Frame 0 is the power-on frame, frame t + 1 is timestep t.
_SEQUENCE, _UNIT = 20, 44
# The sequence of the decisions that search trim codes at power-on: one more than `check` lets a run have.
CALIBRATION = (1 << (_UNIT - _SEQUENCE)) - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseSource:
    """Sum of independent parts at the nodes ``z<kind><layer>_<unit>``; ``name`` is the part before the unit.

    ``key`` and the standard deviations ``start`` (in the power-on frame) and ``sigma`` [V] are (dies, parts, units).
    Values of a part are held for 2^``octave`` (parts,) frames.
    """

    name: str
    key: Hashed
    start: Array
    sigma: Array
    octave: Hashed

    @property
    def units(self) -> int:
        return int(self.key.shape[2])

    @property
    def bound_from(self) -> Array:
        """(dies, parts + 1, units) [V]: `bound_from[:, k]` bounds the sum of the parts k, k+1, … after power-on."""
        below = np.zeros((len(self.sigma), 1, self.units))
        sums = np.cumsum(np.concatenate((below, self.sigma[:, ::-1]), axis=1), axis=1)
        return np.ascontiguousarray(sums[:, ::-1]) * counter_rng.BOUND

    def add(self, die: int, moment: Hashed, out: Array) -> None:
        """Add the noise [V] of one die at :func:`moments` ``moment``, after power-on, to ``out`` (units, moments)."""
        kernels.add_noise(self.key[die], self.sigma[die], self.octave, moment, out)

    def at(self, die: int, moment: Hashed) -> Array:
        """Noise [V] (units, moments) of one die at :func:`moments` after power-on."""
        found = np.zeros((self.units, len(moment)))
        self.add(die, moment, found)
        return found

    def on_all(self, moment: Hashed) -> Array:
        """Noise [V] (dies, units, moments) at :func:`moments` after power-on."""
        found = np.zeros((len(self.key), self.units, len(moment)))
        for part, octave in enumerate(self.octave):
            # held for many moments, computed once
            held, place = np.unique(moment >> octave, return_inverse=True)
            values = self.sigma[:, part, :, None] * counter_rng.normals(self.key[:, part, :, None], held)
            found += values[..., place]
        return found

    def at_start(self, die: int, sequences: NDArray[np.int64]) -> Array:
        """Noise [V] (units, sequences) of one die in the power-on frame of ``sequences``."""
        found = np.zeros((self.units, len(sequences)))
        kernels.add_noise(self.key[die], self.start[die], self.octave, moments(sequences, 0), found)
        return found


def moments(sequence: NDArray[np.int64] | int, frame: NDArray[np.int64] | int) -> Hashed:
    """One number per frame of a sequence. Divided by a power of two it still distinguishes sequences."""
    return np.asarray((np.asarray(sequence) << _SEQUENCE) + frame).astype(np.uint64)


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerNoise:
    """Noise of one layer. ``alpha`` is the third row of an αCMRU and has no parts in other cells."""

    low: NoiseSource
    high: NoiseSource
    alpha: NoiseSource
    packet: NoiseSource

    @property
    def compared(self) -> NoiseSource:
        """``low`` and ``high`` as one source: low rows, then high rows."""
        pair = (self.low, self.high)
        key, start, sigma = (
            np.concatenate([getattr(source, name) for source in pair], axis=2) for name in ("key", "start", "sigma")
        )
        return NoiseSource(name="", key=key, start=start, sigma=sigma, octave=self.low.octave)


def check(sequences: int, timesteps: int) -> None:
    """Raises DataError if the data exceed a counter's fields."""
    if sequences >= 1 << (_UNIT - _SEQUENCE) or timesteps + 1 >= 1 << _SEQUENCE:
        raise DataError(
            f"{sequences} sequences of {timesteps} timesteps exceed the range of the noise generator: split them"
        )


def sampled(technology: Technology, total: Array, *, replica: bool) -> Array:
    """kT/C [V²] of rows with capacitance ``total`` [F] and, if they have one, of each row's ``replica``.

    Comparators of ideal parts compare with V_cm itself, without a replica, unless a trim needs one. The replica of a
    trim has its own size, any other that of its row.
    """
    thermal = BOLTZMANN * technology.noise.temperature
    if replica and technology.trim_bits:
        return np.asarray(thermal / total + thermal / trim.replica(technology))
    # a technology whose energy is known was measured on transistors
    return np.asarray(thermal / total * (2.0 if replica and technology.energy is not None else 1.0))


def layer_noise(dies: Dies, index: int) -> LayerNoise:
    """The noise sources of layer ``index``."""
    layer, name = dies.batch.layers[index], f"layer{index}"
    third = layer.packet_row
    # The third row drives a buffer, not a comparator.
    alpha = () if third is None else _row(dies, f"{name}/g", third, compared=False, replica=False)
    return LayerNoise(
        low=_source(dies, f"za{index}_", layer.units, _row(dies, f"{name}/a", layer.low)),
        high=_source(dies, f"zb{index}_", layer.units, _row(dies, f"{name}/b", layer.high)),
        alpha=_source(dies, f"zg{index}_", layer.units, alpha),
        packet=_source(dies, f"zp{index}_", layer.units, _packet(dies, f"{name}/p", layer)),
    )


def readout_noise(dies: Dies) -> NoiseSource:
    """The noise of the readout rows."""
    trimmed = bool(dies.nominal.technology.trim_bits)
    parts = _row(dies, "readout/y", dies.batch.readout, leaf="class", compared=False, replica=trimmed)
    return _source(dies, "zy", len(dies.nominal.readout.bias), parts)


def calibration_noise(dies: Dies) -> dict[str, NoiseSource]:
    """Noise of the rows that have a trim code, by the names of :func:`cmru_hw.circuits.charge.trim.rows`.

    While its code is searched, a readout row has a comparator too.
    """
    found: dict[str, NoiseSource] = {}
    for index in range(len(dies.nominal.layers)):
        each = layer_noise(dies, index)
        found |= {f"a{index}_": each.low, f"b{index}_": each.high}
    readout = dies.batch.readout
    parts = _row(dies, "readout/y", readout, leaf="class")
    return found | {"y": _source(dies, "zy", len(dies.nominal.readout.bias), parts)}


def columns(dies: Dies, place: int, sequence: int, timesteps: int) -> dict[str, Array]:
    """Noise for a netlist of the die at ``place``: node → [V] in ``sequence``, power-on frame first, then timesteps."""
    found: dict[str, Array] = {}
    sources = [readout_noise(dies)]
    for index in range(len(dies.nominal.layers)):
        each = layer_noise(dies, index)
        sources += (each.low, each.high, each.alpha, each.packet)
    moment = moments(sequence, np.arange(1, timesteps + 1))
    for source in (source for source in sources if len(source.octave)):
        values = np.hstack((source.at_start(place, np.array([sequence])), source.at(place, moment)))
        found |= {f"{source.name}{unit}": one for unit, one in enumerate(values)}
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """One part of a source: ``key``, ``sigma`` and ``start`` are (dies, units)."""

    key: Hashed
    sigma: Array
    start: Array
    octave: int


def _source(dies: Dies, name: str, units: int, parts: tuple[_Part, ...]) -> NoiseSource:
    shape = (len(dies), len(parts), units)
    source = NoiseSource(
        name=name,
        key=np.empty(shape, dtype=np.uint64),
        sigma=np.empty(shape),
        start=np.empty(shape),
        octave=np.array([part.octave for part in parts], dtype=np.uint64),
    )
    for place, part in enumerate(parts):
        source.key[:, place], source.sigma[:, place], source.start[:, place] = part.key, part.sigma, part.start
    return source


def _row(
    dies: Dies, name: str, row: Row, *, leaf: str = "row", compared: bool = True, replica: bool = True
) -> tuple[_Part, ...]:
    technology = dies.nominal.technology
    noise = technology.noise
    if not {"noise/decision", f"noise/{leaf}", "noise/wander"} & dies.varied:
        return ()
    total = row.total + technology.capacitor.parasitic
    parts = []
    # The largest part usually comes first: if it settles the decision, the others need no evaluation.
    if compared and "noise/decision" in dies.varied:
        parts.append(_part(dies, f"noise/decision/{name}", np.full_like(total, noise.comparator)))
    if f"noise/{leaf}" in dies.varied:
        parts.append(_part(dies, f"noise/{leaf}/{name}", np.sqrt(sampled(technology, total, replica=replica))))
    if compared and "noise/wander" in dies.varied:
        parts += [
            _part(dies, f"noise/wander/{name}/{octave}", np.full_like(total, noise.wander), octave=octave)
            for octave in range(OCTAVES)
        ]
    return tuple(part for part in parts if part.sigma.any())


def _packet(dies: Dies, name: str, layer: Layer) -> tuple[_Part, ...]:
    if "noise/charge" not in dies.varied:
        return ()
    thermal = BOLTZMANN * dies.nominal.technology.noise.temperature
    packet, start, integrator = layer.packet, layer.start_packet, layer.integrator
    emptied = dies.nominal.config.epsilon == 0.0 and layer.packet_row is None
    variance = 2 * thermal / packet + (thermal * integrator / packet**2 if emptied else 0.0)
    sigma_start = np.sqrt(2 * thermal / start + thermal * integrator / start**2)
    part = _part(dies, f"noise/charge/{name}", np.sqrt(variance), start=sigma_start)
    return (part,) if part.sigma.any() else ()


def _part(dies: Dies, name: str, sigma: Array, *, start: Array | None = None, octave: int = 0) -> _Part:
    key = counter_rng.keys(dies.seed, name, dies.numbers)
    unit = (np.arange(sigma.shape[1]) << _UNIT >> octave).astype(np.uint64)
    return _Part(
        key=counter_rng.advanced(key[:, None], unit),
        sigma=sigma,
        start=sigma if start is None else start,
        octave=octave,
    )
