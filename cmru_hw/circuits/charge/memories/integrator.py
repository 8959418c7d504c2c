"""A level stored on a capacitor and read through an amplifier, with external clocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from functools import partial

import numpy as np

from cmru_hw.circuits.charge import clocked_netlist, transistor_parts
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.energy import macro
from cmru_hw.circuits.charge.memories.memory import Memory
from cmru_hw.circuits.charge.transistor_parts import LineSource, MeteredSupply
from cmru_hw.circuits.comparison import Reference
from cmru_hw.core.signals import Array
from cmru_hw.process.technology import Technology
from cmru_hw.spice.deck import num

EDGES = ("kr", "ke", "kck", "kpl", "ken", "kpb", "kpc", "ks")
CLOCKS = ("r", "rb", "e", "eb", "f", "fb", "ck", "pl", "pb", "pc", "pcb", "en", "s")
SUPPLIES = {"amplifiers": MeteredSupply(node="va"), **clocked_netlist.SUPPLIES}
ESTIMATE_DIFFERENCES = {
    "clocks": "the measured unit has clock drivers and two input lines of its own; a layer shares its drivers among "
    "all units, and drives all lines and wires",
    "amplifiers": "an amplifier of the network stays on until all that read it have decided",
    "logic": "how often units move differs between the testbench and these sequences",
    "comparators": "the limit's comparator fires only for a unit that moves",
    "inputs": "analytic: rows settle completely and switches have no capacitance of their own",
}


def unit(design: Design, index: int, i: int, sizes: str) -> list[str]:
    """One unit, with the precharge sources of its rows and packet."""
    layer, devices, here = design.layers[index], transistor_parts.require_devices(design), f"{index}_{i}"
    lines: list[str] = []
    za, zb, zp, reference = clocked_netlist.unit_pins(design, index, i, lines)
    clocks = " ".join(f"{clock}{index}" for clock in ("r", "rb", "ck", "pl", "en", "pb", "pc", "pcb", "en", "s"))
    ratio = layer.packet[i] / layer.integrator[i]
    highest = design.highest_levels(index)[i]
    return [
        *lines,
        f"xunit{here} a{here} b{here} o{here} qa{here} qb{here} {za} {zb} {zp} "
        f"{reference} {reference}\n+ {clocks} init initb vcm vd vc va unit_accumulate\n"
        f"+ cs={num(layer.packet[i])} cint={num(layer.integrator[i])}{sizes}\n"
        f"+ cla={num(devices.limit)} clb={num(devices.limit * (highest - 0.5) * ratio)}",
    ]


def analytic(
    design: Design, network: str, cells: Mapping[str, bytes], expected: Reference, inputs: Array, sequence: int
) -> dict[str, Array]:
    """One measured unit times the number of units (if the technology has one), and the charge of the input lines."""
    found = {name: np.full(len(inputs), sum(parts)) for name, parts in macro.measured_unit(design).items()}
    return found | {"inputs": macro.analytic(design, expected, inputs, sequence)["inputs"]}


def any_levels(levels: int | None, place: str) -> None:
    """Accepts any number of levels: a capacitor has no inherent limit."""


def unchanged(technology: Technology) -> Technology:
    """``technology`` itself: designs with this memory need no adaptation."""
    return technology


def no_bits(source: LineSource, group: str, pair: tuple[str, str]) -> str:
    """Raises TypeError: units of this memory have no bits, so no line carries one."""
    raise TypeError(f"{source.node} is no bit")


def no_images(
    index: int, sources: Sequence[LineSource], used: Set[str], load: float
) -> tuple[dict[str, str], list[str]]:
    """No images: the switch below the replica accounts for every line."""
    return {}, []


INTEGRATOR = Memory(
    name="integrator",
    comment="transistor",
    bits=(),
    power_gated=False,
    small_taps=False,
    cells=(
        *clocked_netlist.CELLS,
        *("amplifier", "integrator", "limit", "control", "unit_accumulate", "layer_clocks"),
    ),
    supplies=SUPPLIES,
    excludes=clocked_netlist.EXCLUDES,
    adapt=unchanged,
    check_levels=any_levels,
    require=transistor_parts.require_devices,
    templates=lambda design: {},
    constant=LineSource(node="vk"),
    layer_wires=CLOCKS,
    readout_wires=clocked_netlist.READOUT_CLOCKS,
    pad="vcm",
    decision=clocked_netlist.DECISION,
    # Kick of all comparators of a layer through lines that amplifiers drive: up to 3 mV.
    kick=4e-3,
    head=clocked_netlist.head,
    layer_head=partial(clocked_netlist.layer_head, edges=EDGES, clocks=CLOCKS, driver="layer_clocks"),
    readout_head=clocked_netlist.readout_head,
    taps=clocked_netlist.taps,
    line=clocked_netlist.line,
    bit_lines=no_bits,
    dummies=no_images,
    packet_rows=lambda design, index: {},
    gates=transistor_parts.replica_gates,
    lowered=lambda design: 0.0,
    rest=lambda design, size: size,
    unit=unit,
    replica=clocked_netlist.replica,
    outputs=lambda here: [LineSource(node=f"o{here}")],
    class_row=clocked_netlist.class_row,
    schedule=partial(clocked_netlist.plan, counts=False),
    stimulus=partial(clocked_netlist.stimulus, counts=False),
    drivers=(),
    input_source=lambda j: LineSource(node=f"x{j}"),
    input_voltages=clocked_netlist.input_voltages,
    idle_input=clocked_netlist.common_mode,
    common_mode=clocked_netlist.common_mode,
    saved=lambda design: [],
    codes=lambda design: {},
    start=partial(
        clocked_netlist.start,
        supplies=SUPPLIES,
        outputs=True,
        inner=("x", "rp", "fa", "fb"),
        leaning=("qab", "qbb", "lqb"),
    ),
    analysis=clocked_netlist.analysis,
    idle_interval=clocked_netlist.IDLE_INTERVAL,
    awake=lambda design: clocked_netlist.window(design, counts=False).length,
    analytic=analytic,
    estimate_differences=ESTIMATE_DIFFERENCES,
    restores="",
    asleep=lambda design: {},
)
