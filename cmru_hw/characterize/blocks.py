"""Measure the circuit blocks in transistor testbenches.

Every measurement takes an open engine and `Conditions`, and returns a frozen value with its `MeasurementSource`.
Testbenches are files that a circuit designer can run without this package; they show every measured quantity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.characterize.decisions import offsets, settled
from cmru_hw.characterize.testbench import Conditions, MeasurementSource, Sigma, Testbench, draws, run_testbench, sample
from cmru_hw.core.signals import Array, Traces
from cmru_hw.spice import Engine

BLOCKS = {"logic": "md", "comparators": "mc", "amplifier": "ma", "clocks": "mk"}
# Times [s] of a window for rows, comparators and packet: sufficient at most corners, then at all corners.
WINDOWS = (
    {"evaluate": 1e-6, "decide": 0.3e-6, "settle": 2e-6},
    {"evaluate": 8e-6, "decide": 2e-6, "settle": 20e-6},
)
# The charge meter of a supply (cells/transistor/supply.cir) is a capacitor of 1 nF.
_METER = 1e-9


@dataclass(frozen=True, kw_only=True)
class MeasuredSwitch:
    """``resistance`` [ohm] at V_cm and its largest value at any level; ``injection`` [V] onto 50 fF; ``leakage`` [A]
    across 0.35 V; ``charge`` delivered over C VDD for a capacitor charged through it (1 without its own junctions)."""

    resistance: float
    resistance_max: float
    injection: float
    leakage: float
    charge: float
    provenance: MeasurementSource


@dataclass(frozen=True, kw_only=True)
class Comparator:
    """Decisions at ``overdrive`` [V]: whether each was ``right``, and its ``delay`` [s] from the clock.

    ``parasitic`` [F] at the row; ``kick`` [V]: movement of the row during a decision. ``energy`` [J] per decision;
    ``clock`` [J]: energy of its clock line.
    """

    overdrive: tuple[float, ...]
    right: tuple[bool, ...]
    delay: tuple[float, ...]
    parasitic: float
    kick: float
    energy: float
    clock: float
    provenance: MeasurementSource


@dataclass(frozen=True, kw_only=True)
class Integrator:
    """``steps`` [V]: every packet in order, up first. ``gain`` of the amplifier; ``settling`` [s] to 1 % of a packet,
    ``slew`` [V/s]. ``energy`` [J] of a frame with a packet and ``idle`` [J] without: amplifier and logic."""

    nominal: float
    steps: tuple[float, ...]
    held: tuple[float, ...]
    gain: float
    settling: float
    slew: float
    energy: float
    idle: float
    provenance: MeasurementSource

    @property
    def up(self) -> float:
        return float(np.mean([step for step in self.steps if step > 0]))

    @property
    def down(self) -> float:
        return float(np.mean([-step for step in self.steps if step < 0]))

    @property
    def spread(self) -> float:
        """Largest deviation of a packet from the mean of its direction, as a share of it."""
        return max(abs(abs(s) / (self.up if s > 0 else self.down) - 1) for s in self.steps)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit over its testbench's frames: simulated ``levels`` (real numbers), ``expected`` levels, energies [J] per
    frame.

    ``dynamic`` and ``static`` are by block. Static energy is the power in the part of the hold without switching, times
    the frame.
    """

    levels: tuple[float, ...]
    expected: tuple[int, ...]
    dynamic: Mapping[str, tuple[float, ...]]
    static: Mapping[str, float]
    frame: float
    settle: float
    provenance: MeasurementSource

    @property
    def right(self) -> bool:
        return self.rounded == self.expected

    @property
    def rounded(self) -> tuple[int, ...]:
        return tuple(round(level) for level in self.levels)


@dataclass(frozen=True, kw_only=True)
class ChipBlocks:
    """Mismatch of the chip's blocks (see `cmru_hw.characterize.power_gated_chip`).

    Offsets [V]: ``offset`` of a row's comparator, ``limit`` as a state, ``amplifier`` derived from packets. ``packet``
    is a relative size.
    """

    offset: Sigma
    limit: Sigma
    packet: Sigma
    amplifier: Sigma
    provenance: MeasurementSource


def switch(engine: Engine, conditions: Conditions) -> MeasuredSwitch:
    """Measure the transmission gate: resistance, injection, leakage, and the charge of a capacitor through it."""
    saved = ("level", "held", "charged", "m", "i(vron)", "i(vleak)")
    traces, provenance = run_testbench(engine, Testbench(name="transistor_switch", saved=saved, stop=40e-6), conditions)
    resistance = np.abs(10e-3 / _at(traces, "i(vron)", np.linspace(0.5e-6, 9.5e-6, 91)))
    before, after = _at(traces, "held", np.array([19.9e-6, 20.5e-6]))
    empty, full = _at(traces, "m", np.array([29e-6, 40e-6]))
    return MeasuredSwitch(
        resistance=float(resistance[45]),
        resistance_max=float(resistance.max()),
        injection=float(after - before),
        leakage=float(_at(traces, "i(vleak)", np.array([39e-6]))[0]),
        charge=float((full - empty) * _METER / (1e-12 * conditions.vdd)),
        provenance=provenance,
    )


def comparator(
    engine: Engine, conditions: Conditions, *, period: float = 2e-6, parameters: Mapping[str, float] | None = None
) -> Comparator:
    """Decisions from 50 mV down to 0.5 mV of overdrive, both signs; ``parameters`` are sizes of the testbench."""
    saved = ("q", "a", "f", "ck", "xcomparator.om", "xcomparator.op", "mc", "mk")
    values = {"period": period, **(parameters or {})}
    testbench = Testbench(name="transistor_comparator", saved=saved, stop=12 * period, parameters=values)
    traces, provenance = run_testbench(engine, testbench, conditions)
    starts, half = period * np.arange(12.0), conditions.vdd / 2
    overdrive = np.repeat([50e-3, 10e-3, 5e-3, 2e-3, 1e-3, 0.5e-3], 2) * np.tile([1, -1], 6)
    right = (_at(traces, "q", starts + 0.9 * period) > half) == (overdrive > 0)
    branches = np.abs(traces.values["xcomparator.om"] - traces.values["xcomparator.op"])
    delay, kick = [], []
    for start in starts:
        during = (traces.time > start + 0.59 * period) & (traces.time < start + 0.84 * period)
        rise = _crossing(traces.time[during], traces.values["ck"][during], half)
        delay.append(_crossing(traces.time[during], branches[during], half) - rise)
        row = traces.values["a"][during]
        kick.append(np.ptp(row))
    # The supplies start in frame 0; the last two frames have the smallest overdrive.
    edges = np.arange(13) * period
    energy, clock = (conditions.vdd * np.diff(_charge(traces, meter, edges)) for meter in ("mc", "mk"))
    before = starts + 0.59 * period
    step = (_at(traces, "a", before) - _at(traces, "f", before))[:2]
    return Comparator(
        overdrive=tuple(overdrive.tolist()),
        right=tuple(right.tolist()),
        delay=tuple(delay),
        parasitic=400e-15 * (100e-3 / float(step[0] - step[1]) - 1),
        kick=float(max(kick)),
        energy=float(energy[2:10].mean()),
        clock=float(clock[2:10].mean()),
        provenance=provenance,
    )


def comparator_offset(
    engine: Engine, conditions: Conditions, *, dies: int, seed: int = 1, period: float = 2e-6
) -> Sigma:
    """Offset [V] of ``dies`` comparators with mismatch, by successive approximation inside the testbench."""
    parameters = {"period": period}
    testbench = Testbench(name="transistor_comparator_offset", saved=("trim",), stop=10 * period, parameters=parameters)
    found, failed = offsets(engine, testbench, conditions, range(seed, seed + dies), "trim")
    return sample([-trim for trim in found], failed=failed)


def integrator(
    engine: Engine, conditions: Conditions, *, k: int = 7, frame: float = 12e-6, settle: float = 2e-6
) -> Integrator:
    """``k`` packets up, 2k down, k up, with holds between: packets over all levels, gain, settling, energy."""
    saved = ("o", "x", "md", "ma")
    frames = 4 * k + 5
    parameters = {"k": float(k), "frame": frame, "settle": settle}
    testbench = Testbench(name="transistor_integrator", saved=saved, stop=frames * frame, parameters=parameters)
    traces, provenance = run_testbench(engine, testbench, conditions)
    starts = frame * np.arange(float(frames))
    change = np.diff(_state(traces, starts, frame))
    holding = np.zeros(frames - 1, dtype=bool)
    holding[[k, k + 1, 3 * k + 2, 3 * k + 3]] = True
    # After two holds, 2k levels apart: the output has moved by 2k packets, the virtual ground by 2k packets / gain.
    settled = starts[[k + 2, 3 * k + 4]] + 0.5 * frame + 0.3e-6 + settle
    output, ground = np.diff(_at(traces, "o", settled))[0], np.diff(_at(traces, "x", settled))[0]
    begins = starts[2] + 0.5 * frame + 0.4e-6 + 40e-9
    during = (traces.time > begins) & (traces.time < begins + settle - 0.1e-6)
    time, moving = traces.time[during], traces.values["o"][during]
    late = np.abs(moving - moving[-1]) > 0.01 * abs(change[1])
    edges = np.arange(frames + 1) * frame
    energy = conditions.vdd * np.diff(_charge(traces, "md", edges) + _charge(traces, "ma", edges))
    return Integrator(
        nominal=conditions.vdd * 0.03,
        steps=tuple(change[~holding].tolist()),
        held=tuple(change[holding].tolist()),
        gain=float(abs(output / ground)),
        settling=float(time[np.flatnonzero(late)[-1]] - begins) if late.any() else 0.0,
        slew=float(np.abs(np.diff(moving) / np.diff(time)).max()),
        energy=float(energy[1:][~holding].mean()),
        idle=float(energy[1:][holding].mean()),
        provenance=provenance,
    )


def packet_mismatch(
    engine: Engine, conditions: Conditions, *, dies: int, seed: int = 1, frame: float = 12e-6
) -> tuple[Sigma, Sigma]:
    """Relative size of a packet over ``dies`` with mismatch, and the excess of up packets over down packets."""
    frames = 9
    parameters = {"k": 1.0, "frame": frame}
    testbench = Testbench(name="transistor_integrator", saved=("o", "x"), stop=frames * frame, parameters=parameters)
    drawn = draws(engine, testbench, conditions, range(seed, seed + dies))
    changes = [np.diff(_state(traces, np.arange(frames) * frame, frame)) for traces in drawn]
    up, down = np.array([[change[0], -change[3]] for change in changes]).T
    size, skew = (up + down) / 2 / (0.03 * conditions.vdd), (up - down) / ((up + down) / 2)
    failed = dies - len(drawn)
    return sample(size.tolist(), failed=failed), sample(skew.tolist(), failed=failed)


def droop(engine: Engine, conditions: Conditions, *, hold: float = 1.0, per: float = 10e-3) -> float:
    """Droop [V] of a level one packet from zero in ``per`` [s], measured over ``hold`` [s]."""
    parameters = {"k": 1.0, "frame": hold}
    testbench = Testbench(name="transistor_integrator", saved=("o", "x"), stop=9 * hold, parameters=parameters)
    traces, _ = run_testbench(engine, testbench, conditions)
    change = np.diff(_state(traces, np.arange(9) * hold, hold))
    return float(np.abs(change[[1, 2, 5, 6]]).mean() * per / hold)


def unit(
    engine: Engine,
    conditions: Conditions,
    *,
    frame: float = 20e-6,
    evaluate: float = 1e-6,
    decide: float = 0.3e-6,
    settle: float = 2e-6,
) -> Unit:
    """Simulate the CMRU unit over twelve frames: power-on, up, limit, hold, down, limit, up.

    ``evaluate``, ``decide`` and ``settle`` [s] are the times of the window for rows, comparators and packet.
    """
    expected = (-1, 0, 1, 2, 2, 2, 1, 0, -1, -2, -2, -1)
    saved = ("o", "qa", "qb", *BLOCKS.values())
    parameters = {"frame": frame, "evaluate": evaluate, "decide": decide, "settle": settle}
    testbench = Testbench(name="transistor_unit_accumulate", saved=saved, stop=12 * frame, parameters=parameters)
    traces, provenance = run_testbench(engine, testbench, conditions)
    starts = frame * np.arange(12.0)
    levels = (
        _at(traces, "o", starts + 0.75 * frame + evaluate + 2 * decide + 0.65e-6 + settle) - conditions.vdd / 2
    ) / (0.03 * conditions.vdd)
    static, dynamic = {}, {}
    for block, meter in BLOCKS.items():
        # From a tenth to seven tenths of a frame no clock switches.
        charges = [np.diff(_charge(traces, meter, start + frame * np.array([0.1, 0.7])))[0] for start in starts[2:]]
        leak = float(np.mean(charges)) / 0.6
        total = np.diff(_charge(traces, meter, np.append(starts, 12 * frame)))
        static[block] = conditions.vdd * leak
        dynamic[block] = tuple((conditions.vdd * (total - leak)).tolist())
    return Unit(
        levels=tuple(levels.tolist()),
        expected=expected,
        dynamic=dynamic,
        static=static,
        frame=frame,
        settle=settle,
        provenance=provenance,
    )


def settled_unit(measure: Callable[[Engine], Unit], engine: Engine, what: str) -> Unit:
    """See `decisions.settled`: every level follows from all decisions before it."""
    return settled(measure, engine, what, decisions=lambda found: found.rounded, right=lambda found: found.right)


def unit_in_time(engine: Engine, conditions: Conditions, *, frame: float = 10e-3) -> Unit:
    """The unit with the shortest of WINDOWS that gives correct levels, else the longest: slow and cold devices need
    more time."""
    for window in WINDOWS:

        def timed(at: Engine, window: Mapping[str, float] = window) -> Unit:
            return unit(at, conditions, frame=frame, **window)

        measured = settled_unit(timed, engine, "the unit")
        if measured.right:
            break
    return measured


@dataclass(frozen=True, kw_only=True)
class Characterization:
    """All measurements of one process at one corner, and the integrating capacitor [F] of the droop measurement.

    ``offset``, ``packet`` and ``skew`` are None if no mismatch was drawn.
    """

    conditions: Conditions
    switch: MeasuredSwitch
    comparator: Comparator
    offset: Sigma | None
    integrator: Integrator
    packet: Sigma | None
    skew: Sigma | None
    droop: float
    unit: Unit
    cint: float = 533.333e-15


def characterize(
    engine: Engine, conditions: Conditions, *, dies: int = 100, seed: int = 1, levels: int = 7
) -> Characterization:
    """Run every testbench; ``dies`` draws of mismatch for the comparator, a third as many for the packet; 0: none.

    ``levels`` is the number of packets up and down in the integrator's testbench.
    """
    packet = skew = offset = None
    if dies:
        packet, skew = packet_mismatch(engine, conditions, dies=max(2, dies // 3), seed=seed)
        offset = comparator_offset(engine, conditions, dies=dies, seed=seed)
    unit = unit_in_time(engine, conditions)
    frame = max(12e-6, 3 * unit.settle)
    return Characterization(
        conditions=conditions,
        switch=switch(engine, conditions),
        comparator=settled(
            partial(comparator, conditions=conditions),
            engine,
            "the comparator",
            decisions=lambda found: found.right,
            right=lambda found: all(found.right),
        ),
        offset=offset,
        integrator=integrator(engine, conditions, k=levels, frame=frame, settle=unit.settle),
        packet=packet,
        skew=skew,
        droop=droop(engine, conditions),
        unit=unit,
    )


def _state(traces: Traces, starts: NDArray[Any], frame: float) -> Array:
    """Voltage on C_int [V] just before the end of each frame: the amplifier is off then, so V(o) is not the state."""
    instants = starts + 0.99 * frame
    return _at(traces, "o", instants) - _at(traces, "x", instants)


def _at(traces: Traces, name: str, instants: NDArray[Any]) -> Array:
    return traces.at(name, np.asarray(instants, dtype=np.float64))


def _charge(traces: Traces, meter: str, instants: NDArray[Any]) -> Array:
    """Charge [C] that a supply has delivered up to each of ``instants``."""
    return _at(traces, meter, instants) * _METER


def _crossing(time: Array, values: Array, level: float) -> float:
    """Time at which ``values`` first rises through ``level``; NaN if never."""
    above = np.flatnonzero(values > level)
    if above.size == 0 or above[0] == 0:
        return float("nan")
    i = int(above[0])
    return float(np.interp(level, values[i - 1 : i + 1], time[i - 1 : i + 1]))
