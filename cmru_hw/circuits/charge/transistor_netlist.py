"""Design → network.cir at transistor level: rows of capacitors, lines, units and readout, for any memory.

Nodes have the names of the macro level (``o0_3 a0_3 b0_3 qa0_3 qb0_3 x7 p0_7 n0_7 y1``). Every capacitor and switch is
a device of the process.
"""

from __future__ import annotations

from collections.abc import Sequence

from cmru_hw.circuits import input_range
from cmru_hw.circuits.charge.design import Design, Layer, Row
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.charge.memories.memory import Memory
from cmru_hw.circuits.charge.transistor_parts import (
    SWITCH_LENGTH,
    SWITCH_WIDTH,
    Capacitors,
    LineSource,
    Rows,
    require_devices,
    row_lines,
    total,
    weights,
    wires,
)
from cmru_hw.core import package_data
from cmru_hw.process.technology import Transistor
from cmru_hw.spice.deck import num


def excludes(design: Design) -> tuple[str, ...]:
    """Parts that the netlist omits."""
    left = list(registry.of_design(design).excludes)
    if len(design.readout.bias) > 2:
        left.append(f"the decision among {len(design.readout.bias)} classes: only their rows are built")
    if design.config.decision != "last":
        left.append(f"the {design.config.decision} of the readout over the timesteps")
    return tuple(left)


def charge_meters(design: Design) -> dict[str, float]:
    """Vectors of the charge meters (1 mV per picocoulomb), each with the voltage [V] of its supply."""
    found = {name: design.supply * supply.share for name, supply in registry.of_design(design).supplies.items()}
    return {f"meter_{name}": volts for name, volts in (found | {"inputs": design.supply}).items()}


def comparator_inputs(design: Design) -> list[tuple[str, str]]:
    """Both inputs of each comparator, rows a and b of every unit in order: a decision is 1 if the first is higher."""
    memory = registry.of_design(design)
    units = [f"{index}_{i}" for index, layer in enumerate(design.layers) for i in range(layer.units)]
    return [(f"{row}{here}", memory.replica(f"{row}{here}")) for here in units for row in "ab"]


def cell_files(design: Design) -> dict[str, bytes]:
    """The templates of ``design``: path in the deck → content, in the order to include them."""
    folder, memory = package_data.folder("netlists") / "cells" / "transistor", registry.of_design(design)
    dependent = memory.templates(design)
    own = {name: text.encode() for name, text in (*dependent.items(), *design.templates)}
    names = (*memory.cells, *(cell for cell in dependent if cell not in memory.cells))
    return {f"cells/{cell}.cir": own.get(cell) or (folder / f"{cell}.cir").read_bytes() for cell in names}


def network_text(design: Design) -> str:
    """``network.cir``: weights, units, clocks and readout of ``design``, without supplies and stimulus.

    Raises MappingError for a design that has no circuit in transistors.
    """
    memory, devices, config = registry.of_design(design), require_devices(design), design.config
    memory.require(design)
    lines = [
        f"* {config.cell} network: {config.features} inputs, units {' + '.join(map(str, config.units))}, "
        f"{len(design.readout.bias)} readout rows",
        f"* technology {design.technology.name} ({memory.comment}); model sha256 {design.model_sha256[:16]}",
        f"* an input of 1 after scaling is {input_range.span(design.input_unit)} V above V_cm; inputs end at "
        f"{design.technology.signal.input_swing:.6g} V",
        *memory.head(design),
    ]
    own: list[LineSource] = []
    sources = [memory.input_source(j) for j in range(config.features)]
    for index, layer in enumerate(design.layers):
        lines += _layer(memory, design, devices, index, layer, sources)
        own = [source for i in range(layer.units) for source in memory.outputs(f"{index}_{i}")]
        sources = own + sources if config.skip else own
    readout = range(len(design.readout.bias))
    rows = {f"y{k}": _capacitors(memory, design, design.readout, k, "r", f"y{k}") for k in readout}
    lines += [
        "\n* ==== readout: one row per class, all of the same total capacitance, so that their voltages compare",
        *memory.readout_head(design),
        *wires(memory.readout_wires, "r", devices.wire * len(rows)),
        *_lines(memory, "r", own, rows, devices.wire * len(rows) / 2),
    ]
    for k in range(len(rows)):
        lines += memory.class_row(design, k, rows)
    if len(rows) == 2:
        lines += ["* class 1 beats class 0: qy1 high", memory.decision]
    return "\n".join(lines) + "\n"


def _layer(
    memory: Memory, design: Design, devices: Transistor, index: int, layer: Layer, sources: Sequence[LineSource]
) -> list[str]:
    rows = {
        f"{kind}{index}_{i}": _capacitors(memory, design, row, i, str(index), f"{kind}{index}_{i}")
        for i in range(layer.units)
        for kind, row in (("a", layer.low), ("b", layer.high))
    }
    packets = memory.packet_rows(design, index)
    wire = devices.wire * layer.units
    used = {node for row in (*rows.values(), *packets.values()) for node, _ in row.values()}
    images, dummies = memory.dummies(index, sources, used, wire)
    lines = [
        f"\n* ==== layer {index}: {layer.units} units; 1 software unit of its output is "
        f"{input_range.span(layer.unit)} V",
        *memory.layer_head(design, index),
        *wires(memory.layer_wires, str(index), wire),
        *_lines(memory, str(index), sources, {**rows, **packets}, wire),
        *dummies,
    ]
    # All other capacitors of a row share one switch below its replica.
    rest = {top: {n: part for n, part in row.items() if part[0] not in images} for top, row in rows.items()}
    gates = memory.gates(rest)
    for i in range(layer.units):
        here, sizes = f"{index}_{i}", ""
        lines.append(f"* ---- unit {here}: one level {layer.step[i]:.6g} V")
        for kind, row in (("a", layer.low), ("b", layer.high)):
            top, pad = f"{kind}{here}", float(row.pad[i])
            lines += row_lines(top, top, rows[top], pad, memory.pad)
            lines += [
                f"xf{top}_{name} f{top} {images[node]} cmom c={num(size)}"
                for name, (node, size) in rows[top].items()
                if node in images
            ]
            width, length = gates.get(top, (SWITCH_WIDTH, SWITCH_LENGTH))
            size = memory.rest(design, total(rest[top]) + pad)
            sizes += f" c{kind}={num(size)} wf{kind}={num(width)} lf{kind}={num(length)}"
        for top in (top for top in packets if top.endswith(f"_{i}")):
            lines += row_lines(top, top, packets[top], 0.0, memory.pad)
        lines += memory.unit(design, index, i, sizes)
    return lines


def _capacitors(memory: Memory, design: Design, row: Row, i: int, group: str, top: str) -> Capacitors:
    bias, least = float(row.bias[i]) - memory.lowered(design), require_devices(design).minimum
    return weights(row, i, group) | memory.taps(bias, float(row.threshold[i]), group, least, top)


def _lines(memory: Memory, group: str, sources: Sequence[LineSource], rows: Rows, wire: float) -> list[str]:
    """The bottom-plate lines that rows of the group use, each with a ``wire`` [F]."""
    used = {node for row in rows.values() for node, _ in row.values()}
    lines = []
    named = [*((str(j), source) for j, source in enumerate(sources))]
    named += [("bias", memory.constant)] if memory.constant else []
    for name, source in named:
        pair = (f"p{group}_{name}", f"n{group}_{name}")
        if source.digital and not used.isdisjoint(pair):
            lines.append(memory.bit_lines(source, group, pair))
        for node, rising in zip(pair, (True, False), strict=True):
            if node not in used:
                continue
            if not source.digital:
                lines.append(memory.line(source, group, node, rising))
            lines.append(f"cwire_{node} {node} 0 {num(wire)}")
    return lines
