"""Trained FQ-BMRU × CurrentTechnology → CurrentDesign, and back.

Signals are currents, each with its own unit [A per software unit]. An arm with weight w from a line of unit U_x to a
row of unit U_y is a mirror of ratio w·U_y/U_x. ReLU commutes with a positive factor, so the unit of a row can be chosen
freely. A row takes another unit if the thresholds of its cell would otherwise be too small or too large.

Lines. A feature has two lines, ``x3p`` and ``x3n``, which carry max(x, 0) and max(−x, 0). With one line and an added
constant, every mirror error would also apply to the constant. A feature that was never negative in calibration has only
the first line. ``u0_2`` is a rectified row before a layer, ``c0_2`` a candidate, ``h0_2`` the output of a cell,
``r0_2`` a rectified row after a layer, ``one`` the constant. Consecutive linear maps are folded: a signed residual
connection repeats the rows that it adds, and a readout of a signed projection reads the inputs themselves.

Rows that end in a cell end on a pf diode, all others on an nf diode. Arms whose current flows in the direction of the
row's diode are positive weights, the others negative: four kinds of arm with four corrections (`technology.LANDINGS`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits import input_range
from cmru_hw.circuits.calibration import calibration_data
from cmru_hw.circuits.current import mirrors, parallel
from cmru_hw.circuits.current.mirrors import MirrorRows
from cmru_hw.circuits.current.technology import CurrentTechnology
from cmru_hw.circuits.design import Deviation, refuse_dead_layers
from cmru_hw.circuits.input_range import PERCENTILE, InputRange
from cmru_hw.core.errors import MappingError
from cmru_hw.core.signals import Array
from cmru_hw.core.units import si
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.forward import Model
from cmru_hw.nn.sequences import Sequences as Data

# Narrowest window of a cell, as a share of its upper threshold. A narrower one might have no hysteresis.
NARROWEST = 0.02
# Lower threshold of a unit that never resets: this far below zero, as a share of the upper one.
NEVER = 0.1


@dataclass(frozen=True, kw_only=True)
class CurrentCalibration:
    """``inputs`` (features,): the range of each scaled input, beyond which it is clamped; ``largest`` (features,): the
    largest that was seen; ``percentile``: see `cmru_hw.circuits.input_range`; ``negative`` (features,): whether the
    input was ever below zero, because an input that was not has no line for negative values.

    ``entries`` and ``outputs`` (layers,): mean of the positive parts of the rows before and after each layer. The ratio
    of a mirror depends slightly on its current; it is exact at this one.
    """

    inputs: tuple[float, ...]
    largest: tuple[float, ...]
    percentile: float
    negative: tuple[bool, ...]
    entries: tuple[float, ...]
    outputs: tuple[float, ...]
    source: str


@dataclass(frozen=True, kw_only=True, eq=False)
class CurrentLayer:
    """One layer of cells. All currents (units,) [A].

    ``entry`` are the rectified rows before the layer, or None if its inputs are rectified already. ``low``, ``upper``
    and ``high`` are the wanted thresholds and output level of the cells; ``thresh``, ``window`` and ``gain`` are the
    bias currents that produce them. ``alpha`` (units,) is the software's. ``initial`` (units,) is 0 or 1.
    """

    entry: MirrorRows | None
    candidate: MirrorRows
    output: MirrorRows
    low: Array
    upper: Array
    high: Array
    thresh: Array
    window: Array
    gain: Array
    alpha: Array
    initial: Array

    @property
    def units(self) -> int:
        return len(self.initial)


@dataclass(frozen=True, kw_only=True, eq=False)
class CurrentDesign:
    """A current-mode network: everything that a netlist needs, in SI units.

    ``input_unit`` (features,) [A per scaled input unit]; ``input_scale`` and ``input_offset`` (features,) belong to the
    drivers, which clamp the scaled inputs to the range of the calibration. ``templates`` are (name, netlist text) of
    cells that a user supplied instead of the shipped ones.
    """

    config: ModelConfig
    technology: CurrentTechnology
    calibration: CurrentCalibration
    input_unit: Array
    input_scale: Array
    input_offset: Array
    layers: tuple[CurrentLayer, ...]
    readout: MirrorRows
    deviations: tuple[Deviation, ...]
    model_sha256: str
    templates: tuple[tuple[str, str], ...] = ()

    @property
    def architecture(self) -> str:
        return "cm"

    @property
    def timestep(self) -> float:
        """[s]"""
        return self.technology.timestep

    @property
    def rows(self) -> tuple[MirrorRows, ...]:
        """All weighted sums, in the order of signal flow."""
        found: list[MirrorRows] = []
        for layer in self.layers:
            found += [rows for rows in (layer.entry, layer.candidate, layer.output) if rows is not None]
        return (*found, self.readout)

    def currents(self, inputs: NDArray[np.floating]) -> dict[str, Array]:
        """Currents [A] of the input lines for ``inputs`` (timesteps, features), clamped: line → (timesteps,)."""
        driven = self.input_range.scaled(inputs) * self.input_unit
        found = {}
        for j, negative in enumerate(self.calibration.negative):
            found[f"x{j}p"] = np.maximum(driven[:, j], 0)
            if negative:
                found[f"x{j}n"] = np.maximum(-driven[:, j], 0)
        return found

    @property
    def input_range(self) -> InputRange:
        """The range of the input drivers; it ends at zero for a feature without a line for negative values."""
        return InputRange.of(
            scale=self.input_scale,
            offset=self.input_offset,
            limits=self.calibration.inputs,
            largest=self.calibration.largest,
            negative=self.calibration.negative,
        )


def calibration(found: Mapping[str, Any]) -> CurrentCalibration:
    """Inverse of ``dataclasses.asdict``. Raises KeyError, TypeError, ValueError."""
    return CurrentCalibration(
        **input_range.from_dict(found),
        negative=tuple(map(bool, found["negative"])),
        entries=tuple(map(float, found["entries"])),
        outputs=tuple(map(float, found["outputs"])),
        source=str(found["source"]),
    )


def calibrate(trained: Trained, sequences: Data | None, *, percentile: float = PERCENTILE) -> CurrentCalibration:
    """Expected currents, from ``sequences`` or from `cmru_hw.circuits.calibration.assumed_sequences`.

    ``percentile`` of the timesteps lie within the range of a feature (:mod:`cmru_hw.circuits.input_range`). Raises
    MappingError, and DataError for sequences that do not fit.
    """
    _refuse(trained)
    found = calibration_data(trained, sequences, percentile)
    model = Model.of(trained)
    scaled = found.scaled[found.valid]
    seen = model.linear("projection", scaled)
    entries, outputs = [], []
    for index, h in enumerate(found.output.outputs):
        entries.append(_mean_current(seen))
        behind = np.maximum(model.linear(f"layers.{index}.output", h[found.valid]), 0)
        outputs.append(_mean_current(behind))
        seen = model.following(index, seen, h[found.valid])
    return CurrentCalibration(
        **found.ranges,
        negative=tuple(bool(one) for one in scaled.min(axis=0) < 0),
        entries=tuple(entries),
        outputs=tuple(outputs),
        source=found.source,
    )


def _refuse(trained: Trained) -> None:
    if trained.config.cell != "fq-bmru":
        name = trained.config.cell.upper()
        raise MappingError(
            f"current mode builds only FQ-BMRUs: export this {name} with --architecture sc, or train an FQ-BMRU for "
            f"its task with cmru-hw train --counterpart"
        )
    refuse_dead_layers(trained)


def _mean_current(values: Array) -> float:
    """Mean of the positive values [software units]; 1 if there are none."""
    positive = values[values > 0]
    return float(positive.mean()) if len(positive) else 1.0


def map_network(trained: Trained, technology: CurrentTechnology, calibration: CurrentCalibration) -> CurrentDesign:
    """Turn weights into mirrors and thresholds into bias currents.

    Raises MappingError, with layer and unit, for a network that cannot be realized. Limited, rounded and left-out
    numbers are not errors: each is a :class:`Deviation` of the design.
    """
    config = trained.config
    _refuse(trained)
    assert config.widths is not None
    if missing := parallel.unknown(technology.parallel, classes(config)):
        raise MappingError(
            f"no size class of this network is called {missing[0]!r}: choose from {', '.join(classes(config))}; one of "
            f"{', '.join(parallel.KINDS)} for all layers; or {parallel.ALL}"
        )
    tensors = {name: array.astype(np.float64) for name, array in trained.arrays.items()}
    input_unit = technology.full_scale / input_range.checked(calibration.inputs, config.features)
    deviations: list[Deviation] = []
    projection, bias = tensors["projection.weight"], tensors["projection.bias"]
    # Sources of the next layer: the signed projection, or None, and the rectified rows after these layers.
    signed, behind = True, list[int]()
    layers: list[CurrentLayer] = []
    for index in range(len(config.units)):
        residual = [layers[k].output for k in behind]
        entry = None
        if signed:
            terms = [mirrors.inputs(projection, input_unit, calibration.negative), mirrors.constant(bias, technology)]
            terms += [mirrors.identity(rows) for rows in residual]
            width = config.widths[0]
            unit = np.full(width, technology.unit)
            typical = unit * calibration.entries[index]
            entry = mirrors.draw("projection", f"u{index}", "n", terms, unit, typical, technology, deviations)
            read = [entry]
        else:
            read = residual
        layer = _layer(index, tensors, technology, entry, read, calibration.outputs[index], deviations)
        layers.append(layer)
        if config.skip and config.widths[index] == config.widths[index + 1]:
            behind = [*behind, index]
        else:
            signed, behind = False, [index]
    weight, offset = tensors["readout.weight"], tensors["readout.bias"]
    terms = [mirrors.outputs(layers[k].output, weight) for k in behind]
    if signed:
        terms.append(mirrors.inputs(weight @ projection, input_unit, calibration.negative))
        offset = offset + weight @ bias
    terms.append(mirrors.constant(offset, technology))
    unit = np.full(len(offset), technology.unit)
    readout = mirrors.draw("readout", "y", "", terms, unit, unit, technology, deviations)
    return CurrentDesign(
        config=config,
        technology=technology,
        calibration=calibration,
        input_unit=input_unit,
        input_scale=tensors["input.scale"],
        input_offset=tensors["input.offset"],
        layers=tuple(layers),
        readout=readout,
        deviations=tuple(deviations),
        model_sha256=trained.sha256,
    )


def classes(config: ModelConfig) -> tuple[str, ...]:
    """Names of the size classes of a network, in the order of signal flow (`cmru_hw.circuits.current.parallel`)."""
    assert config.widths is not None
    found, signed = ["inputs", "constant"], True
    for index in range(len(config.units)):
        kinds = parallel.KINDS if signed else parallel.KINDS[1:]
        found += [parallel.of_layer(index, kind) for kind in kinds]
        signed = config.skip and config.widths[index] == config.widths[index + 1]
    return tuple(found)


def realised(design: CurrentDesign) -> Trained:
    """The software network that ``design`` computes, read back from its drawn sizes and levels.

    Equal to the trained network bit by bit if the design has no deviations. A weight that is drawn several times (on
    both lines of an input, or for a residual connection) is read back as the mean of its arms.
    """
    tensors: dict[str, Array] = {"input.scale": design.input_scale, "input.offset": design.input_offset}
    features = design.config.features
    first = design.layers[0].entry
    assert first is not None
    tensors["projection.weight"] = np.stack(
        [mirrors.mean(first, (f"x{j}p", f"x{j}n")) for j in range(features)], axis=1
    )
    tensors["projection.bias"] = mirrors.mean(first, ("one",))
    signed, behind = True, list[int]()
    assert design.config.widths is not None
    for index, layer in enumerate(design.layers):
        name = f"layers.{index}"
        sources = [layer.entry] if layer.entry is not None else [design.layers[k].output for k in behind]
        tensors[f"{name}.candidate.weight"] = mirrors.read(layer.candidate, sources)
        tensors[f"{name}.candidate.bias"] = mirrors.mean(layer.candidate, ("one",))
        low = np.maximum(layer.low, 0) / layer.candidate.unit
        tensors[f"{name}.low"] = low
        tensors[f"{name}.width"] = layer.upper / layer.candidate.unit - low
        tensors[f"{name}.alpha"] = layer.alpha
        columns = [layer.output.lines.index(f"h{index}_{i}") for i in range(layer.units)]
        tensors[f"{name}.output.weight"] = layer.output.weights[:, columns]
        tensors[f"{name}.output.bias"] = mirrors.mean(layer.output, ("one",))
        tensors[f"{name}.initial_state"] = layer.initial
        if design.config.skip and design.config.widths[index] == design.config.widths[index + 1]:
            behind = [*behind, index]
        else:
            signed, behind = False, [index]
    tensors["readout.weight"] = mirrors.read(design.readout, [design.layers[k].output for k in behind])
    constant = mirrors.mean(design.readout, ("one",))
    tensors["readout.bias"] = constant - (tensors["readout.weight"] @ tensors["projection.bias"] if signed else 0)
    return Trained.of_arrays(design.config, tensors)


def at_corner(design: CurrentDesign, *, corner: str, temperature: float, vdd: float) -> CurrentDesign:
    """The drawn circuit of ``design`` with devices of another ``corner`` and ``temperature``, at ``vdd`` [V]."""
    return replace(design, technology=design.technology.at(corner=corner, temperature=temperature, vdd=vdd))


def fingerprint(design: CurrentDesign) -> str:
    """Content hash of everything that determines the design: model, technology, calibration and user templates."""
    parts = [design.model_sha256, design.technology.sha256, repr(design.calibration)]
    if design.templates:
        parts.append(repr(design.templates))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


# --- Cells -------------------------------------------------------------------------------------------------------


def _layer(
    index: int,
    tensors: Mapping[str, Array],
    technology: CurrentTechnology,
    entry: MirrorRows | None,
    read: Sequence[MirrorRows],
    behind: float,
    deviations: list[Deviation],
) -> CurrentLayer:
    """One layer. ``behind``: mean of the rows after the layer, in software units."""
    name = f"layers.{index}"
    alpha, beta = tensors[f"{name}.alpha"], tensors[f"{name}.low"] + tensors[f"{name}.width"]
    for what, values in (("alpha", alpha), ("low + width", beta)):
        if dead := np.flatnonzero(values == 0).tolist():
            because = "its output is always 0" if what == "alpha" else "it is set by every input"
            raise MappingError(f"{name}, unit {dead[0]}: {what} is 0, so {because}; prune it, or train further")
    # A cell's upper threshold and level must lie within its swept range. The rows around it take the remaining factor.
    unit = np.clip(beta * technology.unit, technology.smallest, technology.largest) / beta
    unit = np.where(np.abs(unit / technology.unit - 1) < 1e-12, technology.unit, unit)
    raised = parallel.count(technology.parallel, parallel.of_layer(index, "levels"))
    least = _least(name, raised, technology)
    high = np.clip(np.abs(alpha) * technology.unit, least, technology.largest)
    upper, low = beta * unit, tensors[f"{name}.low"] * unit
    never = low < technology.leakage
    for i in np.flatnonzero(never & (low > 0)).tolist():
        deviations.append(_level(f"{name}.low[{i}]", low[i], 0.0, "below the leakage: the unit never resets"))
    low = np.where(never, -NEVER * upper, low)
    narrow = upper - low < NARROWEST * upper
    for i in np.flatnonzero(narrow).tolist():
        wide = float(NARROWEST * upper[i])
        deviations.append(_level(f"{name}.width[{i}]", upper[i] - low[i], wide, "raised to the narrowest window"))
    low = np.where(narrow, (1 - NARROWEST) * upper, low)
    # Thresholds depend on where the switches m3 and m6 turn on. There is always one of each, with the whole current.
    # The level depends on the drain voltages of the mirrors, and so on the share of one device.
    thresh, window, gain = technology.cell.biases(upper, upper - low, high / raised)
    gain = raised * gain
    weight, bias = tensors[f"{name}.candidate.weight"], tensors[f"{name}.candidate.bias"]
    terms = [*(mirrors.outputs(rows, weight) for rows in read), mirrors.constant(bias, technology)]
    # The mirrors of a candidate are exact at the upper threshold, where the cell decides.
    candidate = mirrors.draw(f"{name}.candidate", f"c{index}", "p", terms, unit, upper, technology, deviations)
    weight, bias = tensors[f"{name}.output.weight"], tensors[f"{name}.output.bias"]
    names = tuple(f"h{index}_{i}" for i in range(len(alpha)))
    cells = mirrors.Term(names=names, unit=high / alpha, typical=high, weights=weight)
    own = np.full(len(bias), technology.unit)
    terms = [cells, mirrors.constant(bias, technology)]
    return CurrentLayer(
        entry=entry,
        candidate=candidate,
        output=mirrors.draw(f"{name}.output", f"r{index}", "n", terms, own, own * behind, technology, deviations),
        low=low,
        upper=upper,
        high=high,
        thresh=thresh,
        window=window,
        gain=gain,
        alpha=alpha,
        initial=tensors[f"{name}.initial_state"],
    )


def _least(name: str, count: int, technology: CurrentTechnology) -> float:
    """Smallest level [A] of a cell with ``count`` devices in parallel, each of which carries a swept current."""
    least = max(technology.smallest, count * technology.cell.gain[0])
    if least >= technology.largest:
        raise MappingError(
            f"{name}: {count} devices in parallel need {si(least, 'A')}, more than the largest current of a cell, "
            f"{si(technology.largest, 'A')}: take fewer"
        )
    return least


def _level(element: str, wanted: float, got: float, reason: str) -> Deviation:
    return Deviation(element=element, wanted=float(wanted), got=got, unit="A", reason=reason)
