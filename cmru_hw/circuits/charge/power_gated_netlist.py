"""Clocks, V_cm, supplies and units of a complete power-gated chip at transistor level.

The chip generates all clocks and V_cm from one strobe per timestep. Between two windows all supplies are off, except
that of one gate, and capacitors between open switches hold the levels. The external inputs are the supply, the strobe,
the inputs with their zero, and two power-on signals.

Nodes have the names of the macro level (``o0_3 a0_3 b0_3 qa0_3 qb0_3 x7 p0_7 n0_7 y1``). The clocks of layer l are
``r e f ckn n en enb pb pc pcb sm`` followed by its number, those of the readout ``rr er fr cknr nr``; see
``netlists/cells/transistor/sequencer.cir`` for their order. The constant 1 is a clock: a positive tap connects to e,
which rises by VDD as rows evaluate, a negative one to f, which falls. A tap below the smallest capacitor is the
difference of two capacitors.

The timing depends on corner, supply and temperature. The schedule therefore takes the sampling instants from simulated
clock edges: a decision at the end of its packet, a state when the comparators of its readers fire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

import numpy as np

from cmru_hw.circuits.charge import numerics
from cmru_hw.circuits.charge.design import RESIDUE, Design, padding
from cmru_hw.circuits.charge.transistor_parts import (
    INPUT_CHANGE,
    INPUT_EDGE,
    WINDOW,
    LineSource,
    MeteredSupply,
    Rows,
    group_name,
    replica_gates,
    require_devices,
    row_lines,
    step_to,
    total,
    wrapped,
)
from cmru_hw.core.errors import MappingError
from cmru_hw.core.signals import Array
from cmru_hw.process.technology import PowerGated, Transistor
from cmru_hw.spice.deck import num
from cmru_hw.spice.schedule import Edge, Schedule, schedule

CELLS = (
    *(
        "supply",
        "logic",
        "header",
        "sequencer",
        "common_mode",
        "power_gated_power_on",
        "power_gated_comparator",
        "power_gated_row",
    ),
    *(
        "power_gated_dummy",
        "power_gated_line",
        "power_gated_amplifier",
        "power_gated_integrator",
        "power_gated_limit",
        "power_gated_control",
    ),
    "power_gated_unit",
)
LAYER_CLOCKS = ("r", "e", "f", "ckn", "n", "en", "enb", "pb", "pc", "pcb", "sm")
UNIT_CLOCKS = ("r", "ckn", "n", "en", "enb", "pb", "pc", "pcb", "sm", "init")
READOUT_CLOCKS = ("r", "e", "f", "ckn", "n")
# A header of this width [m] switches every supply except wake's. It is wide enough for the largest switching edge of
# its block, and its width also sets the leakage through it.
SUPPLIES = {
    "logic": MeteredSupply(node="vd", header=4e-6),
    "comparators": MeteredSupply(node="vc", header=4e-6),
    "amplifiers": MeteredSupply(node="va", header=4e-6),
    "clocks": MeteredSupply(node="vk", header=8e-6),
    "sequencer": MeteredSupply(node="vs", header=4e-6),
    "vcm": MeteredSupply(node="vh", header=2e-6),
    "readout": MeteredSupply(node="vr", header=1e-6),
    "wake": MeteredSupply(node="vw"),
}
EXCLUDES = ("the source of the strobe and of the power-on signals", "the input drivers and their zero")
# Time at which the power-on signals change, as a share of a frame.
POWER_ON_CHANGE = 0.1
# Number of power-on frames before a sequence: states are emptied, then the first packet is sent.
LEAD = 2
# Capacitance to ground of a line that an amplifier drives, in addition to its wire [F].
DUMMY = 6e-14
DECISION = "xdecision y1 y0 cknr qy1 qy0 vr vr power_gated_comparator"
# Size [F] of the capacitors that limit the steps while a line settles, and their signs; see `_step_control`.
STEP_CONTROL = 1e-12
SIGNS = (("pos", ""), ("neg", "-"))
# Interval without activity, as shares of a timestep: from the change of the inputs to the strobe.
IDLE_INTERVAL = (INPUT_CHANGE + 0.05, WINDOW - 0.02)


def require(design: Design) -> tuple[Transistor, PowerGated]:
    """Devices of ``design`` and sizes of its chip. Raises MappingError if the design has no such circuit."""
    devices, chip = require_devices(design), design.technology.power_gated
    if chip is None:
        raise MappingError(f"technology {design.technology.name} has no section [power_gated]: choose another --memory")
    return devices, chip


def sequencer(
    design: Design,
    index: int,
    cell: str,
    *,
    clocks: Sequence[str],
    readers: Sequence[str],
    lengths: Mapping[str, float],
) -> str:
    """The sequencer of layer ``index``, a ``cell`` that makes its ``clocks``.

    ``readers`` are the clocks of later groups that it needs, ``lengths`` [m] those of its delay transistors, without
    the two that wait for the rows.
    """
    _, chip = require(design)
    names = (*readers, *(f"{clock}{index}" for clock in clocks))
    fall, rise = (chip.read_fall, chip.read_rise) if index else (chip.evaluate_fall, chip.evaluate_rise)
    delays = {"lfall": fall, "lrise": rise, **lengths}
    return (
        f"xclocks_{index} s{index} a{index} s{index + 1} a{index + 1} {' '.join(names)} vs vk {cell}\n"
        f"+ {' '.join(f'{name}={num(length)}' for name, length in delays.items())}"
    )


def layer_clocks(design: Design, index: int) -> str:
    """The sequencer of a CMRU's layer."""
    _, chip = require(design)
    layers = len(design.layers)
    readers = (f"n{group_name(reader(design, index), layers)}", f"r{group_name(index + 1, layers)}")
    lengths = {"lsettle": chip.settle, "lrest": chip.rest}
    return sequencer(design, index, "sequencer_layer", clocks=LAYER_CLOCKS, readers=readers, lengths=lengths)


def emptied(design: Design, clock: str = "sm") -> list[str]:
    """The power-on reset of a CMRU: C_int is emptied while ``kinit`` and the ``clock`` of its layer are high.

    The amplifier is on meanwhile. By default this lasts until a layer reads the state: in a slow, cold corner it takes
    long.
    """
    return [
        line
        for index in range(len(design.layers))
        for line in (
            f"xinitb{index} kinit {clock}{index} initb{index} vk nand2 l=0.28u",
            f"xinit{index} initb{index} init{index} vk inv l=0.28u",
        )
    ]


def head(
    design: Design,
    supplies: Mapping[str, MeteredSupply] = SUPPLIES,
    *,
    layer_clocks: Callable[[Design, int], str] = layer_clocks,
    emptied: Callable[[Design], list[str]] = emptied,
) -> list[str]:
    """Power headers, clocks of all layers and of the readout, V_cm and power-on.

    ``layer_clocks(design, index)`` is the sequencer of a layer, ``emptied(design)`` what empties the states at
    power-on.
    """
    _, chip = require(design)
    layers = len(design.layers)
    lines = [
        "\n* ==== headers, clocks and V_cm",
        "xwake strobe sleep vw wake",
        *(
            f"xh_{supply.node} s_{supply.node} {supply.node} sleep header w={num(supply.header)}"
            for supply in supplies.values()
            if supply.header
        ),
        f"xbegin strobe sleep s0 a0 nr se seb par vs vk sequencer_begin lrise={num(chip.rest)}",
    ]
    lines += [layer_clocks(design, index) for index in range(layers)]
    names = " ".join(f"{clock}r" for clock in READOUT_CLOCKS)
    lines += [
        f"xclocks_r s{layers} a{layers} {names} vs vk sequencer_readout "
        f"lfall={num(chip.read_fall)} lrise={num(chip.read_rise)}",
        f"xvcm vcm se seb par vh vw common_mode cf={num(chip.flying)} ch={num(chip.holding)} cl={num(chip.load)}",
        "xpoweron first firstn ref_up ref_down vcm vd vw power_gated_power_on",
    ]
    return lines + emptied(design)


def no_head(design: Design, index: int = 0) -> list[str]:
    """No lines: all clocks are generated at the head of the netlist."""
    return []


def line(source: LineSource, group: str, node: str, rising: bool) -> str:
    """Switches of a bottom-plate line: from its source's zero to ``source`` if ``rising``, else back."""
    first, second = ("e", "f") if rising else ("f", "e")
    return f"xline_{node} {source.node} {node} {first}{group} {second}{group} {source.zero} power_gated_halfline"


def taps(bias: float, threshold: float, group: str, minimum: float, top: str) -> dict[str, tuple[str, float]]:
    """One tap on a clock; if it would be smaller than ``minimum`` [F], the difference of two taps."""
    tap = bias + threshold
    own, other = ("e", "f") if tap > 0 else ("f", "e")
    if abs(tap) >= minimum:
        return {"tap": (f"{own}{group}", abs(tap))}
    if abs(tap) > RESIDUE * max(abs(bias), abs(threshold)):
        return {"tap": (f"{own}{group}", minimum + abs(tap)), "against": (f"{other}{group}", minimum)}
    return {}


def dummies(index: int, sources: Sequence[LineSource], used: Set[str], load: float) -> tuple[dict[str, str], list[str]]:
    """A dummy line for each bottom-plate line that an amplifier drives, with the same load."""
    carried = {f"p{index}_{j}": f"d{index}_{j}" for j, source in enumerate(sources) if source.zero == "vcm"}
    lines = [
        f"xdummy_{carried[node]} {carried[node]} vcm vd power_gated_dummy c={num(DUMMY + load)}"
        for node in sorted(used & carried.keys())
    ]
    return carried, lines


def gates(rows: Rows) -> dict[str, tuple[float, float]]:
    """Switches below the replicas. Taps connect to clocks, so only weights count; a source's two lines are one load."""
    counted = {top: {n: (n, size) for n, (_, size) in row.items() if n.isdigit()} for top, row in rows.items()}
    return replica_gates({top: row for top, row in counted.items() if row})


def unit(design: Design, index: int, i: int, sizes: str) -> list[str]:
    """One unit."""
    _, chip = require(design)
    layer, here = design.layers[index], f"{index}_{i}"
    clocks = " ".join(f"{clock}{index}" for clock in UNIT_CLOCKS)
    highest = design.highest_levels(index)[i]
    ratio = layer.packet[i] / layer.integrator[i]
    reference = "ref_up" if layer.initial[i] > 0 else "ref_down"
    return [
        f"xunit{here} a{here} b{here} fa{here} fb{here} o{here} qa{here} qb{here} vcm vcm vcm\n"
        f"+ {reference} {reference} {clocks} vcm vd vc va vw power_gated_unit\n"
        f"+ cs={num(layer.packet[i])} cint={num(layer.integrator[i])}{sizes}\n"
        f"+ cla={num(chip.limit)} clb={num(chip.limit * (highest - 0.5) * ratio)} lt={num(chip.tail)}"
    ]


def replica(row: str) -> str:
    """The reference node of the comparator of ``row`` (such as "a0_3")."""
    return f"f{row}"


def class_row(design: Design, k: int, rows: Rows) -> list[str]:
    """Readout row ``k``, padded to the capacitance of the largest row."""
    top, totals = f"y{k}", np.array([total(row) for row in rows.values()])
    pad = float(padding(totals, design.technology.capacitor.row)[list(rows).index(top)])
    return [*row_lines(top, top, rows[top], pad, "0"), f"xr{top} {top} rr vcm 0 nf l=0.45u"]


def plan(design: Design, lengths: Sequence[int], lead: int = LEAD) -> Schedule:
    """Schedule with sampling instants at simulated clock edges: see the module's docstring.

    ``lead`` is the number of power-on frames before a sequence.
    """
    _, chip = require(design)
    layers, begin, supply = len(design.layers), WINDOW * design.timestep, design.supply

    def edge(clock: str) -> Edge:
        return Edge(clock=clock, level=0.9 * supply, begin=begin, end=begin + chip.strobe)

    return schedule(
        design.timestep,
        0.0,
        lengths,
        lead=lead,
        moments=tuple(
            edge(f"ckn{group_name(group, layers)}") for group in (*(reader(design, i) for i in range(layers)), layers)
        ),
        # A decision is not stored after its packet has been sent.
        used=tuple(edge(f"pb{index}") for index in range(layers)),
        taken=tuple(edge(f"n{index}") for index in range(layers)),
        comparing=tuple(edge(f"ckn{index}") for index in range(layers)),
        held=begin + chip.strobe,
        common="vcm",
        supply=supply,
    )


def stimulus(design: Design, plan: Schedule, lead: int = LEAD) -> list[str]:
    """Strobe, power-on signals and the zero of the inputs. A tick ends the long step of the hold before the window."""
    devices, chip = require(design)
    supply, timestep, begin = design.supply, design.timestep, WINDOW * design.timestep
    return [
        f"vtick tick 0 pulse(0 1e-3 {num(begin - INPUT_EDGE)} {num(INPUT_EDGE / 2)} {num(INPUT_EDGE / 2)} "
        f"{num(chip.strobe)} {num(timestep)})",
        f"vstrobe strobe 0 pulse(0 {num(supply)} {num(begin)} {num(devices.edge)} {num(devices.edge)} "
        f"{num(chip.strobe)} {num(timestep)})",
        *_power_on(plan, supply, devices.edge, lead),
        f"vzero zero 0 {num(idle_input(design))}",
        *_step_control(design),
    ]


def _step_control(design: Design) -> list[str]:
    """Two capacitors on the line of each state and on its integrator's virtual ground, STEP_CONTROL and its negative.
    They add nothing to the circuit.

    ngspice bounds the error of each capacitor's charge. A line consists of the small capacitors of many rows, and the
    virtual ground of a switch and a gate: a bound that suits a state is millivolts on each of them. Steps may then be
    as long as the line's time constant while it settles, and a switch that opens may leave a tenth too much charge.
    These capacitors bound the errors of both voltages.
    """
    size = num(STEP_CONTROL)
    units = [f"{index}_{unit}" for index, layer in enumerate(design.layers) for unit in range(layer.units)]
    nodes = [(f"o{unit}", f"o{unit}") for unit in units] + [(f"x{unit}", f"xunit{unit}.x") for unit in units]
    return [f"c{sign}_{name} {node} 0 {minus}{size}" for name, node in nodes for sign, minus in SIGNS]


def idle_input(design: Design) -> float:
    """The zero of the inputs [V]; at another supply it scales with it."""
    return require(design)[1].zero * design.supply / design.technology.supply.vdd


def input_voltages(design: Design, inputs: Array) -> Array:
    """Input voltages [V] relative to the inputs' own zero: rows see only the distance that a line moves."""
    nominal = design.technology.supply
    return (require(design)[1].zero + (design.voltages(inputs) - nominal.common_mode)) * (design.supply / nominal.vdd)


def common_mode(design: Design) -> float:
    """V_cm [V]: at another supply the same share of it as in the design."""
    nominal = design.technology.supply
    return nominal.common_mode * (design.supply / nominal.vdd)


def start(design: Design) -> tuple[list[str], list[str]]:
    """Nodes that start at V_cm, with the stored levels among them, and at VDD. The chip starts powered down."""
    middle = ["vcm", "xvcm.t1", "xvcm.t2"]
    for index, layer in enumerate(design.layers):
        for here in (f"{index}_{i}" for i in range(layer.units)):
            middle += [f"a{here}", f"b{here}", f"xunit{here}.h", f"xunit{here}.x"]
    return middle, ["sleep"]


def analysis(design: Design, refine: int, stop: float) -> list[str]:
    """Options and ``.tran``; ``refine`` is how often the steps are halved."""
    return [
        numerics.CONVERGED.refined(refine).options(),
        f".tran {num(design.timestep / 100)} {num(stop)} 0 {num(design.timestep / 4)} uic",
    ]


def reader(design: Design, index: int) -> int:
    """The last group of rows that reads layer ``index``: a layer's number, or the number of layers for the readout."""
    last = len(design.layers) - 1
    return last if design.config.skip and index < last else index + 1


def _power_on(plan: Schedule, supply: float, edge: float, lead: int) -> list[str]:
    """``kinit`` is high in all of the ``lead`` frames before a sequence but the last, ``first`` (complement ``firstn``)
    in the last."""
    corners = {
        "kinit": levels(plan, supply, edge, begin=lead, frames=lead - 1),
        "first": levels(plan, supply, edge, begin=1, frames=1),
    }
    corners["firstn"] = [(time, supply - value) for time, value in corners["first"]]
    return [source(name, points) for name, points in corners.items()]


def levels(plan: Schedule, supply: float, edge: float, *, begin: int, frames: int) -> list[tuple[float, float]]:
    """Points [(s, V)] of a signal that is high for ``frames`` frames from ``begin`` frames before each sequence."""
    points = [(0.0, supply if plan.starts[0] == begin else 0.0)]
    for start in plan.starts:
        frame = start - begin
        if frame:
            points += step_to(frame + POWER_ON_CHANGE, supply, 0.0, plan.timestep, edge)
        points += step_to(frame + frames + POWER_ON_CHANGE, 0.0, supply, plan.timestep, edge)
    return points


def source(name: str, points: Sequence[tuple[float, float]]) -> str:
    """A PWL source of node ``name`` through ``points`` [(s, V)]."""
    return f"v{name} {name} 0 pwl({wrapped(f'{num(t)} {num(v)}' for t, v in points)})"
