"""Sizes of a charge-domain circuit, and the technology that follows from them by the laws of its process.

A resized technology is the given one times ratios of laws (`cmru_hw.process.sizing_laws`) at the new and the own sizes,
so its own sizes give exactly its own figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from cmru_hw.core.errors import InputError, TechnologyError
from cmru_hw.process.sizing_laws import LOAD, Amplifier, Laws
from cmru_hw.process.technology import Energy, Mismatch, Noise, Technology, Trim

# Bits of the bank whose area and leakage section [trim] of a technology gives.
BANK_BITS = 5
RESIZED = "sizes: "


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """All sizes that are free, in SI units.

    Input pair of a row's comparator: ``pair_width`` and ``pair_length`` [m]; ``limit_width`` [m] of the level limit's.
    Capacitors [F]: ``row`` in total and ``integrator``. ``swing`` [V] of a state. Amplifier [m]: ``amplifier_width``
    and ``amplifier_length`` of its input pair, ``mirror_length`` of its load, ``tail`` length. ``trim_bits`` (0: no
    trim), ``trim_reach`` [V]. ``supply`` [V], with which all other voltages but the swing scale.
    """

    pair_width: float
    pair_length: float
    limit_width: float
    row: float
    integrator: float
    swing: float
    amplifier_width: float
    amplifier_length: float
    mirror_length: float
    tail: float
    trim_bits: int
    trim_reach: float
    supply: float

    def amplifier(self, base_row: float) -> Amplifier:
        """The amplifier and its load, which grows with the rows that it drives, as a law's variables."""
        return Amplifier(
            width=self.amplifier_width,
            length=self.amplifier_length,
            mirror=self.mirror_length,
            tail=self.tail,
            load=LOAD * self.row / base_row,
        )

    def words(self) -> str:
        """``name value`` of all sizes, in SI units."""
        return ", ".join(f"{field.name} {getattr(self, field.name):.4g}" for field in fields(self))


@dataclass(frozen=True, kw_only=True)
class Range:
    """Where a size is searched: from ``low`` to ``high`` in ``unit``; as shares of the technology's own if
    ``relative``."""

    low: float
    high: float
    unit: str
    relative: bool = False


# Within these sizes the laws were fitted. A state has no more swing than the technology gives it: that is what its
# amplifiers and switches can hold at every corner.
RANGES: Mapping[str, Range] = {
    "pair_width": Range(low=1e-6, high=12e-6, unit="m"),
    "pair_length": Range(low=0.35e-6, high=2e-6, unit="m"),
    "limit_width": Range(low=1e-6, high=12e-6, unit="m"),
    "row": Range(low=0.5, high=2.0, unit="F", relative=True),
    "integrator": Range(low=0.25, high=4.0, unit="F", relative=True),
    "swing": Range(low=0.5, high=1.0, unit="V", relative=True),
    "amplifier_width": Range(low=2e-6, high=16e-6, unit="m"),
    "amplifier_length": Range(low=0.5e-6, high=4e-6, unit="m"),
    "mirror_length": Range(low=1e-6, high=16e-6, unit="m"),
    "tail": Range(low=5e-6, high=20e-6, unit="m"),
    "trim_bits": Range(low=0, high=6, unit="bits"),
    "trim_reach": Range(low=4e-3, high=60e-3, unit="V"),
    "supply": Range(low=0.9, high=1.1, unit="V", relative=True),
}


def of(technology: Technology, laws: Laws) -> Sizes:
    """The sizes of ``technology``. Raises TechnologyError for one that was resized, at transistor level, or without
    what the laws apply to."""
    if RESIZED in technology.source:
        raise TechnologyError(
            f"technology {technology.name!r} was resized already ({technology.source}): start from the one that it was "
            "made from"
        )
    if technology.level != "macro":
        raise TechnologyError("sizes are searched at macro level: leave out --level transistor")
    if technology.trim is None or technology.energy is None:
        raise TechnologyError(f"technology {technology.name!r} lacks [trim] or [energy]: nothing can be sized without")
    chip = technology.power_gated
    return Sizes(
        pair_width=technology.mismatch.pair_width,
        pair_length=technology.mismatch.pair_length,
        limit_width=laws.limit_width,
        row=technology.capacitor.row,
        integrator=technology.capacitor.integrator,
        swing=technology.signal.state_swing,
        amplifier_width=laws.amplifier.width,
        amplifier_length=laws.amplifier.length,
        mirror_length=laws.amplifier.mirror,
        tail=laws.amplifier.tail if chip is None else chip.tail,
        trim_bits=technology.trim.bits,
        trim_reach=technology.trim.reach,
        supply=technology.supply.vdd,
    )


def bounds(name: str, base: Sizes) -> tuple[float, float]:
    """Lowest and highest value of size ``name`` for a technology with the sizes ``base``."""
    found = RANGES[name]
    own = float(getattr(base, name)) if found.relative else 1.0
    return found.low * own, found.high * own


def fixed(given: Mapping[str, float], base: Sizes) -> Sizes:
    """``base`` with the sizes ``given`` by name. Raises InputError for one that is unknown or out of its range."""
    for name, value in given.items():
        if name not in RANGES:
            raise InputError(f"no size is called {name!r}: choose from {', '.join(RANGES)}")
        low, high = bounds(name, base)
        if not low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
            unit = RANGES[name].unit
            raise InputError(
                f"{name} is {value:g} {unit}, must be {low:g} to {high:g} {unit}, where the sizing laws hold; write it "
                "in SI units"
            )
    if (bits := given.get("trim_bits")) is not None and bits != int(bits):
        raise InputError(f"trim_bits is {bits:g}, must be a whole number")
    return changed(base, given)


def changed(sizes: Sizes, values: Mapping[str, float]) -> Sizes:
    """``sizes`` with other ``values`` of some."""
    merged = {**asdict(sizes), **values}
    return Sizes(trim_bits=int(merged.pop("trim_bits")), **merged)


def applied(technology: Technology, sizes: Sizes, laws: Laws) -> Technology:
    """``technology`` with ``sizes``; ``technology`` itself if these are its own."""
    base = of(technology, laws)
    if sizes == base:
        return technology
    vdd = sizes.supply / base.supply
    signal, capacitor, amplifier = technology.signal, technology.capacitor, technology.amplifier
    gain, time = (_amplifier(name, sizes, base, laws) for name in ("gain", "time"))
    grown = laws.comparator("parasitic", sizes.pair_width, sizes.pair_length) - laws.comparator(
        "parasitic", base.pair_width, base.pair_length
    )
    return replace(
        technology,
        name=f"{technology.name}-sized",
        source=f"{technology.name} by the sizing laws of {laws.process}; {RESIZED}{sizes.words()}",
        supply=replace(technology.supply, vdd=sizes.supply, common_mode=technology.supply.common_mode * vdd),
        signal=replace(
            signal,
            state_swing=sizes.swing,
            input_swing=signal.input_swing * vdd,
            bias=signal.bias * vdd,
            reference=signal.reference * vdd,
        ),
        capacitor=replace(
            capacitor,
            row=sizes.row,
            integrator=sizes.integrator,
            parasitic=max(capacitor.parasitic + grown, 0.0),
        ),
        amplifier=replace(amplifier, gain=amplifier.gain * gain, time_constant=amplifier.time_constant * time),
        noise=_noise(technology.noise, sizes, base, laws),
        mismatch=_mismatch(technology.mismatch, sizes, base, laws),
        energy=_energy(technology.energy, sizes, base, laws),
        trim=_trim(technology.trim, sizes),
    )


def offset(technology: Technology) -> float:
    """Standard deviation of a comparator's offset [V]."""
    law = technology.mismatch
    return math.hypot(law.threshold / math.sqrt(law.pair_width * law.pair_length), law.comparator_rest)


def _comparator(name: str, sizes: Sizes, base: Sizes, laws: Laws) -> float:
    """Ratio of a comparator's law at both sizes."""
    return laws.comparator(name, sizes.pair_width, sizes.pair_length) / laws.comparator(
        name, base.pair_width, base.pair_length
    )


def _amplifier(name: str, sizes: Sizes, base: Sizes, laws: Laws) -> float:
    """Ratio of an amplifier's law at both sizes."""
    return laws.of_amplifier(name, sizes.amplifier(base.row)) / laws.of_amplifier(name, base.amplifier(base.row))


def _mismatch(law: Mismatch, sizes: Sizes, base: Sizes, laws: Laws) -> Mismatch:
    own = law.threshold**2 / (law.pair_width * law.pair_length) + law.comparator_rest**2
    total = own * _comparator("offset_variance", sizes, base, laws)
    pair = law.threshold**2 / (sizes.pair_width * sizes.pair_length)
    limit = laws.comparator("offset_variance", sizes.limit_width, laws.limit_length) / laws.comparator(
        "offset_variance", base.limit_width, laws.limit_length
    )
    return replace(
        law,
        pair_width=sizes.pair_width,
        pair_length=sizes.pair_length,
        comparator_rest=math.sqrt(max(total - pair, 0.0)),
        limit=law.limit * math.sqrt(limit),
        amplifier=law.amplifier * math.sqrt(_amplifier("offset_variance", sizes, base, laws)),
    )


def _noise(noise: Noise, sizes: Sizes, base: Sizes, laws: Laws) -> Noise:
    """kT/C over C V²: the variance of thermal noise times the energy of a decision stays. 1/f noise goes with area."""
    area = base.pair_width * base.pair_length / (sizes.pair_width * sizes.pair_length)
    return replace(
        noise,
        comparator=noise.comparator / math.sqrt(_comparator("energy", sizes, base, laws)),
        wander=noise.wander * math.sqrt(area),
    )


def _energy(energy: Energy | None, sizes: Sizes, base: Sizes, laws: Laws) -> Energy | None:
    if energy is None:
        return None

    def comparators(of: Sizes) -> float:
        """Two row comparators and one of the level limit."""
        row, limit = (of.pair_width, of.pair_length), (of.limit_width, laws.limit_length)
        return 2 * laws.comparator("energy", *row) + laws.comparator("energy", *limit)

    # An amplifier is on for a number of its time constants: the window follows from the sizes.
    on = _amplifier("current", sizes, base, laws) * _amplifier("time", sizes, base, laws)
    supply = laws.supply(sizes.supply) / laws.supply(base.supply)
    return replace(
        energy,
        comparators=energy.comparators * comparators(sizes) / comparators(base) * supply,
        amplifier=energy.amplifier * on * sizes.supply / base.supply,
        logic=energy.logic * supply,
        clocks=energy.clocks * supply,
    )


def _trim(trim: Trim | None, sizes: Sizes) -> Trim | None:
    """Charge of the taps goes with the range, the area of the bits with their number."""
    if trim is None:
        return None
    reach = sizes.trim_reach / trim.reach
    bits = sizes.trim_bits / BANK_BITS if sizes.trim_bits else 1.0
    return replace(
        trim,
        bits=sizes.trim_bits,
        reach=sizes.trim_reach,
        energy_least=trim.energy_least * bits,
        energy=trim.energy_least * bits + (trim.energy - trim.energy_least) * reach,
        energy_most=trim.energy_least * bits + (trim.energy_most - trim.energy_least) * reach,
        leakage=trim.leakage * bits,
        area=trim.area * bits,
    )
