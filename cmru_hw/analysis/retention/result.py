"""The result of a retention run: the contents of ``retention.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cmru_hw.analysis.agreement import Label, Level
from cmru_hw.analysis.provenance import Provenance
from cmru_hw.circuits.retention import HeldState, RetentionFacts
from cmru_hw.core.records import (
    ABSENT,
    INLINE,
    OMIT_NONE,
    Invalid,
    NotNegative,
    Positive,
    Record,
    Sha256,
    approximately,
)

RESULT = "retention.json"


@dataclass(frozen=True, kw_only=True)
class FinerSteps(Record):
    """A repetition at the worst temperature with other simulator ``options``: its ``timesteps``, and the relative
    ``difference`` of the result from it."""

    options: str
    temperature_C: float
    timesteps: NotNegative
    difference: NotNegative


@dataclass(frozen=True, kw_only=True)
class RetentionResult(Record):
    """Retention of the unit that loses its state first, at each of ``temperatures``.

    ``models``: version of the device models, of process corner ``corner``. ``worst_at_least``: whether the state was
    still held when the simulation of the worst temperature ended. ``doubling_C``: temperature rise that halves the
    retention.
    """

    kind: Literal["retention"] = "retention"
    level: Level
    label: Label
    architecture: str
    technology: str
    models: str
    models_sha256: Sha256
    corner: str
    vdd_V: Positive
    timestep_s: Positive
    weakest_unit: str
    testbench: str
    restores: bool
    facts: RetentionFacts = field(metadata=INLINE)
    temperatures: tuple[HeldState, ...]
    doubling_C: float | None = field(default=None, metadata=OMIT_NONE)
    worst_temperature_C: float
    worst_timesteps: NotNegative
    worst_at_least: bool
    finer_steps: FinerSteps | None = field(default=None, metadata=OMIT_NONE)
    excludes: tuple[str, ...]
    provenance: Provenance = field(metadata=INLINE)

    def check(self) -> None:
        if not self.temperatures:
            raise Invalid("temperatures", "is empty")
        if self.restores and self.facts.window_of_threshold is None:
            raise Invalid("window_of_threshold", ABSENT)
        if not self.restores and self.facts.half_packet_V is None:
            raise Invalid("half_packet_V", ABSENT)
        worst = min(self.temperatures, key=lambda state: state.timesteps)
        if not approximately(worst.timesteps, self.worst_timesteps):
            raise Invalid("worst_timesteps", f"is {self.worst_timesteps:g}, but the fewest are {worst.timesteps:g}")
        for place, state in enumerate(self.temperatures):
            if not approximately(state.timesteps * self.timestep_s, state.seconds, share=1e-6):
                raise Invalid(f"temperatures/{place}/seconds", "is not the timesteps times their length")
            for name in () if self.restores else ("level_V", "law_timesteps", "levels"):
                if getattr(state, name) is None:
                    raise Invalid(f"temperatures/{place}/{name}", ABSENT)
