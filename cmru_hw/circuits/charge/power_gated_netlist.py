"""Design × inputs → Deck: the charge-domain network as a whole chip behind power headers, in transistors.

All clocks are made on the chip from one strobe, once a timestep; V_cm too. Between two windows every supply
but that of one gate is off, and the levels live on capacitors between open switches. What the outside brings: the
supply, the strobe, the inputs with their zero, and two power-on signals.

Nodes have the names of the macro level (``o0_3 a0_3 b0_3 qa0_3 qb0_3 x7 p0_7 n0_7 y1``). The clocks of layer l are
``r e f ckn n en enb pb pc pcb sm`` with its number behind, those of the readout ``rr er fr cknr nr``; see
``netlists/cells/transistor/sequencer.cir`` for their order. The constant 1 is a clock: a positive tap hangs on e, which
rises by VDD as rows evaluate, a negative one on f, which falls. A tap below the smallest capacitor is the difference of
two.

When something happens depends on corner, supply and temperature, so what is sampled is sampled where the simulation has
it: a decision as its packet ends, a state when the comparators of those who read it fire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cmru_hw.circuits.charge.clocked_netlist import piecewise, replica_gates, step_to, wrapped
from cmru_hw.circuits.charge.clocked_netlist import require as require_devices
from cmru_hw.circuits.charge.mapping import Design, Layer, Row
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, MappingError
from cmru_hw.core.signals import Array
from cmru_hw.process import device_models
from cmru_hw.process.technology import Gated, Transistor
from cmru_hw.spice.deck import Deck, num, save_lines
from cmru_hw.spice.schedule import Edge, Schedule, schedule

CELLS = (
    *("supply", "logic", "header", "sequencer", "common_mode", "gated_power_on", "gated_comparator", "gated_row"),
    *("gated_dummy", "gated_line", "gated_amplifier", "gated_integrator", "gated_limit", "gated_control"),
    "gated_unit_accumulate",
)
LAYER_CLOCKS = ("r", "e", "f", "ckn", "n", "en", "enb", "pb", "pc", "pcb", "sm")
UNIT_CLOCKS = ("r", "ckn", "n", "en", "enb", "pb", "pc", "pcb", "sm", "init")
READOUT_CLOCKS = ("r", "e", "f", "ckn", "n")
# The node of each supply by its account. All but wake's are behind a header of this width [m], which also sets what
# leaks through it: wide enough for the largest edge of its block.
SUPPLIES = {
    "logic": ("vd", 4e-6),
    "comparators": ("vc", 4e-6),
    "amplifiers": ("va", 4e-6),
    "clocks": ("vk", 8e-6),
    "sequencer": ("vs", 4e-6),
    "vcm": ("vh", 2e-6),
    "readout": ("vr", 1e-6),
    "wake": ("vw", 0.0),
}
# As shares of a frame: the inputs change, power-on signals change, the strobe rises.
INPUT_CHANGE, POWER_ON_CHANGE, WINDOW = 0.2, 0.1, 0.5
# Frames of power-on before a sequence: states are emptied, then the first packet goes.
LEAD = 2
INPUT_EDGE = 1e-6  # s
# What a line that an amplifier carries has to ground beside its wire [F].
DUMMY = 6e-14
# With trtol=80 a row is within 0.3 mV of a run with a hundredth of these tolerances. Now and then a step is so long
# that comparators fall over as another clock rises: then smaller steps are asked for.
OPTIONS = ".options method=gear maxord=2 chgtol=1e-16 gmin=1e-17 abstol=1e-16 reltol=1e-4 bypass=1"
TRUNCATION, FINER = 80.0, 2.0


def require(design: Design) -> tuple[Transistor, Gated]:
    """The devices of ``design`` and the sizes of its chip. Raises MappingError for what has no such circuit."""
    devices, gated = require_devices(design), design.technology.gated
    if gated is None:
        raise MappingError(f"technology {design.technology.name} has no section [gated]: choose another --memory")
    return devices, gated


def excludes(design: Design) -> tuple[str, ...]:
    """What the chip leaves to the outside."""
    left = ["the source of the strobe and of the power-on signals", "the input drivers and their zero"]
    if len(design.readout.bias) > 2:
        left.append(f"the decision among {len(design.readout.bias)} classes: only their rows are built")
    if design.config.decision != "last":
        left.append(f"the {design.config.decision} of the readout over the timesteps")
    return tuple(left)


def accounts(design: Design) -> dict[str, float]:
    """Saved vectors that count delivered charge (1 mV for a picocoulomb), and the voltage [V] it was delivered at."""
    return {f"account_{name}": design.supply for name in (*SUPPLIES, "inputs")}


def network_text(design: Design) -> str:
    """``network.cir``: weights, units, clocks, V_cm and readout of ``design``, without supplies and stimulus."""
    devices, gated = require(design)
    config, layers = design.config, len(design.layers)
    lines = [
        f"* {config.cell} network: {config.features} inputs, units {' + '.join(map(str, config.units))}, "
        f"{len(design.readout.bias)} readout rows",
        f"* technology {design.technology.name} (transistor, gated); model sha256 {design.model_sha256[:16]}",
        f"* an input of 1 after scaling is {design.input_unit:.6g} V above V_cm",
        "\n* ==== headers, clocks and V_cm",
        "xwake strobe sleep vw wake",
        *(f"xh_{node} s_{node} {node} sleep header w={num(width)}" for node, width in SUPPLIES.values() if width),
        f"xbegin strobe sleep s0 a0 nr se seb par vs vk sequencer_begin lrise={num(gated.rest)}",
    ]
    for index in range(layers):
        names = " ".join(f"{clock}{index}" for clock in LAYER_CLOCKS)
        fall, rise = (gated.read_fall, gated.read_rise) if index else (gated.evaluate_fall, gated.evaluate_rise)
        lines.append(
            f"xclocks_{index} s{index} a{index} s{index + 1} a{index + 1} n{_group(reader(design, index), layers)} "
            f"r{_group(index + 1, layers)} "
            f"{names} vs vk sequencer_layer\n"
            f"+ lfall={num(fall)} lrise={num(rise)} lsettle={num(gated.settle)} lrest={num(gated.rest)}"
        )
    names = " ".join(f"{clock}r" for clock in READOUT_CLOCKS)
    lines += [
        f"xclocks_r s{layers} a{layers} {names} vs vk sequencer_readout "
        f"lfall={num(gated.read_fall)} lrise={num(gated.read_rise)}",
        f"xvcm vcm se seb par vh vw common_mode cf={num(gated.flying)} ch={num(gated.holding)} cl={num(gated.load)}",
        "xpoweron first firstn ref_up ref_down vcm vd vw gated_power_on",
    ]
    for index in range(layers):
        # C_int is emptied with its amplifier on, and for as long as nobody reads it: slow and cold that takes a while
        lines += [
            f"xinitb{index} kinit sm{index} initb{index} vk nand2 l=0.28u",
            f"xinit{index} initb{index} init{index} vk inv l=0.28u",
        ]
    sources = [(f"x{j}", "zero") for j in range(config.features)]
    for index, layer in enumerate(design.layers):
        lines += _layer(design, devices, gated, index, layer, sources)
        own = [(f"o{index}_{i}", "vcm") for i in range(layer.units)]
        sources = own + sources if config.skip else own
    rows = {f"y{k}": _capacitors(design.readout, k, "r", devices) for k in range(len(design.readout.bias))}
    lines += [
        "\n* ==== readout: one row per class, all of the same total capacitance, so that their voltages compare",
        *_wires(READOUT_CLOCKS, "r", devices.wire * len(rows)),
        *_lines("r", own, rows, devices),
    ]
    largest = max((_total(row) for row in rows.values()), default=0.0)
    for top, row in rows.items():
        lines += [*_row_lines(top, row, max(design.technology.capacitor.row, largest) - _total(row))]
        lines.append(f"xr{top} {top} rr vcm 0 nf l=0.45u")
    if len(rows) == 2:
        lines.append("* class 1 beats class 0: qy1 high")
        lines.append("xdecision y1 y0 cknr qy1 qy0 vr vr gated_comparator")
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

    Arguments as of `cmru_hw.circuits.charge.clocked_netlist.deck`; ``refine`` asks for smaller steps. The inputs are
    ratios of the supply, as packets and the constant are: at another supply they are what they were, times its ratio
    to that of the design. Raises InputError for noise, which this level does not take.
    """
    if noise:
        raise InputError("noise is for macro level: transistors bring no random number of their own")
    devices, gated = require(design)
    technology = design.technology
    at, supply = design.operating, design.supply
    models = device_models.devices(devices.process, corner=at.corner, temperature=at.temperature)
    nominal, timestep = technology.supply, technology.timing.timestep
    layers, begin = len(design.layers), WINDOW * timestep

    def edge(clock: str) -> Edge:
        return Edge(clock=clock, level=0.9 * supply, begin=begin, end=begin + gated.strobe)

    plan = schedule(
        timestep,
        0.0,
        [len(x) for x in inputs],
        lead=LEAD,
        moments=tuple(
            edge(f"ckn{_group(group, layers)}") for group in (*(reader(design, i) for i in range(layers)), layers)
        ),
        # nothing keeps a decision once its packet has gone
        used=tuple(edge(f"pb{index}") for index in range(layers)),
        taken=tuple(edge(f"n{index}") for index in range(layers)),
        common="vcm",
        supply=supply,
    )
    frames = plan.frames
    stop = (frames + INPUT_CHANGE / 2) * timestep
    # inputs have a zero of their own: rows see only how far a line goes
    columns = np.full((frames, design.config.features), gated.zero)
    for start, sequence in zip(plan.starts, inputs, strict=True):
        columns[start : start + len(sequence)] += design.voltages(np.asarray(sequence)) - nominal.common_mode
    columns *= supply / nominal.vdd
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
    saved += ["vcm", *plan.clocks]
    saved += [*accounts(design), "account_total"]
    saved += [name for name in save if name not in saved]
    step = timestep / 4
    drivers = [*(f"vx{j}" for j in range(columns.shape[1])), "vzero"]
    lines = [
        models.text.rstrip(),
        *[f".include {path}" for path in cell_files(design)],
        "vret ret 0 0",
        *[
            f"xs_{name} {'s_' if width else ''}{node} account_{name} ret returned volts={num(supply)}"
            for name, (node, width) in SUPPLIES.items()
        ],
        "fret account_total 0 vret 1",
        "cret account_total 0 1e-9 ic=0",
        # the long step of the hold ends before the window
        f"vtick tick 0 pulse(0 1e-3 {num(begin - INPUT_EDGE)} {num(INPUT_EDGE / 2)} {num(INPUT_EDGE / 2)} "
        f"{num(gated.strobe)} {num(timestep)})",
        f"vstrobe strobe 0 pulse(0 {num(supply)} {num(begin)} {num(devices.edge)} {num(devices.edge)} "
        f"{num(gated.strobe)} {num(timestep)})",
        *_power_on(plan, supply, devices.edge),
        f"vzero zero 0 {num(gated.zero * supply / nominal.vdd)}",
        *[f"vx{j} x{j} 0 {piecewise(values, timestep)}" for j, values in enumerate(columns.T)],
        # what an input driver sources it takes from the supply; what it sinks it gives to nobody
        "binputs 0 account_inputs i=" + "+".join(f"max(0,-i({name}))" for name in drivers),
        "cinputs account_inputs 0 1e-9 ic=0",
        ".include network.cir",
        *_quiet_start(design, supply),
        *save_lines(saved),
        f"{OPTIONS} trtol={num(TRUNCATION / FINER**refine)}",
        f".tran {num(timestep / 100)} {num(stop)} 0 {num(step)} uic",
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
    own = {name: text.encode() for name, text in design.templates}
    return {f"cells/{cell}.cir": own.get(cell) or (folder / f"{cell}.cir").read_bytes() for cell in CELLS}


def _group(group: int, layers: int) -> str:
    return "r" if group == layers else str(group)


def reader(design: Design, index: int) -> int:
    """The last group of rows that reads layer ``index``: a layer's number, or that of the readout."""
    last = len(design.layers) - 1
    return last if design.config.skip and index < last else index + 1


def _layer(
    design: Design,
    devices: Transistor,
    gated: Gated,
    index: int,
    layer: Layer,
    sources: Sequence[tuple[str, str]],
) -> list[str]:
    rows = {
        f"{kind}{index}_{i}": _capacitors(row, i, str(index), devices)
        for i in range(layer.units)
        for kind, row in (("a", layer.low), ("b", layer.high))
    }
    lines = [
        f"\n* ==== layer {index}: {layer.units} units; 1 software unit of its output is {layer.unit:.6g} V",
        *_wires((*LAYER_CLOCKS, "init"), str(index), devices.wire * layer.units),
        *_lines(str(index), sources, rows, devices),
    ]
    # what is on lines that amplifiers carry has its like on dummy lines
    carried = {f"p{index}_{j}": f"d{index}_{j}" for j, (_, zero) in enumerate(sources) if zero == "vcm"}
    used = sorted({node for row in rows.values() for node, _ in row.values()} & carried.keys())
    own = DUMMY + devices.wire * len(rows) / 2
    lines += [f"xdummy_{carried[node]} {carried[node]} vcm vd gated_dummy c={num(own)}" for node in used]
    firm = {
        top: {name: (node, size) for name, (node, size) in row.items() if node not in carried}
        for top, row in rows.items()
    }
    weights = {top: {n: c for n, (_, c) in row.items() if n.isdigit()} for top, row in firm.items()}
    gates = replica_gates({top: row for top, row in weights.items() if row})
    clocks = " ".join(f"{clock}{index}" for clock in UNIT_CLOCKS)
    for i in range(layer.units):
        here = f"{index}_{i}"
        lines.append(f"* ---- unit {here}: one level {layer.step[i]:.6g} V")
        sizes = ""
        for kind, row in (("a", layer.low), ("b", layer.high)):
            top = f"{kind}{here}"
            lines += _row_lines(top, rows[top], row.pad[i])
            width, length = gates.get(top, (0.3e-6, 0.28e-6))
            lines += [
                f"xf{top}_{name} f{top} {carried[node]} cmom c={num(size)}"
                for name, (node, size) in rows[top].items()
                if node in carried
            ]
            rest = _total(firm[top]) + row.pad[i]
            sizes += f" c{kind}={num(rest)} wf{kind}={num(width)} lf{kind}={num(length)}"
        highest = layer.levels if layer.levels else 1
        ratio = layer.packet[i] / layer.integrator[i]
        reference = "ref_up" if layer.initial[i] > 0 else "ref_down"
        lines.append(
            f"xunit{here} a{here} b{here} fa{here} fb{here} o{here} qa{here} qb{here} vcm vcm vcm\n"
            f"+ {reference} {reference} {clocks} vcm vd vc va vw gated_unit_accumulate\n"
            f"+ cs={num(layer.packet[i])} cint={num(layer.integrator[i])}{sizes}\n"
            f"+ cla={num(gated.limit)} clb={num(gated.limit * (highest - 0.5) * ratio)} lt={num(gated.tail)}"
        )
    return lines


def _capacitors(row: Row, i: int, group: str, devices: Transistor) -> dict[str, tuple[str, float]]:
    """Capacitors of row ``i`` by name: the node below each, and its size [F]."""
    found = {
        str(j): (f"{'p' if value > 0 else 'n'}{group}_{j}", abs(float(value)))
        for j, value in enumerate(row.weights[i])
        if value != 0
    }
    tap = float(row.bias[i] + row.threshold[i])
    own, other = ("e", "f") if tap > 0 else ("f", "e")
    if abs(tap) >= devices.minimum:
        found["tap"] = (f"{own}{group}", abs(tap))
    elif tap != 0:
        found |= {"tap": (f"{own}{group}", devices.minimum + abs(tap)), "against": (f"{other}{group}", devices.minimum)}
    return found


def _total(row: Mapping[str, tuple[str, float]]) -> float:
    return sum(size for _, size in row.values())


def _lines(
    group: str,
    sources: Sequence[tuple[str, str]],
    rows: Mapping[str, Mapping[str, tuple[str, float]]],
    devices: Transistor,
) -> list[str]:
    """Bottom-plate lines that any row of the group uses, and their wires."""
    used = {node for row in rows.values() for node, _ in row.values()}
    lines = []
    for j, (source, zero) in enumerate(sources):
        for line, clocks in ((f"p{group}_{j}", "e f"), (f"n{group}_{j}", "f e")):
            if line not in used:
                continue
            pins = " ".join(f"{clock}{group}" for clock in clocks.split())
            lines.append(f"xline_{line} {source} {line} {pins} {zero} gated_halfline")
            lines.append(f"cwire_{line} {line} 0 {num(devices.wire * len(rows) / 2)}")
    return lines


def _row_lines(top: str, row: Mapping[str, tuple[str, float]], pad: float) -> list[str]:
    lines = [f"xc{top}_{name} {top} {node} cmom c={num(size)}" for name, (node, size) in row.items()]
    return lines + ([f"xc{top}_pad {top} 0 cmom c={num(pad)}"] if pad > 0 else [])


def _wires(clocks: Sequence[str], group: str, capacitance: float) -> list[str]:
    return [f"cwire_{clock}{group} {clock}{group} 0 {num(capacitance)}" for clock in clocks]


def _power_on(plan: Schedule, supply: float, edge: float) -> list[str]:
    """``kinit`` is high in the first frame before a sequence, ``first`` (complement ``firstn``) in the second."""
    lines = []
    for name, lead in (("kinit", LEAD), ("first", LEAD - 1)):
        points = [(0.0, supply if plan.starts[0] == lead else 0.0)]
        for start in plan.starts:
            frame = start - lead
            if frame:
                points += step_to(frame + POWER_ON_CHANGE, supply, 0.0, plan.timestep, edge)
            points += step_to(frame + 1 + POWER_ON_CHANGE, 0.0, supply, plan.timestep, edge)
        lines.append(f"v{name} {name} 0 pwl({wrapped(f'{num(t)} {num(v)}' for t, v in points)})")
    return [*lines, f"bfirstn firstn 0 v={num(supply)}-v(first)"]


def _quiet_start(design: Design, supply: float) -> list[str]:
    """The chip is asleep, with what lives between two windows at V_cm: power-on takes it from there."""
    scale = supply / design.technology.supply.vdd
    middle = ["vcm", "xvcm.t1", "xvcm.t2"]
    for index, layer in enumerate(design.layers):
        for here in (f"{index}_{i}" for i in range(layer.units)):
            middle += [f"a{here}", f"b{here}", f"xunit{here}.h", f"xunit{here}.x"]
    values = dict.fromkeys(middle, design.technology.supply.common_mode * scale) | {"sleep": supply}
    return [".ic " + wrapped(f"v({node})={num(value)}" for node, value in values.items())]
