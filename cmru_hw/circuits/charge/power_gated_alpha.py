"""A power-gated chip of αCMRUs: what differs from `power_gated_netlist`.

A packet is the charge of a third weighted sum. Its row floats at V_cm + Σ ±C_j (V_j − V_cm) / ΣC like the rows that are
compared. The switch of a packet connects it to the virtual ground, and the amplifier brings its top plate back to V_cm:
the charge Σ ±C_j (V_j − V_cm) moves to C_int, without a buffer. One row carries the weights of α and lowers the state,
another their negatives and raises it. The capacitors of a row are those of the mapping, whose scale is C_int times the
voltage of one unit of h.

The lines of a layer must be driven until its packets are complete, so the amplifiers of the layers before it stay on
until then (clock ``u``, see ``netlists/cells/transistor/sequencer_alpha.cir``). The packet at power-on has a capacitor
of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cmru_hw.circuits.charge import power_gated_netlist as chip
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.energy import power_gated as energy
from cmru_hw.circuits.charge.power_gated_replaced import ACCUMULATING
from cmru_hw.circuits.charge.transistor_parts import Capacitors, group_name, weights
from cmru_hw.circuits.comparison import Reference
from cmru_hw.core.signals import Array
from cmru_hw.spice.deck import num

CELLS = (
    *(cell for cell in chip.CELLS if cell not in ACCUMULATING),
    *("sequencer_alpha", "power_gated_alpha_integrator", "power_gated_unit_alpha"),
)
LAYER_CLOCKS = ("r", "e", "f", "ckn", "n", "u", "en", "enb", "pb", "pc", "pcb", "sm")
START_CLOCKS = ("sp1", "sp2", "slu", "sld")
UNIT_CLOCKS = ("en", "enb", "pb", "init")
# An amplifier is on until the packets of its readers are complete.
AWAKE = energy.Awake(begin="s1", end="xd4.m", pairs=4)


def layer_clocks(design: Design, index: int) -> str:
    """The sequencer of a layer, and the clocks of its power-on packets."""
    _, sizes = chip.require(design)
    layers, reader = len(design.layers), chip.reader(design, index)
    used = f"n{group_name(reader, layers)}" if reader == layers else f"u{reader}"
    readers = (used, f"r{group_name(index + 1, layers)}")
    lengths = {"lsettle": sizes.settle, "lrest": sizes.rest}
    own = chip.sequencer(design, index, "sequencer_layer_alpha", clocks=LAYER_CLOCKS, readers=readers, lengths=lengths)
    starts = " ".join(f"{clock}{index}" for clock in START_CLOCKS)
    return f"{own}\nxstart_{index} first en{index} pb{index} pc{index} {starts} vk alpha_start"


def head(design: Design) -> list[str]:
    return chip.head(design, layer_clocks=layer_clocks)


def packet_rows(design: Design, index: int) -> dict[str, Capacitors]:
    """Both rows of each unit's packet: ``gd`` with the weights of α, ``gu`` with their negatives."""
    devices, _ = chip.require(design)
    row, group = design.layers[index].packet_row, str(index)
    assert row is not None
    turned = replace(row, weights=-row.weights, bias=-row.bias)
    return {
        top: weights(one, i, group) | chip.taps(float(one.bias[i]), 0.0, group, devices.minimum, top)
        for i in range(len(row.bias))
        for top, one in ((f"gu{index}_{i}", turned), (f"gd{index}_{i}", row))
    }


def unit(design: Design, index: int, i: int, sizes: str) -> list[str]:
    """One unit."""
    _, chosen = chip.require(design)
    layer, here = design.layers[index], f"{index}_{i}"
    start = " ".join(f"{clock}{index}" for clock in (*START_CLOCKS[:2], "slu" if layer.initial[i] > 0 else "sld"))
    clocks = " ".join(f"{clock}{index}" for clock in UNIT_CLOCKS)
    return [
        f"xunit{here} a{here} b{here} gu{here} gd{here} fa{here} fb{here} o{here} qa{here} qb{here}\n"
        f"+ vcm vcm vcm vcm ref_up ref_down r{index} ckn{index} {start} {clocks} "
        "vcm vd vc va vw power_gated_unit_alpha\n"
        f"+ cs={num(layer.start_packet[i])} cint={num(layer.integrator[i])}{sizes} lt={num(chosen.tail)}"
    ]


def start(design: Design) -> tuple[list[str], list[str]]:
    """See `power_gated_netlist.start`: the rows of packets start at V_cm, too."""
    middle, high = chip.start(design)
    tops = [top for index in range(len(design.layers)) for top in packet_rows(design, index)]
    return [*middle, *tops], high


def analytic(
    design: Design, network: str, cells: Mapping[str, bytes], expected: Reference, inputs: Array, sequence: int
) -> dict[str, Array]:
    """See `energy.power_gated.analytic`."""
    return energy.analytic(design, network, cells, expected, inputs, sequence, awake=AWAKE)
