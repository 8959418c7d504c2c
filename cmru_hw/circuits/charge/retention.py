"""Retention in the charge domain: a state is stored on C_int, which leaks.

A state is lost when it is half a packet off its level, because rounding would then give another level. The transistor
integrator is held unclocked at several levels until this happens, so nothing is extrapolated unless a level outlasts
LONGEST. Each time is compared with the usual law: the constant leakage of the first second, I t / C_int.

On a power-gated chip the amplifier wakes every timestep and restores both plates of C_int, so a level moves by the same
amount in each timestep. That amount is simulated, and the number of timesteps follows by division.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmru_hw.characterize.testbench import Conditions, Testbench, outcome_of
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.measured_technology import process_of
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.retention import HeldLevel, HeldState, RetentionFacts, RetentionUnit
from cmru_hw.core.errors import InputError
from cmru_hw.core.signals import Array
from cmru_hw.spice import Engine

TESTBENCH = "transistor_hold"
# Integrators of a power-gated chip, by cell.
ASLEEP = {
    "cmru": "transistor_power_gated_hold",
    "bmru": "transistor_power_gated_replace_hold",
    "acmru": "transistor_power_gated_alpha_hold",
}
# Simulated levels, as shares of the swing: leakage depends on the voltages across the open switches.
LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0)
# Length [s] of the window in which a power-gated chip is on; its amplifiers have settled by then.
AWAKE = 20e-6
# First hold [s], upper bound of a hold [s], and factor from one hold to the next.
FIRST, LONGEST, LONGER = 1.0, 3e6, 30.0


@dataclass(frozen=True, kw_only=True)
class HeldIntegrator:
    """The integrator under test: its ``testbench``, capacitors [F], ``tolerance`` [V] of its state, ``timestep`` [s].

    ``common_mode`` [V] and ``tail`` [m] (length of the amplifier's tail device) describe a power-gated chip; None for a
    unit that stays on.
    """

    packet: float
    integrator: float
    tolerance: float
    timestep: float
    testbench: str = TESTBENCH
    common_mode: float | None = None
    tail: float | None = None


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Loss of a state at ``level`` [V] after ``seconds``: simulated if ``lost``, else extrapolated.

    ``simulated`` [s] is the length of the hold. ``leakage`` [A] is the mean over the first second, or over one timestep
    on a power-gated chip.
    """

    level: float
    seconds: float
    lost: bool
    simulated: float
    leakage: float
    simulator: str


def require(design: Design) -> None:
    """Raises InputError if the technology was not measured on transistors, or if levels are bits."""
    process_of(design.technology)
    memory = registry.of(design.technology)
    if memory and memory.restores:
        raise InputError(
            f"{memory.restores}, so its levels do not drift: cmru-hw characterize --blocks counter measures the energy "
            "of the memory"
        )


def unit(design: Design, engine: Engine, corner: str) -> RetentionUnit:
    """The integrator of ``design`` with the least charge to lose, in transistors at the process ``corner``.

    Raises InputError: see :func:`require`.
    """
    require(design)
    process, vdd = process_of(design.technology), design.technology.supply.vdd
    name, cell = weakest(design)
    sleeps = cell.tail is not None
    left = lost_asleep if sleeps else lost
    swing = design.technology.signal.state_swing

    def hold(temperature: float) -> tuple[HeldState, str]:
        conditions = Conditions(process=process, corner=corner, temperature=temperature, vdd=vdd)
        losses = [left(engine, conditions, cell, share * swing) for share in LEVELS]
        first = min(losses, key=lambda loss: loss.seconds)
        state = HeldState(
            temperature_C=temperature,
            level_V=first.level,
            timesteps=first.seconds / cell.timestep,
            seconds=first.seconds,
            lost_in_simulation=first.lost,
            simulated_s=first.simulated,
            leakage_A=first.leakage,
            law_timesteps=_by_law(cell, first.leakage) / cell.timestep,
            levels=tuple(HeldLevel(level_V=loss.level, timesteps=loss.seconds / cell.timestep) for loss in losses),
        )
        return state, first.simulator

    return RetentionUnit(
        name=name,
        process=process,
        vdd=vdd,
        testbench=f"{cell.testbench}.cir",
        restores=False,
        facts=RetentionFacts(
            half_packet_V=cell.tolerance,
            integrator_F=cell.integrator,
            law=f"constant leakage of the first {'timestep' if sleeps else 'second'}: I t / C_int",
        ),
        excludes=(
            "mismatch of leakage from switch to switch",
            "disturbance by the clocks of the timesteps in between"
            + (", except those of the amplifier" if sleeps else ": it is one long hold"),
        ),
        hold=hold,
        doubling=lambda states: doubling(
            [state.temperature_C for state in states], [state.seconds for state in states]
        ),
    )


def weakest(design: Design) -> tuple[str, HeldIntegrator]:
    """The unit (``"layer.unit"``) that loses its level with the least charge, and its integrator."""
    memory = registry.of(design.technology)
    asleep = memory.asleep(design) if memory else {}
    kind = design.config.cell if design.config.cell == "acmru" or design.config.epsilon else "bmru"
    cells = {
        f"{index}.{i}": HeldIntegrator(
            packet=float(layer.packet[i]),
            integrator=float(layer.integrator[i]),
            tolerance=float(layer.step[i]) / 2,
            timestep=design.timestep,
            testbench=ASLEEP.get(kind, ASLEEP["cmru"]) if asleep else TESTBENCH,
            **asleep,
        )
        for index, layer in enumerate(design.layers)
        for i in range(layer.units)
    }
    name = min(cells, key=lambda name: cells[name].tolerance * cells[name].integrator)
    return name, cells[name]


def lost(engine: Engine, conditions: Conditions, cell: HeldIntegrator, level: float) -> Loss:
    """Hold a state at ``level`` [V] unclocked, each time longer, until it is off by half a packet."""
    hold, leakage = FIRST, 0.0
    while True:
        time, state, simulator = _held(engine, conditions, cell, level, hold)
        # During the first timestep inner nodes settle from their initial zero; this is not leakage.
        begin = float(np.interp(cell.timestep, time, state))
        off = np.abs(state - begin) * (time >= cell.timestep)
        if hold == FIRST:
            leakage = float(off[-1]) * cell.integrator / (hold - cell.timestep)
        gone = np.flatnonzero(off >= cell.tolerance)
        if gone.size:
            after = int(gone[0])
            seconds = float(np.interp(cell.tolerance, off[after - 1 : after + 1], time[after - 1 : after + 1]))
            return Loss(level=level, seconds=seconds, lost=True, simulated=hold, leakage=leakage, simulator=simulator)
        if hold >= LONGEST:
            rate = max(float(off[-1]), 1e-12) / hold
            return Loss(
                level=level,
                seconds=cell.tolerance / rate,
                lost=False,
                simulated=hold,
                leakage=leakage,
                simulator=simulator,
            )
        hold = min(hold * LONGER, LONGEST)


def lost_asleep(engine: Engine, conditions: Conditions, cell: HeldIntegrator, level: float) -> Loss:
    """Simulate the droop of a state at ``level`` [V] over one timestep of a power-gated chip, and extrapolate."""
    assert cell.common_mode is not None and cell.tail is not None
    parameters = {
        **{"hold": cell.timestep, "window": AWAKE, "common": cell.common_mode, "level": level},
        **{"cs": cell.packet, "cint": cell.integrator, "lt": cell.tail},
    }
    stop = 2 * cell.timestep + AWAKE
    testbench = Testbench(name=cell.testbench, saved=("state",), stop=stop, parameters=parameters)
    outcome = outcome_of(engine, testbench, conditions)
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
    """Temperature rise [K] that halves the retention time; None if retention does not fall with temperature.

    From the upper half of ``temperatures``, because leakage at low temperature is not junction leakage.
    """
    warm = sorted(zip(temperatures, seconds, strict=True))[len(temperatures) // 2 :]
    if len(warm) < 2 or warm[-1][1] >= warm[0][1]:
        return None
    slope = float(np.polyfit([t for t, _ in warm], [math.log2(last) for _, last in warm], 1)[0])
    return -1 / slope


def _held(
    engine: Engine, conditions: Conditions, cell: HeldIntegrator, level: float, hold: float
) -> tuple[Array, Array, str]:
    """Time [s] and state [V] of one hold, and the simulator's name."""
    parameters = {"hold": hold, "level": level, "cs": cell.packet, "cint": cell.integrator}
    testbench = Testbench(name=TESTBENCH, saved=("state",), stop=hold, parameters=parameters)
    outcome = outcome_of(engine, testbench, conditions)
    return outcome.traces.time, outcome.traces.values["state"], outcome.simulator


def _by_law(cell: HeldIntegrator, leakage: float) -> float:
    return cell.tolerance * cell.integrator / leakage if leakage > 0 else math.inf
