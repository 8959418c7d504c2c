"""A power-gated chip of BMRUs: what differs from `power_gated_netlist`.

A decision replaces the state. The unit empties C_int before it sends the packet, in a phase of its own (clock ``m``,
see ``netlists/cells/transistor/sequencer_replace.cir``). There is no level limit, whose phase that time was, and no
other reset at power-on: the first packet replaces the state as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from cmru_hw.circuits.charge import power_gated_netlist as chip
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.energy import power_gated as energy
from cmru_hw.circuits.charge.transistor_parts import group_name
from cmru_hw.circuits.comparison import Reference
from cmru_hw.core.signals import Array
from cmru_hw.spice.deck import num

ACCUMULATING = ("power_gated_integrator", "power_gated_limit", "power_gated_control", "power_gated_unit")
CELLS = (
    *(cell for cell in chip.CELLS if cell not in ACCUMULATING),
    *("sequencer_replace", "power_gated_replace_integrator", "power_gated_replace_control"),
    "power_gated_unit_replace",
)
LAYER_CLOCKS = ("r", "e", "f", "ckn", "n", "m", "en", "enb", "pb", "pc", "pcb")
UNIT_CLOCKS = ("r", "ckn", "m", "en", "enb", "pb", "pc", "pcb")
# Lengths of delay transistors, relative to those of a CMRU's layer: of the phase that empties C_int, and of the one
# stage in which states settle after a packet. A packet has two stages of the delay line.
RESET, REST = 0.75, 1.5
AWAKE = energy.Awake(begin="s1", end="s1")


def layer_clocks(design: Design, index: int) -> str:
    """The sequencer of a layer."""
    _, sizes = chip.require(design)
    readers = (f"n{group_name(chip.reader(design, index), len(design.layers))}",)
    lengths = {"lreset": RESET * sizes.settle, "lsettle": sizes.settle, "lrest": REST * sizes.rest}
    return chip.sequencer(
        design, index, "sequencer_layer_replace", clocks=LAYER_CLOCKS, readers=readers, lengths=lengths
    )


def head(design: Design) -> list[str]:
    return chip.head(design, layer_clocks=layer_clocks, emptied=lambda design: [])


def unit(design: Design, index: int, i: int, sizes: str) -> list[str]:
    """One unit."""
    _, chosen = chip.require(design)
    layer, here = design.layers[index], f"{index}_{i}"
    clocks = " ".join(f"{clock}{index}" for clock in UNIT_CLOCKS)
    reference = "ref_up" if layer.initial[i] > 0 else "ref_down"
    return [
        f"xunit{here} a{here} b{here} fa{here} fb{here} o{here} qa{here} qb{here} vcm vcm vcm\n"
        f"+ {reference} {reference} {clocks} vcm vd vc va vw power_gated_unit_replace\n"
        f"+ cs={num(layer.packet[i])} cint={num(layer.integrator[i])}{sizes} lt={num(chosen.tail)}"
    ]


def analytic(
    design: Design, network: str, cells: Mapping[str, bytes], expected: Reference, inputs: Array, sequence: int
) -> dict[str, Array]:
    """See `energy.power_gated.analytic`: an amplifier is on from the decision on."""
    return energy.analytic(design, network, cells, expected, inputs, sequence, awake=AWAKE)
