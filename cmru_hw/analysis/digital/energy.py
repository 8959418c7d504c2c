"""Energy of a digital datapath per timestep, from counted operations and simulated gates.

Three figures of the same network. *Low*: every weight is a constant in hardware, each of its signed digits one
addition; nothing is read or stored but inputs and states, control is free, and between two timesteps all but the states
is off. *Typical*: one multiply-accumulate unit works through weights that are read from stored bits. *High*: the same
with glitches, with a larger clock tree and control, and always on. All leave out wires, so all are before layout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cmru_hw.analysis.digital.counts import TERNARY, Operations
from cmru_hw.characterize.digital_gates import BITS, GateEnergies
from cmru_hw.core.records import NotNegative, Positive, Record

# Clock tree, sequencer and addresses, as a factor on the energy of what moves. Stated, not simulated.
CONTROL = {"low": 1.0, "typical": 1.5, "high": 2.5}
# An array multiplier switches more often than its sums change. Stated, not simulated.
GLITCHES = {"low": 1.0, "typical": 1.0, "high": 2.0}
# A clock period over the time of the longest carry: setup, multiplexers and margin.
CYCLE = 2.0
Bound = Literal["low", "typical", "high"]
EXCLUDES = (
    "wires and pads: gates are counted before layout",
    "feature extraction and conversion of the inputs to bits",
    "generation of the clock; the clock tree is part of the stated factor",
    "regulation of the supply, which a supply below the chip's needs",
    "training with weights of these bits: the trained weights are rounded",
)


@dataclass(frozen=True, kw_only=True)
class DigitalEnergy(Record):
    """Energy of one timestep [J]: ``low``, ``typical`` and ``high``, with the parts of the typical one.

    ``busy`` is the share of a timestep in which the typical datapath works; ``leakage_gated`` and ``leakage_always_on``
    [J per timestep] are those of the typical datapath.
    """

    vdd: Positive
    low: Positive
    typical: Positive
    high: Positive
    parts: Mapping[str, float]
    leakage_gated: NotNegative
    leakage_always_on: NotNegative
    busy: NotNegative
    source: str


@dataclass(frozen=True, kw_only=True)
class DigitalResult(Record):
    """A digital baseline: at the chip's supply, and at the supply of least energy among those that are fast enough.

    ``lowest_J``: the low figure at any of the supplies; constants in hardware need few clock cycles.
    """

    kind: Literal["digital"] = "digital"
    level: Literal["estimate"] = "estimate"
    bits: int
    products: int
    timestep_s: Positive
    at_supply: DigitalEnergy
    least: DigitalEnergy
    lowest_J: Positive
    factors: Mapping[str, float]
    excludes: tuple[str, ...] = EXCLUDES
    network: Mapping[str, int] = field(default_factory=dict)


def baseline(operations: Operations, gates: Sequence[GateEnergies], vdd: float, timestep: float) -> DigitalResult:
    """The baseline at ``vdd`` [V], which is among ``gates``, and at the best of all their supplies."""
    found = {one.vdd: at_supply(operations, one, timestep) for one in gates}
    fast = [one for one in found.values() if one.busy <= 1] or [found[vdd]]
    return DigitalResult(
        bits=operations.bits,
        products=operations.products,
        timestep_s=timestep,
        at_supply=found[vdd],
        least=min(fast, key=lambda one: one.typical),
        lowest_J=min(one.low for one in found.values()),
        factors={f"control_{name}": value for name, value in CONTROL.items()}
        | {f"glitches_{name}": value for name, value in GLITCHES.items()},
        network={
            "decisions": operations.decisions,
            "state_bits": operations.state_bits,
            "input_bits": operations.input_bits,
            "weight_bits": operations.weight_bits,
        },
    )


def at_supply(operations: Operations, gates: GateEnergies, timestep: float) -> DigitalEnergy:
    """Energy of one ``timestep`` [s] at the supply of ``gates``."""
    typical = _parts(operations, gates, "typical")
    cycles = operations.products + 3 * operations.decisions + operations.scores
    busy = min(1e9, cycles * cycle(operations, gates) / timestep)
    gated, always = _leakage(operations, gates, timestep, busy)
    high = sum(_parts(operations, gates, "high").values())
    return DigitalEnergy(
        vdd=gates.vdd,
        low=_constants(operations, gates, timestep),
        typical=sum(typical.values()) + gated,
        high=high + always,
        parts={**typical, "leakage": gated},
        leakage_gated=gated,
        leakage_always_on=always,
        busy=busy,
        source=gates.source,
    )


def cycle(operations: Operations, gates: GateEnergies) -> float:
    """Clock period [s]: a multiplication and an addition, as carries through an adder of so many bits."""
    longest = max(part.width + _rows(operations.bits) for part in operations.sums)
    return CYCLE * gates.delay * longest / BITS


def _rows(bits: int) -> int:
    """Rows of adders in a multiplier by a magnitude of ``bits`` - 1 bits."""
    return 0 if bits == TERNARY else bits - 2


def _parts(operations: Operations, gates: GateEnergies, bound: Bound) -> dict[str, float]:
    """Block → energy of the datapath with one multiply-accumulate unit [J per timestep], without leakage."""
    bit, toggled = gates.addition / BITS, (gates.register_data + gates.register_clock) / 2
    found = dict.fromkeys(("multiply", "accumulate", "registers", "weights", "decisions", "states", "scores"), 0.0)
    stored = max(operations.bits, 2)
    for part in operations.sums:
        rows = _rows(operations.bits)
        products = (operations.bits - 1) * part.value_bits if operations.bits != TERNARY else 0
        found["multiply"] += GLITCHES[bound] * part.products * (rows * part.value_bits * bit + products * gates.product)
        found["accumulate"] += part.products * part.width * bit
        found["registers"] += part.products * part.width * toggled
        # Weight and value come through trees of multiplexers, of whose nodes on the way half change.
        depth = math.log2(max(2, operations.weight_bits / stored))
        of_value = part.value_bits * math.log2(max(2, part.columns))
        found["weights"] += part.products * (stored * depth + of_value) / 2 * gates.select
    for name, energy in _beyond_sums(operations, gates).items():
        found[name] += energy
    return {name: CONTROL[bound] * value for name, value in found.items()}


def _beyond_sums(operations: Operations, gates: GateEnergies) -> dict[str, float]:
    """Block → energy of everything but the weighted sums [J per timestep], alike in every datapath."""
    bit, toggled = gates.addition / BITS, (gates.register_data + gates.register_clock) / 2
    return {
        "registers": operations.input_bits * toggled,
        "states": operations.state_bits * (bit + toggled),
        # |c| >= |threshold| as two sums, compared with 0
        "decisions": operations.decisions * 2 * operations.decision_width * bit,
        "scores": operations.score_bits * (bit + toggled),
    }


def _leakage(operations: Operations, gates: GateEnergies, timestep: float, busy: float) -> tuple[float, float]:
    """Leakage of the typical datapath [J per timestep]: off but for states and scores, and always on."""
    widest = max(part.width for part in operations.sums)
    value = max(part.value_bits for part in operations.sums)
    adders = _rows(operations.bits) * value + widest + operations.decision_width
    products = 0 if operations.bits == TERNARY else (operations.bits - 1) * value
    datapath = adders * gates.adder_leakage + products * gates.product_leakage
    datapath += (widest + operations.input_bits) * gates.register_leakage
    memory = operations.weight_bits * (gates.stored_leakage + gates.select_leakage)
    kept = (operations.state_bits + operations.score_bits) * gates.register_leakage
    # Stored weights are written once, so they stay on; a memory that cannot be written needs no power.
    weights = operations.weight_bits * gates.stored_leakage
    on = min(busy, 1.0) * (datapath + memory - weights)
    return (kept + weights + gates.header_leakage + on) * timestep, (kept + datapath + memory) * timestep


def _constants(operations: Operations, gates: GateEnergies, timestep: float) -> float:
    """The low figure [J per timestep]: constants in hardware."""
    adders = 0
    for part in operations.sums:
        # The first digit of each sum is no addition; the first rows of a sum are narrower than the last ones.
        adders += max(0, part.digits - part.rows) * (part.value_bits + part.width) // 2
    kept = (operations.state_bits + operations.score_bits) * gates.register_leakage + gates.header_leakage
    moved = sum(_beyond_sums(operations, gates).values())
    return CONTROL["low"] * (moved + adders * (gates.addition / BITS)) + kept * timestep
