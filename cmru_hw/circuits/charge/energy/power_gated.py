"""Analytic energy of a power-gated chip, without a simulation.

Once per timestep every supply, and with it every node that it drives, rises from 0 V: C VDD² each. C is the sum of
gate, junction and wire capacitances in the netlist. Only the amplifiers conduct for longer; the delay of the
sequencer's stages gives that time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmru_hw.circuits.charge import power_gated_netlist
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.energy import macro
from cmru_hw.circuits.charge.transistor_parts import MeteredSupply
from cmru_hw.circuits.comparison import Reference
from cmru_hw.core.signals import Array
from cmru_hw.process import pdk
from cmru_hw.process.device_count import GROUND, Device, devices
from cmru_hw.process.technology import LongChannel

# Of two consecutive stages of static logic one is high.
HIGH = 0.5
# Inner nodes of a comparator, which rise when it decides.
_COMPARING = (".t", ".x1", ".x2", ".om", ".op")
ESTIMATE_DIFFERENCES = {
    "inputs": "analytic: a line, with its wires, switches and weights, moves by the distance of its input from zero",
    "logic": "analytic: half of the nodes are high, for any decisions",
    "comparators": "analytic: every node of a comparator that decides rises to VDD once, without cross-current",
    "amplifiers": "analytic: currents are those of long channels, and a stage switches at VDD/2",
    "clocks": "analytic: every node rises to VDD once, without cross-current in slow gates",
    "sequencer": "analytic: every node rises to VDD once, without cross-current in slow gates",
    "vcm": "analytic: V_cm feeds its own load and the plates of its capacitors only, no rows",
    "readout": "analytic: every node rises to VDD once, without cross-current",
    "wake": "analytic: the node of its gate rises to VDD once",
}


@dataclass(frozen=True, kw_only=True)
class Awake:
    """When amplifiers are on: ``begin`` and ``end`` are nodes of a section of the delay line, of ``pairs`` pairs.

    An amplifier turns on after ``begin`` of its own layer, and off after ``end`` of the last layer that reads it, or
    when the readout has decided.
    """

    begin: str
    end: str
    pairs: int = 3


# From the answer of a layer's limits until the last rows that read the layer have decided.
ACCUMULATING = Awake(begin="xd2.m", end="s1")


def analytic(
    design: Design,
    network: str,
    cells: Mapping[str, bytes],
    expected: Reference,
    inputs: Array,
    sequence: int,
    *,
    supplies: Mapping[str, MeteredSupply] = power_gated_netlist.SUPPLIES,
    awake: Awake = ACCUMULATING,
) -> dict[str, Array]:
    """Block → (timesteps,) [J]; ``inputs`` (timesteps, features). ``supplies`` are those of the chip. With ``early``
    amplifiers turn on as soon as the rows have decided.

    If the process has no long-channel parameters (`LongChannel`), only the inputs are estimated.
    """
    found = {"inputs": macro.analytic(design, expected, inputs, sequence)["inputs"]}
    long_channel = design.technology.long_channel
    if long_channel is None:
        return found
    transistors = power_gated_netlist.require(design)[0]
    parts = list(devices(network, cells, process=transistors.process))
    load, vdd = loads(parts, long_channel), design.supply
    moved = sum(layer[sequence, : len(inputs)] != 0 for layer in expected.response.decisions).sum(axis=1)
    units = sum(layer.units for layer in design.layers)
    for name, supply in supplies.items():
        rail = supply.node
        high = {node: _high(name, node) for node in charged(parts, rail, supplies)}
        high[rail] = 1.0 if supply.header else 0.0
        joule = {node: share * load[node] * vdd**2 for node, share in high.items()}
        # Of each unit's three comparators, the limit's fires only if the unit moves.
        limits = sum(value for node, value in joule.items() if name == "comparators" and ".xl." in node)
        found[name] = sum(joule.values()) - limits * (1 - moved / units)
    found["amplifiers"] += np.full(len(inputs), bias(design, parts, load, long_channel, awake=awake))
    found["vcm"] = np.full(len(inputs), common_mode(design))
    found["inputs"] += vdd * lines(design, parts, long_channel, inputs)
    return found


def loads(parts: Sequence[Device], long_channel: LongChannel) -> dict[str, float]:
    """Node → its total capacitance [F]: gates (as if inverted), junctions, wires, plates."""
    found: dict[str, float] = {}

    def add(node: str, farad: float) -> None:
        found[node] = found.get(node, 0.0) + farad

    for part in parts:
        if part.kind in ("nf", "pf"):
            drain, gate, source, _ = part.nodes
            width = part.values["w"]
            add(gate, long_channel.oxide * width * part.values["l"] + 2 * long_channel.overlap * width)
            for node in (drain, source):
                add(node, long_channel.junction * width)
        else:
            for node in part.nodes:
                add(node, part.values["c"])
    return found


def _high(block: str, node: str) -> float:
    """How often a ``node`` that ``block`` charges rises in a timestep."""
    if block == "trim" or node == "vtr" or (node.startswith("xky") and node.endswith(_COMPARING)):
        # The bits stand still, and the comparators of readout rows work in the search of the codes only.
        return 0.0
    return HIGH if block == "logic" or ".xbank." in node else 1.0


def charged(
    parts: Sequence[Device], rail: str, supplies: Mapping[str, MeteredSupply] = power_gated_netlist.SUPPLIES
) -> set[str]:
    """``rail`` and all nodes that channels of p devices can charge from it."""
    rails = [supply.node for supply in supplies.values()]
    others = {name for node in rails for name in (node, f"s_{node}")}
    channels = [(part.nodes[0], part.nodes[2]) for part in parts if part.kind == "pf"]
    found, waiting = {rail}, [rail]
    while waiting:
        here = waiting.pop()
        for one, other in channels:
            for node in {one, other} - found - others if here in (one, other) else ():
                found.add(node)
                waiting.append(node)
    return found


def lines(design: Design, parts: Sequence[Device], long_channel: LongChannel, inputs: Array) -> Array:
    """Charge (timesteps,) [C] of the input lines themselves, which move with an input of either sign.

    ``inputs`` (timesteps, features).
    """
    bare = loads([part for part in parts if part.kind in ("nf", "c")], long_channel)
    first = [0] + [index for index in range(1, len(design.layers)) if design.config.skip]
    farad = np.zeros(inputs.shape[1])
    for index in first:
        before = design.layers[index].low.weights.shape[1] - len(farad)
        for j in range(len(farad)):
            farad[j] += sum(bare.get(f"{side}{index}_{before + j}", 0.0) for side in "pn")
    shift = design.voltages(inputs) - design.technology.supply.common_mode
    return np.abs(shift) @ farad * design.supply / design.technology.supply.vdd


def bias(
    design: Design,
    parts: Sequence[Device],
    load: Mapping[str, float],
    long_channel: LongChannel,
    *,
    awake: Awake = ACCUMULATING,
) -> float:
    """Energy of the tail currents of all amplifiers [J per timestep].

    The drain of a tail is one threshold above V_cm, the voltage of its inputs.
    """
    vdd, layers = design.supply, len(design.layers)
    drop = vdd * (1 - power_gated_netlist.require(design)[1].common_mode) - long_channel.threshold
    stages = [
        (f"xclocks_{i}.{node}" if node else f"s{i + 1}", kind)
        for i in range(layers)
        for pair in range(1, awake.pairs + 1)
        for node, kind in ((f"xd{pair}.m", "nf"), (f"s{pair}" if pair < awake.pairs else "", "pf"))
    ] + [("xclocks_r.xd.m", "nf"), ("xclocks_r.s", "pf")]
    names = [node for node, _ in stages]
    total = 0.0
    for index in range(layers):
        reader = power_gated_netlist.reader(design, index)
        begin = names.index(f"xclocks_{index}.{awake.begin}") + 1
        end = names.index("xclocks_r.s" if reader == layers else f"xclocks_{reader}.{awake.end}") + 1
        seconds = sum(_delay(parts, load[node], node, kind, vdd, long_channel) for node, kind in stages[begin:end])
        tails = [part for part in parts if part.kind == "pf" and part.nodes[1:3] == (f"enb{index}", "va")]
        total += vdd * seconds * sum(_current(tail, vdd, long_channel, drop) for tail in tails)
    return total


def common_mode(design: Design) -> float:
    """Energy of the V_cm generator for its load and the plates of its capacitors [J per timestep].

    The flying capacitors are charged to V_cm, which the load has lowered, and then put in series between supply and
    V_cm.
    """
    (devices, chip), vdd = power_gated_netlist.require(design), design.supply
    low = vdd * chip.common_mode
    plates = pdk.get(devices.process).cmim
    bottom, top = plates.bottom, plates.top
    # The two capacitors in series share the rest of the supply, less the charge of the plates between them.
    upper = (vdd - low + (bottom + top) * vdd / 2) / (2 + (bottom + top) / 2)
    return vdd * chip.flying * (upper - low + top * (vdd - low))


def _delay(parts: Sequence[Device], load: float, node: str, kind: str, vdd: float, long_channel: LongChannel) -> float:
    """Time [s] until ``node`` has moved half way, through its only device of ``kind`` to a rail."""
    (device,) = [
        part for part in parts if part.kind == kind and part.nodes[0] == node and part.nodes[2] in (GROUND, "vs")
    ]
    return load * vdd / 2 / _current(device, vdd, long_channel, vdd)


def _current(device: Device, vdd: float, long_channel: LongChannel, drop: float) -> float:
    """Current [A] of a long channel whose gate is at the other rail, with ``drop`` [V] from drain to source."""
    over = vdd - long_channel.threshold
    drop = min(drop, over)
    slope = long_channel.slope_n if device.kind == "nf" else long_channel.slope_p
    return slope * device.values["w"] / device.values["l"] * (over * drop - drop**2 / 2)
