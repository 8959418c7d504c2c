"""Measure the retention of an exported design, and write a result folder for a report.

The unit that loses its state first is held at each temperature until the loss. On a capacitor a level droops; a cell of
current mode restores its state, or has lost it. Each architecture provides its own simulation (``retention_unit``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cmru_hw.analysis.provenance import provenance
from cmru_hw.analysis.retention.result import RESULT, FinerSteps, RetentionResult
from cmru_hw.circuits import registry
from cmru_hw.circuits.retention import HeldState
from cmru_hw.core.atomic_write import write_text
from cmru_hw.core.csv_text import csv_text
from cmru_hw.core.errors import InputError
from cmru_hw.core.output_folder import atomic_folder
from cmru_hw.design_folder.folder import NETWORK, Exported
from cmru_hw.process import device_models
from cmru_hw.spice import Engine
from cmru_hw.spice.finer import finer, in_words

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
    refine: int = 0,
) -> RetentionResult:
    """Timesteps until the first level of ``exported`` is lost, at each of ``temperatures`` [degrees Celsius].

    The unit that loses its state first is simulated at the process corner ``corner``. The result is written to
    ``folder`` as ``retention.json``. Time steps are halved ``refine`` times; the worst temperature is simulated once
    more with steps halved again. Raises InputError for a technology that was not measured on transistors, for counters
    and for an edited netlist, which the testbench of one unit does not contain; SimulationError, OutputError.
    """
    design = exported.design
    kind = registry.of(design)
    if exported.network != kind.network_text(design):
        raise InputError(
            f"{exported.path / NETWORK} was edited, but retention simulates one unit in a testbench of its own, which "
            "does not contain the edits: export the design again"
        )
    unit = kind.retention_unit(design, finer(engine, refine), corner)
    states: list[HeldState] = []
    simulator = ""
    for place, temperature in enumerate(temperatures):
        state, simulator = unit.hold(temperature)
        states.append(state)
        if progress:
            progress(place + 1, len(temperatures))
    models = device_models.devices(unit.process)
    worst = min(states, key=lambda state: state.timesteps)
    again, _ = kind.retention_unit(design, finer(engine, refine + 1), corner).hold(worst.temperature_C)
    result = RetentionResult(
        level="transistor",
        label="simulated",
        architecture=design.architecture,
        technology=design.technology.name,
        models=models.version,
        models_sha256=models.sha256,
        corner=corner,
        vdd_V=unit.vdd,
        timestep_s=design.timestep,
        weakest_unit=unit.name,
        testbench=unit.testbench,
        restores=unit.restores,
        facts=unit.facts,
        temperatures=tuple(states),
        doubling_C=unit.doubling(states),
        worst_temperature_C=worst.temperature_C,
        worst_timesteps=worst.timesteps,
        # The state was held until the end of the simulation.
        worst_at_least=not worst.lost_in_simulation and worst.seconds <= worst.simulated_s,
        finer_steps=FinerSteps(
            options=in_words(refine + 1),
            temperature_C=worst.temperature_C,
            timesteps=again.timesteps,
            difference=abs(worst.timesteps / again.timesteps - 1),
        ),
        excludes=(
            *unit.excludes,
            f"process corners other than {corner}",
            *(f"your template {name}: the shipped cell is simulated" for name, _ in design.templates),
        ),
        provenance=provenance(exported, simulator=simulator, command=command),
    )
    if folder is not None:
        write(result, Path(folder))
    return result


def write(found: RetentionResult, folder: Path) -> None:
    """``retention.json``, ``.csv`` and the figure in ``folder``. Raises OutputError."""
    # Importing matplotlib takes about a second. Only a result in a folder needs it.
    from cmru_hw.analysis.retention import plots

    rows = [state.to_plain() for state in found.temperatures]
    columns = [name for name in COLUMNS if name in rows[0]]
    text = csv_text(columns, [[row[name] for name in columns] for row in rows])
    with atomic_folder(folder, last=RESULT) as scratch:
        found.save(scratch / RESULT)
        write_text(scratch / "retention.csv", text)
        for suffix in ("svg", "pdf"):
            plots.over_temperature(found, scratch / f"retention.{suffix}")
