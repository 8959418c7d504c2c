"""Results of a comparison with software and of a simulation, and the folder that a comparison writes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from cmru_hw.analysis.agreement import ClassAgreement, DecisionAgreement, Level
from cmru_hw.analysis.provenance import Provenance, provenance
from cmru_hw.circuits.input_range import ClampedInputs
from cmru_hw.circuits.simulation import Simulation, Verified, busiest_unit
from cmru_hw.core.output_folder import atomic_folder
from cmru_hw.core.records import INLINE, OMIT_NONE, REST, Count, Invalid, NotNegative, Record
from cmru_hw.design_folder.folder import Exported
from cmru_hw.nn.sequences import Sequences
from cmru_hw.spice import Engine

SUMMARY = "summary.json"


@dataclass(frozen=True, kw_only=True)
class ComparedDecisions(DecisionAgreement):
    """``excluded`` decisions were too close to call: their margin is below the tolerance of their row, at least the
    resolution and at most ``largest_tolerance_V``. ``followed`` of the judged ones read a state that such a decision
    changed. Margins are in V in the charge domain, in A in current mode; None where no decision counts."""

    excluded: Count
    followed: Count = 0
    largest_tolerance_V: NotNegative | None = field(default=None, metadata=OMIT_NONE)
    resolution_V: NotNegative | None = field(default=None, metadata=OMIT_NONE)
    resolution_A: NotNegative | None = field(default=None, metadata=OMIT_NONE)
    smallest_margin_V: NotNegative | None = field(default=None, metadata=OMIT_NONE)
    smallest_margin_A: NotNegative | None = field(default=None, metadata=OMIT_NONE)

    @property
    def counted(self) -> int:
        """Decisions that were not excluded."""
        return self.total - self.excluded

    def check(self) -> None:
        super().check()
        if self.agree + self.excluded > self.total:
            raise Invalid("excluded", f"is {self.excluded}, and {self.agree} agree, of a total of {self.total}")
        if (self.resolution_V is None) == (self.resolution_A is None):
            raise Invalid("resolution_V", "or resolution_A must be there, and not both")


@dataclass(frozen=True, kw_only=True)
class ComparedClasses(ClassAgreement):
    """``correct_software``: sequences that software classifies as labelled; None without labels."""

    correct_software: Count | None

    def check(self) -> None:
        super().check()
        if (self.correct_software or 0) > self.total:
            raise Invalid("correct_software", f"is {self.correct_software} of a total of {self.total}")


@dataclass(frozen=True, kw_only=True)
class FirstDivergence(Record):
    """`cmru_hw.circuits.comparison.Divergence` in JSON."""

    sequence: Count
    timestep: Count
    layer: Count
    unit: Count
    software: int
    circuit: int
    margin: float | None
    margin_unit: str
    inherited: bool
    tolerance: NotNegative | None = None


@dataclass(frozen=True, kw_only=True)
class ComparisonResult(Record):
    """A circuit compared with software: see `cmru_hw.circuits.comparison.Comparison`. Errors that are not finite are
    None. ``details`` are additional keys of this kind of circuit."""

    kind: Literal["comparison"] = "comparison"
    architecture: str
    level: Level
    technology: str
    decisions: ComparedDecisions
    level_error_max: NotNegative | None
    level_error_unit: str
    logit_error_max: NotNegative | None
    classification: ComparedClasses
    first_divergence: FirstDivergence | None
    swing_used: NotNegative | None
    refined: Count
    cpu_seconds: NotNegative
    attempts: tuple[str, ...]
    provenance: Provenance = field(metadata=INLINE)
    inputs_clamped: ClampedInputs | None = field(default=None, metadata=OMIT_NONE)
    details: Mapping[str, object] = field(default_factory=dict, metadata=REST)

    def check(self) -> None:
        differ = self.decisions.counted - self.decisions.agree
        if differ and self.first_divergence is None:
            raise Invalid("first_divergence", f"is null, but {differ} decisions differ")


@dataclass(frozen=True, kw_only=True)
class SimulationResult(Record):
    """A circuit in ngspice. ``classes``: class name of each sequence; ``correct``: number of labelled classes found."""

    level: Level
    architecture: str
    cpu_seconds: NotNegative
    attempts: tuple[str, ...]
    sequences: Count
    classes: tuple[str, ...]
    correct: Count | None
    provenance: Provenance = field(metadata=INLINE)
    inputs_clamped: ClampedInputs | None = field(default=None, metadata=OMIT_NONE)


def compared(exported: Exported, verified: Verified, *, command: str = "") -> ComparisonResult:
    """The result to write. ``command`` reproduces it."""
    design, result, simulation = exported.design, verified.comparison, verified.simulation
    smallest = result.smallest_margin if math.isfinite(result.smallest_margin) else None
    margins = {
        f"resolution_{result.margin_unit}": result.resolution,
        f"smallest_margin_{result.margin_unit}": smallest,
    }
    if result.margin_unit == "V":
        margins["largest_tolerance_V"] = result.largest_tolerance
    divergence = result.first_divergence
    return ComparisonResult(
        architecture=design.architecture,
        level=design.technology.level,
        technology=design.technology.name,
        decisions=ComparedDecisions(
            total=result.total, agree=result.agree, excluded=result.excluded, followed=result.followed, **margins
        ),
        level_error_max=result.level_error,
        level_error_unit="share of the swing" if design.config.cell == "acmru" else "levels",
        logit_error_max=result.logit_error,
        classification=ComparedClasses(
            **asdict(result.classes),
            correct_software=result.correct_software,
            correct_circuit=result.correct_circuit,
        ),
        first_divergence=None if divergence is None else FirstDivergence(**asdict(divergence)),
        swing_used=result.swing_used,
        refined=verified.refined,
        cpu_seconds=simulation.cpu_seconds,
        attempts=tuple(simulation.attempts),
        provenance=provenance(
            exported, simulator=simulation.simulator, command=command, certificate=verified.certificate
        ),
        inputs_clamped=verified.expected.clamped,
        details={**result.details(), **simulation.facts()},
    )


def simulated(
    exported: Exported,
    simulation: Simulation,
    *,
    classes: tuple[str, ...],
    correct: int | None,
    clamped: ClampedInputs | None = None,
    command: str = "",
) -> SimulationResult:
    """The result of a simulation without comparison. ``classes`` are names, one per sequence."""
    return SimulationResult(
        level=exported.design.technology.level,
        architecture=exported.design.architecture,
        cpu_seconds=simulation.cpu_seconds,
        attempts=tuple(simulation.attempts),
        sequences=len(classes),
        classes=classes,
        correct=correct,
        provenance=provenance(exported, simulator=simulation.simulator, command=command),
        inputs_clamped=clamped,
    )


def keep_comparison(
    folder: str | Path, exported: Exported, data: Sequences, verified: Verified, engine: Engine, *, command: str = ""
) -> ComparisonResult:
    """Write ``summary.json`` and the figures of a comparison to ``folder``; returns the result in it.

    ``verified`` is the result on ``data``. The first sequence is simulated once more for the waveforms of the busiest
    unit. ``command`` reproduces the folder and is stored in it. Raises OutputError.
    """
    found = compared(exported, verified, command=command)
    architecture = exported.architecture
    shown = architecture.waveforms(exported.design, data, engine, unit=busiest_unit(verified), network=exported.network)
    # Importing matplotlib takes about a second. A comparison without figures does not wait for it.
    from cmru_hw.circuits.plots import states

    with atomic_folder(folder, last=SUMMARY) as scratch:
        for suffix in ("svg", "pdf"):
            architecture.draw_unit(exported.design, shown, verified.expected, scratch / f"unit.{suffix}")
            states(exported.design, verified, scratch / f"states.{suffix}")
        found.save(scratch / SUMMARY)
    return found
