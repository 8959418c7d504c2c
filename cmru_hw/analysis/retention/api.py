"""Retention in one call, from an exported design to a folder that a report can be made of.

The unit that is the first to lose its state is left alone at each temperature until it has, in either architecture: on
a capacitor a level droops (:mod:`.charge`), a cell of current mode restores its state or has lost it (:mod:`.current`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cmru_hw
from cmru_hw.circuits import registry
from cmru_hw.core.errors import OutputError
from cmru_hw.core.units import json_text
from cmru_hw.design_folder.folder import Exported
from cmru_hw.process import device_models
from cmru_hw.spice import Engine

RESULT = "retention.json"
TEMPERATURES = (-40.0, 0.0, 27.0, 60.0, 85.0, 105.0, 125.0)
COLUMNS = (
    *("temperature_C", "level_V", "timesteps", "seconds", "lost_in_simulation", "simulated_s", "leakage_A"),
    *("law_timesteps", "moved"),
)


def run_retention(
    exported: Exported,
    engine: Engine,
    *,
    folder: str | Path | None = None,
    temperatures: Sequence[float] = TEMPERATURES,
    corner: str = "typical",
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Timesteps until the first level of ``exported`` is lost, at each of ``temperatures`` [degrees Celsius].

    The unit that loses its state first is taken, in silicon of the process corner ``corner``. Returns what
    ``retention.json`` says, and writes it to ``folder``. Raises InputError for a technology that was measured on no
    transistors and for ladders, SimulationError, OutputError.
    """
    design = exported.design
    unit = registry.of(design).retention_unit(design, engine, corner)
    rows: list[dict[str, Any]] = []
    simulator = ""
    for place, temperature in enumerate(temperatures):
        row, simulator = unit.hold(temperature)
        rows.append({"temperature_C": temperature, **row})
        if progress:
            progress(place + 1, len(temperatures))
    models = device_models.devices(unit.process)
    worst = min(rows, key=lambda row: row["timesteps"])
    found = {
        "kind": "retention",
        "level": "transistor",
        "label": "simulated",
        "architecture": design.architecture,
        "technology": design.technology.name,
        "models": models.version,
        "models_sha256": models.sha256,
        "corner": corner,
        "vdd_V": unit.vdd,
        "timestep_s": design.timestep,
        "weakest_unit": unit.name,
        "testbench": unit.testbench,
        "restores": unit.restores,
        **unit.facts,
        "temperatures": rows,
        **unit.trend(rows),
        "worst_temperature_C": worst["temperature_C"],
        "worst_timesteps": worst["timesteps"],
        # it was followed for that long and had not lost anything
        "worst_at_least": not worst["lost_in_simulation"] and worst["seconds"] <= worst["simulated_s"],
        "excludes": [*unit.excludes, f"process corners other than {corner}"],
        "versions": {"cmru_hw": cmru_hw.__version__, "simulator": simulator},
        "netlist_sha256": exported.netlist_sha256,
        "seed": None,
        "command": command,
    }
    if folder is not None:
        write(found, Path(folder))
    return found


def write(found: dict[str, Any], folder: Path) -> None:
    """``retention.json``, ``.csv`` and the figure in ``folder``. Raises OutputError."""
    from cmru_hw.analysis.retention import plots

    columns = [name for name in COLUMNS if name in found["temperatures"][0]]
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(found["temperatures"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULT).write_text(json_text(found) + "\n", encoding="utf-8")
        (folder / "retention.csv").write_text(out.getvalue(), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from error
    for suffix in ("svg", "pdf"):
        plots.over_temperature(found, folder / f"retention.{suffix}")
