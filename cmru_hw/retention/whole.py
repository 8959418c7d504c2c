"""Retention in one call, from an exported design to a folder that a report can be made of.

A state lives on C_int, and leaks. It is lost when it is half a packet off its level: from then on a rounding to levels
would find another one. The transistor integrator is left alone at several levels of its ladder and at each temperature
until that has happened, so nothing is extrapolated unless a level outlasts LONGEST. Beside each time stands what the
usual law makes of the first second: a constant leakage, I t / C_int.

On a chip that sleeps the amplifier wakes every timestep and puts both plates of C_int where they belong, so a level
moves by the same amount each time. That amount is simulated, and the rest is a division.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cmru_hw
from cmru_hw import pdk
from cmru_hw.characterize import Bench, Conditions
from cmru_hw.corners.silicon import process_of
from cmru_hw.design_folder import Exported
from cmru_hw.errors import InputError, OutputError
from cmru_hw.mapping import Design
from cmru_hw.quantity import json_text
from cmru_hw.signals import Array
from cmru_hw.spice import Engine

RESULT = "retention.json"
TEMPERATURES = (-40.0, 0.0, 27.0, 60.0, 85.0, 105.0, 125.0)
# Where on the ladder, as shares of the swing: leakage depends on the voltages across the open switches.
LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0)
# A chip is awake for this long [s]: its amplifiers have settled.
AWAKE = 20e-6
# The first hold, and the longest; each is so much longer than the one before. [s]
FIRST, LONGEST, LONGER = 1.0, 3e6, 30.0
COLUMNS = (
    *("temperature_C", "level_V", "timesteps", "seconds", "lost_in_simulation", "simulated_s", "leakage_A"),
    *("law_timesteps",),
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The integrator whose retention is asked: capacitors [F], ``tolerance`` [V] of its state, ``timestep`` [s].

    ``common_mode`` [V] and ``tail`` [m], the length of the amplifier's, are those of a chip that sleeps; None for a
    unit that stays on.
    """

    packet: float
    integrator: float
    tolerance: float
    timestep: float
    common_mode: float | None = None
    tail: float | None = None


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How a state at ``level`` [V] went: lost after ``seconds``, or if not ``lost``, that is by law.

    ``simulated`` [s] is how long it was followed, ``leakage`` [A] the mean of the first second.
    """

    level: float
    seconds: float
    lost: bool
    simulated: float
    leakage: float
    simulator: str


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

    The unit with the least charge to lose is taken, in silicon of the process corner ``corner``. Returns what
    ``retention.json`` says, and writes it to ``folder``. Raises InputError for a technology that was measured on no
    transistors, SimulationError, OutputError.
    """
    design = exported.design
    if not isinstance(design, Design):
        raise InputError(
            "a current-mode cell feeds its state back and does not forget it by and by: cmru-hw versus leaves one "
            "alone at four temperatures"
        )
    process, vdd = process_of(design.technology), design.technology.supply.vdd
    name, cell = weakest(design)
    left = lost if cell.tail is None else lost_asleep
    swing = design.technology.signal.state_swing
    rows: list[dict[str, Any]] = []
    for place, temperature in enumerate(temperatures):
        conditions = Conditions(process=process, corner=corner, temperature=temperature, vdd=vdd)
        losses = [left(engine, conditions, cell, share * swing) for share in LEVELS]
        first = min(losses, key=lambda loss: loss.seconds)
        rows.append(
            {
                "temperature_C": temperature,
                "level_V": first.level,
                "timesteps": first.seconds / cell.timestep,
                "seconds": first.seconds,
                "lost_in_simulation": first.lost,
                "simulated_s": first.simulated,
                "leakage_A": first.leakage,
                "law_timesteps": _by_law(cell, first.leakage) / cell.timestep,
                "levels": [{"level_V": loss.level, "timesteps": loss.seconds / cell.timestep} for loss in losses],
            }
        )
        if progress:
            progress(place + 1, len(temperatures))
    models = pdk.devices(process)
    found = {
        "kind": "retention",
        "level": "transistor",
        "label": "simulated",
        "architecture": design.architecture,
        "technology": design.technology.name,
        "models": models.version,
        "models_sha256": models.sha256,
        "corner": corner,
        "vdd_V": vdd,
        "timestep_s": design.timestep,
        "weakest_unit": name,
        "half_packet_V": cell.tolerance,
        "integrator_F": cell.integrator,
        "testbench": "transistor_hold.cir" if cell.tail is None else "transistor_gated_hold.cir",
        "law": f"constant leakage of the first {'second' if cell.tail is None else 'timestep'}: I t / C_int",
        "temperatures": rows,
        "doubling_C": doubling([row["temperature_C"] for row in rows], [row["seconds"] for row in rows]),
        "worst_temperature_C": min(rows, key=lambda row: row["timesteps"])["temperature_C"],
        "worst_timesteps": min(row["timesteps"] for row in rows),
        "excludes": [
            "mismatch of leakage from switch to switch",
            "what the clocks of the timesteps in between disturb"
            + (": it is one long hold" if cell.tail is None else ", but for those of the amplifier"),
            f"process corners other than {corner}",
        ],
        "versions": {"cmru_hw": cmru_hw.__version__, "simulator": losses[0].simulator},
        "netlist_sha256": exported.netlist_sha256,
        "seed": None,
        "command": command,
    }
    if folder is not None:
        write(found, Path(folder))
    return found


def weakest(design: Design) -> tuple[str, Cell]:
    """The unit (``"layer.unit"``) that has the least charge to lose before its level is another."""
    devices, gated = design.technology.transistor, design.technology.gated
    asleep: dict[str, float] = {}
    if design.technology.level == "transistor" and devices and devices.memory == "gated" and gated:
        asleep = {"common_mode": design.technology.supply.common_mode, "tail": gated.tail}
    cells = {
        f"{index}.{i}": Cell(
            packet=float(layer.packet[i]),
            integrator=float(layer.integrator[i]),
            tolerance=float(layer.step[i]) / 2,
            timestep=design.timestep,
            **asleep,
        )
        for index, layer in enumerate(design.layers)
        for i in range(layer.units)
    }
    name = min(cells, key=lambda name: cells[name].tolerance * cells[name].integrator)
    return name, cells[name]


def lost(engine: Engine, conditions: Conditions, cell: Cell, level: float) -> Loss:
    """Leave a state at ``level`` [V] alone, for longer and longer, until half a packet is gone."""
    hold, leakage = FIRST, 0.0
    while True:
        time, state, simulator = _held(engine, conditions, cell, level, hold)
        # what moves before the first timestep is over are inner nodes on their way from zero
        begin = float(np.interp(cell.timestep, time, state))
        off = np.abs(state - begin) * (time >= cell.timestep)
        if hold == FIRST:
            leakage = float(off[-1]) * cell.integrator / (hold - cell.timestep)
        gone = np.flatnonzero(off >= cell.tolerance)
        if gone.size:
            after = int(gone[0])
            seconds = float(np.interp(cell.tolerance, off[after - 1 : after + 1], time[after - 1 : after + 1]))
            return Loss(level=level, seconds=seconds, lost=True, simulated=hold, leakage=leakage, simulator=simulator)
        if hold * LONGER > LONGEST:
            rate = max(float(off[-1]), 1e-12) / hold
            return Loss(
                level=level,
                seconds=cell.tolerance / rate,
                lost=False,
                simulated=hold,
                leakage=leakage,
                simulator=simulator,
            )
        hold *= LONGER


def lost_asleep(engine: Engine, conditions: Conditions, cell: Cell, level: float) -> Loss:
    """Leave a state at ``level`` [V] to a chip that wakes once a timestep, and see what one of these takes off it."""
    assert cell.common_mode is not None and cell.tail is not None
    parameters = {
        **{"hold": cell.timestep, "window": AWAKE, "common": cell.common_mode, "level": level},
        **{"cs": cell.packet, "cint": cell.integrator, "lt": cell.tail},
    }
    stop = 2 * cell.timestep + AWAKE
    bench = Bench(name="transistor_gated_hold", saved=("state",), stop=stop, parameters=parameters)
    outcome = engine.run(bench.deck(conditions))
    awake = cell.timestep * np.array([1.0, 2.0]) + 0.9 * AWAKE
    before, after = outcome.traces.at("state", awake)
    moved = max(abs(float(after - before)), 1e-12)
    return Loss(
        level=level,
        seconds=cell.tolerance / moved * cell.timestep,
        lost=moved >= cell.tolerance,
        simulated=cell.timestep,
        leakage=moved * cell.integrator / cell.timestep,
        simulator=outcome.simulator,
    )


def doubling(temperatures: Sequence[float], seconds: Sequence[float]) -> float | None:
    """By how many degrees it gets warmer until a level is lost in half the time; None if it never is.

    Over the upper half of ``temperatures``: cold, leakage is not that of a junction.
    """
    warm = sorted(zip(temperatures, seconds, strict=True))[len(temperatures) // 2 :]
    if len(warm) < 2 or warm[-1][1] >= warm[0][1]:
        return None
    slope = float(np.polyfit([t for t, _ in warm], [math.log2(last) for _, last in warm], 1)[0])
    return -1 / slope


def _held(engine: Engine, conditions: Conditions, cell: Cell, level: float, hold: float) -> tuple[Array, Array, str]:
    """Time [s] and state [V] of one hold, and the simulator's name."""
    parameters = {"hold": hold, "level": level, "cs": cell.packet, "cint": cell.integrator}
    bench = Bench(name="transistor_hold", saved=("state",), stop=hold, parameters=parameters)
    outcome = engine.run(bench.deck(conditions))
    return outcome.traces.time, outcome.traces.values["state"], outcome.simulator


def _by_law(cell: Cell, leakage: float) -> float:
    return cell.tolerance * cell.integrator / leakage if leakage > 0 else math.inf


def write(found: dict[str, Any], folder: Path) -> None:
    """``retention.json``, ``.csv`` and the figure in ``folder``. Raises OutputError."""
    from cmru_hw.retention import plots

    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n", extrasaction="ignore")
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
