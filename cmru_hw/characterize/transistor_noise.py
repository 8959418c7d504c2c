"""Noise of the chip's transistors: the comparator's, referred to its input, and the amplifier's, in the state.

A clocked comparator has no operating point, so a noise analysis around one does not apply. The method is that of linear
time-varying circuits. While a decision is small, it is linear in every charge that enters an inner node. The testbench
injects a packet of charge at one node, in each decision later after the clock's edge, and thus measures the
sensitivity h(t) [V/C] of the decision, referred to the input. A transistor is a source of white current of the
two-sided density 2 k T g(t), with g = g_ds + 2/3 (g_m + g_mb): g_ds of a closed switch, 2/3 g_m in saturation (Wang
et al., IEEE TED 41 (1994) 2424; the models' ``tnoimod=0`` is the same law). g(t) is that of the simulator. The
variance at the input is the sum over devices of ∫ 2 k T g h² dt (Kim, Leibowitz, Ren and Madden, TCAS-I 56 (2009)
1649).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import constants

from cmru_hw.characterize.testbench import Conditions, MeasurementSource, Testbench, run_testbench
from cmru_hw.core.errors import InputError, SimulationError
from cmru_hw.core.regular_file import read_text
from cmru_hw.core.signals import Array, Traces
from cmru_hw.process import pdk
from cmru_hw.spice import Engine, lexer

TESTBENCH = "transistor_power_gated_comparator_noise"
# Of the testbench: decisions, their distance [s], the edge of the clock in each, and the delays of the charge [s].
DECISIONS, PERIOD, EDGE, FIRST, STEP = 46, 300e-9, 200e-9, -20e-9, 2e-9
# Charge [C], and the input [V] that it is compared with.
CHARGE, INPUT = 1e-18, 1e-4
# Output [V] at which a decision is read: small enough to be linear.
READ = 20e-3
# Each half of the comparator: device → the inner nodes (+, -) between which its noise flows.
DEVICES = {
    "xi1": ("x1", ""), "xr3": ("x1", ""), "xp1": ("om", "x1"), "xn1": ("om", ""), "xr1": ("om", ""),
}  # fmt: skip
SATURATED = 2 / 3
KINDS = ("gm", "gmbs", "gds")
# The amplifier's testbench: node → time [s] at which AMPLIFIER_CHARGE [C] enters it, and how long [s] it is observed.
AMPLIFIER, AMPLIFIER_CHARGE, OBSERVED = "transistor_power_gated_amplifier_noise", 1e-16, 1.9e-6
NODES = {"d": 2e-6, "out": 4e-6, "t": 6e-6}
AMPLIFIER_DEVICES = {"x1": ("d", "t"), "x2": ("out", "t"), "x3": ("d", ""), "x4": ("out", ""), "xt": ("t", "")}


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparatorNoise:
    """Thermal noise of one decision, referred to the row [V rms]: ``sigma``, and ``parts`` of each pair of devices.

    ``delays`` [s] after the clock's edge, ``sensitivity`` [V/C] of the inner nodes there, ``conductance`` [S] of the
    devices there, which is that of an equivalent resistor. ``gain`` [V/V] of a decision at ``read`` [s].
    """

    sigma: float
    parts: Mapping[str, float]
    delays: Array
    sensitivity: Mapping[str, Array]
    conductance: Mapping[str, Array]
    gain: float
    read: float
    provenance: MeasurementSource


def comparator_noise(engine: Engine, conditions: Conditions) -> ComparatorNoise:
    """Thermal noise of the comparator of a row, of equal devices.

    Raises InputError if the conductances of a process cannot be read, SimulationError if the comparator does not
    decide.
    """
    names = {(device, kind): parameter(conditions.process, device, kind) for device in DEVICES for kind in KINDS}
    by_input = {"qx": 0.0, "qo": 0.0, "dv": INPUT}
    traces, provenance = _decisions(engine, conditions, by_input, tuple(names.values()))
    read, gain = _read(traces)
    delays: Array = FIRST + STEP * np.arange(DECISIONS, dtype=np.float64)
    sensitivity = {}
    for node, charges in (("x1", {"qx": CHARGE, "qo": 0.0}), ("om", {"qx": 0.0, "qo": CHARGE})):
        found, _ = _decisions(engine, conditions, {**charges, "dv": 0.0}, ())
        moments: Array = EDGE + PERIOD * np.arange(DECISIONS, dtype=np.float64) + read
        moved = _output(found, moments)
        # a charge that is injected after the decision was read has no effect on it
        sensitivity[node] = np.where(delays < read, moved / CHARGE / gain, 0.0)
    # every decision of equal inputs is the same, so the conductances are those of any of them
    at: Array = EDGE + PERIOD + delays
    conductance = {device: _conductance(traces, names, device, at) for device in DEVICES}
    density = 2 * constants.k * (conditions.temperature + constants.zero_Celsius)
    parts = {}
    for device, (plus, minus) in DEVICES.items():
        h = sensitivity[plus] - (sensitivity[minus] if minus else 0.0)
        # two halves
        parts[device] = float(np.sqrt(2 * np.trapezoid(density * conductance[device] * h**2, delays)))
    return ComparatorNoise(
        sigma=float(np.sqrt(sum(part**2 for part in parts.values()))),
        parts=parts,
        delays=delays,
        sensitivity=sensitivity,
        conductance=conductance,
        gain=gain,
        read=read,
        provenance=provenance,
    )


@dataclass(frozen=True, kw_only=True)
class AmplifierNoise:
    """Thermal noise of a state while its amplifier holds it [V rms]: ``sigma``, and ``parts`` of each device."""

    sigma: float
    parts: Mapping[str, float]
    provenance: MeasurementSource


def amplifier_noise(engine: Engine, conditions: Conditions) -> AmplifierNoise:
    """Thermal noise of the amplifier at the output o of its integrator, with C_int as feedback.

    Its bandwidth is that of the loop: ∫ h² dt is over the impulse response. Raises as `comparator_noise`.
    """
    names = {
        (device, kind): parameter(conditions.process, device, kind, "xi.xa")
        for device in AMPLIFIER_DEVICES
        for kind in KINDS
    }
    testbench = Testbench(name=AMPLIFIER, saved=("o", *names.values()), stop=8e-6)
    traces, provenance = run_testbench(engine, testbench, conditions)
    delays: Array = np.concatenate(([0.0], np.geomspace(1e-9, OBSERVED, 2000)))
    response = {}
    for node, begin in NODES.items():
        moved = traces.at("o", begin + 1e-9 + delays) - traces.at("o", np.array([begin - 1e-9]))
        # The charge on C_int and its load stays. The amplifier does not remove it, so it is not noise of the loop.
        response[node] = (moved - moved[-1]) / AMPLIFIER_CHARGE
    density = 2 * constants.k * (conditions.temperature + constants.zero_Celsius)
    parts = {}
    for device, (plus, minus) in AMPLIFIER_DEVICES.items():
        h = response[plus] - (response[minus] if minus else 0.0)
        conductance = _conductance(traces, names, device, np.array([1.9e-6]))
        parts[device] = float(np.sqrt(density * conductance[0] * np.trapezoid(h**2, delays)))
    return AmplifierNoise(
        sigma=float(np.sqrt(sum(part**2 for part in parts.values()))), parts=parts, provenance=provenance
    )


def _conductance(traces: Traces, names: Mapping[tuple[str, str], str], device: str, moments: Array) -> Array:
    """Conductance [S] of the resistor that is as noisy as ``device``."""
    shares = zip(KINDS, (SATURATED, SATURATED, 1.0), strict=True)
    return np.asarray(sum(share * np.abs(traces.at(names[device, kind], moments)) for kind, share in shares))


def parameter(process: str, device: str, kind: str, cell: str = "xcomparator") -> str:
    """The simulator's name of a conductance of ``device`` in ``cell``. Raises InputError if it cannot be known."""
    described = pdk.get(process)
    cells = lexer.subcircuits(lexer.logical_lines(read_text(described.devices)))
    # both types have the same structure
    first = next((line.card for line in cells["nf"].lines if line.card[0] in "mx"), "")
    # a foundry's transistor is a subcircuit with one element
    leaf = {"m": first, "x": f"{first}.m0"}.get(first[:1])
    if leaf is None:
        raise InputError(f"the transistors of {described.title} are no MOSFET models, so their noise is not known")
    return f"@m.{cell}.{device}.{leaf}[{kind}]"


def _decisions(
    engine: Engine, conditions: Conditions, parameters: Mapping[str, float], saved: tuple[str, ...]
) -> tuple[Traces, MeasurementSource]:
    outputs = ("xcomparator.op", "xcomparator.om", "a", "f")
    stop = DECISIONS * PERIOD
    return run_testbench(
        engine, Testbench(name=TESTBENCH, saved=(*outputs, *saved), stop=stop, parameters=parameters), conditions
    )


def _output(traces: Traces, moments: Array) -> Array:
    return traces.at("xcomparator.op", moments) - traces.at("xcomparator.om", moments)


def _read(traces: Traces) -> tuple[float, float]:
    """Time [s] after the edge at which INPUT has become READ, and the gain there from the row."""
    after: Array = 0.1e-9 * np.arange(1400, dtype=np.float64)
    output = _output(traces, EDGE + PERIOD + after)
    reached = np.flatnonzero(np.abs(output) > READ)
    if not reached.size:
        raise SimulationError(f"{TESTBENCH}: the comparator does not decide within 140 ns")
    place, before = int(reached[0]), np.array([EDGE + PERIOD - 1e-9])
    row = traces.at("a", before) - traces.at("f", before)
    return float(after[place]), float(output[place] / row[0])
