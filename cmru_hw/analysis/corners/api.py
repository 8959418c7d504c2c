"""Simulate all corners of an exported design, and write a result folder for a report.

::

    OUT/corners/ff_125_1.98_<job>.json      one corner, complete or absent
    OUT/measured/gf180_ff_125_1.98_….toml   the technology measured at that corner, each number with its testbench
    OUT/corners.json  corners.csv  corners.svg  corners.pdf

An interrupted run resumes where it stopped. Another design, input, device file, simulator or version is another job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cmru_hw
from cmru_hw import spice
from cmru_hw.analysis.corners import grid
from cmru_hw.analysis.corners.result import (
    FAILED,
    RESULT,
    CornerFigures,
    CornersResult,
    FailedCorner,
    FinishedCorner,
    summarised,
)
from cmru_hw.analysis.energy.api import run_energy
from cmru_hw.analysis.provenance import provenance
from cmru_hw.circuits import registry
from cmru_hw.circuits.corner import Corner
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.core.atomic_write import write_text
from cmru_hw.core.csv_text import csv_text
from cmru_hw.core.errors import InputError, SimulationError
from cmru_hw.core.output_folder import atomic_folder
from cmru_hw.core.process_pool import process_pool
from cmru_hw.design_folder.folder import NETWORK, Exported
from cmru_hw.nn.sequences import Sequences

COLUMNS = (
    *("corner", "process", "temperature_C", "vdd_V", "status", "decisions_agree", "decisions_total", "classes_agree"),
    *("classes_total", "per_timestep_J", "gain", "leakage_A"),
)


@dataclass(frozen=True, kw_only=True)
class CornersJob:
    """The job of every corner: ``exported`` on ``data`` in ``simulator`` ("ngspice 44"), results in ``folder``.

    ``cache`` stores finished decks.
    """

    exported: Exported
    data: Sequences
    folder: Path
    simulator: str
    backend: spice.Backend = "pyspice"
    timeout: float = 600.0
    cache: Path | None = None
    refine: int = 0

    def sha256(self) -> str:
        """Identity of the job. Labels are part of it, because results count correct classes."""
        kind = registry.of(self.exported.design)
        parts = (
            *(self.exported.netlist_sha256, kind.fingerprint(self.exported.design), cmru_hw.__version__),
            *(f"refine {self.refine}", self.simulator),
        )
        digest = hashlib.sha256("\n".join(parts).encode())
        for array in (self.data.inputs, self.data.lengths, self.data.labels):
            digest.update(b"none" if array is None else repr(array.shape).encode() + array.tobytes())
        return digest.hexdigest()

    def identity(self, corner: Corner) -> str:
        """Hash of everything that determines the result at ``corner``, the device files there included."""
        outside = registry.of(self.exported.design).corner_fingerprint(self.exported.design, corner)
        return hashlib.sha256(f"{self.sha256()} {corner} {outside}".encode()).hexdigest()

    def path(self, corner: Corner) -> Path:
        return self.folder / "corners" / f"{corner.stem}_{self.identity(corner)[:12]}.json"


def run_corners(
    exported: Exported,
    data: Sequences,
    *,
    folder: str | Path,
    only: Sequence[str] = (),
    jobs: int = 1,
    backend: spice.Backend = "pyspice",
    timeout: float = 600.0,
    cache: Path | None = None,
    refine: int = 0,
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
) -> CornersResult:
    """Decisions and energy of ``exported`` on ``data`` at 45 corners; written to ``folder`` as ``corners.json``.

    ``only`` selects some of them as process/temperature/supply: ``["ff/125/1.98", "ss/*/1.62"]``. At macro level the
    technology of every corner is first measured on its transistors; at transistor level the corner's devices are
    simulated directly. No mismatch is drawn. Time steps are halved ``refine`` times. Each corner has a numerical
    certificate of its frame with the smallest margin. A corner whose simulation fails appears in the result as failed.
    ``jobs`` corners run at the same time. The results of finished decks are stored in the folder ``cache``. Raises
    InputError for a technology that was not measured on transistors, and for an edited netlist whose capacitors differ
    from corner to corner; OutputError.
    """
    job = CornersJob(
        exported=exported,
        data=data,
        folder=Path(folder),
        simulator=spice.installed(backend),
        backend=backend,
        timeout=timeout,
        cache=cache,
        refine=refine,
    )
    return run_job(job, only=only, jobs=jobs, progress=progress, command=command)


def run_job(
    job: CornersJob,
    *,
    only: Sequence[str] = (),
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
) -> CornersResult:
    """`run_corners` of a ``job``."""
    design = job.exported.design
    corners = grid.chosen(grid.every(registry.of(design).supply(design)), only)
    found: dict[Corner, CornerFigures | FailedCorner] = {}
    for corner, result in _results(job, corners, jobs):
        found[corner] = result
        if progress:
            progress(len(found), len(corners))
    summary = _summary(job, tuple(found[corner] for corner in corners), command)
    write(summary, job.folder)
    return summary


def simulate_corner(job: CornersJob, corner: Corner) -> CornerFigures | FailedCorner:
    """The result of ``corner``: the stored one, or a new one, which is then stored."""
    path, identity = job.path(corner), job.identity(corner)
    if (stored := _stored(path, corner, identity)) is not None:
        return stored
    try:
        with spice.open_engine(backend=job.backend, timeout=job.timeout, cache=job.cache) as engine:
            found = _at(job, corner, engine)
    except SimulationError as error:
        # A failed corner is not stored: a failure for lack of time or memory may not happen again.
        return FailedCorner(
            corner=str(corner),
            process=corner.process,
            temperature_C=corner.temperature,
            vdd_V=corner.vdd,
            status=f"{FAILED}{error}",
        )
    FinishedCorner.of(found, job_sha256=identity).save(path)
    return found


def _stored(path: Path, corner: Corner, identity: str) -> CornerFigures | None:
    """The finished corner in ``path``; None if the file is damaged, or belongs to another corner or job."""
    if not path.is_file():
        return None
    try:
        found = FinishedCorner.load(path)
    except InputError:
        return None
    fits = found.job_sha256 == identity and found.figures.corner == str(corner)
    return found.figures if fits else None


def _at(job: CornersJob, corner: Corner, engine: spice.Engine) -> CornerFigures:
    design = job.exported.design
    kind = registry.of(design)
    moved, facts = kind.at_corner(design, job.exported.trained, corner, engine, job.folder / "measured")
    here = replace(job.exported, design=moved, network=_network(job.exported, moved))
    energy = run_energy(here, job.data, engine, refine=job.refine, frames=1)
    return CornerFigures(
        corner=str(corner),
        process=corner.process,
        temperature_C=corner.temperature,
        vdd_V=corner.vdd,
        label=energy.label,
        decisions=energy.decisions,
        classification=energy.classification,
        per_timestep_J=energy.per_timestep_J,
        per_inference_J=energy.per_inference_J,
        ledger_gap=energy.ledger_gap,
        versions=energy.provenance.versions,
        blocks=energy.blocks,
        facts=facts,
        certificate=energy.provenance.certificate,
    )


def _network(exported: Exported, moved: AnyDesign) -> str:
    """The netlist to simulate at a corner, where the design of ``exported`` is ``moved``.

    If the corner leaves the netlist as it is, this is the file, edited or not. Raises InputError if both the corner and
    the user changed the netlist, because the edits cannot be applied to the other one.
    """
    network_text = registry.of(moved).network_text
    drawn, there = network_text(exported.design), network_text(moved)
    if there == drawn:
        return exported.network
    if exported.network != drawn:
        raise InputError(
            f"{exported.path / NETWORK} was edited, and at macro level each corner has a netlist of its own: edit an "
            "export with --level transistor, or simulate the corners of an unedited design"
        )
    return there


def _results(
    job: CornersJob, corners: Sequence[Corner], jobs: int
) -> Iterator[tuple[Corner, CornerFigures | FailedCorner]]:
    """Yield each corner when it is done, in any order."""
    if jobs == 1 or len(corners) == 1:
        for corner in corners:
            yield corner, simulate_corner(job, corner)
        return
    with process_pool(min(jobs, len(corners))) as pool:
        yield from pool.run(simulate_corner, job, corners)


def _summary(job: CornersJob, found: tuple[CornerFigures | FailedCorner, ...], command: str) -> CornersResult:
    design = job.exported.design
    versions = next((corner.versions for corner in found if isinstance(corner, CornerFigures)), {})
    return summarised(
        found,
        level=design.technology.level,
        architecture=design.architecture,
        technology=design.technology.name,
        timestep=design.timestep,
        sequences=len(job.data),
        timesteps=int(job.data.lengths.sum()),
        excludes=("mismatch: each corner simulates the nominal die",),
        provenance=provenance(job.exported, versions=versions, command=command, job_sha256=job.sha256()),
    )


def write(summary: CornersResult, folder: Path) -> None:
    """``corners.json``, ``corners.csv`` and the map in ``folder``. Raises OutputError."""
    with atomic_folder(folder, last=RESULT) as scratch:
        summary.save(scratch / RESULT)
        write_text(scratch / "corners.csv", as_csv(summary))
        if summary.good:
            # Importing matplotlib takes about a second. Only a map needs it.
            from cmru_hw.analysis.corners import plots

            for suffix in ("svg", "pdf"):
                plots.heat_map(summary, scratch / f"corners.{suffix}")


def as_csv(summary: CornersResult) -> str:
    """One row of COLUMNS per corner; for a failed corner only its name and status."""
    rows = []
    for result in summary.corners:
        plain = result.to_plain()
        row = {name: plain[name] for name in COLUMNS if name in plain}
        if isinstance(result, CornerFigures):
            row |= {"decisions_agree": result.decisions.agree, "decisions_total": result.decisions.total}
            row |= {"classes_agree": result.classification.agree, "classes_total": result.classification.total}
        rows.append([row.get(name, "") for name in COLUMNS])
    return csv_text(COLUMNS, rows)
