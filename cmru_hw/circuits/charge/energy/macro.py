"""Energy model at macro level: the block of each driver of a metered deck, and an analytic estimate of its charge.

The charge that ideal parts move is simulated: that of every weight, packet and state. It is priced as if a driver
between the rails delivered it: a coulomb delivered costs VDD, and a coulomb that flows back is lost. The energy of
comparators, amplifiers, logic and clocks comes from the technology's measured unit, if it has one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmru_hw.circuits.charge import trim
from cmru_hw.circuits.charge.design import Design, Row
from cmru_hw.circuits.charge.macro_netlist import TOTAL, meters
from cmru_hw.circuits.charge.macro_stimulus import INPUT_CHANGE
from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.energy import ChargeMeter, EnergyModel, Frames
from cmru_hw.core.errors import MappingError
from cmru_hw.core.signals import Array
from cmru_hw.spice.schedule import Schedule

# Blocks whose charge the macro netlist moves, in the order of a table, and blocks that only a measured unit covers.
NETLIST = ("inputs", "weighted_sums", "references", "amplifiers", "readout")
UNIT = {"comparators": "comparators", "amplifiers": "amplifier", "logic": "logic", "clocks": "clocks"}
EXCLUDES = (
    "drivers of the inputs beyond the charge that they deliver (converters, sensors)",
    "the generator of V_cm, priced as a driver from VDD, and of the other references",
    "the phase sequencer and the wires between blocks",
    "the decision of the readout (its rows are included)",
)
CALIBRATING = ("the search of the trim codes at power-on, a timestep for each decision, and the lines that it takes",)
NOT_MODELLED = {
    "comparators": "comparators: an ideal part takes no energy, and this technology has no measured unit",
    "amplifiers": "bias of the amplifiers: only the charge that their outputs deliver is included",
    "logic": "control logic: this technology has no measured unit",
    "clocks": "clock drivers and gates of switches: this technology has no measured unit",
}


def energy_model(design: Design) -> EnergyModel:
    """The energy model of a macromodel. Raises MappingError for a transistor-level design."""
    if design.technology.level != "macro":
        raise MappingError(
            "this energy model is for macromodels, and the design is at transistor level: export with --level macro"
        )
    unit = measured_unit(design)
    return EnergyModel(
        label="estimate",
        meters=tuple(charge_meters(design)),
        total=TOTAL,
        frames=functools.partial(frames, design),
        analytic=functools.partial(analytic, design),
        unit=unit,
        modelled=(*NETLIST, *[name for name in UNIT if name not in NETLIST], *_measured_trim(design)),
        duty=design.phase * (len(design.phases) + 1),
        excludes=(
            *[NOT_MODELLED[name] for name in UNIT if name not in unit],
            *EXCLUDES,
            *(CALIBRATING if design.technology.trim_bits else ()),
        ),
    )


def _measured_trim(design: Design) -> dict[str, tuple[float, float]]:
    bank = trim.figures(design)
    if bank is None:
        return {}
    return {"trim": (bank.leakage * design.technology.timing.timestep, bank.energy)}


def charge_meters(design: Design) -> list[ChargeMeter]:
    """The charge meters of a metered deck, each with its block."""
    vdd, found = design.technology.supply.vdd, meters(design)
    amplifiers = tuple(meter.vector for meter in found if meter.driver == "amplifier")
    found_meters = []
    for meter in found:
        if meter.driver == "line":
            reads = "inputs" if meter.node.startswith("x") else "weighted_sums"
            block = "readout" if meter.group == "r" else "references" if meter.node == "bias" else reads
        elif meter.driver == "amplifier":
            block = "amplifiers"
        else:
            block = "weighted_sums" if meter.node == "vcm" else "references"
        without = amplifiers if meter.node == "vcm" else ()
        found_meters.append(ChargeMeter(vector=meter.vector, block=block, volts=vdd, one_way=True, without=without))
    return found_meters


def frames(design: Design, plan: Schedule, sequence: int) -> Frames:
    """The timesteps of ``sequence``. Each ends after its own clocks have fallen."""
    first_clock = 1 - design.phase * (len(design.phases) + 1)
    starts = np.arange(plan.lengths[sequence], dtype=np.float64) + plan.starts[sequence]
    return Frames(
        starts=(starts + INPUT_CHANGE / 2) * plan.timestep,
        period=plan.timestep,
        idle_interval=(INPUT_CHANGE, 0.95 * first_clock - INPUT_CHANGE / 2),
    )


def measured_unit(design: Design) -> dict[str, tuple[float, float]]:
    """Block → (static, dynamic) [J per timestep] of all units and trim banks, from the technology's measured ones; {}
    without any."""
    energy = design.technology.energy
    if energy is None:
        return _measured_trim(design)
    units, timestep = sum(layer.units for layer in design.layers), design.technology.timing.timestep
    return {
        block: (units * timestep * getattr(energy, f"{name}_leakage"), units * getattr(energy, name))
        for block, name in UNIT.items()
    } | _measured_trim(design)


def analytic(design: Design, expected: Reference, inputs: Array, sequence: int) -> dict[str, Array]:
    """Block → (timesteps,) [J]: VDD times the charge that each driver delivers, from capacitors and software states.

    ``inputs`` (timesteps, features). During evaluation a row floats at Σ±C v / ΣC. A line of capacitance C therefore
    takes C (v − V_row), and returns it in precharge.
    """
    common, vdd = design.technology.supply.common_mode, design.technology.supply.vdd
    timesteps = len(inputs)
    charge: dict[str, Array] = {name: np.zeros(timesteps) for name in NETLIST}
    sources = _Paths.direct(design.voltages(inputs) - common, np.zeros(inputs.shape[1]))
    for index, layer in enumerate(design.layers):
        own = sources.count - inputs.shape[1] if design.config.skip or not index else sources.count
        lines, bias, common_mode = _lines(design, [r for r in (layer.low, layer.high, layer.packet_row) if r], sources)
        charge["weighted_sums"] += lines[:, :own].sum(1) + common_mode
        charge["inputs"] += lines[:, own:].sum(1)
        charge["references"] += bias
        states = expected.response.states[index][sequence, :timesteps] * layer.step
        outputs = _Paths.direct(states, layer.initial * layer.step)
        if design.config.epsilon == 0.0 and design.config.cell != "acmru":
            # The state is emptied before every packet, even before one that changes nothing.
            fired = expected.response.decisions[index][sequence, :timesteps] != 0
            outputs = _Paths(before=outputs.before, between=np.where(fired, 0.0, outputs.before), after=outputs.after)
            packets = outputs.after - outputs.between
        else:
            packets = outputs.after - outputs.before
        hold = design.technology.capacitor.sample if _has_limit(design) else 0.0
        charge["amplifiers"] += (np.maximum(packets, 0) * layer.integrator + outputs.rises(hold)).sum(1)
        if layer.packet_row is None:
            charge["references"] += (np.maximum(-packets, 0) * layer.integrator).sum(1)
        sources = outputs.concatenated(sources) if design.config.skip else outputs
    lines, bias, common_mode = _lines(design, [design.readout], outputs)
    charge["readout"] += lines.sum(1) + bias
    charge["weighted_sums"] += common_mode
    return {name: vdd * values for name, values in charge.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Paths:
    """Node voltages relative to V_cm, (timesteps, nodes): before, between (a state may be emptied first) and after."""

    before: Array
    between: Array
    after: Array

    @classmethod
    def direct(cls, values: Array, start: Array) -> _Paths:
        before = np.concatenate((start[None], values[:-1]))
        return cls(before=before, between=before, after=values)

    @property
    def count(self) -> int:
        return int(self.after.shape[1])

    def concatenated(self, other: _Paths) -> _Paths:
        pairs = ((self.before, other.before), (self.between, other.between), (self.after, other.after))
        before, between, after = (np.concatenate(pair, axis=1) for pair in pairs)
        return _Paths(before=before, between=between, after=after)

    def rises(self, load: Array | float) -> Array:
        """Charge (timesteps, nodes) that rising nodes deliver to capacitors ``load`` [F] at a fixed voltage."""
        first, second = self.between - self.before, self.after - self.between
        return np.asarray(np.maximum(first * load, 0.0) + np.maximum(second * load, 0.0))


def _has_limit(design: Design) -> bool:
    return design.config.cell == "cmru" and design.config.epsilon == 1.0


def _lines(design: Design, rows: Sequence[Row], sources: _Paths) -> tuple[Array, Array, Array]:
    """Charge [C] that lines (timesteps, lines), the bias line and V_cm (timesteps,) deliver to ``rows``."""
    parasitic = design.technology.capacitor.parasitic
    now = np.concatenate((sources.after, np.full((len(sources.after), 1), float(design.bias))), axis=1)
    tops = [now @ (_side(row, 1) - _side(row, -1)).T / (row.total + parasitic) for row in rows]
    given = np.zeros_like(now)
    for sign in (1, -1):
        # A p line goes from V_cm to its value, an n line from its value to V_cm; the row floats.
        flows = [
            sign * now * _side(row, sign).sum(0) - top @ _side(row, sign) for row, top in zip(rows, tops, strict=True)
        ]
        given += np.abs(sum(flows))
    # During precharge an n line follows its source, and so does the charge of the rows' top plates.
    load = sum(_side(row, -1).sum(0)[:-1] for row in rows)
    given[:, :-1] += sources.rises(load)
    moves = [(step * load).sum(1) for step in (sources.between - sources.before, sources.after - sources.between)]
    # The rows' padding and parasitic capacitors end at V_cm.
    pads = sum(top @ (row.pad + parasitic) for row, top in zip(rows, tops, strict=True))
    return given[:, :-1], given[:, -1], np.abs(pads) + sum(np.maximum(-move, 0.0) for move in moves)


def _side(row: Row, sign: int) -> Array:
    """Capacitors (units, lines and bias) [F] of ``row`` on its p lines (+1) or n lines (−1)."""
    bias, threshold = (np.maximum(sign * tap, 0)[:, None] for tap in (row.bias, row.threshold))
    return np.concatenate((np.maximum(sign * row.weights, 0), bias + threshold), axis=1)
