"""The power-gated memory with an offset trim on every row, whose codes the chip finds at power-on."""

from __future__ import annotations

from dataclasses import replace

from cmru_hw.circuits.charge import power_gated_trim as trimmed
from cmru_hw.circuits.charge.memories.power_gated import POWER_GATED

TRIMMED = replace(
    POWER_GATED,
    comment="transistor, power-gated, offset trim",
    cells=trimmed.CELLS,
    supplies=trimmed.SUPPLIES,
    excludes=trimmed.EXCLUDES,
    require=trimmed.require,
    decision=trimmed.DECISION,
    head=trimmed.head,
    taps=trimmed.taps,
    lowered=trimmed.lowered,
    rest=trimmed.rest,
    unit=trimmed.unit,
    class_row=trimmed.class_row,
    schedule=trimmed.plan,
    stimulus=trimmed.stimulus,
    saved=trimmed.saved,
    codes=trimmed.codes,
    start=trimmed.start,
    analytic=trimmed.analytic,
    estimate_differences=trimmed.ESTIMATE_DIFFERENCES,
)
