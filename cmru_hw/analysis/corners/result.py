"""The result of a run over corners: the contents of ``corners.json``, and of the file of one finished corner."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cmru_hw.analysis.agreement import ClassAgreement, DecisionAgreement, Label, Level
from cmru_hw.analysis.energy.result import BlockEnergy
from cmru_hw.analysis.provenance import Provenance, WrittenCertificate
from cmru_hw.circuits.corner import CornerFacts
from cmru_hw.core.records import (
    INLINE,
    OMIT_NONE,
    Count,
    Invalid,
    NotNegative,
    Positive,
    Record,
    Sha256,
    Share,
    approximately,
)

RESULT = "corners.json"
FAILED = "failed: "


@dataclass(frozen=True, kw_only=True)
class CornerFigures(Record):
    """One simulated corner. ``corner``: its name, process/temperature/supply; energies as in an energy run.
    ``certificate``: see `cmru_hw.analysis.provenance.Provenance`."""

    corner: str
    process: str
    temperature_C: float
    vdd_V: Positive
    status: Literal["ok"] = "ok"
    label: Label
    decisions: DecisionAgreement
    classification: ClassAgreement
    per_timestep_J: NotNegative
    per_inference_J: NotNegative
    ledger_gap: float
    versions: Mapping[str, str]
    blocks: Mapping[str, BlockEnergy]
    facts: CornerFacts = field(metadata=INLINE)
    certificate: WrittenCertificate | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, kw_only=True)
class FailedCorner(Record):
    """One corner whose simulation failed; ``status`` names the failure."""

    corner: str
    process: str
    temperature_C: float
    vdd_V: Positive
    status: str

    def check(self) -> None:
        if not self.status.startswith(FAILED):
            raise Invalid("status", f"is {self.status[:40]!r}, neither ok nor a failure")


@dataclass(frozen=True, kw_only=True)
class FinishedCorner(Record):
    """A corner in its own file, for the job with hash ``job_sha256``. ``figures_sha256`` is the hash of its figures."""

    job_sha256: Sha256
    figures_sha256: Sha256
    figures: CornerFigures = field(metadata=INLINE)

    @classmethod
    def of(cls, figures: CornerFigures, *, job_sha256: str) -> FinishedCorner:
        return cls(job_sha256=job_sha256, figures_sha256=_sha256(figures), figures=figures)

    def check(self) -> None:
        if self.figures_sha256 != _sha256(self.figures):
            raise Invalid("figures_sha256", "is not that of the figures")


def _sha256(figures: CornerFigures) -> str:
    return hashlib.sha256(figures.to_json().encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class WorstCorners(Record):
    """Names of the corners with the lowest decision agreement (None if all corners agree completely), and with the
    largest energy. Both are None if every corner failed."""

    decisions: str | None
    energy: str | None


@dataclass(frozen=True, kw_only=True)
class CornersResult(Record):
    """Decisions and energy of a design at each corner. ``all_right``: number of corners with complete agreement."""

    kind: Literal["corners"] = "corners"
    level: Level
    label: Label | None
    architecture: str
    technology: str
    timestep_s: Positive
    sequences: Count
    timesteps: Count
    asked: Count
    failed: Count
    all_right: Count
    worst: WorstCorners
    worst_agreement: Share | None
    worst_per_timestep_J: NotNegative | None
    corners: tuple[CornerFigures | FailedCorner, ...]
    excludes: tuple[str, ...]
    provenance: Provenance = field(metadata=INLINE)

    @property
    def good(self) -> tuple[CornerFigures, ...]:
        """The corners that were simulated."""
        return tuple(corner for corner in self.corners if isinstance(corner, CornerFigures))

    def check(self) -> None:
        good = self.good
        shares = [corner.decisions.share for corner in good]
        counts = {
            "asked": (self.asked, len(self.corners)),
            "failed": (self.failed, len(self.corners) - len(good)),
            "all_right": (self.all_right, sum(share == 1 for share in shares)),
        }
        for name, (stated, counted) in counts.items():
            if stated != counted:
                raise Invalid(name, f"is {stated}, but {counted} are listed")
        extremes = {
            "worst_agreement": (self.worst_agreement, min(shares, default=None)),
            "worst_per_timestep_J": (
                self.worst_per_timestep_J,
                max((corner.per_timestep_J for corner in good), default=None),
            ),
        }
        for name, (number, found) in extremes.items():
            if (number is None) != (found is None) or (number is not None and not approximately(number, found or 0.0)):
                raise Invalid(name, f"is {number}, but the worst corner has {found}")


def summarised(
    corners: tuple[CornerFigures | FailedCorner, ...],
    *,
    level: str,
    architecture: str,
    technology: str,
    timestep: float,
    sequences: int,
    timesteps: int,
    excludes: tuple[str, ...],
    provenance: Provenance,
) -> CornersResult:
    """The result from ``corners``, with their counts and the worst of them. ``timestep`` [s]."""
    good = [corner for corner in corners if isinstance(corner, CornerFigures)]
    weakest = min(good, key=lambda corner: corner.decisions.share, default=None)
    dearest = max(good, key=lambda corner: corner.per_timestep_J, default=None)
    return CornersResult(
        level=level,
        label=good[0].label if good else None,
        architecture=architecture,
        technology=technology,
        timestep_s=timestep,
        sequences=sequences,
        timesteps=timesteps,
        asked=len(corners),
        failed=len(corners) - len(good),
        all_right=sum(corner.decisions.share == 1 for corner in good),
        worst=WorstCorners(
            decisions=weakest.corner if weakest and weakest.decisions.share < 1 else None,
            energy=dearest.corner if dearest else None,
        ),
        worst_agreement=weakest.decisions.share if weakest else None,
        worst_per_timestep_J=dearest.per_timestep_J if dearest else None,
        corners=corners,
        excludes=excludes,
        provenance=provenance,
    )
