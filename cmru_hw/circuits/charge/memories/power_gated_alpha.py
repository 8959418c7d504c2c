"""The power-gated memory with units of an αCMRU: packets are weighted sums."""

from __future__ import annotations

from dataclasses import replace

from cmru_hw.circuits.charge import power_gated_alpha as sampled
from cmru_hw.circuits.charge.memories.power_gated import POWER_GATED

SAMPLED = replace(
    POWER_GATED,
    comment="transistor, power-gated, packets from a third row",
    cells=sampled.CELLS,
    layer_wires=(*sampled.LAYER_CLOCKS, *sampled.START_CLOCKS, "init"),
    head=sampled.head,
    packet_rows=sampled.packet_rows,
    unit=sampled.unit,
    start=sampled.start,
    analytic=sampled.analytic,
)
