"""Measure the two memories of a unit: the integrator, and the counter that restores its level.

An integrator stores its level as a voltage on a capacitor, which leaks. A counter (``unit_counter``) stores it as bits
on a supply that is always on, and its readers sense the bits through binary-weighted capacitors. This module measures
both in one unit with its own clock drivers, in testbenches that also run without this package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cmru_hw.characterize import blocks
from cmru_hw.characterize.blocks import Unit, settled_unit
from cmru_hw.characterize.testbench import Conditions, MeasurementSource, Testbench, run_testbench
from cmru_hw.core.signals import Array, Traces
from cmru_hw.process import device_count
from cmru_hw.spice import Engine

# Levels of the testbench: power-on, up beyond the end, hold, down beyond the end, hold, up, hold, down, up.
EXPECTED = (-1, *range(8), 7, 7, *range(6, -8, -1), -7, -7, -6, -6, -7, -6)
BLOCKS = {"logic": "md", "comparators": "mc", "clocks": "mk", "memory": "mm"}
# Frames that show both directions, the upper end and a hold: enough for energies.
_SHORT = 13
# A charge meter is a capacitor of 1 nF: cells/transistor/supply.cir.
_METER = 1e-9

# bits of cells/transistor/unit_counter.cir
BITS = 4


@dataclass(frozen=True, kw_only=True)
class MeasuredMemory:
    """Bits between two windows: ``levels`` before and after the hold, ``leakage`` [A] of the supply that stays on."""

    before: int
    after: float
    leakage: float
    provenance: MeasurementSource

    @property
    def held(self) -> bool:
        return abs(self.after - self.before) < 0.01


@dataclass(frozen=True, kw_only=True)
class MeasuredLayer:
    """Two rows that read two counters, over the frames of the testbench.

    ``sums`` (rows, frames) [F]: weight capacitor per level times level; ``rows`` (rows, frames) [V] from V_cm;
    ``decisions`` (rows, frames) of their comparators. ``levels`` (frames,) of the unit that these decisions move, and
    ``expected`` levels from the sums; ``energy`` [J] per frame and block.
    """

    sums: Array
    rows: Array
    decisions: NDArray[np.bool_]
    levels: tuple[int, ...]
    expected: tuple[int, ...]
    energy: Mapping[str, float]
    provenance: MeasurementSource

    @property
    def right(self) -> bool:
        return self.levels == self.expected and bool(((self.sums > 0) == self.decisions)[:, 1:].all())

    @property
    def gain(self) -> Array:
        """(rows,) [V/F]: the least-squares slope of a row over its sum."""
        slope = (self.rows * self.sums).sum(-1) / (self.sums**2).sum(-1)
        return np.asarray(slope, dtype=np.float64)

    @property
    def error(self) -> float:
        """Largest distance [V] of a row from its slope times its sum."""
        return float(np.abs(self.rows - self.gain[:, None] * self.sums).max())


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One memory at one corner. Energies [J] per unit and timestep include the unit and its clock drivers:
    ``count`` of frames in which the level moved, ``hold`` of the others, ``static`` the static part of them.

    ``right``: every level simulated. ``retention``: timesteps until half a level is lost. ``parts``: the unit
    without weight capacitors.
    """

    memory: str
    conditions: Conditions
    right: bool
    count: float
    hold: float
    static: float
    retention: float
    parts: device_count.Inventory
    provenance: MeasurementSource


def unit(
    engine: Engine,
    conditions: Conditions,
    *,
    frame: float = 20e-6,
    evaluate: float = 1e-6,
    decide: float = 0.3e-6,
    count: float = 0.3e-6,
    frames: int = len(EXPECTED),
) -> Unit:
    """Simulate the counter unit over the first ``frames`` of its testbench, with that testbench's window times [s]."""
    parameters = {"frame": frame, "evaluate": evaluate, "decide": decide, "count": count, "frames": float(frames)}
    saved = ("level", *BLOCKS.values())
    testbench = Testbench(name="transistor_unit_counter", saved=saved, stop=frames * frame, parameters=parameters)
    traces, provenance = run_testbench(engine, testbench, conditions)
    starts = frame * np.arange(float(frames))
    static, dynamic = {}, {}
    for block, meter in BLOCKS.items():
        # From a tenth to six tenths of a frame no clock switches; in a long frame the supplies are off then.
        charge = _at(traces, meter, (starts[:, None] + frame * np.array([0.1, 0.6])).ravel()).reshape(-1, 2) * _METER
        leak = float(np.diff(charge)[2:].mean()) / 0.5
        total = np.diff(_at(traces, meter, np.append(starts, frames * frame * (1 - 1e-6)))) * _METER
        static[block] = conditions.vdd * leak
        dynamic[block] = tuple((conditions.vdd * (total - leak)).tolist())
    return Unit(
        levels=tuple(_at(traces, "level", starts + 0.99 * frame).tolist()),
        expected=EXPECTED[:frames],
        dynamic=dynamic,
        static=static,
        frame=frame,
        settle=count,
        provenance=provenance,
    )


def memory(
    engine: Engine, conditions: Conditions, *, level: int = 5, hold: float = 1.0, dip: float = 0.0
) -> MeasuredMemory:
    """Hold ``level`` for ``hold`` [s] with every other supply off, and through a ``dip`` [V] of the one that is on."""
    bits = {f"b{place}": float(level >> place & 1) for place in range(BITS)}
    parameters = {**bits, "hold": hold, "dip": dip}
    testbench = Testbench(name="transistor_counter_memory", saved=("level", "m"), stop=hold, parameters=parameters)
    traces, provenance = run_testbench(engine, testbench, conditions)
    half, full = _at(traces, "m", hold * np.array([0.5, 1 - 1e-6])) * _METER
    return MeasuredMemory(
        before=level,
        after=float(traces.values["level"][-1]),
        leakage=float(full - half) / (0.5 * hold),
        provenance=provenance,
    )


def layer(engine: Engine, conditions: Conditions, *, frame: float = 20e-6, frames: int = 22) -> MeasuredLayer:
    """Simulate two counters with changing levels, read by both rows of a third unit."""
    evaluate, decide, count = 1e-6, 0.3e-6, 0.3e-6
    meters = {**BLOCKS, "lines": "ml"}
    saved = ("a", "b", "k0", "k1", "k2", "qa", "qb", *meters.values())
    parameters = {"frame": frame, "frames": float(frames), "evaluate": evaluate, "decide": decide, "count": count}
    testbench = Testbench(name="transistor_counter_layer", saved=saved, stop=frames * frame, parameters=parameters)
    traces, provenance = run_testbench(engine, testbench, conditions)
    starts = frame * np.arange(float(frames))
    # Just before the comparators of layer 1 fire.
    ready = starts + 0.5 * frame + (3 * evaluate + 2 * decide + 2 * count + 2e-6) + 0.2e-6 + evaluate - 20e-9
    late = starts + 0.99 * frame
    k0, k1 = np.round(_at(traces, "k0", ready)), np.round(_at(traces, "k1", ready))
    sums = 1e-15 * np.stack([3 * k0 - 2 * k1 - 4.5, 2.5 * k0 - 3 * k1 + 3.25])
    moves = (sums > 0).all(0).astype(int) - (sums < 0).all(0).astype(int)
    # In the power-on frame the reference decides: down.
    expected = [-1]
    for move in moves[1:].tolist():
        expected.append(min(max(expected[-1] + move, -7), 7))
    return MeasuredLayer(
        sums=sums,
        rows=np.stack([_at(traces, name, ready) for name in "ab"]) - conditions.vdd / 2,
        decisions=np.stack([_at(traces, name, late) for name in ("qa", "qb")]) > conditions.vdd / 2,
        levels=tuple(np.round(_at(traces, "k2", late)).astype(int).tolist()),
        expected=tuple(expected),
        energy={
            block: conditions.vdd * float(np.diff(_at(traces, meter, late[[1, -1]]))[0]) * _METER / (frames - 2)
            for block, meter in meters.items()
        },
        provenance=provenance,
    )


def figures(engine: Engine, conditions: Conditions, *, timestep: float = 10e-3) -> tuple[Figures, Figures]:
    """Integrator and counter at one point, for timesteps of ``timestep`` [s].

    Windows are simulated in frames of a tenth of that, long enough for switched supplies to collapse.
    """
    frame = timestep / 10
    counter = settled_unit(partial(unit, conditions=conditions, frame=frame, frames=_SHORT), engine, "the counter")
    integrator = settled_unit(partial(blocks.unit, conditions=conditions, frame=frame), engine, "the integrator")
    droop = blocks.droop(engine, conditions, per=timestep)
    return (
        _figures("integrator", "unit_accumulate", conditions, integrator, timestep, 0.03 * conditions.vdd / 2 / droop),
        _figures("counter", "unit_counter", conditions, counter, timestep, math.inf),
    )


def _figures(
    name: str, template: str, conditions: Conditions, measured: Unit, timestep: float, retention: float
) -> Figures:
    moved = np.diff(measured.expected) != 0
    static = sum(measured.static.values()) * timestep / measured.frame
    # The first frame starts the supplies, the second ends the power-on.
    dynamic = np.sum(list(measured.dynamic.values()), axis=0)[2:]
    return Figures(
        memory=name,
        conditions=conditions,
        right=measured.right,
        count=float(dynamic[moved[1:]].mean()) + static,
        hold=float(dynamic[~moved[1:]].mean()) + static,
        static=static,
        retention=retention,
        parts=device_count.of(template, process=conditions.process),
        provenance=measured.provenance,
    )


def _at(traces: Traces, name: str, instants: NDArray[np.floating]) -> Array:
    return traces.at(name, np.asarray(instants, dtype=np.float64))
