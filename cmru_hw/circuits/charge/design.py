"""A charge-domain network as capacitors and voltages: the result of a mapping and the source of every netlist."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge.device_draws import DeviceDraws
from cmru_hw.circuits.design import Deviation
from cmru_hw.circuits.input_range import InputRange
from cmru_hw.core.signals import Array
from cmru_hw.nn.checkpoint import ModelConfig
from cmru_hw.process.technology import Technology

# Room above the largest state of the calibration: on new data an unbounded state may go further.
HEADROOM = 1.25
# A difference of capacitances smaller than this share of them is a residue of rounding.
RESIDUE = 1e-9
# Total length of all clock phases, as a share of the timestep. The rest is hold, in which the inputs change.
LONGEST_WINDOW = 0.6


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Magnitudes in software that set the voltage scales.

    ``inputs`` (features,): the range of each scaled input, beyond which it is clamped; ``largest`` (features,): the
    largest that was seen; ``percentile``: see `cmru_hw.circuits.input_range`. ``states`` (layers,): the largest state
    (level; αCMRU: h) with clamped inputs.
    """

    inputs: tuple[float, ...]
    largest: tuple[float, ...]
    percentile: float
    states: tuple[float, ...]
    source: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """Weighted sums of one kind, one per unit.

    Capacitances [F] carry the weight's sign: ``weights`` (units, inputs); ``bias`` and ``threshold`` (units,), taps on
    the line of the constant 1; ``pad`` (units,) >= 0, to the common mode. ``scale`` (units,) [F·V] turns weights into
    capacitances. ``offset`` (units,) [V] is the offset of the row's comparator (0 in a nominal design). ``taps``
    (units, bits) [F], lowest bit first, are those of its trim, ``code`` (units,) its trim code: see
    `cmru_hw.circuits.charge.trim`. Neither is part of ``total``: taps hang on the row's replica.
    """

    weights: Array
    bias: Array
    threshold: Array
    pad: Array
    scale: Array
    offset: Array
    taps: Array
    code: NDArray[np.int64]

    @cached_property
    def total(self) -> Array:
        """ΣC of each row [F], without parasitics."""
        return np.asarray(np.abs(self.weights).sum(-1) + np.abs(self.bias) + np.abs(self.threshold) + self.pad)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of units.

    ``line_unit`` (lines,) [V per unit of the line's value] and ``line_sign`` (lines,) ±1 describe its input lines:
    first the previous layer's units, then (with skip) that layer's input lines. ``spread`` (inputs, lines): input =
    spread · lines; the identity, except where the lines are bits of a counter. ``low`` carries candidate − threshold,
    ``high`` candidate + threshold, ``packet_row`` (αCMRU only) α(x). ``packet`` (units,) [F] is C_s, ``integrator``
    (units,) [F] C_int; ``start_packet`` (units,) [F] is the packet of the power-on frame. ``unit`` (units,) [V per
    software unit of h]; ``step`` (units,) [V] one level (αCMRU: one unit of h); ``sign`` (units,) of α; ``initial``
    (units,) ±1; ``levels`` (units,) K or None. ``limit`` (units,) [V]: state magnitude beyond which outward packets
    are suppressed (infinite without a limit). ``packet_offset`` (units,) [V]: error of the precharge voltage of C_s.
    ``unsettled`` (units,): share of a packet that does not arrive in time. ``gain`` (units,) [V/V], ``leak`` (units,)
    [A].
    """

    line_unit: Array
    line_sign: Array
    spread: Array
    low: Row
    high: Row
    packet_row: Row | None
    packet: Array
    start_packet: Array
    integrator: Array
    unit: Array
    step: Array
    sign: Array
    initial: Array
    levels: NDArray[np.int64] | None
    limit: Array
    packet_offset: Array
    unsettled: Array
    gain: Array
    leak: Array

    @property
    def units(self) -> int:
        return len(self.initial)


@dataclass(frozen=True, kw_only=True)
class Operating:
    """Operating point of a transistor-level circuit, which may differ from the point of its design.

    ``corner`` of the process, ``temperature`` [degrees Celsius], ``vdd`` [V] (None: the design's). ``die`` draws the
    mismatch of all devices (None: they are equal).
    """

    corner: str = "typical"
    temperature: float = 27.0
    vdd: float | None = None
    die: DeviceDraws | None = None


@dataclass(frozen=True, kw_only=True)
class Design:
    """A charge-domain network: everything a netlist needs, in SI units.

    ``input_unit`` (features,) [V per scaled input unit]; ``input_scale`` and ``input_offset`` (features,) belong to the
    drivers of the input lines: V_x = V_cm + input_unit·clamp(scale·x + offset), to the range of the calibration.
    ``bias``, ``reference_up`` and ``reference_down`` () [V] are the distances of the constant-1 line and of the packet
    references from V_cm. ``readout`` has one row per class, all with the same total capacitance, so that their voltages
    can be compared. ``templates`` are (name, netlist text) of cells that a user supplied instead of the shipped ones.
    ``operating`` applies to transistor level only.
    """

    config: ModelConfig
    technology: Technology
    calibration: Calibration
    input_unit: Array
    input_scale: Array
    input_offset: Array
    bias: Array
    reference_up: Array
    reference_down: Array
    layers: tuple[Layer, ...]
    readout: Row
    readout_unit: Array
    readout_sign: Array
    readout_spread: Array
    deviations: tuple[Deviation, ...]
    model_sha256: str
    templates: tuple[tuple[str, str], ...] = ()
    operating: Operating = Operating()

    @property
    def architecture(self) -> str:
        return "sc"

    @property
    def supply(self) -> float:
        """VDD [V] at the operating point."""
        return self.technology.supply.vdd if self.operating.vdd is None else self.operating.vdd

    @property
    def timestep(self) -> float:
        """[s]"""
        return self.technology.timing.timestep

    @property
    def phases(self) -> tuple[str, ...]:
        """Clock phases of one timestep, in the order in which they rise."""
        return clock_phases(self.config)

    @property
    def phase(self) -> float:
        """Delay between consecutive clock phases, as a share of the timestep."""
        return phase_share(self.config, self.technology)

    @property
    def input_range(self) -> InputRange:
        """The range of the input drivers."""
        limits, largest = self.calibration.inputs, self.calibration.largest
        return InputRange.of(scale=self.input_scale, offset=self.input_offset, limits=limits, largest=largest)

    def highest_levels(self, index: int) -> Array:
        """Largest level (units,) that each integrator of layer ``index`` must hold: see :func:`highest_levels`."""
        layer = self.layers[index]
        return np.broadcast_to(highest_levels(layer.levels, self.calibration.states[index]), (layer.units,))

    def voltages(self, inputs: NDArray[np.floating]) -> Array:
        """Voltages of the input lines [V] for ``inputs`` (..., features), clamped to their range."""
        return self.technology.supply.common_mode + self.input_unit * self.input_range.scaled(inputs)


def highest_levels(levels: NDArray[np.int64] | None, largest: float) -> Array:
    """K (units,), or () without a level limit the ``largest`` level of the calibration with headroom."""
    return np.asarray(HEADROOM * largest if levels is None else levels, dtype=np.float64)


def padding(totals: Array, least: float) -> Array:
    """Capacitance [F] that pads each of ``totals`` [F] to the largest of them, or to ``least`` if that is larger.

    0 where only a residue of rounding is missing.
    """
    largest = max(least, float(totals.max(initial=0.0)))
    missing = largest - totals
    return np.where(missing > RESIDUE * largest, missing, 0.0)


def clock_phases(config: ModelConfig) -> tuple[str, ...]:
    """Names of the clock phases, in the order in which they rise: layer by layer, then the readout."""
    middle = ("m",) if config.epsilon == 0.0 and config.cell != "acmru" else ()
    layers = (f"{kind}{index}" for index in range(len(config.units)) for kind in ("e", *middle, "u"))
    return (*layers, "r")


def phase_share(config: ModelConfig, technology: Technology) -> float:
    """Delay between consecutive clock phases, as a share of the timestep; shorter where a deep network needs it.

    Long phases are cheap to simulate, because ngspice doubles its step after each edge, and they change no result.
    """
    return min(technology.timing.phase, LONGEST_WINDOW / (len(clock_phases(config)) + 1))
