"""Clocks and supplies of transistor netlists with external clock edges: integrator and counter memory.

A state can be read only while its amplifier is on. Each layer therefore has its own sampling instant and its own clocks
(``r0 rb0 e0 eb0 f0 fb0 ck0 pl0 pb0 pc0 pcb0 en0 s0``). The constant 1 is the supply.

The window of activity opens in the middle of each timestep. Inputs change before it; nothing moves after it::

    A  r falls: rows float              E  r rises; ck, pl, e fall; the amplifiers turn on
    B  e rises: lines move              F  pb rises: packets reach the virtual grounds
    C  ck rises: comparators decide     G  pc, s rise: packets transfer, the limits sample
    D  pl rises: limits are evaluated   H  pb, s fall: packets are complete; the next layer's A follows

A layer's amplifiers stay on until the last layer that reads it has decided (its E). Its pc falls one edge later.
Edges are shared wherever their order allows it, because each edge costs the simulator about thirty points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmru_hw.circuits.charge import numerics
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.transistor_parts import (
    INPUT_CHANGE,
    INPUT_EDGE,
    WINDOW,
    LineSource,
    MeteredSupply,
    Rows,
    group_name,
    require_devices,
    row_lines,
    step_to,
    wrapped,
)
from cmru_hw.core.errors import MappingError
from cmru_hw.core.signals import Array
from cmru_hw.spice.deck import num
from cmru_hw.spice.schedule import Moment, Schedule, schedule

# Start and end of the power-on pulse, and end of the power-on frame, as shares of a frame.
INIT_RISE, INIT_FALL, FIRST_FALL = 0.1, 0.4, 0.9
CELLS = ("supply", "logic", "tgate", "comparator", "row", "line", "nonoverlap", "readout_clocks", "power_on")
READOUT_CLOCKS = ("r", "rb", "e", "eb", "f", "fb", "ck")
SUPPLIES = {
    "logic": MeteredSupply(node="vd"),
    "comparators": MeteredSupply(node="vc"),
    "clocks": MeteredSupply(node="vk"),
    "readout": MeteredSupply(node="vr"),
    "vcm": MeteredSupply(node="vcm", share=0.5),
}
EXCLUDES = ("V_cm: an external source", "clock edges: ideal sources before the on-chip drivers", "the input drivers")
DECISION = "xdecision y1 y0 ckr qy1 qy0 vr comparator"
# Interval without activity, as shares of a timestep: from the change of the inputs to the opening of the window.
IDLE_INTERVAL = (INPUT_CHANGE + 0.05, WINDOW - 0.02)


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """One clock edge source: up ``rise`` [s] and down ``fall`` [s] after the window opens. ``high``: up first."""

    rise: float
    fall: float
    high: bool = True


@dataclass(frozen=True, kw_only=True)
class Window:
    """All clocks of one window: ``pulses`` by name, sampling ``moments`` per layer and readout, ``length`` [s]."""

    pulses: Mapping[str, Pulse]
    moments: tuple[float, ...]
    length: float


def window(design: Design, *, counts: bool) -> Window:
    """Place the edges of all layers and of the readout one after the other, in the order of the module's docstring.

    With ``counts`` a unit is a counter, which needs no amplifier. Raises MappingError if the window is longer than a
    timestep.
    """
    devices = require_devices(design)
    layers = len(design.layers)
    # The next layer reads a layer; with skip connections all later layers do. The readout reads the last one.
    readers = [layers - 1 if design.config.skip else index + 1 for index in range(layers - 1)] + [layers]
    rises: dict[str, float] = {}
    falls: dict[str, float] = {}
    moments = [0.0] * (layers + 1)
    time = 0.0
    for group in range(layers + 1):
        name = group_name(group, layers)
        done = [index for index, reader in enumerate(readers) if reader == group]
        falls[f"kr_{name}"] = time
        time += devices.gap
        rises[f"ke_{name}"] = time
        # A counter is static logic: its lines need no amplifier to charge them.
        time += devices.read if group and not counts else devices.evaluate
        # At this moment the group's sources are on and settled, and no comparator has kicked back yet.
        for index in done if group < layers else [*done, layers]:
            moments[index] = time - devices.edge
        rises[f"kck_{name}"] = time
        time += devices.decide
        if group < layers:
            if not counts:
                rises[f"kpl_{name}"] = time
                time += devices.decide
                falls[f"kpl_{name}"] = time
            rises[f"ken_{name}"] = time
        rises[f"kr_{name}"] = falls[f"ke_{name}"] = falls[f"kck_{name}"] = time
        falls |= {f"ken_{index}": time for index in done}
        time += devices.gap
        released = time
        if group < layers:
            rises[f"kpb_{name}"] = time
        if counts and group < layers:
            time += devices.decide
        elif group < layers:
            time += devices.gap
            rises[f"kpc_{name}"] = rises[f"ks_{name}"] = time
            time += devices.settle
            falls[f"ks_{name}"] = time
        if not counts:
            falls |= {f"kpc_{index}": released for index in done}
        if group < layers:
            falls[f"kpb_{name}"] = time
            time += devices.gap
    pulses = {name: Pulse(rise=rises[name], fall=falls[name], high=rises[name] < falls[name]) for name in rises}
    length = time + devices.gap
    if WINDOW + (length + 2 * INPUT_EDGE) / design.technology.timing.timestep > FIRST_FALL:
        raise MappingError(
            f"the window of {layers} layers takes {length:.3g} s, too long for a timestep of "
            f"{design.technology.timing.timestep:g} s: raise timing.timestep"
        )
    return Window(pulses=pulses, moments=tuple(moments), length=length)


def plan(design: Design, lengths: Sequence[int], *, counts: bool) -> Schedule:
    """Schedule of sequences of ``lengths`` timesteps, with their sampling instants; see :func:`window`."""
    clocks, supply = window(design, counts=counts), design.supply
    begin = WINDOW * design.technology.timing.timestep
    layers = len(design.layers)
    moments = [
        # The readout is sampled while its lines carry the states: at transistor level e is a clock, too.
        Moment(
            offset=begin + clocks.moments[group],
            clocks=("er" if group == layers else f"en{group}",),
            high=supply,
            decided=None if group == layers else begin + clocks.pulses[f"kck_{group}"].fall,
        )
        for group in range(layers + 1)
    ]
    comparing = [
        Moment(offset=begin + clocks.pulses[f"kck_{group}"].rise, clocks=(), high=supply) for group in range(layers)
    ]
    return schedule(
        design.timestep,
        0.0,
        lengths,
        moments=tuple(moments),
        comparing=tuple(comparing),
        held=design.timestep,
        supply=supply,
    )


def stimulus(design: Design, plan: Schedule, *, counts: bool) -> list[str]:
    """Clock edges and the two power-on signals."""
    start = np.zeros(plan.frames, dtype=bool)
    start[[begin - 1 for begin in plan.starts]] = True
    edge = require_devices(design).edge
    return [
        *_pulses(window(design, counts=counts), plan.timestep, design.supply, edge),
        *_power_on(start, plan.timestep, design.supply, edge),
    ]


def head(design: Design) -> list[str]:
    """Netlist lines of the power-on circuit."""
    return ["xpoweron first ref_up ref_down vcm vd power_on", "xinit init initn initb vk buffer"]


def layer_head(design: Design, index: int, *, edges: Sequence[str], clocks: Sequence[str], driver: str) -> list[str]:
    """The clock ``driver`` of a layer, which makes ``clocks`` from the external ``edges``."""
    return [
        f"xclocks_{index} {' '.join(f'{edge}_{index}' for edge in edges)} init\n"
        f"+ {' '.join(f'{clock}{index}' for clock in clocks)} vk {driver}"
    ]


def readout_head(design: Design) -> list[str]:
    """The readout's clock driver."""
    return [f"xclocks_r kr_r ke_r kck_r {' '.join(f'{clock}r' for clock in READOUT_CLOCKS)} vk readout_clocks"]


def taps(bias: float, threshold: float, group: str, minimum: float, top: str) -> dict[str, tuple[str, float]]:
    """Merge both taps on the constant 1 into one capacitor, unless it would be smaller than either of them."""
    smaller = min((abs(value) for value in (bias, threshold) if value != 0), default=0.0)
    found = {"bias": bias + threshold}
    if abs(found["bias"]) < smaller:
        found = {"bias": bias, "threshold": threshold}
    return {
        name: (f"{'p' if value > 0 else 'n'}{group}_bias", abs(value)) for name, value in found.items() if value != 0
    }


def line(source: LineSource, group: str, node: str, rising: bool) -> str:
    """Transmission gates of a bottom-plate line that switches from V_cm to ``source`` if ``rising``, else back."""
    clocks = ("e", "eb", "f", "fb") if rising else ("f", "fb", "e", "eb")
    return f"xline_{node} {source.node} {node} {' '.join(f'{clock}{group}' for clock in clocks)} vcm vk halfline"


def replica(row: str) -> str:
    """The reference node of the comparator of ``row`` (such as "a0_3")."""
    return f"xunit{row[1:]}.f{row[0]}"


def precharge(node: str, offset: float, lines: list[str]) -> str:
    """The precharge node: V_cm, or ``node`` if it has an offset; its source is then added to ``lines``."""
    if offset == 0:
        return "vcm"
    lines.append(f"v{node} {node} vcm {num(offset)}")
    return node


def unit_pins(design: Design, index: int, i: int, lines: list[str]) -> tuple[str, str, str, str]:
    """Precharge nodes of a unit's rows a and b and of its packet, and its power-on reference.

    A node with an offset gets a source, which is added to ``lines``.
    """
    layer, here = design.layers[index], f"{index}_{i}"
    offsets = {"a": layer.low.offset, "b": layer.high.offset, "p": layer.packet_offset}
    za, zb, zp = (precharge(f"z{kind}{here}", float(values[i]), lines) for kind, values in offsets.items())
    return za, zb, zp, "ref_up" if layer.initial[i] > 0 else "ref_down"


def class_row(design: Design, k: int, rows: Rows) -> list[str]:
    """Readout row ``k``."""
    top = f"y{k}"
    lines = [f"* ---- class {k}", *row_lines(top, top, rows[top], float(design.readout.pad[k]), "vcm")]
    pre = precharge(f"zy{k}", float(design.readout.offset[k]), lines)
    return [*lines, f"xry{k} {top} {pre} rr rbr vk tgate"]


def input_voltages(design: Design, inputs: Array) -> Array:
    """Input voltages [V]; at another supply they scale with it."""
    return design.voltages(inputs) * design.supply / design.technology.supply.vdd


def common_mode(design: Design) -> float:
    """Half of the supply [V]."""
    return design.supply / 2


def start(
    design: Design,
    *,
    supplies: Mapping[str, MeteredSupply],
    outputs: bool,
    inner: Sequence[str],
    leaning: Sequence[str],
) -> tuple[list[str], list[str]]:
    """Nodes that start at V_cm and nodes that start at their supply.

    Rows, the ``inner`` nodes of each unit and, with ``outputs``, the states start at V_cm. Every latch starts decided,
    with its nodes ``leaning`` high. Otherwise it would start at its metastable point and stay there, because the
    simulation has no noise.
    """
    middle, up = ["vcm"], [supply.node for supply in supplies.values() if supply.node != "vcm"]
    for index, layer in enumerate(design.layers):
        for here in (f"{index}_{i}" for i in range(layer.units)):
            middle += [f"a{here}", f"b{here}", *([f"o{here}"] if outputs else [])]
            middle += [f"xunit{here}.{node}" for node in inner]
            up += [f"xunit{here}.{node}" for node in leaning]
    if len(design.readout.bias) == 2:
        up.append("qy0")
    return middle, up


def analysis(design: Design, refine: int, stop: float) -> list[str]:
    """Options and ``.tran``; ``refine`` is how often the steps are halved."""
    step = design.timestep / 4 / 2**refine
    return [
        numerics.CONVERGED.refined(refine).options(),
        f".tran {num(step)} {num(stop)} 0 {num(step)} uic",
    ]


def _pulses(clocks: Window, timestep: float, supply: float, edge: float) -> list[str]:
    """Clock sources. One more source, ``tick``, drives nothing: it ends the long step of the hold before the window."""
    begin = WINDOW * timestep
    lines = [
        f"vtick tick 0 pulse(0 1e-3 {num(begin - INPUT_EDGE)} {num(INPUT_EDGE)} {num(INPUT_EDGE)} "
        f"{num(clocks.length)} {num(timestep)})"
    ]
    for name, pulse in clocks.pulses.items():
        first, second = sorted((pulse.rise, pulse.fall))
        low, high = (0.0, supply) if pulse.high else (supply, 0.0)
        lines.append(
            f"v{name} {name} 0 pulse({num(low)} {num(high)} {num(begin + first)} {num(edge)} "
            f"{num(edge)} {num(second - first - edge)} {num(timestep)})"
        )
    return lines


def _power_on(start: Array, timestep: float, supply: float, edge: float) -> list[str]:
    """Power-on sources: ``init`` empties C_int before a start frame's window; ``first`` is high around that window."""
    init, first = [(0.0, supply if start[0] else 0.0)], [(0.0, supply if start[0] else 0.0)]
    for frame in np.flatnonzero(start).tolist():
        for values, rise, fall in ((init, INIT_RISE, INIT_FALL), (first, INIT_RISE, FIRST_FALL)):
            if frame:
                values += step_to(frame + rise, supply, values[-1][1], timestep, edge)
            values += step_to(frame + fall, 0.0, values[-1][1], timestep, edge)
    return [
        f"v{name} {name} 0 pwl({wrapped(f'{num(t)} {num(v)}' for t, v in values)})"
        for name, values in (("init", init), ("first", first))
    ]
