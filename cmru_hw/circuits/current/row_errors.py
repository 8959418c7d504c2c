"""Errors of a current-mode design, referred to the candidates that its cells compare.

Mismatch multiplies every current by a lognormal factor (:mod:`cmru_hw.circuits.current.variation`). Arms and diodes
give the weights of the software model errors, and cells give errors to thresholds and levels. For margins, the errors
of weights are propagated from line to line, in proportion to the currents in the arms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cmru_hw.circuits import row_errors
from cmru_hw.circuits.current import mapping, netlist
from cmru_hw.circuits.current.mapping import CurrentDesign, CurrentLayer
from cmru_hw.circuits.current.mirrors import MirrorRows
from cmru_hw.circuits.current.netlist import PlacedDevice
from cmru_hw.circuits.row_errors import LayerErrors, LinearErrors, NetworkErrors, RowErrors, SmallestPart
from cmru_hw.core.signals import Array
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences

ASSUMPTIONS = (
    "errors of weights and thresholds are normal, and constant on a die",
    "left out: the time that cells need, and ratios of mirrors away from the current that they were sized for",
)


@dataclass(kw_only=True, eq=False)
class _Lines:
    """Currents (places,) [A] of the lines so far, and the variances of their errors: ``own`` of the mirrors, and
    ``states`` of the cells in front.
    """

    design: CurrentDesign
    devices: Mapping[str, PlacedDevice]
    folds: Mapping[str, str]
    current: dict[str, Array] = field(default_factory=dict)
    own: dict[str, Array] = field(default_factory=dict)
    states: dict[str, Array] = field(default_factory=dict)

    def sigma(self, *names: str) -> float:
        """Relative error of the product of the strengths of devices."""
        technology = self.design.technology
        squares = 0.0
        for name in names:
            device = self.devices[name]
            law = technology.mismatch_n if device.polarity == "n" else technology.mismatch_p
            squares += law**2 / (device.count * device.width * device.length)
        return float(np.sqrt(squares))

    def put(self, name: str, current: Array, own: Array | float, states: Array | float = 0.0) -> None:
        zero = np.zeros_like(current)
        self.current[name], self.own[name], self.states[name] = current, own + zero, states + zero

    def sums(self, rows: MirrorRows) -> Iterator[tuple[str, Array, Array, Array]]:
        """Of each row: name, current, and the two variances, without its diode."""
        for row, name in enumerate(rows.names):
            parts = np.zeros((3, *next(iter(self.current.values())).shape))
            for column in np.flatnonzero(rows.ratio[row]).tolist():
                line, ratio = rows.lines[column], float(rows.ratio[row, column])
                arms = [f"{name}_{line}"]
                if line in self.folds and rows.polarity(row, column) != self.folds[line]:
                    arms += [f"fold_{line}", f"diode_fold_{line}"]
                current = self.current[line] * ratio
                parts[0] += current
                parts[1] += (current * self.sigma(*arms)) ** 2 + self.own[line] * ratio**2
                parts[2] += self.states[line] * ratio**2
            yield name, parts[0], parts[1], parts[2]

    def rectify(self, rows: MirrorRows) -> None:
        """``rows`` become lines."""
        for name, current, own, states in self.sums(rows):
            on = current > 0
            at_diode = (current * self.sigma(f"diode_{name}")) ** 2
            self.put(name, np.where(on, current, 0.0), np.where(on, own + at_diode, 0.0), np.where(on, states, 0.0))


def errors(design: CurrentDesign, trained: Trained, sequences: Sequences) -> NetworkErrors:
    """Errors of ``design`` where the software model ``trained`` runs ``sequences``."""
    shape = sequences.inputs.shape[:2]
    out = design.input_range.model(trained).run(sequences.inputs)
    lines = _Lines(design=design, devices=netlist.devices(design), folds=netlist.folds(design))
    for name, current in design.currents(sequences.inputs.reshape(-1, sequences.inputs.shape[2])).items():
        lines.put(name, current, (current * lines.sigma(f"diode_{name}")) ** 2)
    bias = np.full(shape[0] * shape[1], design.technology.bias)
    lines.put("one", bias, (bias * lines.sigma("diode_one")) ** 2)
    layers = []
    for index, (layer, states) in enumerate(zip(design.layers, out.states, strict=True)):
        if layer.entry is not None:
            lines.rectify(layer.entry)
        found = _layer(lines, index, layer, shape)
        layers.append(found)
        size = found.states.size[row_errors.CELLS]
        for i in range(layer.units):
            current = states[..., i].ravel() * layer.high[i]
            lines.put(f"h{index}_{i}", current, 0.0, (current * size[i]) ** 2)
        lines.rectify(layer.output)
    realised = mapping.realised(design)
    return NetworkErrors(
        inputs=design.input_range,
        realised=realised,
        drawn=realised,
        layers=tuple(layers),
        readout=RowErrors(per_row={}, noise=np.zeros((1, len(design.readout.names)))),
        unit="A",
        smallest=_smallest(design),
        linear=_linear(lines),
        assumptions=ASSUMPTIONS,
    )


def _layer(lines: _Lines, index: int, layer: CurrentLayer, shape: tuple[int, int]) -> LayerErrors:
    own, inherited = (np.empty((1, *shape, layer.units)) for _ in range(2))
    sunk, window = np.empty((2, layer.units)), np.zeros((2, layer.units))
    size, unit = np.empty(layer.units), layer.candidate.unit
    for i, (name, current, variance, states) in enumerate(lines.sums(layer.candidate)):
        cell = f"cell{index}_{i}"
        # the row's own diode and the device that copies it into the cell
        entry = (current * lines.sigma(f"diode_{name}", f"{cell}.m1")) ** 2
        on = (current > 0).reshape(shape)
        own[0, ..., i] = np.where(on, np.sqrt(variance + entry).reshape(shape) / unit[i], 0.0)
        inherited[0, ..., i] = np.where(on, np.sqrt(states).reshape(shape) / unit[i], 0.0)
        # the sunk current moves both thresholds, the fed current the lower one
        sunk[:, i] = layer.upper[i] * lines.sigma(f"{cell}.m2", f"t{index}_{i}") / unit[i]
        fed = lines.sigma(*(f"{cell}.m{m}" for m in (7, 8, 9)), f"b{index}_{i}")
        window[0, i] = (layer.upper[i] - layer.low[i]) * fed / unit[i]
        size[i] = lines.sigma(f"{cell}.m4", f"{cell}.m5", f"g{index}_{i}")
    none = np.zeros((2, layer.units))
    rows = RowErrors(
        per_unit={row_errors.CELLS: sunk},
        per_row={row_errors.CELLS: window},
        # a die has these through its weights and states
        inherited={row_errors.MIRRORS: own, row_errors.CELLS: inherited},
        noise=none,
    )
    states_ = row_errors.no_state_errors(layer.units)
    return LayerErrors(
        rows=rows,
        states=row_errors.with_size(states_, {row_errors.CELLS: size}),
        scale=np.stack((unit, unit)),
    )


def _linear(lines: _Lines) -> dict[str, LinearErrors]:
    """Errors of all linear maps of the software model."""
    design = lines.design
    first = design.layers[0].entry
    assert first is not None and design.config.widths is not None
    features = [(f"x{j}p", f"x{j}n") for j in range(design.config.features)]
    found = {"projection": _of_rows(lines, first, features)}
    behind: list[int] = []
    for index, layer in enumerate(design.layers):
        sources = [layer.entry] if layer.entry is not None else [design.layers[k].output for k in behind]
        found[f"layers.{index}.candidate"] = _of_rows(lines, layer.candidate, _columns(sources), cells=index)
        states = [(f"h{index}_{i}",) for i in range(layer.units)]
        found[f"layers.{index}.output"] = _of_rows(lines, layer.output, states)
        signed = design.config.skip and design.config.widths[index] == design.config.widths[index + 1]
        behind = [*behind, index] if signed else [index]
    found["readout"] = _of_rows(lines, design.readout, _columns([design.layers[k].output for k in behind]))
    return found


def _columns(sources: Sequence[MirrorRows]) -> list[tuple[str, ...]]:
    """Of each input of a linear map, the lines that carry it."""
    return list(zip(*(source.names for source in sources), strict=True))


def _of_rows(
    lines: _Lines, rows: MirrorRows, columns: Sequence[tuple[str, ...]], *, cells: int | None = None
) -> LinearErrors:
    """Errors of ``rows`` that read ``columns``. ``cells``: the layer whose cells copy these rows."""
    own, fold, line = (np.zeros((len(rows.names), len(columns) + 1)) for _ in range(3))
    for row, name in enumerate(rows.names):
        for place, names in enumerate([*columns, ("one",)]):
            live = [one for one in names if one in rows.lines and rows.ratio[row, rows.lines.index(one)]]
            if not live:
                continue
            own[row, place] = np.sqrt(np.mean([lines.sigma(f"{name}_{one}") ** 2 for one in live]))
            folded = [one for one in live if rows.polarity(row, rows.lines.index(one)) != lines.folds.get(one, "")]
            folded = [one for one in folded if one in lines.folds]
            fold[row, place] = max((lines.sigma(f"fold_{one}", f"diode_fold_{one}") for one in folded), default=0.0)
            # a row's own diode is an error of that row, so only inputs have one here
            line[row, place] = max((lines.sigma(f"diode_{one}") for one in live if one[0] == "x"), default=0.0)
    ends = [[f"diode_{name}"] if rows.diode else [] for name in rows.names]
    if cells is not None:
        ends = [[*names, f"cell{cells}_{i}.m1"] for i, names in enumerate(ends)]
    return LinearErrors(
        weight=own[:, :-1],
        bias=np.hypot(own[:, -1], fold[:, -1]),
        row=np.array([lines.sigma(*names) for names in ends]),
        line=line[:, :-1],
        fold=fold[:, :-1],
        constant=lines.sigma("diode_one"),
    )


def _smallest(design: CurrentDesign) -> SmallestPart:
    """The smallest arm, by its w/l."""
    limit = design.technology.aspects[0]
    aspects = np.concatenate(
        [(rows.width / np.where(rows.length, rows.length, 1.0))[rows.ratio != 0] for rows in design.rows]
    )
    reasons = [deviation.reason for deviation in design.deviations]
    left_out = sum(deviation.got == 0 for deviation in design.deviations)
    raised = sum("smallest arm" in reason and "raised" in reason for reason in reasons)
    return SmallestPart(
        part="arm of a mirror, w/l",
        cause=row_errors.SMALL_ARMS,
        size=float(aspects.min()) if len(aspects) else 0.0,
        limit=limit,
        unit="",
        below=left_out + raised,
        count=len(aspects) + left_out,
    )
