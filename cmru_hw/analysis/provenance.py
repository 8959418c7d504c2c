"""The origin of a result: versions, command, seed, and the hashes of everything that determines it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cmru_hw
from cmru_hw.circuits.certificate import NumericalCertificate
from cmru_hw.core.records import OMIT_NONE, Count, Invalid, NotNegative, Positive, Record, Sha256
from cmru_hw.core.units import json_text
from cmru_hw.design_folder.folder import Exported


@dataclass(frozen=True, kw_only=True)
class WrittenCertificate(Record):
    """`cmru_hw.circuits.certificate.NumericalCertificate` in JSON. The row difference is in V in the charge domain, in
    A in current mode."""

    architecture: str
    simulator: str
    options: str
    refined_options: str
    frames: tuple[tuple[Count, Count], ...]
    row_difference_V: NotNegative | None = field(default=None, metadata=OMIT_NONE)
    row_difference_A: NotNegative | None = field(default=None, metadata=OMIT_NONE)
    state_difference_levels: NotNegative | None
    current_difference: NotNegative | None
    energy_difference: NotNegative | None
    decisions_changed: Count
    states_changed: Count
    margins_inside: Count
    margins: Count
    seed: Count
    blocks: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def check(self) -> None:
        if self.margins_inside > self.margins:
            raise Invalid("margins_inside", f"is {self.margins_inside} of {self.margins}")


@dataclass(frozen=True, kw_only=True)
class Provenance(Record):
    """``versions``: program → version, with ``simulator`` if one ran. ``command``: the command that reproduces the
    result, "" for a result of Python code. ``seed`` of all draws, None without draws.

    ``edited`` names the fields and files of the design folder that were changed after export.

    The hashes are those of everything that was simulated, of the design (`Architecture.fingerprint`), of the
    technology's values, and of the job; None where a result does not depend on one. ``certificate``: change of a
    transistor-level result with a finer integration. ``design_label``: name of the design, from ``export --label`` or
    its folder. ``supply_V`` and ``operating_corner`` (process and temperature) are those of the design.
    """

    versions: Mapping[str, str]
    command: str = ""
    seed: Count | None = None
    edited: tuple[str, ...] = ()
    netlist_sha256: Sha256 | None = None
    design_sha256: str | None = field(default=None, metadata=OMIT_NONE)
    technology_sha256: str | None = field(default=None, metadata=OMIT_NONE)
    job_sha256: Sha256 | None = field(default=None, metadata=OMIT_NONE)
    certificate: WrittenCertificate | None = field(default=None, metadata=OMIT_NONE)
    design_label: str | None = field(default=None, metadata=OMIT_NONE)
    supply_V: Positive | None = field(default=None, metadata=OMIT_NONE)
    operating_corner: str | None = field(default=None, metadata=OMIT_NONE)


def provenance(
    exported: Exported,
    *,
    simulator: str = "",
    versions: Mapping[str, str] | None = None,
    command: str = "",
    seed: int | None = None,
    job_sha256: str | None = None,
    certificate: NumericalCertificate | None = None,
) -> Provenance:
    """The provenance of a result of ``exported``; ``versions`` are those of additional programs."""
    found = {"cmru_hw": cmru_hw.__version__, **(versions or {})}
    at = exported.architecture.operating_point(exported.design)
    return Provenance(
        versions=found | ({"simulator": simulator} if simulator else {}),
        command=command,
        seed=seed,
        edited=exported.edited,
        netlist_sha256=exported.netlist_sha256,
        design_sha256=exported.architecture.fingerprint(exported.design),
        technology_sha256=exported.design.technology.sha256,
        job_sha256=job_sha256,
        certificate=None if certificate is None else _written(certificate),
        design_label=exported.title,
        supply_V=at.vdd,
        operating_corner=f"{at.process}, {at.temperature:g} °C",
    )


def _written(certificate: NumericalCertificate) -> WrittenCertificate:
    # A number that is not finite is null in a file.
    return WrittenCertificate.from_json(json_text(certificate.as_dict()), where="the numerical certificate")
