"""Area of a charge-domain design before layout, at macro level too, from the devices of its transistor twin.

Counted: every unit with its comparators, replicas, integrator and logic; the capacitors of all weights; readout rows;
trim banks. Not counted: the sequencer, references and wires. See `cmru_hw.process.device_count` for the estimate of a
device.
"""

from __future__ import annotations

from cmru_hw.circuits.charge import trim
from cmru_hw.circuits.charge.design import Design
from cmru_hw.process import device_count, pdk
from cmru_hw.process.sizes import Sizes
from cmru_hw.process.sizing_laws import Laws


def area(design: Design, sizes: Sizes, laws: Laws) -> float:
    """[m²]; ``sizes`` are those of the design's technology."""
    process, capacitor = laws.process, design.technology.capacitor

    def cell(name: str, **parameters: float) -> float:
        return device_count.of(name, parameters, process=process).area

    comparator = cell("comparator")
    pair = cell("comparator", wi=sizes.pair_width, li=sizes.pair_length)
    limit = cell("comparator", wi=sizes.limit_width, li=laws.limit_length)
    amplifier = cell(
        "amplifier", wi=sizes.amplifier_width, li=sizes.amplifier_length, lm=sizes.mirror_length, lt=sizes.tail
    )
    unit = cell(
        "unit_accumulate", cs=0.0, cint=0.0, ca=capacitor.row, cb=capacitor.row, cla=capacitor.sample, lt=sizes.tail
    )
    unit += 2 * pair + limit - 3 * comparator + amplifier - cell("amplifier", lt=sizes.tail)
    readout = cell("row", c=capacitor.row) + pair if design.technology.trim_bits else 0.0
    units = sum(layer.units for layer in design.layers)
    farads = float(design.readout.total.sum())
    for layer in design.layers:
        rows = [row for row in (layer.low, layer.high, layer.packet_row) if row is not None]
        farads += float(sum(row.total.sum() for row in rows) + layer.integrator.sum() + layer.packet.sum())
    bank = trim.figures(design)
    plates = farads / pdk.get(process).capacitors["cmom"].density
    return units * unit + len(design.readout.bias) * readout + plates + (0.0 if bank is None else bank.area)
