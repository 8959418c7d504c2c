"""(seed, die) → the perturbed design of that die.

A die is a perturbed :class:`~cmru_hw.circuits.charge.design.Design`: every physical number of a design is an array,
so :func:`draw` returns one Design whose arrays have a leading axis of dies. ``Dies.one`` extracts a single die for a
netlist.

The sources of variation form a tree of names, with one leaf for each class of elements (:func:`leaves`)::

    layer0/weights offset limit packet integrator amplifier leak injection     (the same for every layer)
    readout/weights offset injection
    layer0/trim readout/trim                                                   (taps, in a design with trim)
    layer0/drift_temperature drift_supply, readout/…      (in a design with trim whose technology states a drift)
    global/capacitor amplifier leak injection reference bias                   (one draw for the whole die)
    noise/row decision wander charge class                                     (:mod:`cmru_hw.circuits.charge.noise`)

Laws. A capacitor has σ(ΔC/C) = A_C/√area (Pelgrom, Duinmaijer and Welbers, JSSC 1989); its area follows from its
capacitance. A comparator's offset is the root of the summed squares of A_VT/√(WL) of its input pair and of the
contribution of its other devices. An amplifier's offset changes the precharge voltage of C_s, which makes packets up
larger and packets down smaller; it also adds to the state that readers see. Capacitors, offsets, references and the
bias line are normal. Gains, leakage and injected charge are positive by nature and spread over more than a few percent,
so they are lognormal, with the given σ of the logarithm.

The drift of a row is how far its offset moves between the calibration of its trim code and use. It is no part of a run
unless it is asked for, because dies are calibrated at the condition in which they run.

A draw is a pure function of (seed, die, parameter, index in the parameter's array). It does not depend on other dies of
the run, on the size of the network or on other sources of variation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge.design import Design, Layer, Row
from cmru_hw.circuits.variation import select
from cmru_hw.core import counter_rng, kernels
from cmru_hw.core.counter_rng import Hashed
from cmru_hw.core.errors import InputError
from cmru_hw.core.signals import Array
from cmru_hw.process.technology import Mismatch, Technology

LAYER_LEAVES = ("weights", "offset", "limit", "packet", "integrator", "amplifier", "leak", "injection")
READOUT_LEAVES = ("weights", "offset", "injection")
GLOBAL_LEAVES = ("capacitor", "amplifier", "leak", "injection", "reference", "bias")
NOISE_LEAVES = ("row", "decision", "wander", "charge", "class")
# By what changes after calibration.
DRIFT_LEAVES = {"temperature": "drift_temperature", "supply": "drift_supply"}
# Array indices are numbered with room for this many entries per axis: a larger network keeps a smaller one's draws.
_AXIS = np.uint64(1 << 20)

_T = TypeVar("_T", Layer, Row)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dies:
    """Dies of one nominal design. ``batch`` is the design with a leading axis of dies in every array that varies.

    ``numbers`` (dies,) are the die numbers, ``varied`` the leaves that vary.
    """

    nominal: Design
    batch: Design
    numbers: NDArray[np.int64]
    seed: int
    varied: frozenset[str]

    def __len__(self) -> int:
        return len(self.numbers)

    def one(self, place: int) -> Design:
        """The die at index ``place`` as a design, for a netlist."""
        batch = self.batch
        return replace(
            batch,
            bias=np.asarray(batch.bias[place]),
            reference_up=np.asarray(batch.reference_up[place]),
            reference_down=np.asarray(batch.reference_down[place]),
            layers=tuple(_pick(layer, place, _VARYING_LAYER) for layer in batch.layers),
            readout=_pick(batch.readout, place, _VARYING_ROW),
        )

    def among(self, places: slice) -> Dies:
        """The dies at ``places``."""
        batch = self.batch
        return replace(
            self,
            numbers=self.numbers[places],
            batch=replace(
                batch,
                bias=batch.bias[places],
                reference_up=batch.reference_up[places],
                reference_down=batch.reference_down[places],
                layers=tuple(_pick(layer, places, _VARYING_LAYER) for layer in batch.layers),
                readout=_pick(batch.readout, places, _VARYING_ROW),
            ),
        )


_VARYING_ROW = ("weights", "bias", "threshold", "pad", "offset", "taps", "code")
_VARYING_LAYER = ("packet", "start_packet", "integrator", "limit", "packet_offset", "gain", "leak")


def leaves(design: Design) -> tuple[str, ...]:
    """Names of all sources of variation of ``design``."""
    trim = ("trim", *_drifts(design.technology)) if design.technology.trim_bits else ()
    layers = (f"layer{index}/{leaf}" for index in range(len(design.layers)) for leaf in (*LAYER_LEAVES, *trim))
    groups = (("readout", (*READOUT_LEAVES, *trim)), ("global", GLOBAL_LEAVES), ("noise", NOISE_LEAVES))
    return (*layers, *(f"{group}/{leaf}" for group, names in groups for leaf in names))


def _drifts(technology: Technology) -> tuple[str, ...]:
    """Kinds of leaves of the drift that ``technology`` states."""
    trim = technology.trim
    stated = {} if trim is None else {"temperature": trim.drift_temperature, "supply": trim.drift_supply}
    return tuple(DRIFT_LEAVES[name] for name, sigma in stated.items() if sigma > 0)


def select_variations(
    design: Design, *, only: Sequence[str] = (), without: Sequence[str] = (), drift: Sequence[str] = ()
) -> frozenset[str]:
    """Sources of variation of ``design``: see :func:`cmru_hw.circuits.variation.select`.

    ``drift`` ("temperature", "supply") adds what moves after the calibration of trim codes. Raises InputError for a
    design without trim, or whose technology states no drift.
    """
    every = leaves(design)
    moving = {name: {leaf for leaf in every if leaf.endswith(f"/{DRIFT_LEAVES[name]}")} for name in DRIFT_LEAVES}
    if lacking := [name for name in drift if not moving[name]]:
        raise InputError(
            f"no drift with {lacking[0]} is known of this design: export it with --trim, and with a technology whose "
            f"section [trim] states {DRIFT_LEAVES[lacking[0]]}"
        )
    still = tuple(leaf for leaf in every if not any(leaf in found for found in moving.values()))
    chosen = select(every if only else still, only=only, without=without)
    return chosen.union(*(moving[name] for name in drift))


def draw(design: Design, *, seed: int, dies: Sequence[int] | NDArray[np.int64], varied: frozenset[str]) -> Dies:
    """The dies with numbers ``dies`` (each >= 0) of ``design``; if nothing is ``varied``, all equal the design."""
    numbers = np.asarray(dies, dtype=np.int64)
    draws = Draws(seed=seed, numbers=numbers, varied=varied)
    law, technology = design.technology.mismatch, design.technology
    scale = _relative(draws.normal("global/capacitor", "scale", ()), law.global_capacitor)
    charge = _lognormal(draws.normal("global/injection", "charge", ()), law.global_injection)
    layers, on_lines = [], np.zeros((len(numbers), design.config.features))
    for index, layer in enumerate(design.layers):
        shifts = law.amplifier * draws.normal(f"layer{index}/amplifier", "offset", (layer.units,))
        layers.append(_layer(draws, f"layer{index}", layer, technology, scale, charge, shifts, on_lines))
        on_lines = np.concatenate((shifts, on_lines), axis=1) if design.config.skip else shifts
    up, down = (_relative(draws.normal("global/reference", way, ()), law.global_reference) for way in ("up", "down"))
    batch = replace(
        design,
        bias=design.bias * _relative(draws.normal("global/bias", "bias", ()), law.global_bias),
        reference_up=design.reference_up * up,
        reference_down=design.reference_down * down,
        layers=tuple(layers),
        readout=_row(draws, "readout", "y", design.readout, technology, scale, charge, shifts),
    )
    return Dies(nominal=design, batch=batch, numbers=numbers, seed=seed, varied=varied)


def capacitor_sigma(capacitance: Array, law: Mismatch) -> Array:
    """σ(ΔC/C) of capacitors [F]; 0 for a capacitance of 0."""
    area = np.abs(capacitance) / law.density
    return np.asarray(np.divide(law.capacitor, np.sqrt(area), out=np.zeros_like(area), where=area > 0))


def offset_sigma(law: Mismatch) -> float:
    """σ of a comparator's offset [V]."""
    return float(np.hypot(law.threshold / np.sqrt(law.pair_width * law.pair_length), law.comparator_rest))


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Standard normal draws of dies: each a function of seed, die and the name and index of a parameter."""

    seed: int
    numbers: NDArray[np.int64]
    varied: frozenset[str]

    def normal(self, leaf: str, parameter: str, shape: tuple[int, ...]) -> Array:
        """(dies, *shape) standard normal numbers; zeros if ``leaf`` is off."""
        if leaf not in self.varied:
            return np.zeros((len(self.numbers), *shape))
        key = counter_rng.keys(self.seed, f"{leaf}/{parameter}", self.numbers)
        return counter_rng.normals(key.reshape(-1, *[1] * len(shape)), _places(shape))

    def spread(self, leaf: str, parameter: str, nominal: Array, sigma: Array, scale: Array) -> Array:
        """``nominal`` with relative errors of ``sigma``, times ``scale`` (dies,): (dies, *shape of nominal)."""
        if leaf not in self.varied:
            return nominal * scale.reshape(-1, *[1] * nominal.ndim)
        key, found = (
            counter_rng.keys(self.seed, f"{leaf}/{parameter}", self.numbers),
            np.empty((len(scale), *nominal.shape)),
        )
        flat = (values.ravel() for values in (_places(nominal.shape), nominal, sigma))
        kernels.spread(key, *flat, scale, found.reshape(len(scale), -1))
        return found


def _places(shape: tuple[int, ...]) -> Hashed:
    """Numbers of an array's elements."""
    place = np.zeros(shape, dtype=np.uint64)
    for axis in np.indices(shape, dtype=np.uint64, sparse=True):
        place = place * _AXIS + axis
    return place


def _relative(normal: Array, sigma: Array | float) -> Array:
    return np.maximum(1 + sigma * normal, 0.0)


def _lognormal(normal: Array, sigma: float) -> Array:
    return np.exp(sigma * normal)


def _capacitors(draws: Draws, leaf: str, parameter: str, nominal: Array, law: Mismatch, scale: Array) -> Array:
    # A capacitance is never negative. With a sigma of a few percent the limit has practically no effect.
    return draws.spread(leaf, parameter, nominal, capacitor_sigma(nominal, law), scale)


def _row(
    draws: Draws,
    group: str,
    kind: str,
    row: Row,
    technology: Technology,
    scale: Array,
    charge: Array,
    on_lines: Array,
) -> Row:
    """``row`` on each die; ``on_lines`` (dies, lines) [V] are the voltage errors of its lines."""
    law = technology.mismatch

    def weights(name: str, nominal: Array) -> Array:
        return _capacitors(draws, f"{group}/weights", f"{kind}.{name}", nominal, law, scale)

    made = replace(
        row,
        weights=weights("weights", row.weights),
        bias=weights("bias", row.bias),
        threshold=weights("threshold", row.threshold),
        pad=weights("pad", row.pad),
    )
    shape = row.offset.shape
    if row.taps.size:
        taps = _capacitors(draws, f"{group}/trim", f"{kind}.taps", row.taps, law, scale)
    else:
        taps = np.zeros((len(draws.numbers), *row.taps.shape))
    own = _lognormal(draws.normal(f"{group}/injection", kind, shape), law.injection) * charge[:, None]
    if made.weights.shape[-1] <= kernels.LONGEST:
        vars(made)["total"] = _total(made)
    total = made.total + technology.capacitor.parasitic
    moved = technology.switch.row_injection * own
    if on_lines.any():
        moved = moved + (made.weights @ on_lines[:, :, None])[..., 0]
    offset = moved / total + offset_sigma(law) * draws.normal(f"{group}/offset", kind, shape)
    found = replace(made, offset=offset, taps=taps, code=np.tile(row.code, (len(draws.numbers), 1)))
    # The sum over all capacitors is slow, and neither of these is part of it.
    vars(found)["total"] = made.total
    return found


def _total(row: Row) -> Array:
    """As `Row.total` of many dies, without an array of magnitudes."""
    found = np.empty(row.weights.shape[:-1])
    kernels.magnitudes(row.weights.reshape(-1, row.weights.shape[-1]), found.reshape(-1))
    return np.asarray(found + np.abs(row.bias) + np.abs(row.threshold) + row.pad)


def _layer(
    draws: Draws,
    group: str,
    layer: Layer,
    technology: Technology,
    scale: Array,
    charge: Array,
    shifts: Array,
    on_lines: Array,
) -> Layer:
    """``layer`` on each die; ``shifts`` (dies, units) [V] are its amplifier offsets, ``on_lines`` as in `_row`."""
    law, shape = technology.mismatch, layer.packet.shape

    def normal(leaf: str, parameter: str = "own") -> Array:
        return draws.normal(f"{group}/{leaf}", parameter, shape)

    def capacitors(leaf: str, nominal: Array, parameter: str) -> Array:
        return _capacitors(draws, f"{group}/{leaf}", parameter, nominal, law, scale)

    packet = capacitors("packet", layer.packet, "own")
    # Only an αCMRU has a separate power-on packet. In other cells it is the regular packet.
    start = packet if layer.packet_row is None else capacitors("packet", layer.start_packet, "start")
    own = _lognormal(normal("injection", "packet"), law.injection) * charge[:, None]
    gain = _lognormal(normal("amplifier"), law.gain)
    gain = gain * _lognormal(draws.normal("global/amplifier", "gain", ()), law.global_gain)[:, None]
    leak = _lognormal(normal("leak"), law.leakage)
    leak = leak * _lognormal(draws.normal("global/leak", "leak", ()), law.global_leakage)[:, None]
    low, high = (
        _row(draws, group, kind, row, technology, scale, charge, on_lines)
        for kind, row in (("a", layer.low), ("b", layer.high))
    )
    third = layer.packet_row
    return replace(
        layer,
        low=low,
        high=high,
        packet_row=None if third is None else _row(draws, group, "g", third, technology, scale, charge, on_lines),
        packet=packet,
        start_packet=start,
        integrator=capacitors("integrator", layer.integrator, "own"),
        limit=layer.limit + law.limit * normal("limit"),
        packet_offset=technology.switch.packet_injection * own / packet - shifts,
        gain=layer.gain * gain,
        leak=layer.leak * leak,
    )


def _pick(value: _T, place: int | slice, varying: Sequence[str]) -> _T:
    select = {name: getattr(value, name)[place] for name in varying}
    for name in (field.name for field in fields(value)):
        if isinstance(part := getattr(value, name), Row):
            select[name] = _pick(part, place, _VARYING_ROW)
    return replace(value, **select)
