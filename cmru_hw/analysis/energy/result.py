"""The results of an energy run and of a scaling study: the contents of ``energy.json`` and ``scaling.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cmru_hw.analysis.agreement import ClassAgreement, DecisionAgreement, Label, Level
from cmru_hw.analysis.provenance import Provenance
from cmru_hw.circuits.input_range import ClampedInputs
from cmru_hw.core.records import (
    INLINE,
    OMIT_NONE,
    Count,
    Invalid,
    NotNegative,
    Positive,
    Record,
    Share,
    approximately,
    named,
)

RESULT = "energy.json"
SCALING = "scaling.json"
# Accepted relative difference of sums of energies in a file: they were added in another order.
ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class BlockEnergy(Record):
    """Energy of one block [J per timestep]; None where this level has no model.

    ``dynamic_J`` is a difference and may be slightly negative. ``analytic_J``: independent estimate of the sum.
    ``source``: "netlist" or "measured unit". ``load_J`` and ``load_analytic_J``: for a block from a measured unit, the
    charge that its ideal part moved in the netlist, which is not counted again.
    """

    static_J: float | None
    dynamic_J: float | None
    analytic_J: float | None
    source: str | None = field(metadata=named("from"))
    note: str
    load_J: float | None = field(default=None, metadata=OMIT_NONE)
    load_analytic_J: float | None = field(default=None, metadata=OMIT_NONE)

    @property
    def total(self) -> float | None:
        """Static and dynamic energy together [J per timestep]."""
        return None if self.static_J is None or self.dynamic_J is None else self.static_J + self.dynamic_J

    def check(self) -> None:
        if (self.static_J is None) != (self.dynamic_J is None):
            raise Invalid("dynamic_J", "and static_J are not known together")


@dataclass(frozen=True, kw_only=True)
class EnergySeries(Record):
    """Energy of each block in each timestep of one sequence [J]."""

    sequence: Count
    blocks_J: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class EnergyResult(Record):
    """Energy of a design on some sequences.

    Means over all timesteps: ``per_timestep_J`` of all blocks, ``supply_total_J`` of all supplies. ``ledger_gap`` is
    the closure error, their relative difference, and ``ledger_tolerance`` the largest accepted one. ``duty_cycle``:
    share of a timestep with switching. ``decisions`` and ``classification`` compare the same simulation with software.
    ``cpu_seconds`` are the simulator's.
    """

    kind: Literal["energy"] = "energy"
    level: Level
    label: Label
    architecture: str
    technology: str
    timestep_s: Positive
    per_timestep_J: NotNegative
    per_inference_J: NotNegative
    mean_power_W: NotNegative
    frame_rate_Hz: Positive
    duty_cycle: Share
    sequences: Count
    timesteps: Count
    blocks: Mapping[str, BlockEnergy]
    supply_total_J: NotNegative
    ledger_gap: float
    ledger_tolerance: NotNegative
    excludes: tuple[str, ...]
    decisions: DecisionAgreement
    classification: ClassAgreement
    series: EnergySeries
    cpu_seconds: NotNegative
    attempts: tuple[str, ...]
    provenance: Provenance = field(metadata=INLINE)
    inputs_clamped: ClampedInputs | None = field(default=None, metadata=OMIT_NONE)

    def check(self) -> None:
        known = [block.total for block in self.blocks.values() if block.total is not None]
        if not approximately(sum(known), self.per_timestep_J, share=ROUNDING):
            raise Invalid("per_timestep_J", f"is {self.per_timestep_J:g}, but its blocks sum up to {sum(known):g}")
        if not approximately(self.mean_power_W * self.timestep_s, self.per_timestep_J, share=ROUNDING):
            raise Invalid("mean_power_W", "is not the energy of a timestep over its length")
        if self.sequences != self.classification.total:
            raise Invalid("sequences", f"is {self.sequences}, but {self.classification.total} were classified")


@dataclass(frozen=True, kw_only=True)
class ScalingPoint(Record):
    """One random network: ``size`` is its number of units per layer, or of layers. Energies per timestep."""

    axis: Literal["units", "layers"]
    size: Count
    network: Count
    per_timestep_J: NotNegative
    label: Label
    blocks_J: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Law(Record):
    """E = ``factor`` n^``exponent`` [J]; ``low`` and ``high`` bound the exponent with 95 % confidence."""

    factor: NotNegative
    exponent: float
    low: float
    high: float

    def check(self) -> None:
        if not self.low <= self.exponent <= self.high:
            raise Invalid("exponent", f"is {self.exponent:g}, outside its interval")


@dataclass(frozen=True, kw_only=True)
class ScalingResult(Record):
    """Energy per timestep of random networks of several sizes. ``laws``: axis → "all" or a block → its law."""

    kind: Literal["scaling"] = "scaling"
    level: Level
    label: Label
    technology: str
    timestep_s: Positive
    features: Count
    networks_per_size: Count
    points: tuple[ScalingPoint, ...]
    laws: Mapping[str, Mapping[str, Law]]
    law: str
    excludes: tuple[str, ...]
    provenance: Provenance = field(metadata=INLINE)
