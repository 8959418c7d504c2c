"""All corners in one call, from an exported design to a folder that a report can be made of.

::

    OUT/corners/ff_125_1.98_<job>.json      one corner, whole or not there at all
    OUT/measured/gf180_ff_125_1.98_….toml   the transistors at that corner, each number with its testbench
    OUT/corners.json  corners.csv  corners.svg  corners.pdf

A run that was interrupted goes on where it stopped; another design, input or version is another job.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cmru_hw
from cmru_hw import spice
from cmru_hw.analysis.corners import grid
from cmru_hw.analysis.energy.api import run_energy
from cmru_hw.circuits import registry
from cmru_hw.circuits.corner import Corner
from cmru_hw.core.atomic_write import write_whole
from cmru_hw.core.errors import OutputError, SimulationError
from cmru_hw.core.units import json_text
from cmru_hw.design_folder.folder import Exported
from cmru_hw.nn.checkpoint import Sequences

RESULT = "corners.json"
COLUMNS = (
    *("corner", "process", "temperature_C", "vdd_V", "status", "decisions_agree", "decisions_total", "classes_agree"),
    *("classes_total", "per_timestep_J", "gain", "leakage_A"),
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every corner is asked: ``exported`` on ``data``, results in ``folder``."""

    exported: Exported
    data: Sequences
    folder: Path
    backend: spice.Backend = "pyspice"
    timeout: float = 600.0

    def sha256(self) -> str:
        kind = registry.of(self.exported.design)
        parts = (self.exported.netlist_sha256, kind.fingerprint(self.exported.design), cmru_hw.__version__)
        digest = hashlib.sha256("\n".join(parts).encode())
        for array in (self.data.inputs, self.data.lengths):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def path(self, corner: Corner) -> Path:
        return self.folder / "corners" / f"{corner.stem}_{self.sha256()[:12]}.json"


def run_corners(
    exported: Exported,
    data: Sequences,
    *,
    folder: str | Path,
    only: Sequence[str] = (),
    jobs: int = 1,
    backend: spice.Backend = "pyspice",
    timeout: float = 600.0,
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Decisions and energy of ``exported`` on ``data`` at 45 corners; returns what ``corners.json`` in ``folder`` says.

    ``only`` names some of them, process/temperature/supply: ``["ff/125/1.98", "ss/*/1.62"]``.
    At macro level the technology of every corner is measured first, on its transistors; transistors are
    simulated as they are there. No mismatch is drawn. A corner whose simulation fails is in the result as failed.
    ``jobs`` corners run at the same time. Raises InputError for a technology that was measured on no transistors,
    OutputError.
    """
    corners = grid.chosen(grid.every(registry.of(exported.design).supply(exported.design)), only)
    job = Job(exported=exported, data=data, folder=Path(folder), backend=backend, timeout=timeout)
    found: dict[Corner, dict[str, Any]] = {}
    for corner, result in _results(job, corners, jobs):
        found[corner] = result
        if progress:
            progress(len(found), len(corners))
    summary = _summary(job, [found[corner] for corner in corners], command)
    write(summary, job.folder)
    return summary


def one(job: Job, corner: Corner) -> dict[str, Any]:
    """The result of ``corner``: kept from before, or simulated and then kept."""
    path = job.path(corner)
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    named = {
        "corner": str(corner),
        "process": corner.process,
        "temperature_C": corner.temperature,
        "vdd_V": corner.vdd,
    }
    try:
        with spice.open_engine(backend=job.backend, timeout=job.timeout) as engine:
            found = {**named, "status": "ok", **_at(job, corner, engine)}
    except SimulationError as error:
        # not kept: what failed for want of time or memory may do better the next time
        return {**named, "status": f"failed: {error}"}
    write_whole(path, lambda place: place.write_text(json_text(found) + "\n", encoding="utf-8"))
    return found


def _at(job: Job, corner: Corner, engine: spice.Engine) -> dict[str, Any]:
    design = job.exported.design
    kind = registry.of(design)
    moved, facts = kind.at_corner(design, job.exported.trained, corner, engine, job.folder / "measured")
    network = kind.network_text(moved)
    energy = run_energy(replace(job.exported, design=moved, network=network), job.data, engine)
    kept = ("label", "decisions", "classification", "per_timestep_J", "per_inference_J", "ledger_gap", "versions")
    return {**{key: energy[key] for key in kept}, "blocks": energy["blocks"], **facts}


def _results(job: Job, corners: Sequence[Corner], jobs: int) -> Iterator[tuple[Corner, dict[str, Any]]]:
    """Each corner as it is done, in any order."""
    if jobs == 1 or len(corners) == 1:
        for corner in corners:
            yield corner, one(job, corner)
        return
    # spawned: torch does not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(corners)), mp_context=context, initializer=_deaf) as pool:
        waiting = {pool.submit(one, job, corner): corner for corner in corners}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _deaf() -> None:
    """Ctrl-C reaches every process of a terminal; the first one decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _summary(job: Job, found: Sequence[dict[str, Any]], command: str) -> dict[str, Any]:
    design = job.exported.design
    good = [result for result in found if result["status"] == "ok"]
    worst: dict[str, Any] = {"decisions": None, "energy": None}
    if good:
        weakest = min(good, key=_agreement)
        worst["decisions"] = weakest["corner"] if _agreement(weakest) < 1 else None
        worst["energy"] = max(good, key=lambda result: result["per_timestep_J"])["corner"]
    return {
        "kind": "corners",
        "level": design.technology.level,
        "label": good[0]["label"] if good else None,
        "architecture": design.architecture,
        "technology": design.technology.name,
        "timestep_s": design.timestep,
        "sequences": len(job.data),
        "timesteps": int(job.data.lengths.sum()),
        "asked": len(found),
        "failed": len(found) - len(good),
        "all_right": sum(_agreement(result) == 1 for result in good),
        "worst": worst,
        "worst_agreement": min(map(_agreement, good), default=None),
        "worst_per_timestep_J": max((result["per_timestep_J"] for result in good), default=None),
        "corners": list(found),
        "excludes": ["mismatch: every corner is its nominal die"],
        "versions": good[0]["versions"] if good else {"cmru_hw": cmru_hw.__version__},
        "netlist_sha256": job.exported.netlist_sha256,
        "job_sha256": job.sha256(),
        "seed": None,
        "command": command,
    }


def _agreement(result: dict[str, Any]) -> float:
    share: float = result["decisions"]["agree"] / result["decisions"]["total"]
    return share


def write(summary: dict[str, Any], folder: Path) -> None:
    """``corners.json``, ``corners.csv`` and the map in ``folder``. Raises OutputError."""
    from cmru_hw.analysis.corners import plots

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULT).write_text(json_text(summary) + "\n", encoding="utf-8")
        (folder / "corners.csv").write_text(as_csv(summary), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from error
    if summary["asked"] > summary["failed"]:
        for suffix in ("svg", "pdf"):
            plots.heat_map(summary, folder / f"corners.{suffix}")


def as_csv(summary: dict[str, Any]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for result in summary["corners"]:
        row = {name: result[name] for name in COLUMNS if name in result}
        for group, name in (("decisions", "decisions"), ("classification", "classes")):
            row |= {f"{name}_{key}": result[group][key] for key in ("agree", "total") if group in result}
        writer.writerow(row)
    return out.getvalue()
