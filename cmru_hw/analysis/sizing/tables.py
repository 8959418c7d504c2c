"""Names and units of sizes and of the figures that follow from them, as tables show them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cmru_hw.analysis.sizing.result import Figures
from cmru_hw.core.units import percent, si
from cmru_hw.process.sizes import RANGES


def size(name: str, value: float) -> str:
    """The size called ``name`` with its unit, such as ``1.81 µm``; in current mode a number of devices in parallel."""
    return f"{value:g}" if name == "trim_bits" or name not in RANGES else si(value, RANGES[name].unit, 3)


def square_micrometres(value: float) -> str:
    return f"{1e12 * value:.0f} µm²"


def _volts(value: float | None) -> str:
    return "none" if value is None else si(value, "V", 3)


# Field of `cmru_hw.analysis.sizing.result.Figures`, its name, and how to show its value
FIGURES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("energy_J", "energy per timestep, estimate", lambda value: si(value, "J")),
    ("area_m2", "area before layout, estimate", square_micrometres),
    ("comparator_offset", "offset of comparators, σ", _volts),
    ("amplifier_offset", "offset of amplifiers, σ", _volts),
    ("limit_offset", "offset of level limits, σ", _volts),
    ("trim_step", "step of the trim", _volts),
    ("kick", "kick of a decision", _volts),
    ("decision", "decision at 1 mV", lambda value: si(value, "s", 3)),
    ("amplifier_time", "time constant of an amplifier", lambda value: si(value, "s", 3)),
    ("amplifier_gain", "gain of an amplifier", lambda value: f"{value:.0f}"),
    ("threshold_spread", "threshold of a cell, σ", percent),
)


def figures(own: Figures) -> tuple[tuple[str, str, Callable[[Any], str]], ...]:
    """Those of the `FIGURES` that the kind of circuit of ``own`` has; a charge-domain circuit may be without trim."""
    charge = own.comparator_offset is not None
    return tuple(one for one in FIGURES if getattr(own, one[0]) is not None or (charge and one[0] == "trim_step"))
