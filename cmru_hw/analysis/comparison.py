"""What a comparison leaves in a folder, so that a report can be made of it later."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import cmru_hw
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.circuits.simulation import Simulation, Verified
from cmru_hw.core.errors import OutputError
from cmru_hw.core.units import json_text
from cmru_hw.design_folder.folder import Exported
from cmru_hw.nn.checkpoint import Sequences
from cmru_hw.spice import Engine

SUMMARY = "summary.json"


def comparison(design: AnyDesign, verified: Verified) -> dict[str, Any]:
    """The stable keys of a comparison with software."""
    result = verified.comparison
    unit = result.margin_unit
    return {
        "architecture": design.architecture,
        "level": design.technology.level,
        "technology": design.technology.name,
        "decisions": {
            "total": result.total,
            "agree": result.agree,
            "excluded": result.excluded,
            f"resolution_{unit}": result.resolution,
            f"smallest_margin_{unit}": result.smallest_margin,
        },
        "level_error_max": result.level_error,
        "level_error_unit": "share of the swing" if design.config.cell == "acmru" else "levels",
        "logit_error_max": result.logit_error,
        "classification": {
            "total": result.classified,
            "agree": result.classified_alike,
            "correct_software": result.correct_software,
            "correct_circuit": result.correct_circuit,
        },
        "first_divergence": None if result.first_divergence is None else asdict(result.first_divergence),
        "swing_used": result.swing_used,
        "refined": verified.refined,
        **result.details(),
        **simulated(design, verified.simulation),
    }


def simulated(design: AnyDesign, simulation: Simulation) -> dict[str, Any]:
    """The stable keys of anything that was simulated."""
    return {
        "level": design.technology.level,
        "architecture": design.architecture,
        "versions": {"cmru_hw": cmru_hw.__version__, "simulator": simulation.simulator},
        "cpu_seconds": simulation.cpu_seconds,
        "attempts": list(simulation.attempts),
    }


def keep_comparison(
    folder: str | Path, exported: Exported, data: Sequences, verified: Verified, engine: Engine, *, command: str = ""
) -> dict[str, Any]:
    """Write ``summary.json`` and the figures of a comparison to ``folder``; returns what the summary says.

    ``verified`` is the result on ``data``, whose first sequence is simulated once more for the waveforms of the
    busiest unit. ``command`` is kept as what makes the folder again. Raises OutputError.
    """
    # drawing takes a second to load, which a comparison without figures need not wait for
    from cmru_hw.circuits.plots import busiest_unit, states

    folder = Path(folder)
    found = {**comparison(exported.design, verified), "netlist_sha256": exported.netlist_sha256, "command": command}
    architecture = exported.architecture
    shown = architecture.waveforms(exported.design, data, engine, unit=busiest_unit(verified), network=exported.network)
    for suffix in ("svg", "pdf"):
        architecture.draw_unit(exported.design, shown, verified.expected, folder / f"unit.{suffix}")
        states(exported.design, verified, folder / f"states.{suffix}")
    try:
        (folder / SUMMARY).write_text(json_text(found) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder / SUMMARY} cannot be written: {error.strerror or error}") from error
    return found
