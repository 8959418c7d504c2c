"""CurrentDesign × stimulus × devices → Deck.

Names. A line ``x3p`` has a gate line for nf arms, ``n_x3p``, and one for pf arms, ``p_x3p``. Its own diode makes one of
them; if both are needed, a fold (an arm and a diode) makes the other. Layer l, unit i: candidate ``c0_2``, cell
``xcell0_2`` with state node ``s0_2``, output ``h0_2``; rows ``u0_1`` before and ``r0_1`` after a layer, readout rows
``y1``. The arm by which row u0_1 reads line x3p is ``xu0_1_x3p``. Every block has its own supply (`BLOCKS`) with a
capacitor that meters its charge. Numbers are written without SI suffixes: SPICE reads ``1M`` as 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmru_hw.circuits import input_range
from cmru_hw.circuits.current.mapping import CurrentDesign, CurrentLayer
from cmru_hw.circuits.current.mirrors import MirrorRows
from cmru_hw.circuits.current.numerics import CONVERGED, Numerics
from cmru_hw.core import package_data
from cmru_hw.core.signals import Array
from cmru_hw.process import device_models
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.schedule import Schedule, schedule

BLOCKS = ("inputs", "fc", "cells", "references")
"""inputs: sources of the features' currents. fc: mirrors, folds and diodes of all weighted sums. cells: the nine
transistors of every unit. references: bias currents of cells and of the constant line."""

TOTAL = "all"
"""The common supply of all blocks also has a charge meter; the meters of the blocks must add up to it."""
METER = 1e-9
"""Capacitance [F] of a charge meter, which integrates a block's supply current."""

# Inputs change at the beginning of a timestep, within this share of it. Outputs are read at its end.
CHANGE = 0.01
# In the power-on frame the cells are released layer by layer, so that no cell decides before its inputs have settled.
RELEASE_FIRST, RELEASE_LAST = 0.4, 0.8


@dataclass(frozen=True, kw_only=True)
class PlacedDevice:
    """One transistor: ``polarity`` "n" or "p", drawn ``width`` and ``length`` [m].

    It is ``count`` such devices in parallel. ``leaf`` is its group of variation, such as ``layer0/cells``: see
    `cmru_hw.circuits.current.variation`.
    """

    polarity: str
    width: float
    length: float
    leaf: str
    count: int = 1


def devices(design: CurrentDesign) -> dict[str, PlacedDevice]:
    """Every signal transistor by name: that of the instance without its x; for a cell ``cell0_2.m1`` to m9."""
    technology = design.technology

    def unit(kind: str, leaf: str, count: int) -> PlacedDevice:
        return PlacedDevice(polarity=kind, width=technology.width, length=technology.length, leaf=leaf, count=count)

    def sink(leaf: str, count: int) -> PlacedDevice:
        return PlacedDevice(polarity="n", width=technology.width, length=technology.sink_length, leaf=leaf, count=count)

    count = technology.count
    found = {f"diode_{line}": unit("n", "inputs/diodes", count(line)) for line in (*input_lines(design), "one")}
    # Leaf of the block that drives each line; the line's fold has the same leaf.
    makers = dict.fromkeys((*input_lines(design), "one"), "inputs/diodes")
    for leaf, rows in weighted_sums(design).items():
        makers |= dict.fromkeys(rows.names, leaf)
        if rows.diode:
            found |= {f"diode_{name}": unit(rows.diode, leaf, count(name)) for name in rows.names}
        for row, column in np.argwhere(rows.ratio != 0).tolist():
            found[f"{rows.names[row]}_{rows.lines[column]}"] = PlacedDevice(
                polarity=rows.polarity(row, column),
                width=float(rows.width[row, column]),
                length=float(rows.length[row, column]),
                leaf=leaf,
                count=count(rows.lines[column]),
            )
    for index, layer in enumerate(design.layers):
        cells, references = f"layer{index}/cells", f"layer{index}/references"
        for i in range(layer.units):
            makers[f"h{index}_{i}"] = cells
            compared, raised = count(f"c{index}_{i}"), count(f"h{index}_{i}")
            found |= {
                f"{name}{index}_{i}": sink(references, number)
                for name, number in {"t": compared, "b": compared, "g": raised}.items()
            }
            for m in range(1, 10):
                kind = "p" if m in (1, 4, 7, 9) else "n"
                # m3 and m6 are switches, whose strength does not matter
                number = 1 if m in (3, 6) else raised if m in (4, 5) else compared
                found[f"cell{index}_{i}.m{m}"] = sink(cells, number) if m in (2, 5, 8) else unit(kind, cells, number)
    for line, own in folds(design).items():
        width, length = _copy(design, line, own)
        leaf, number = makers[line], count(line)
        found[f"fold_{line}"] = PlacedDevice(polarity=own, width=width, length=length, leaf=leaf, count=number)
        found[f"diode_fold_{line}"] = unit("p" if own == "n" else "n", leaf, number)
    return found


def weighted_sums(design: CurrentDesign) -> dict[str, MirrorRows]:
    """All weighted sums by leaf, in the order of signal flow: entry, candidate and output of each layer, readout."""
    found: dict[str, MirrorRows] = {}
    for index, layer in enumerate(design.layers):
        kinds = {"entry": layer.entry, "candidate": layer.candidate, "output": layer.output}
        found |= {f"layer{index}/{kind}": rows for kind, rows in kinds.items() if rows is not None}
    return found | {"readout/weights": design.readout}


def network_text(design: CurrentDesign, *, strengths: Mapping[str, float] | None = None) -> str:
    """``network.cir``: mirrors, cells, references and readers of ``design``, without supplies and stimulus.

    ``strengths`` make it a die: the current of each of :func:`devices` relative to the nominal current.
    """
    config, technology = design.config, design.technology
    known = devices(design)
    chosen = strengths or {}

    def multiplicity(name: str) -> float:
        return known[name].count * chosen.get(name, 1.0)

    def size(name: str) -> str:
        device = known[name]
        own = f" k={_n(multiplicity(name))}" if name in chosen or device.count > 1 else ""
        return f"w={_n(device.width)} l={_n(device.length)}{own}"

    unit = f"w={_n(technology.width)} l={_n(technology.length)}"

    def cell(here: str) -> str:
        sizes = f"{unit} ls={_n(technology.sink_length)}"
        names = [f"cell{here}.m{m}" for m in range(1, 10)]
        if not chosen and all(known[name].count == 1 for name in names):
            return sizes
        return f"{sizes}\n+ " + " ".join(f"k{m}={_n(multiplicity(name))}" for m, name in enumerate(names, start=1))

    def reader(line: str) -> str:
        return unit if technology.count(line) == 1 else f"{unit} k={_n(technology.count(line))}"

    lines = [
        f"* fq-bmru network: {config.features} inputs, units {' + '.join(map(str, config.units))}, "
        f"{len(config.classes)} readout rows; model sha256 {design.model_sha256[:16]}",
        f"* technology {technology.name}; an input of 1 after scaling is {input_range.span(design.input_unit)} A, "
        f"any other software unit {_n(technology.unit)} A unless a row says otherwise",
        "\n* ==== inputs: their sources are in the deck",
        *[f"xdiode_{line} n_{line} diode_n {size(f'diode_{line}')}" for line in input_lines(design)],
        "\n* ==== the constant 1",
        f"ione vdd_references n_one {_n(technology.bias)}",
        f"xdiode_one n_one diode_n {size('diode_one')}",
    ]
    for index, layer in enumerate(design.layers):
        for rows in (layer.entry, layer.candidate):
            if rows is not None:
                lines += _rows(rows, size)
        lines += _cells(index, layer, size, cell, reader)
        lines += _rows(layer.output, size)
    lines += _rows(design.readout, size)
    lines.append("\n* ==== folds: lines that arms of both types read")
    for line, own in folds(design).items():
        other = "p" if own == "n" else "n"
        # A pf device needs its supply node, an nf device ground.
        arm, diode = ("", " vdd_fc") if own == "n" else (" vdd_fc", "")
        lines.append(
            f"xfold_{line} {other}_{line} {own}_{line}{arm} arm_{own} {size(f'fold_{line}')}\n"
            f"xdiode_fold_{line} {other}_{line}{diode} diode_{other} {size(f'diode_fold_{line}')}"
        )
    return "\n".join(lines) + "\n"


def folds(design: CurrentDesign) -> dict[str, str]:
    """Lines that need both gate lines, and the type ("n" or "p") that their own diode makes."""
    made = dict.fromkeys((*input_lines(design), "one"), "n")
    needed: set[tuple[str, str]] = set()
    for rows in design.rows:
        made |= {name: rows.diode for name in rows.names if rows.diode}
        for row, column in np.argwhere(rows.ratio != 0).tolist():
            needed.add((rows.lines[column], rows.polarity(row, column)))
    made |= {f"h{index}_{i}": "p" for index, layer in enumerate(design.layers) for i in range(layer.units)}
    # A line exists only if something reads it; the same holds for a fold.
    return {line: own for line, own in made.items() if (line, "p" if own == "n" else "n") in needed}


def input_lines(design: CurrentDesign) -> tuple[str, ...]:
    return tuple(line for line, _ in _features(design))


def _features(design: CurrentDesign) -> list[tuple[str, int]]:
    """Each input line with its feature."""
    return [
        (f"x{j}{suffix}", j)
        for j, negative in enumerate(design.calibration.negative)
        for suffix in (("p", "n") if negative else ("p",))
    ]


def transistors(design: CurrentDesign) -> dict[str, int]:
    """Number of transistors by block, and number of those that reset cells at power-on."""
    diodes = sum(len(rows.names) for rows in design.rows if rows.diode)
    arms = sum(int((rows.ratio != 0).sum()) for rows in design.rows)
    cells = sum(layer.units for layer in design.layers)
    return {
        "inputs": len(input_lines(design)),
        "fc": diodes + arms + 2 * len(folds(design)),
        "cells": 9 * cells,
        "references": 3 * cells + 1,
        "reset": cells,
    }


def gate_area(design: CurrentDesign) -> float:
    """Σ w·l of all transistors except the resets [m²], for an estimate of area."""
    return sum(device.count * device.width * device.length for device in devices(design).values())


# long: one deck, line after line
def deck(
    design: CurrentDesign,
    inputs: Sequence[Array],
    *,
    devices: device_models.Devices | None = None,
    network: str | None = None,
    vdd: float | None = None,
    timestep: float | None = None,
    refine: int = 0,
    numerics: Numerics = CONVERGED,
    save: Sequence[str] = (),
) -> tuple[Deck, Schedule]:
    """A deck that runs ``inputs``, sequences of shape (timesteps, features), one after the other.

    ``devices`` default to those of the technology's process, corner and temperature; a die with mismatch passes others.
    ``network`` replaces :func:`network_text`. ``vdd`` [V] and ``timestep`` [s] replace the technology's. ``numerics``
    are the settings of the integration, refined ``refine`` times (`Numerics.refined`).
    """
    technology = design.technology
    devices = devices or device_models.devices(
        technology.process, corner=technology.corner, temperature=technology.temperature
    )
    supply, period = vdd or technology.vdd, timestep or technology.timestep
    # Sampling instants are just before the inputs change.
    plan = schedule(period, CHANGE / 2, [len(x) for x in inputs])
    columns = {line: np.zeros(plan.frames) for line in input_lines(design)}
    for first, sequence in zip(plan.starts, inputs, strict=True):
        for line, current in design.currents(np.asarray(sequence)).items():
            columns[line][first : first + len(sequence)] = current
            columns[line][first - 1] = current[0]
    files = {"network.cir": (network if network is not None else network_text(design)).encode(), **devices.files}
    files |= cell_files(design)
    # PWL sources, not a data file: only PWL gives ngspice breakpoints at its corners. Finding corners by rejected steps
    # takes three times as many iterations as the rest of the simulation.
    stimulus = [f"iinput_{line} vdd_inputs n_{line} {_pwl(_changes(plan, row))}" for line, row in columns.items()]
    for index, layer in enumerate(design.layers):
        on = _releases(plan, index, len(design.layers), supply)
        if layer.initial.any():
            off = [(time, supply - voltage) for time, voltage in on]
            stimulus.append(f"vinitb{index} initb{index} 0 {_pwl(off)}")
        if not layer.initial.all():
            stimulus.append(f"vinit{index} init{index} 0 {_pwl(on)}")
    blocks = [f"vsupply vdd_all 0 {_n(supply)}", *_meter(TOTAL, "vsupply")]
    for block in BLOCKS:
        blocks += [
            f"vdd_{block} vdd_{block} vdd_all 0",
            *_meter(block, f"vdd_{block}"),
        ]
    saved = [f"q_{name}" for name in (*BLOCKS, TOTAL)]
    for index, layer in enumerate(design.layers):
        for i in range(layer.units):
            saved += [f"s{index}_{i}", f"i(vc{index}_{i})", f"i(vh{index}_{i})"]
    saved += [f"i(v{name})" for name in design.readout.names]
    saved += [name for name in save if name not in saved]
    stop = plan.frames * period
    settings = numerics.refined(refine)
    lines = [
        devices.text.rstrip(),
        *[f".include {path}" for path in cell_files(design)],
        *blocks,
        f"vprobe vdd_probe 0 {_n(supply)}",
        f"vhalf half 0 {_n(supply / 2)}",
        *stimulus,
        ".include network.cir",
        *[".save " + " ".join(saved[first : first + 20]) for first in range(0, len(saved), 20)],
        settings.options(),
        f".tran {_n(period / 10)} {_n(stop)} 0 {_n(settings.largest_step(period))}",
    ]
    return (
        Deck(
            text="\n".join(lines) + "\n",
            stop=stop,
            saved=tuple(saved),
            files=files,
            settings=devices.settings,
            libraries=devices.libraries,
        ),
        plan,
    )


def cell_files(design: CurrentDesign) -> dict[str, bytes]:
    """The templates of this architecture: path in the deck → content, in the order to include them."""
    folder = package_data.folder("netlists") / "cells" / "current"
    own = {name: text.encode() for name, text in design.templates}
    names = ("mirror", "current_cell", "reset")
    return {f"cells/{name}.cir": own.get(name) or (folder / f"{name}.cir").read_bytes() for name in names}


def _rows(rows: MirrorRows, size: Callable[[str], str]) -> list[str]:
    where = {"n": "nf diodes", "p": "pf diodes", "": "readers at half the supply"}[rows.diode]
    lines = [f"\n* ==== rows {rows.names[0]} ...: weighted sums that end on {where}"]
    for row, name in enumerate(rows.names):
        lines.append(f"* ---- {name}: 1 software unit is {_n(rows.unit[row])} A")
        node = f"k_{name}" if rows.diode != "n" else f"n_{name}"
        own = size(f"diode_{name}") if rows.diode else ""
        if rows.diode == "n":
            lines.append(f"xdiode_{name} {node} diode_n {own}")
        elif rows.diode == "p":
            # An ammeter without resistance between the sum and its diode: it measures the candidate for the decoder.
            lines.append(f"v{name} p_{name} {node} 0\nxdiode_{name} p_{name} vdd_fc diode_p {own}")
        else:
            lines.append(f"v{name} {node} half 0")
        for column, line in enumerate(rows.lines):
            if rows.ratio[row, column] == 0:
                continue
            polarity = rows.polarity(row, column)
            supply = " vdd_fc" if polarity == "p" else ""
            lines.append(f"x{name}_{line} {node} {polarity}_{line}{supply} arm_{polarity} {size(f'{name}_{line}')}")
    return lines


def _cells(
    index: int,
    layer: CurrentLayer,
    size: Callable[[str], str],
    cell: Callable[[str], str],
    reader: Callable[[str], str],
) -> list[str]:
    lines = [f"\n* ==== layer {index}: {layer.units} cells"]
    for i in range(layer.units):
        here = f"{index}_{i}"
        lines.append(
            f"* ---- unit {here}: set above {_n(layer.upper[i])} A, reset below {_n(layer.low[i])} A, "
            f"output {_n(layer.high[i])} A"
        )
        for name, current in (("t", layer.thresh[i]), ("b", layer.window[i]), ("g", layer.gain[i])):
            node = f"{name}{here}"
            lines.append(f"i{node} vdd_references {node} {_n(current)}\nx{node} {node} diode_n {size(node)}")
        lines.append(
            f"xcell{here} p_c{here} p_h{here} t{here} b{here} g{here} s{here} vdd_cells current_cell {cell(here)}"
        )
        if layer.initial[i] > 0:
            lines.append(f"xreset{here} s{here} initb{index} vdd_cells reset_p")
        else:
            lines.append(f"xreset{here} s{here} init{index} reset_n")
        lines.append(f"vh{here} m{here} half 0\nxprobe{here} m{here} p_h{here} vdd_probe arm_p {reader(f'h{here}')}")
    return lines


def _meter(name: str, source: str) -> list[str]:
    """A charge meter: node ``q_name`` rises by 1 mV for each picocoulomb that ``source`` delivers."""
    return [
        f"fmeter_{name} 0 q_{name} {source} -1",
        f"cmeter_{name} q_{name} 0 {_n(METER)}",
        f"rmeter_{name} q_{name} 0 1e15",
        f".ic v(q_{name})=0",
    ]


def _copy(design: CurrentDesign, line: str, polarity: str) -> tuple[float, float]:
    """Size of the arm that folds ``line``: ratio 1, landing across, at the line's typical current."""
    technology = design.technology
    typical = {name: float(rows.typical[k]) for rows in design.rows for k, name in enumerate(rows.names)}
    typical |= {line: float(design.input_unit[j]) for line, j in _features(design)} | {"one": technology.bias}
    typical |= {
        f"h{index}_{i}": float(layer.high[i]) for index, layer in enumerate(design.layers) for i in range(layer.units)
    }
    each = typical[line] / technology.count(line)
    aspect = technology.mirror.aspect_for(np.array([1.0]), polarity, "across", each)
    width, length = technology.drawn(aspect)
    return float(width[0]), float(length[0])


def _changes(plan: Schedule, values: Array) -> list[tuple[float, float]]:
    """Corners of a signal that takes each of ``values`` (frames,) for one frame and changes by a ramp."""
    corners = [(0.0, float(values[0]))]
    for frame in (np.flatnonzero(np.diff(values)) + 1).tolist():
        corners.append((frame * plan.timestep, float(values[frame - 1])))
        corners.append(((frame + CHANGE) * plan.timestep, float(values[frame])))
    return corners


def _releases(plan: Schedule, layer: int, layers: int, high: float) -> list[tuple[float, float]]:
    """Corners of a layer's power-on line: high from the start of a power-on frame until the layer's release."""
    release = released(layer, layers)
    corners: list[tuple[float, float]] = []
    for first in plan.starts:
        start = first - 1
        steps = [(start + CHANGE, high), (start + release, high), (start + release + CHANGE, 0.0)]
        # The first frame begins with the line high; each later power-on frame raises it.
        corners += [(frame * plan.timestep, value) for frame, value in ([(start, 0.0)] if start else []) + steps]
    return [(0.0, high), *corners]


def released(layer: int, layers: int) -> float:
    """Release time of a layer in a power-on frame, as a share of the frame."""
    return float(np.linspace(RELEASE_FIRST, RELEASE_LAST, layers + 1)[layer])


def _pwl(corners: Sequence[tuple[float, float]]) -> str:
    """A PWL source on lines of readable length."""
    words = [f"{time:.10g} {value:.10g}" for time, value in corners]
    return "pwl(" + "\n+ ".join(" ".join(words[first : first + 8]) for first in range(0, len(words), 8)) + ")"


def _n(value: float | Array) -> str:
    """A number with all its digits and without SI suffix."""
    return repr(float(value))


def charge(values: Mapping[str, Array], time: Array, edges: Array) -> dict[str, Array]:
    """Charge [C] that each block drew from its supply between consecutive ``edges`` [s]."""
    return {block: np.diff(np.interp(edges, time, values[f"q_{block}"])) * METER for block in BLOCKS}
