"""Errors of a charge-domain design, referred to the rows that its comparators see.

An offset budget (:class:`OffsetBudget`) says how far constant errors move a row: the technology's own offsets, or a
residue that is known. In a design with trim, each row's offset is what its codes leave
(:class:`~cmru_hw.circuits.row_errors.RowTrim`), with their step, their range and the noise of calibration. All other
errors follow from the sizes of the design and the laws of :mod:`cmru_hw.circuits.charge.variation` and
:mod:`cmru_hw.circuits.charge.noise`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cmru_hw.circuits import row_errors
from cmru_hw.circuits.charge import mapping, trim, variation
from cmru_hw.circuits.charge.design import Design, Layer, Row
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.charge.noise import BOLTZMANN, OCTAVES, sampled
from cmru_hw.circuits.comparison import software
from cmru_hw.circuits.row_errors import LayerErrors, NetworkErrors, RowErrors, RowTrim, SmallestPart, StateErrors
from cmru_hw.core.errors import InputError
from cmru_hw.core.signals import Array
from cmru_hw.core.units import si
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process.technology import Technology

# Mismatch of a row's capacitors counts where the row is near its threshold: in this share of the timesteps.
NEAR = 0.1
# The majority of n decisions has the noise of a median: this, times that of one decision over √n (n = 9).
MEDIAN = 1.23
# Rows of a die that may be beyond the range of a trim without a word.
FEW = 0.01
ASSUMPTIONS = (
    "errors of a row are normal, and constant on a die except for noise",
    "left out: charge injection, incomplete settling, packets beyond the level limit",
)


@dataclass(frozen=True, kw_only=True)
class OffsetBudget:
    """Standard deviations of the constant errors of a row [V].

    ``comparator``: its own offset. ``amplifier``: that of each state that it reads. ``residual``: the offset that is
    left of all constant errors of a row, in place of the two; None to take them, or what a design's own trim leaves.
    """

    comparator: float
    amplifier: float
    residual: float | None = None

    @classmethod
    def of(cls, technology: Technology) -> OffsetBudget:
        """The offsets of ``technology`` before a trim."""
        law = technology.mismatch
        return cls(comparator=variation.offset_sigma(law), amplifier=law.amplifier)

    def trimmed(self, design: Design) -> bool:
        """Whether the trim of ``design`` sets the offsets."""
        return self.residual is None and design.technology.trim_bits > 0

    @property
    def row(self) -> float:
        """Offset of a row's own."""
        return self.comparator if self.residual is None else self.residual

    @property
    def read(self) -> float:
        """Offset that each state adds to a row that reads it."""
        return self.amplifier if self.residual is None else 0.0


def errors(
    design: Design, trained: Trained, sequences: Sequences, *, offsets: OffsetBudget | None = None
) -> NetworkErrors:
    """Errors of ``design`` where the software model ``trained`` runs ``sequences``.

    ``offsets`` are the technology's own unless given. Raises InputError for a design whose states are counters.
    """
    memory = registry.of(design.technology)
    if memory is not None and memory.bits:
        raise InputError("there is no estimate for the counter memory: inspect the same network at macro level")
    budget = OffsetBudget.of(design.technology) if offsets is None else offsets
    outputs = software(design.input_range, trained, sequences).outputs
    valid = sequences.valid
    lines = (design.voltages(sequences.inputs) - design.technology.supply.common_mode)[valid]
    amplifiers = np.zeros(lines.shape[1])
    layers = []
    for layer, h in zip(design.layers, outputs, strict=True):
        layers.append(_layer(design, layer, budget, lines, amplifiers))
        own = h[valid] * (layer.unit * layer.sign)
        shifts = np.full(layer.units, budget.read)
        lines = np.concatenate((own, lines), axis=1) if design.config.skip else own
        amplifiers = np.concatenate((shifts, amplifiers)) if design.config.skip else shifts
    top = len(design.readout_unit)
    realised = mapping.realised(design)
    readout = _rows(design, (design.readout,), budget, lines[:, :top], amplifiers[:top], compared=False)[0]
    return NetworkErrors(
        inputs=design.input_range,
        realised=realised,
        drawn=_drawn(design, trained) or realised,
        layers=tuple(layers),
        readout=readout,
        unit="V",
        smallest=_smallest(design),
        assumptions=(*ASSUMPTIONS, *_trimmed(design, [*(one.rows for one in layers), readout])),
    )


def _layer(design: Design, layer: Layer, budget: OffsetBudget, lines: Array, amplifiers: Array) -> LayerErrors:
    rows, scale = _rows(design, (layer.low, layer.high), budget, lines, amplifiers)
    third = layer.packet_row
    return LayerErrors(
        rows=rows,
        states=_states(design, layer, budget),
        scale=scale,
        # a buffer reads the third row: its sampled noise only
        alpha=None
        if third is None
        else _rows(design, (third,), budget, lines, amplifiers, compared=False, code=False)[0],
    )


def _rows(
    design: Design,
    rows: tuple[Row, ...],
    budget: OffsetBudget,
    lines: Array,
    amplifiers: Array,
    *,
    compared: bool = True,
    code: bool = True,
) -> tuple[RowErrors, Array]:
    """Errors of ``rows`` in software units, and their scales (rows, units) [V per software unit].

    ``lines`` (places, lines) [V] are what the rows read, ``amplifiers`` (lines,) [V] the offsets on those lines. A
    comparator reads the rows if they are ``compared``. Rows with a ``code`` are trimmed if the design has a trim.
    """
    technology = design.technology
    noise = technology.noise
    found: dict[str, list[Array]] = {
        name: [] for name in ("offset", "capacitor", "bias", "read", "noise", "search", "scale")
    }
    for row in rows:
        total = row.total + technology.capacitor.parasitic
        scale = row.scale / total
        constant = (row.bias + row.threshold) * float(design.bias) / total
        thermal = sampled(technology, total, replica=compared or bool(technology.trim_bits and code))
        decided = noise.comparator**2 + OCTAVES * noise.wander**2
        found["scale"].append(scale)
        found["offset"].append(np.full_like(scale, budget.row))
        found["capacitor"].append(_mismatch(design, row, total, lines, constant) / scale)
        found["bias"].append(constant * technology.mismatch.global_bias / scale)
        found["read"].append(np.sqrt((row.weights / total[:, None]) ** 2 @ amplifiers**2))
        found["noise"].append(np.sqrt(thermal + (decided if compared else 0.0)) / scale)
        found["search"].append(np.sqrt(thermal + decided))
    made = {name: np.stack(values) for name, values in found.items()}
    errors = RowErrors(
        per_row={row_errors.CAPACITORS: made["capacitor"]},
        per_die={row_errors.REFERENCES: made["bias"]},
        noise=made["noise"],
    )
    return _with_offsets(design, budget, errors, made, code=code), made["scale"]


def _with_offsets(
    design: Design, budget: OffsetBudget, errors: RowErrors, volts: dict[str, Array], *, code: bool
) -> RowErrors:
    """``errors`` with those of constant offsets, whose sizes in ``volts`` are (rows, units) [V]."""
    bank, scale = design.technology.trim, volts["scale"]
    every = np.hypot(volts["offset"], volts["read"])
    if bank is None or not budget.trimmed(design):
        offsets = {row_errors.OFFSETS: volts["offset"] / scale, **errors.per_row}
        return replace(errors, per_row=offsets, inherited={row_errors.AMPLIFIERS: volts["read"] / scale})
    if not code:
        return replace(errors, per_row={row_errors.OFFSETS: every / scale, **errors.per_row})
    moves = trim.moves(design.technology)
    searched = volts["search"] * MEDIAN / np.sqrt(bank.repeats)
    found = RowTrim(before=every, noise=searched, moves=moves, step=float(moves[1] - moves[0]), scale=scale)
    return replace(errors, trim=found, inherited={row_errors.TRIMMED: found.spread() / scale})


def _trimmed(design: Design, rows: list[RowErrors]) -> tuple[str, ...]:
    """What the verdict assumes about the trim of ``design``; nothing without one."""
    found = [one.trim for one in rows if one.trim is not None]
    if not found:
        return ()
    left = np.sqrt(np.mean(np.concatenate([one.spread().ravel() for one in found]) ** 2))
    beyond = sum(one.beyond().sum() for one in found)
    moves = found[0].moves
    ranged = "all rows are in its range" if beyond < FEW else f"{beyond:.2g} rows of a die are beyond its range"
    return (
        f"trim: {design.technology.trim_bits} bits, {si(moves[0], 'V')} to {si(moves[-1], 'V')}; it leaves offsets of "
        f"{si(float(left), 'V')}, and {ranged}",
    )


def _mismatch(design: Design, row: Row, total: Array, lines: Array, constant: Array) -> Array:
    """(units,) [V]: rms error of ``row`` by its capacitors' mismatch, where the row is near its threshold."""
    law = design.technology.mismatch
    volts = lines @ (row.weights / total[:, None]).T + constant
    shares = variation.capacitor_sigma(row.weights, law) * np.abs(row.weights) / total[:, None]
    near = max(1, int(NEAR * len(volts)))
    squares = np.empty(len(total))
    for unit in range(len(total)):
        places = np.argpartition(np.abs(volts[:, unit]), near - 1)[:near]
        # a capacitor that is too large pulls its row from where it is towards its line
        pulls = lines[places] - volts[places, unit][:, None]
        squares[unit] = ((pulls * shares[unit]) ** 2).sum(axis=1).mean()
    for tap in (row.bias, row.threshold):
        squares += (variation.capacitor_sigma(tap, law) * tap / total * float(design.bias)) ** 2
    return np.sqrt(squares)


def _states(design: Design, layer: Layer, budget: OffsetBudget) -> StateErrors:
    technology = design.technology
    law, thermal = technology.mismatch, BOLTZMANN * technology.noise.temperature
    ratio = layer.packet / layer.integrator
    capacitors = np.hypot(*(variation.capacitor_sigma(size, law) for size in (layer.packet, layer.integrator)))
    own = layer.unit * layer.sign
    return StateErrors(
        # a trim cancels the offsets that a row reads together with its own
        offset=(0.0 if budget.trimmed(design) else budget.read) / own,
        # an offset makes packets up larger and packets down smaller, trim or not
        kick=ratio * budget.amplifier / own,
        # two references of independent errors: their mean sizes a level, their difference shifts it with every packet
        kick_die=layer.step / layer.unit * layer.sign * law.global_reference / np.sqrt(2),
        size={row_errors.CAPACITORS: capacitors},
        size_die=law.global_reference / np.sqrt(2),
        short=(1 + ratio) / layer.gain,
        lost=ratio / layer.gain if design.config.epsilon or layer.packet_row is not None else np.zeros(layer.units),
        walk=ratio * np.sqrt(2 * thermal / layer.packet) / layer.unit,
        droop=layer.leak * technology.timing.timestep / layer.integrator / own,
        limit=np.where(np.isfinite(layer.limit), law.limit / layer.step, 0.0),
    )


def _limit(technology: Technology) -> float:
    """The smallest capacitor [F] that can be drawn; 0 if the technology states none."""
    devices = technology.transistor
    return technology.capacitor.minimum or (devices.minimum if devices is not None else 0.0)


def _drawn(design: Design, trained: Trained) -> Trained | None:
    """The network with capacitors that can be drawn, where ``design`` has smaller ones."""
    capacitor, limit = design.technology.capacitor, _limit(design.technology)
    if limit <= capacitor.minimum:
        return None
    technology = replace(design.technology, capacitor=replace(capacitor, minimum=limit))
    return mapping.realised(mapping.map_network(trained, technology, design.calibration))


def _smallest(design: Design) -> SmallestPart:
    """The smallest weight capacitor of a layer's rows."""
    sizes = np.concatenate(
        [np.abs(row.weights[row.weights != 0]) for layer in design.layers for row in (layer.low, layer.high)]
    )
    limit = _limit(design.technology)
    dropped = sum(deviation.got == 0 for deviation in design.deviations)
    below = int((sizes < limit * (1 - 1e-9)).sum()) + dropped
    return SmallestPart(
        part="weight capacitor",
        cause=row_errors.SMALL_CAPACITORS,
        size=float(sizes.min()) if len(sizes) else 0.0,
        limit=limit,
        unit="F",
        below=below,
        count=len(sizes) + dropped,
    )
