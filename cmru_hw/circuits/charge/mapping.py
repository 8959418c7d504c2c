"""Trained × Technology → Design, and exactly back.

The charge-domain design (architecture ``sc``): every weight is a capacitor on its unit's row, every α the ratio of the
packet capacitor to the integrating capacitor, every threshold a second weighted sum with its own bias tap.

Voltages. A value v on a line with unit voltage V_u is V_cm + v·V_u. Each input feature has its own V_u, so that its
range fills the swing; its weights absorb the factor. A row of capacitors C_j = |w_j| S / V_u,j settles
at V_cm + S Σ w_j v_j / ΣC. The row scale S [F·V] therefore attenuates the signal but changes no sign. It is chosen so
that the larger of a unit's two rows uses the technology's full row capacitance. An integrator has positive packets
only: a unit with negative α holds |α|·s, and the rows that read it invert its sign.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits import input_range
from cmru_hw.circuits.calibration import calibration_data
from cmru_hw.circuits.charge import trim
from cmru_hw.circuits.charge.design import (
    HEADROOM,
    Calibration,
    Design,
    Layer,
    Row,
    highest_levels,
    padding,
    phase_share,
)
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.design import Deviation, refuse_dead_layers
from cmru_hw.circuits.input_range import PERCENTILE
from cmru_hw.core.errors import MappingError
from cmru_hw.core.signals import Array
from cmru_hw.core.units import si
from cmru_hw.nn import levels as level_limits
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process.technology import Technology

# Largest ratio of packet capacitor to integrating capacitor.
LARGEST_PACKET_RATIO = 8.0


def calibration(found: Mapping[str, Any]) -> Calibration:
    """Inverse of ``dataclasses.asdict``. Raises KeyError, TypeError, ValueError."""
    return Calibration(
        **input_range.from_dict(found), states=tuple(map(float, found["states"])), source=str(found["source"])
    )


def calibrate(trained: Trained, sequences: Sequences | None, *, percentile: float = PERCENTILE) -> Calibration:
    """The range of each scaled input and the largest state of each layer over ``sequences``: the voltage scales.

    The range of a feature holds ``percentile`` of its timesteps (:mod:`cmru_hw.circuits.input_range`); states are those
    with clamped inputs. Without sequences, :func:`assumed_sequences` are used, and the result states that. Raises
    DataError if the sequences do not fit the network, MappingError if all of them are zero.
    """
    seen = calibration_data(trained, sequences, percentile)
    # The range covers at least the first level, whatever states the calibration visited.
    states = tuple(max(1.0, float(np.abs(state[seen.valid]).max())) for state in seen.output.states)
    return Calibration(**seen.ranges, states=states, source=seen.source)


def map_network(trained: Trained, technology: Technology, calibration: Calibration) -> Design:
    """Turn weights into capacitors.

    Raises MappingError, naming the layer, unit or tensor, for a network that this technology cannot realize.
    Rounded and left-out weights are not errors: each is a :class:`Deviation` of the design.
    """
    config = trained.config
    _refuse(trained)
    tensors = {name: array.astype(np.float64) for name, array in trained.arrays.items()}
    input_unit = technology.signal.input_swing / input_range.checked(calibration.inputs, config.features)
    line_unit = input_unit
    line_sign = np.ones(config.features)
    spread = np.eye(config.features)
    deviations: list[Deviation] = []
    layers: list[Layer] = []
    for index in range(len(config.units)):
        layer = _layer(index, tensors, config, technology, calibration, line_unit, line_sign, spread, deviations)
        layers.append(layer)
        own_unit, own_sign, own_spread = outputs(layer, technology)
        line_unit = np.concatenate((own_unit, line_unit)) if config.skip else own_unit
        line_sign = np.concatenate((own_sign, line_sign)) if config.skip else own_sign
        spread = _block_diagonal(own_spread, spread) if config.skip else own_spread
    readout_unit, readout_sign, readout_spread = outputs(layers[-1], technology)
    kinds = [f"layers.{index}.{row}" for index in range(len(layers)) for row in "ab"]
    deviations += trim.listed(technology, [*kinds, "readout.r"])
    readout = _rows(
        "readout",
        [(tensors["readout.weight"] @ readout_spread, tensors["readout.bias"], np.zeros(len(tensors["readout.bias"])))],
        readout_unit,
        readout_sign,
        technology,
        deviations,
        shared=True,
    )[0]
    return Design(
        config=config,
        technology=technology,
        calibration=calibration,
        input_unit=input_unit,
        input_scale=tensors["input.scale"],
        input_offset=tensors["input.offset"],
        bias=np.asarray(technology.signal.bias),
        reference_up=np.asarray(technology.signal.reference),
        reference_down=np.asarray(technology.signal.reference),
        layers=tuple(layers),
        readout=_compared(replace(readout, pad=padding(readout.total, technology.capacitor.row)), technology),
        readout_unit=readout_unit,
        readout_sign=readout_sign,
        readout_spread=readout_spread,
        deviations=tuple(deviations),
        model_sha256=trained.sha256,
    )


def realised(design: Design) -> Trained:
    """The software network that ``design`` computes, read back from its capacitors.

    Equal to the trained network bit by bit if the design has no deviations: capacitances are stored in double
    precision, which has room for a float32 weight next to one 2^28 times larger.
    """
    config = design.config
    tensors: dict[str, Array] = {"input.scale": design.input_scale, "input.offset": design.input_offset}
    for index, layer in enumerate(design.layers):
        name = f"layers.{index}"
        lines = (layer.line_unit, layer.line_sign, layer.spread)
        low, high = (_weights(row, *lines) for row in (layer.low, layer.high))
        tensors[f"{name}.candidate.weight"] = (low + high) / 2
        tensors[f"{name}.threshold.weight"] = (high - low) / 2
        tensors[f"{name}.candidate.bias"] = _tap(layer.high, layer.high.bias, design.technology)
        tensors[f"{name}.threshold.bias"] = _tap(layer.high, layer.high.threshold, design.technology)
        tensors[f"{name}.initial_state"] = layer.initial
        if layer.packet_row is None:
            ratio = layer.packet / layer.integrator * design.technology.signal.reference
            tensors[f"{name}.alpha"] = layer.sign * ratio / layer.unit
        else:
            tensors[f"{name}.alpha.weight"] = _weights(layer.packet_row, *lines)
            tensors[f"{name}.alpha.bias"] = _tap(layer.packet_row, layer.packet_row.bias, design.technology)
    tensors["readout.weight"] = _weights(
        design.readout, design.readout_unit, design.readout_sign, design.readout_spread
    )
    tensors["readout.bias"] = _tap(design.readout, design.readout.bias, design.technology)
    return Trained.of_arrays(config, tensors)


def _weights(row: Row, line_unit: Array, line_sign: Array, spread: Array) -> Array:
    """Weights of the inputs; the least-squares value for an input that is spread over several lines."""
    lines = row.weights * (line_unit * line_sign) / row.scale[:, None]
    return np.asarray(lines @ (spread / (spread**2).sum(-1, keepdims=True)).T, dtype=np.float64)


def _tap(row: Row, capacitance: Array, technology: Technology) -> Array:
    return capacitance * technology.signal.bias / row.scale


def outputs(layer: Layer, technology: Technology) -> tuple[Array, Array, Array]:
    """The lines that carry a layer's units to its readers: their units [V], signs, and spread (units, lines).

    An integrator is one line. A counter has one rail-to-rail line for each bit of its level, in two's complement; α,
    including its sign, is then a factor of the weights.
    """
    memory = registry.of(technology)
    if memory is None or not memory.bits:
        return layer.unit, layer.sign, np.eye(layer.units)
    lines = layer.units * len(memory.bits)
    alpha = layer.sign * layer.step / layer.unit
    spread = np.asarray(np.kron(np.diag(alpha), memory.bits), dtype=np.float64)
    return np.full(lines, technology.supply.vdd), np.ones(lines), spread


def _block_diagonal(first: Array, second: Array) -> Array:
    """Both matrices in one, which is zero elsewhere."""
    found = np.zeros((first.shape[0] + second.shape[0], first.shape[1] + second.shape[1]))
    found[: first.shape[0], : first.shape[1]] = first
    found[first.shape[0] :, first.shape[1] :] = second
    return found


def _refuse(trained: Trained) -> None:
    config = trained.config
    if config.cell == "fq-bmru":
        raise MappingError("an FQ-BMRU has no charge-domain circuit: export it with --architecture cm (current mode)")
    if config.epsilon not in (0.0, 1.0) and config.cell != "acmru":
        raise MappingError(
            f"epsilon is {config.epsilon:g}: a charge-domain unit either replaces its state (0) or accumulates (1); "
            "anneal epsilon to 0 or 1 in training"
        )
    if config.cell == "acmru" and config.levels is not None:
        raise MappingError("an alpha-CMRU with a level limit has no circuit: train it with levels = null")
    refuse_dead_layers(trained)


def _layer(
    index: int,
    tensors: dict[str, Array],
    config: ModelConfig,
    technology: Technology,
    calibration: Calibration,
    line_unit: Array,
    line_sign: Array,
    spread: Array,
    deviations: list[Deviation],
) -> Layer:
    name = f"layers.{index}"
    candidate, threshold = (tensors[f"{name}.{kind}.weight"] @ spread for kind in ("candidate", "threshold"))
    bias, width = (tensors[f"{name}.{kind}.bias"] for kind in ("candidate", "threshold"))
    units = len(bias)
    sums = [(candidate - threshold, bias, -width), (candidate + threshold, bias, width)]
    low, high = _rows(name, sums, line_unit, line_sign, technology, deviations, shared=False)
    levels = _levels(name, index, units, config, technology)
    integrator, packet_row = technology.capacitor.integrator, None
    if config.cell == "acmru":
        alpha = (tensors[f"{name}.alpha.weight"] @ spread, tensors[f"{name}.alpha.bias"], np.zeros(units))
        charge = _packet_charge(technology, calibration.states[index])
        packet_row = _rows(
            f"{name}.alpha", [alpha], line_unit, line_sign, technology, deviations, shared=False, scale=charge
        )[0]
        unit, step, packet = _sampled_packets(name, packet_row, technology, calibration.states[index])
        sign = np.ones(units)
    else:
        highest = highest_levels(levels, calibration.states[index])
        unit, step, packet = _fixed_packets(name, tensors[f"{name}.alpha"], technology, highest)
        sign = np.sign(tensors[f"{name}.alpha"])
    settling = phase_share(config, technology) * technology.timing.timestep
    time_constant = technology.amplifier.time_constant
    return Layer(
        line_unit=line_unit,
        line_sign=line_sign,
        spread=spread,
        low=_compared(low, technology),
        high=_compared(high, technology),
        packet_row=None if packet_row is None else injected(packet_row, technology),
        packet=packet,
        start_packet=step / technology.signal.reference * integrator,
        integrator=np.full(units, integrator),
        unit=unit,
        step=step,
        sign=sign,
        initial=tensors[f"{name}.initial_state"],
        levels=levels,
        # A state that is replaced cannot exceed one level.
        limit=(levels - 0.5) * step if levels is not None and config.epsilon else np.full(units, np.inf),
        packet_offset=technology.switch.packet_injection / packet,
        # The next layer reads the state one phase after the packet was sent.
        unsettled=np.full(units, np.exp(-settling / time_constant) if time_constant else 0.0),
        gain=np.full(units, technology.amplifier.gain),
        leak=np.full(units, technology.leakage.integrator),
    )


def _levels(name: str, index: int, units: int, config: ModelConfig, technology: Technology) -> NDArray[np.int64] | None:
    """K (units,) of layer ``index``, or None without a limit. Raises MappingError for one that its memory cannot store.

    A state that is replaced has one level.
    """
    found = level_limits.of_layer(config.levels, index)
    limits = found if isinstance(found, tuple) else (found,) * units
    if (memory := registry.of(technology)) and config.cell != "acmru":
        for number, limit in enumerate(limits):
            memory.check_levels(limit, f"{name}, unit {number}")
    if config.epsilon == 0.0 and config.cell != "acmru":
        return np.ones(units, dtype=np.int64)
    return None if found is None else np.array(limits, dtype=np.int64)


def _packet_charge(technology: Technology, largest: float) -> float | None:
    """Charge of a packet of one unit of h [F·V], the scale of its row in transistors, whose charge is the packet.

    None at macro level, where a buffer reads the voltage of the row. ``largest`` is the largest state in calibration.
    """
    if technology.level != "transistor":
        return None
    return technology.signal.state_swing / (HEADROOM * largest) * technology.capacitor.integrator


def _sampled_packets(name: str, row: Row, technology: Technology, largest: float) -> tuple[Array, Array, Array]:
    """Units (units,) [V], levels (units,) [V] and packet capacitors (units,) [F] with the voltage of ``row``.

    The row gives scale/total volts per unit of alpha, and the packet converts that to ``unit`` volts. If a row
    attenuates too much, the swing is reduced. ``largest`` is the largest state in calibration. In transistors the row
    itself is C_s. Raises MappingError if it is too large.
    """
    parasitic = 0.0 if technology.level == "transistor" else technology.capacitor.parasitic
    attenuation = (row.total + parasitic) / row.scale
    worst = int(np.argmax(row.total))
    if technology.level == "transistor" and row.total[worst] > LARGEST_PACKET_RATIO * technology.capacitor.integrator:
        raise MappingError(
            f"{name}.alpha, unit {worst}: its row would need {si(row.total[worst], 'F')} on C_int = "
            f"{si(technology.capacitor.integrator, 'F')}; train with a penalty on large states"
        )
    unit = min(technology.signal.state_swing / (HEADROOM * largest), LARGEST_PACKET_RATIO / float(attenuation.max()))
    units = np.full(len(attenuation), unit)
    return units, units, technology.capacitor.integrator * unit * attenuation


def _fixed_packets(name: str, alpha: Array, technology: Technology, highest: Array) -> tuple[Array, Array, Array]:
    """Units (units,) [V], levels (units,) [V] and packet capacitors (units,) [F] for ``highest`` levels (units,) or ().

    A unit with few levels has large ones: the swing is divided by its own K. Raises MappingError for an alpha of 0, or
    for a packet that is too large or too small.
    """
    if dead := np.flatnonzero(alpha == 0).tolist():
        raise MappingError(f"{name}.alpha[{dead[0]}] is 0, so this unit has no output; prune it, or train further")
    integrator = technology.capacitor.integrator
    unit = technology.signal.state_swing / np.broadcast_to(np.abs(alpha).max() * highest, alpha.shape)
    step = np.abs(alpha) * unit
    packet = step / technology.signal.reference * integrator
    worst = int(np.argmax(packet))
    if packet[worst] > LARGEST_PACKET_RATIO * integrator:
        raise MappingError(
            f"{name}, unit {worst}: one packet would need C_s = {si(packet[worst], 'F')} on C_int = "
            f"{si(integrator, 'F')}; lower signal.state_swing, raise signal.reference, or train with a penalty on alpha"
        )
    worst, least = int(np.argmin(packet)), smallest_packet(technology)
    if packet[worst] < least:
        raise MappingError(
            f"{name}, unit {worst}: one packet would need C_s = {si(packet[worst], 'F')}, but the smallest capacitor "
            f"is {si(least, 'F')}; train with fewer levels or with similar alphas, or raise capacitor.integrator"
        )
    return unit, step, packet


def most_levels(technology: Technology) -> int:
    """The largest K whose levels ``technology`` tells apart: half a level is a standard deviation of the level limit.

    A unit with a larger K would end its range a level early or late on every third die. Its levels are also small
    compared with the offsets of amplifiers and comparators, and with its smallest packet.
    """
    swing, sigma = technology.signal.state_swing, technology.mismatch.limit
    step = smallest_packet(technology) / technology.capacitor.integrator * technology.signal.reference
    smallest = max(2 * sigma, step)
    return max(1, min(level_limits.MAX_LEVELS, int(swing / smallest))) if smallest else level_limits.MAX_LEVELS


def smallest_packet(technology: Technology) -> float:
    """The smallest packet capacitor [F] that can be drawn; 0 if the technology states none."""
    devices = technology.transistor
    return technology.capacitor.minimum if devices is None else devices.piece


def injected(row: Row, technology: Technology) -> Row:
    """``row`` with the offset from the charge injection of its precharge switch."""
    return replace(row, offset=technology.switch.row_injection / (row.total + technology.capacitor.parasitic))


def _compared(row: Row, technology: Technology) -> Row:
    """``row`` as its comparator finds it: with the charge injected by its precharge switch, and its trim."""
    return trim.with_bank(injected(row, technology), technology)


def _rows(
    name: str,
    sums: Sequence[tuple[Array, Array, Array]],
    line_unit: Array,
    line_sign: Array,
    technology: Technology,
    deviations: list[Deviation],
    *,
    shared: bool,
    scale: float | None = None,
) -> list[Row]:
    """Capacitors for ``sums`` of (weight, bias, threshold), one row of each sum per unit.

    The sums of one unit share a scale, so that equal weights become equal capacitors. With ``shared``, all units share
    one scale. It makes the larger row of a unit as large as the technology says, unless ``scale`` [F·V] is given.
    """
    signal = technology.signal
    relative = [
        (weight / (line_unit * line_sign), bias / signal.bias, threshold / signal.bias)
        for weight, bias, threshold in sums
    ]
    loads = np.max([np.abs(w).sum(-1) + np.abs(b) + np.abs(t) for w, b, t in relative], axis=0)
    if empty := np.flatnonzero(loads == 0).tolist():
        raise MappingError(f"{name}, row {empty[0]}: every weight and bias is 0, so its sign means nothing; prune it")
    full = technology.capacitor.row / (np.full_like(loads, loads.max()) if shared else loads)
    scales = full if scale is None else np.full_like(loads, scale)
    smallest_tap = 0.0 if registry.small_taps(technology) else technology.capacitor.minimum

    def tap(values: Array, element: str) -> Array:
        return _realisable(values * scales, element, technology, deviations, smallest=smallest_tap)

    rows = []
    for label, (weight, bias, threshold) in zip("ab" if len(sums) == 2 else "r", relative, strict=True):
        element = f"{name}.{label}"
        rows.append(
            Row(
                weights=_realisable(weight * scales[:, None], f"{element}.weight", technology, deviations),
                bias=tap(bias, f"{element}.bias"),
                threshold=tap(threshold, f"{element}.threshold"),
                pad=np.zeros_like(scales),
                scale=scales,
                offset=np.zeros_like(scales),
                taps=np.zeros((len(scales), 0)),
                code=np.zeros(len(scales), dtype=np.int64),
            )
        )
    # A row of the readout is padded, so it has capacitors even without weights.
    for label, row in () if shared else zip("ab" if len(sums) == 2 else "r", rows, strict=True):
        if empty := np.flatnonzero(row.total == 0).tolist():
            raise MappingError(
                f"{name}.{label}, row {empty[0]}: no weight or bias is as large as half the smallest capacitor, so its "
                "sign means nothing; lower capacitor.minimum, raise capacitor.row, or prune the unit"
            )
    return rows


def _realisable(
    wanted: Array, element: str, technology: Technology, deviations: list[Deviation], *, smallest: float | None = None
) -> Array:
    """``wanted`` [F, signed] rounded to sizes that the technology can make; differences go to ``deviations``."""
    smallest = technology.capacitor.minimum if smallest is None else smallest
    step = technology.capacitor.step
    size = np.abs(wanted)
    got = np.round(size / step) * step if step else size.copy()
    got = np.where(got >= smallest, got, np.where(size >= smallest / 2, smallest, 0.0))
    # A trained zero is no capacitor.
    got = np.where(size == 0, 0.0, got)
    for place in np.argwhere(got != size):
        here = tuple(place.tolist())
        reason = "left out: below half the smallest capacitor" if got[here] == 0 else "rounded to a size that exists"
        name = f"{element}[{','.join(map(str, here))}]"
        deviations.append(
            Deviation(
                element=name,
                wanted=float(wanted[here]),
                got=float(np.copysign(got, wanted)[here]),
                unit="F",
                reason=reason,
            )
        )
    return np.copysign(got, wanted)


def fingerprint(design: Design) -> str:
    """Content hash of everything that determines the design: model, technology, calibration and user templates."""
    parts = [design.model_sha256, design.technology.sha256, repr(design.calibration)]
    if design.templates:
        parts.append(repr(design.templates))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
