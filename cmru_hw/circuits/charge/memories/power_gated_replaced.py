"""The power-gated memory with units of a BMRU: every decision replaces the state."""

from __future__ import annotations

from dataclasses import replace

from cmru_hw.circuits.charge import power_gated_replaced as replaced
from cmru_hw.circuits.charge.memories.power_gated import POWER_GATED

REPLACED = replace(
    POWER_GATED,
    comment="transistor, power-gated, states replaced",
    cells=replaced.CELLS,
    layer_wires=replaced.LAYER_CLOCKS,
    head=replaced.head,
    unit=replaced.unit,
    analytic=replaced.analytic,
)
