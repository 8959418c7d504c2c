"""Design × inputs → Deck, in transistors: the whole charge-domain network of `cmru_hw.circuits.charge.macro_netlist`
without ideal parts.

Nodes have the names of the macro level (``o0_3 a0_3 b0_3 qa0_3 qb0_3 x7 p0_7 n0_7 y1``). What differs: every capacitor
and switch is a device of a process, the constant 1 is the supply, each layer has the clocks that transistors need
(``r0 rb0 e0 eb0 f0 fb0 ck0 pl0 pb0 pc0 pcb0 en0 s0``), and a state can be read only while its amplifier is on, so each
layer has a sampling instant of its own.

One timestep. The window opens in the middle of the frame; inputs change before it, and after it everything is still:

    A  r falls: rows float              E  r rises; ck, pl, e fall; the amplifiers come on
    B  e rises: lines move              F  pb rises: packets reach the virtual grounds
    C  ck rises: comparators decide     G  pc, s rise: packets go, the limits sample
    D  pl rises: limits are asked       H  pb, s fall: packets have gone; then the next layer's A

A layer's amplifiers stay on until the last layer that reads it has decided (its E), and its pc falls one edge later.
Edges are shared wherever the order allows, because each costs the simulator some thirty points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmru_hw.circuits.charge import memories
from cmru_hw.circuits.charge.macro_netlist import offsets
from cmru_hw.circuits.charge.mapping import Design, Layer, Row
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, MappingError
from cmru_hw.core.signals import Array
from cmru_hw.process import device_models
from cmru_hw.process.technology import Transistor
from cmru_hw.spice.deck import Deck, num, save_lines
from cmru_hw.spice.schedule import Moment, Schedule, schedule

# As shares of a frame: the inputs change, power-on begins and ends, the window opens, the power-on frame ends.
INPUT_CHANGE, INIT_RISE, INIT_FALL, WINDOW, FIRST_FALL = 0.2, 0.1, 0.4, 0.5, 0.9
# Inputs are slow. [s]
INPUT_EDGE = 1e-6
CELLS = ("supply", "logic", "tgate", "comparator", "row", "line", "nonoverlap", "readout_clocks", "power_on")
READOUT_CLOCKS = ("r", "rb", "e", "eb", "f", "fb", "ck")
# Node of each supply, and its account: v(account_x) rises by 1 mV for every picocoulomb. Some memories have more.
SUPPLIES = {"logic": "vd", "comparators": "vc", "clocks": "vk", "readout": "vr", "vcm": "vcm"}
# A coarser truncation (trtol=60 at reltol=1e-3) takes half the points, and comparators fall to the wrong side: steps
# outgrow their regeneration. With reltol=1e-4 a device is evaluated again as soon as it has moved by 0.1 mV.
OPTIONS = ".options method=gear maxord=2 chgtol=1e-17 reltol=1e-4 trtol=200 bypass=1 abstol=1e-15 gmin=1e-15"
# Gate of the smallest switch [m]: what closes a line, and so the unit of what balances it below a replica.
_SWITCH_WIDTH, _SWITCH_LENGTH = 0.3e-6, 0.28e-6


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """One clock edge source: up ``rise`` [s] after the window has opened, down at ``fall``; ``high`` in between."""

    rise: float
    fall: float
    high: bool = True


@dataclass(frozen=True, kw_only=True)
class Source:
    """A node that lines carry to the rows of a layer; ``digital`` if it is a bit and logic drives the lines."""

    node: str
    digital: bool = False


@dataclass(frozen=True, kw_only=True)
class Window:
    """All clocks of one window: ``pulses`` by name, ``moments`` per layer and for the readout, ``length`` [s]."""

    pulses: Mapping[str, Pulse]
    moments: tuple[float, ...]
    length: float


def require(design: Design) -> Transistor:
    """The devices of ``design``. Raises MappingError for a cell that has no transistor twin."""
    config, devices = design.config, design.technology.transistor
    if config.cell != "cmru" or config.epsilon != 1.0:
        raise MappingError(
            f"a {config.cell} with epsilon {config.epsilon:g} has no circuit in transistors, only the CMRU has: "
            "export it with --level macro"
        )
    if devices is None:
        raise MappingError(f"technology {design.technology.name} has no devices: export with --level macro")
    return devices


def excludes(design: Design) -> tuple[str, ...]:
    """What the transistor netlist leaves to the outside."""
    left = ["V_cm: an external source", "clock edges: ideal sources before the on-chip drivers", "the input drivers"]
    if len(design.readout.bias) > 2:
        left.append(f"the decision among {len(design.readout.bias)} classes: only their rows are built")
    if design.config.decision != "last":
        left.append(f"the {design.config.decision} of the readout over the timesteps")
    return tuple(left)


def accounts(design: Design) -> dict[str, float]:
    """Saved vectors that count delivered charge (1 mV for a picocoulomb), and the voltage [V] it was delivered at."""
    supply = design.supply
    return {f"account_{name}": (supply / 2 if name == "vcm" else supply) for name in (*supplies(design), "inputs")}


def supplies(design: Design) -> dict[str, str]:
    """Node of each supply by its account's name."""
    return {**memories.of(design).supplies, **SUPPLIES}


def window(design: Design) -> Window:
    """Lay the edges of all layers and of the readout one after the other; see the module's head."""
    devices, counts = require(design), memories.of(design).digital
    layers = len(design.layers)
    # a layer is read by the next one, and with skip by all that follow; the last one by the readout
    readers = [layers - 1 if design.config.skip else index + 1 for index in range(layers - 1)] + [layers]
    rises: dict[str, float] = {}
    falls: dict[str, float] = {}
    moments = [0.0] * (layers + 1)
    time = 0.0
    for group in range(layers + 1):
        name = _group(group, layers)
        done = [index for index, reader in enumerate(readers) if reader == group]
        falls[f"kr_{name}"] = time
        time += devices.gap
        rises[f"ke_{name}"] = time
        # a counter is logic and needs nobody to charge its lines
        time += devices.read if group and not counts else devices.evaluate
        # what this group reads is on and settled, and no comparator has kicked yet
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


def network_text(design: Design) -> str:
    """``network.cir``: weights, units, clock drivers and readout of ``design``, without supplies and stimulus."""
    devices, config = require(design), design.config
    lines = [
        f"* {config.cell} network: {config.features} inputs, units {' + '.join(map(str, config.units))}, "
        f"{len(design.readout.bias)} readout rows",
        f"* technology {design.technology.name} (transistor); model sha256 {design.model_sha256[:16]}",
        f"* an input of 1 after scaling is {design.input_unit:.6g} V above V_cm",
        "xpoweron first ref_up ref_down vcm vd power_on",
        "xinit init initn initb vk buffer",
    ]
    memory = memories.of(design)
    sources = [Source(node=f"x{j}") for j in range(config.features)]
    biased = offsets(design)
    for index, layer in enumerate(design.layers):
        lines += _layer(design, devices, index, layer, sources, biased)
        own = [
            Source(node=node, digital=memory.digital)
            for i in range(layer.units)
            for node in memory.outputs(f"{index}_{i}")
        ]
        sources = own + sources if config.skip else own
    rows = {f"y{k}": capacitors_of(design.readout, k) for k in range(len(design.readout.bias))}
    lines += [
        "\n* ==== readout: one row per class, all of the same total capacitance, so that their voltages compare",
        f"xclocks_r kr_r ke_r kck_r {' '.join(f'{clock}r' for clock in READOUT_CLOCKS)} vk readout_clocks",
        *_wires(READOUT_CLOCKS, "r", devices.wire * len(rows)),
        *_lines("r", own, rows, devices),
    ]
    for k, (top, capacitors) in enumerate(rows.items()):
        lines += [f"* ---- class {k}", *row_lines(f"y{k}", top, "r", capacitors, design.readout.pad[k])]
        pre = precharge(f"zy{k}", design.readout.offset[k], lines)
        lines.append(f"xry{k} {top} {pre} rr rbr vk tgate")
    if len(rows) == 2:
        lines.append("* class 1 beats class 0: qy1 high")
        lines.append("xdecision y1 y0 ckr qy1 qy0 vr comparator")
    return "\n".join(lines) + "\n"


def deck(
    design: Design,
    inputs: Sequence[Array],
    *,
    network: str | None = None,
    noise: Sequence[Mapping[str, Array]] | None = None,
    save: Sequence[str] = (),
    refine: int = 0,
    metered: bool = True,
) -> tuple[Deck, Schedule]:
    """A deck that runs ``inputs``, sequences of shape (timesteps, features), one after the other.

    Arguments as of `cmru_hw.circuits.charge.macro_netlist.deck`; accounts are always kept, ``metered`` or not. Where
    the circuit is asked to work at another supply than it was designed for, V_cm is half of that, and inputs are the
    same share of it. Raises InputError for noise, which this level does not take.
    """
    if noise:
        raise InputError("noise is for macro level: transistors bring no random number of their own")
    devices, technology = require(design), design.technology
    at, supply = design.operating, design.supply
    models = device_models.devices(devices.process, corner=at.corner, temperature=at.temperature)
    common, timestep = supply / 2, technology.timing.timestep
    plan, clocks = _plan(design, inputs, supply)
    frames = plan.frames
    stop = (frames + INPUT_CHANGE / 2) * timestep
    columns = np.full((frames, design.config.features), common)
    start = np.zeros(frames, dtype=bool)
    for begin, sequence in zip(plan.starts, inputs, strict=True):
        start[begin - 1] = True
        voltages = design.voltages(np.asarray(sequence)) * supply / technology.supply.vdd
        columns[begin : begin + len(voltages)] = voltages
    files = {"network.cir": (network if network is not None else network_text(design)).encode(), **models.files}
    files |= cell_files(design)
    saved = [
        f"{node}{index}_{i}"
        for index, layer in enumerate(design.layers)
        for i in range(layer.units)
        for node in ("o", "qa", "qb")
    ]
    saved += [f"y{k}" for k in range(len(design.readout.bias))]
    saved += ["qy1"] if len(design.readout.bias) == 2 else []
    saved += plan.clocks
    saved += [*accounts(design), "account_total"]
    saved += [name for name in save if name not in saved]
    step = timestep / 4 / 2**refine
    lines = [
        models.text.rstrip(),
        *[f".include {path}" for path in cell_files(design)],
        "vret ret 0 0",
        *[
            f"xs_{name} {node} account_{name} ret returned volts={num(common if name == 'vcm' else supply)}"
            for name, node in supplies(design).items()
        ],
        "fret account_total 0 vret 1",
        "cret account_total 0 1e-9 ic=0",
        *_pulses(clocks, technology.timing.timestep, supply, devices.edge),
        *_power_on(start, timestep, supply, devices.edge),
        *[f"vx{j} x{j} 0 {piecewise(values, timestep)}" for j, values in enumerate(columns.T)],
        # what an input driver sources it takes from the supply; what it sinks it gives to nobody
        "binputs 0 account_inputs i=" + "+".join(f"max(0,-i(vx{j}))" for j in range(columns.shape[1])),
        "cinputs account_inputs 0 1e-9 ic=0",
        ".include network.cir",
        *_quiet_start(design, supply),
        *save_lines(saved),
        OPTIONS,
        f".tran {num(step)} {num(stop)} 0 {num(step)} uic",
    ]
    text = "\n".join(lines) + "\n"
    return (
        Deck(
            text=text,
            stop=stop,
            saved=tuple(saved),
            files=files,
            libraries=models.libraries,
            settings=models.settings,
        ),
        plan,
    )


def cell_files(design: Design) -> dict[str, bytes]:
    """The templates of ``design``: path in the deck → content, in the order to include them."""
    folder = package_data.folder("netlists") / "cells" / "transistor"
    own = {name: text.encode() for name, text in (*memories.templates(design).items(), *design.templates)}
    cells = (*CELLS, *memories.of(design).cells)
    return {f"cells/{cell}.cir": own.get(cell) or (folder / f"{cell}.cir").read_bytes() for cell in cells}


def _plan(design: Design, inputs: Sequence[Array], supply: float) -> tuple[Schedule, Window]:
    clocks = window(design)
    begin = WINDOW * design.technology.timing.timestep
    layers = len(design.layers)
    moments = [
        # the readout is read with its lines on the states: e is a clock of transistors too
        Moment(
            offset=begin + clocks.moments[group],
            clocks=("er" if group == layers else f"en{group}",),
            high=supply,
            decided=None if group == layers else begin + clocks.pulses[f"kck_{group}"].fall,
        )
        for group in range(layers + 1)
    ]
    plan = schedule(design.timestep, 0.0, [len(x) for x in inputs], moments=tuple(moments), supply=supply)
    return plan, clocks


def _layer(
    design: Design,
    devices: Transistor,
    index: int,
    layer: Layer,
    sources: Sequence[Source],
    biased: Mapping[str, float],
) -> list[str]:
    rows = {
        f"{kind}{index}_{i}": capacitors_of(row, i)
        for i in range(layer.units)
        for kind, row in (("a", layer.low), ("b", layer.high))
    }
    memory = memories.of(design)
    lines = [
        f"\n* ==== layer {index}: {layer.units} units; 1 software unit of its output is {layer.unit:.6g} V",
        f"xclocks_{index} {' '.join(f'{edge}_{index}' for edge in memory.edges)} init\n"
        f"+ {' '.join(f'{clock}{index}' for clock in memory.clocks)} vk {memory.driver}",
        *_wires(memory.clocks, str(index), devices.wire * layer.units),
        *_lines(str(index), sources, rows, devices),
    ]
    gates = replica_gates(rows)
    for i in range(layer.units):
        here = f"{index}_{i}"
        lines.append(f"* ---- unit {here}: one level {layer.step[i]:.6g} V")
        for kind, row in (("a", layer.low), ("b", layer.high)):
            lines += row_lines(f"{kind}{here}", f"{kind}{here}", str(index), rows[f"{kind}{here}"], row.pad[i])
        za, zb, zp = (precharge(f"z{kind}{here}", biased[f"z{kind}{here}"], lines) for kind in "abp")
        replicas = "".join(
            f" c{kind}={num(total_of(rows[f'{kind}{here}']) + row.pad[i])} wf{kind}={num(gates[f'{kind}{here}'][0])} "
            f"lf{kind}={num(gates[f'{kind}{here}'][1])}"
            for kind, row in (("a", layer.low), ("b", layer.high))
        )
        pins = memories.Pins(here=here, za=za, zb=zb, zp=zp, reference="ref_up" if layer.initial[i] > 0 else "ref_down")
        lines.append(memory.unit(design, index, i, pins, replicas))
    return lines


def capacitors_of(row: Row, i: int) -> dict[str, float]:
    """Capacitors of row ``i`` [F, signed] by name. Both taps on the constant 1 are one, unless that were too small."""
    weights = {str(j): float(value) for j, value in enumerate(row.weights[i]) if value != 0}
    bias, threshold = float(row.bias[i]), float(row.threshold[i])
    smaller = min((abs(value) for value in (bias, threshold) if value != 0), default=0.0)
    taps = {"bias": bias + threshold}
    if abs(taps["bias"]) < smaller:
        taps = {"bias": bias, "threshold": threshold}
    return weights | {name: value for name, value in taps.items() if value != 0}


def _group(group: int, layers: int) -> str:
    return "r" if group == layers else str(group)


def total_of(row: Mapping[str, float]) -> float:
    return sum(abs(value) for value in row.values())


def line_of(group: str, name: str, capacitance: float) -> str:
    """The line below a capacitor: both taps are on that of the constant 1."""
    return f"{'p' if capacitance > 0 else 'n'}{group}_{'bias' if name == 'threshold' else name}"


def _lines(
    group: str, sources: Sequence[Source], rows: Mapping[str, Mapping[str, float]], devices: Transistor
) -> list[str]:
    """Bottom-plate lines that any row of the group uses, and their wires."""
    used = {line_of(group, name, value) for row in rows.values() for name, value in row.items()}
    lines = []
    for name, source in [*((str(j), source) for j, source in enumerate(sources)), ("bias", Source(node="vk"))]:
        pair = (f"p{group}_{name}", f"n{group}_{name}")
        if source.digital and not used.isdisjoint(pair):
            lines.append(f"xline{group}_{name} {source.node} {' '.join(pair)} e{group} vl ladder_line")
        for line, clocks in zip(pair, ("e eb f fb", "f fb e eb"), strict=True):
            if line not in used:
                continue
            if not source.digital:
                pins = " ".join(f"{clock}{group}" for clock in clocks.split())
                lines.append(f"xline_{line} {source.node} {line} {pins} vcm vk halfline")
            lines.append(f"cwire_{line} {line} 0 {num(devices.wire * len(rows) / 2)}")
    return lines


def row_lines(name: str, top: str, group: str, row: Mapping[str, float], pad: float) -> list[str]:
    lines = [f"xc{name}_{j} {top} {line_of(group, j, c)} cmom c={num(abs(c))}" for j, c in row.items()]
    return lines + ([f"xc{name}_pad {top} vcm cmom c={num(pad)}"] if pad > 0 else [])


def replica_gates(rows: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Width and length [m] of the gate below each row's replica, as resistive as the lines below the row.

    All rows of a layer are kicked at once. A row that holds the share g_j of its capacitance on line j sees there what
    all rows push into that line, so its lines count as Σ_j g_j ΣC_j / C of one line's gate.
    A ratio up to 2 is one of widths alone: resistance follows the drawn width, but not the drawn length.
    """
    loads: dict[str, float] = {}
    for row in rows.values():
        for name, value in row.items():
            loads[line_of("", name, value)] = loads.get(line_of("", name, value), 0.0) + abs(value)
    gates = {}
    for top, row in rows.items():
        ratio = sum(abs(value) * loads[line_of("", name, value)] for name, value in row.items()) / total_of(row) ** 2
        gates[top] = (_SWITCH_WIDTH / min(ratio, 2.0), _SWITCH_LENGTH * max(ratio / 2, 1.0))
    return gates


def _wires(clocks: Sequence[str], group: str, capacitance: float) -> list[str]:
    return [f"cwire_{clock}{group} {clock}{group} 0 {num(capacitance)}" for clock in clocks]


def precharge(node: str, offset: float, lines: list[str]) -> str:
    """The node that is precharged to: V_cm, or ``node`` with a source of its own if it has an offset."""
    if offset == 0:
        return "vcm"
    lines.append(f"v{node} {node} vcm {num(offset)}")
    return node


def _pulses(clocks: Window, timestep: float, supply: float, edge: float) -> list[str]:
    """Clock sources; one more, that nobody reads, so that the long step of the hold ends before the window."""
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
    """``init`` empties C_int in the hold before a start frame's window, ``first`` is high around that window."""
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


def piecewise(values: Array, timestep: float) -> str:
    points = [(0.0, float(values[0]))]
    for frame in range(1, len(values)):
        if values[frame] != values[frame - 1]:
            points += step_to(frame + INPUT_CHANGE, float(values[frame]), points[-1][1], timestep, INPUT_EDGE)
    return f"pwl({wrapped(f'{num(t)} {num(v)}' for t, v in points)})"


def wrapped(words: Iterable[str]) -> str:
    """``words`` in lines of eight."""
    chosen = list(words)
    return "\n+ ".join(" ".join(chosen[first : first + 8]) for first in range(0, len(chosen), 8))


def _quiet_start(design: Design, supply: float) -> list[str]:
    """Supplies are up, rows and states are at V_cm: power-on takes it from there.

    Every latch leans to one side. Left to itself it would start on its edge, and stay there: it knows no noise.
    """
    memory = memories.of(design)
    middle, up = ["vcm"], [node for name, node in supplies(design).items() if name != "vcm"]
    for index, layer in enumerate(design.layers):
        for here in (f"{index}_{i}" for i in range(layer.units)):
            middle += [f"a{here}", f"b{here}", *([] if memory.digital else [f"o{here}"])]
            middle += [f"xunit{here}.{node}" for node in memory.inner]
            up += [f"xunit{here}.{node}" for node in memory.leaning]
    if len(design.readout.bias) == 2:
        up.append("qy0")
    values = dict.fromkeys(middle, supply / 2) | dict.fromkeys(up, supply)
    return [".ic " + wrapped(f"v({node})={num(value)}" for node, value in values.items())]


def step_to(frame: float, after: float, before: float, timestep: float, edge: float) -> list[tuple[float, float]]:
    return [(frame * timestep, before), (frame * timestep + edge, after)]
