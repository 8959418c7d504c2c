"""Offset trim: one more known constant for each row, a code that moves the replica its comparator compares it with.

Every replica has the capacitance C of a row of full size, parasitics included, so that a step of the code is the same
for all rows. What a comparator's kick then differs between a small row and its replica is constant, and goes with the
code. Tap k of the bank, a capacitor C_k, moves the replica by C_k VDD / C if bit k of the code is 1: up for every bit
but the highest, which moves it down by one step more than all the others together (two's complement). The threshold of
the row's decision moves with it. Code 0 moves nothing, so a design is the software network until its dies are
calibrated (:mod:`.trim_search`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge.design import Design, Row
from cmru_hw.circuits.design import Deviation
from cmru_hw.core.errors import TechnologyError
from cmru_hw.core.signals import Array
from cmru_hw.process.technology import Technology, Trim

# The highest bits of a code have taps on the replica itself, the others hang behind a bridge capacitor.
DIRECT = 3

# Codes (dies, units) by the names of :func:`rows`
Codes = dict[str, NDArray[np.int64]]


def with_bits(technology: Technology, bits: int) -> Technology:
    """``technology`` with a trim bank of ``bits`` on every row.

    Raises TechnologyError for a technology without a bank.
    """
    if technology.trim is None:
        raise TechnologyError(f"technology {technology.name!r} has no section [trim]: add one, or leave out --trim")
    return replace(technology, trim=replace(technology.trim, bits=bits))


def with_bank(row: Row, technology: Technology) -> Row:
    """``row`` with the taps of its bank, all codes 0; unchanged without trim."""
    trim = technology.trim
    if trim is None or not trim.bits:
        return row
    units = len(row.offset)
    return replace(row, taps=np.tile(_taps(trim, technology), (units, 1)), code=np.zeros(units, dtype=np.int64))


def listed(technology: Technology, elements: Sequence[str]) -> list[Deviation]:
    """Entries of mapping.csv for the trim of the rows ``elements``; none without."""
    trim = technology.trim
    if trim is None or not trim.bits:
        return []
    smallest, most = float(_taps(trim, technology)[0]), 1 << (trim.bits - 1)
    reason = f"trim code of each row, {-most} to {most - 1}, found by every die; this is the tap of one step"
    return [Deviation(element=f"{name}.trim", wanted=0.0, got=smallest, unit="F", reason=reason) for name in elements]


def replica(technology: Technology) -> float:
    """Capacitance of every replica [F], taps and parasitics included."""
    return technology.capacitor.row + technology.capacitor.parasitic


def _taps(trim: Trim, technology: Technology) -> Array:
    """Nominal taps (bits,) [F], lowest bit first."""
    step = trim.reach / 2 ** (trim.bits - 1) * replica(technology) / technology.supply.vdd
    place = np.arange(trim.bits)
    return np.asarray(np.where(place < trim.bits - DIRECT, trim.bridge, 1.0) * step * 2.0**place)


def moves(technology: Technology) -> Array:
    """Nominal moves [V] of all codes (codes,) of a row's threshold, from the lowest code to the highest."""
    trim = technology.trim
    assert trim is not None
    place = np.arange(trim.bits)
    code = np.arange(-(1 << (trim.bits - 1)), 1 << (trim.bits - 1))
    polarity = np.where(place == trim.bits - 1, -1.0, 1.0)
    charge = ((code[:, None] >> place) & 1) @ (_taps(trim, technology) * polarity) * technology.supply.vdd
    return np.asarray(charge / replica(technology))


def half(taps: Array) -> Array:
    """Capacitor [F] of the half step by which replicas are lower in calibration only, so that codes are rounded."""
    return np.asarray(taps[..., 0] / 2)


def shift(row: Row, technology: Technology, code: NDArray[np.int64] | None = None) -> Array:
    """Move of each row's threshold [V] by its ``code``, that of the row unless given."""
    bits = row.taps.shape[-1]
    code = row.code if code is None else code
    if not bits:
        return np.zeros(code.shape)
    place = np.arange(bits)
    on = (code[..., None] >> place) & 1
    polarity = np.where(place == bits - 1, -1.0, 1.0)
    charge = (row.taps * polarity * on).sum(-1) * technology.supply.vdd
    return np.asarray(charge / replica(technology))


def step(row: Row, technology: Technology) -> Array:
    """The lowest bit's move of each row's threshold [V], in a design with trim."""
    return np.asarray(row.taps[..., 0] * technology.supply.vdd / replica(technology))


def rows(design: Design) -> dict[str, Row]:
    """The rows that have a comparator, by the name of their nodes before the unit: ``a0_ b0_ … y``."""
    found = {
        f"{kind}{index}_": row
        for index, layer in enumerate(design.layers)
        for kind, row in (("a", layer.low), ("b", layer.high))
    }
    return found | {"y": design.readout}


def with_codes(design: Design, codes: Codes) -> Design:
    """``design`` with the ``codes`` of its :func:`rows`, for one die or, with a leading axis, for many."""
    layers = tuple(
        replace(
            layer,
            low=replace(layer.low, code=codes[f"a{index}_"]),
            high=replace(layer.high, code=codes[f"b{index}_"]),
        )
        for index, layer in enumerate(design.layers)
    )
    return replace(design, layers=layers, readout=replace(design.readout, code=codes["y"]))


def bisected(
    trim: Trim,
    shapes: Mapping[str, tuple[int, ...]],
    above: Callable[[int, Codes], Mapping[str, NDArray[np.bool_]]],
) -> Codes:
    """The codes that comparators find for rows of ``shapes`` by bisection: one window for each bit, the highest first.

    ``above(window, trial)``: whether each row with the code ``trial`` is above its replica, for each decision of the
    window as the first axis. A bit stays if the majority is.
    """
    codes = {name: np.full(shape, -(1 << (trim.bits - 1)), dtype=np.int64) for name, shape in shapes.items()}
    for window in range(trim.bits):
        trial = {name: code + (1 << (trim.bits - 1 - window)) for name, code in codes.items()}
        seen = above(window, trial)
        codes = {
            name: np.where(2 * seen[name].sum(0) > trim.repeats, trial[name], code) for name, code in codes.items()
        }
    return codes


def folded(design: Design) -> Design:
    """``design`` with codes of 0 and the same decisions: what a code moves is part of the row's offset."""
    technology = design.technology

    def one(row: Row) -> Row:
        return replace(row, offset=row.offset - shift(row, technology), code=np.zeros_like(row.code))

    layers = tuple(replace(layer, low=one(layer.low), high=one(layer.high)) for layer in design.layers)
    return replace(design, layers=layers, readout=one(design.readout))


@dataclass(frozen=True, kw_only=True)
class Bank:
    """The trim of a design in figures: ``rows`` in number; ``step``, ``lowest`` and ``highest`` [V] are those of a row
    of the technology's size; ``energy``, ``energy_most`` [J per timestep] and ``area`` [m²] of all rows."""

    bits: int
    rows: int
    step: float
    lowest: float
    highest: float
    energy: float
    energy_most: float
    leakage: float
    area: float


def figures(design: Design) -> Bank | None:
    """None for a design without trim."""
    technology = design.technology
    trim = technology.trim
    if trim is None or not trim.bits:
        return None
    count = sum(len(row.offset) for row in rows(design).values())
    taps = _taps(trim, technology) * technology.supply.vdd
    volts = taps / replica(technology)
    scale = count * technology.capacitor.row / trim.row
    return Bank(
        bits=trim.bits,
        rows=count,
        step=trim.reach / 2 ** (trim.bits - 1),
        lowest=-float(volts[-1]),
        highest=float(volts[:-1].sum()),
        energy=scale * trim.energy,
        energy_most=scale * trim.energy_most,
        leakage=count * trim.leakage,
        area=count * trim.area,
    )
