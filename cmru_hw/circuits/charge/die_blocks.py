"""Offsets of the blocks of one die in transistors, each measured in the testbench of its block, and its macro twin.

A block in a testbench has the deviations of the same block on the chip: both follow from its path on the chip. The
twin has the measured offsets of comparators, amplifiers and level limits, the measured packets, and the drawn
capacitors, so the fast engine can be compared with SPICE on the same die. The twin has no noise, as a simulation in
transistors has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cmru_hw.characterize import power_gated_chip
from cmru_hw.characterize.testbench import Conditions, Testbench
from cmru_hw.circuits.charge import trim, variation
from cmru_hw.circuits.charge.design import Design, Layer, Row
from cmru_hw.circuits.charge.device_draws import DeviceDraws
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.charge.transistor_parts import group_name, require_devices
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.core.errors import SimulationError
from cmru_hw.core.signals import Array, Traces
from cmru_hw.spice import Engine
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.individual import individual


@dataclass(frozen=True, kw_only=True)
class LayerOffsets:
    """Deviations of the blocks of one layer from equal devices, each (units,).

    ``low`` and ``high`` [V] are the offsets of the comparators of both rows, ``limit`` [V] the shift of both bounds of
    the level limit, ``state`` [V] the offset of the amplifier, ``packet_offset`` [V] the error of the precharge voltage
    of a packet, ``packet`` the relative size of a packet.
    """

    low: Array
    high: Array
    limit: Array
    state: Array
    packet_offset: Array
    packet: Array


def measured(design: Design, engine: Engine) -> tuple[LayerOffsets, ...]:
    """Offsets of the blocks of the die of ``design``. Raises SimulationError."""
    draws = design.operating.die
    assert draws is not None
    layers: list[LayerOffsets] = []
    for index, layer in enumerate(design.layers):
        units = [f"xunit{index}_{i}" for i in range(layer.units)]
        low, high = (
            _comparators(design, engine, [{"xcomparator": f"{one}.xc{row}", "xrow": f"{one}.xr{row}"} for one in units])
            for row in "ab"
        )
        limit = _comparators(design, engine, [{"xcomparator": f"{one}.xl.xk"} for one in units], limit=True)
        state, packet_offset, packet = _packets(design, engine, layer, units)
        layers.append(
            LayerOffsets(low=low, high=high, limit=limit, state=state, packet_offset=packet_offset, packet=packet)
        )
    return tuple(layers)


def _comparators(design: Design, engine: Engine, places: Sequence[Mapping[str, str]], *, limit: bool = False) -> Array:
    """Offsets [V] of the comparators at ``places``, at the row; of the level ``limit``, as a state."""
    bench = power_gated_chip.offset_testbench(limit=limit)
    decks = [_deck(design, bench, place) for place in ({}, *places)]
    found = np.array([traces.values["trim"][-1] for traces in _run(engine, decks)])
    capacitor = design.technology.capacitor
    row = power_gated_chip.ROW
    share = power_gated_chip.LIMIT_SHARE if limit else row / (row + capacitor.parasitic)
    return np.asarray(-share * (found[1:] - found[0]))


def _packets(design: Design, engine: Engine, layer: Layer, units: Sequence[str]) -> tuple[Array, Array, Array]:
    """Amplifier offset [V], error of the precharge voltage [V] and relative size of packets of ``units``."""
    found = []
    for i, unit in enumerate(units):
        ratio = float(layer.packet[i] / layer.integrator[i])
        bench = power_gated_chip.packet_testbench(cs=float(layer.packet[i]), cint=float(layer.integrator[i]))
        equal, drawn = (
            power_gated_chip.packet(traces)
            for traces in _run(engine, [_deck(design, bench, place) for place in ({}, {"xi": f"{unit}.xi"})])
        )
        found.append(
            (
                drawn.middle - equal.middle,
                (drawn.up - drawn.down - equal.up + equal.down) / (2 * ratio),
                (drawn.up + drawn.down) / (equal.up + equal.down),
            )
        )
    state, packet_offset, packet = np.array(found).T
    return state, packet_offset, packet


def _deck(design: Design, bench: Testbench, places: Mapping[str, str]) -> Deck:
    """``bench`` with the deviations of the blocks of the die at ``places``: instance → path on the chip."""
    at, draws = design.operating, design.operating.die
    assert draws is not None
    conditions = Conditions(
        process=require_devices(design).process, corner=at.corner, temperature=at.temperature, vdd=design.supply
    )

    def draw(path: str, within: tuple[str, ...], index: int) -> float:
        instance, _, rest = path.partition(".")
        return draws.normal(f"{places[instance]}.{rest}", within, index) if instance in places else 0.0

    return individual(bench.deck(conditions, mismatch=1), draw)


def _run(engine: Engine, decks: Sequence[Deck]) -> list[Traces]:
    found = {}
    for index, outcome in engine.map(decks):
        if isinstance(outcome, SimulationError):
            raise outcome
        found[index] = outcome.traces
    return [found[index] for index in range(len(decks))]


def twin(design: Design, offsets: Sequence[LayerOffsets], codes: Mapping[str, int], reached: Sequence[Array]) -> Dies:
    """The die of ``design`` as a macromodel, with the ``offsets`` of its blocks and the trim ``codes`` of its rows.

    ``reached`` (units,), by layer, is 1 if the states of a unit come nearest to the upper bound of its limit, else -1:
    an offset of a level limit shifts both bounds alike, and the macromodel has one distance for both.
    """
    draws = design.operating.die
    assert draws is not None
    nominal = replace(design, operating=replace(design.operating, die=None))
    dies = variation.draw(nominal, seed=draws.seed, dies=[draws.die], varied=frozenset())
    on_lines, layers = np.zeros(design.config.features), []
    for index, (layer, found) in enumerate(zip(dies.batch.layers, offsets, strict=True)):
        low, high = (
            _row(design, draws, row, f"{kind}{index}_", str(index), on_lines, own, codes)
            for kind, row, own in (("a", layer.low, found.low), ("b", layer.high, found.high))
        )
        layers.append(
            replace(
                layer,
                low=low,
                high=high,
                packet=layer.packet * found.packet,
                start_packet=layer.start_packet * found.packet,
                packet_offset=layer.packet_offset + found.packet_offset,
                limit=layer.limit + reached[index] * found.limit,
            )
        )
        on_lines = np.concatenate((found.state, on_lines)) if design.config.skip else found.state
    group, none = group_name(len(layers), len(layers)), np.zeros(len(design.readout.bias))
    readout = _row(design, draws, dies.batch.readout, "y", group, offsets[-1].state, none, codes)
    return replace(dies, batch=replace(dies.batch, layers=tuple(layers), readout=readout))


def _row(
    design: Design,
    draws: DeviceDraws,
    row: Row,
    name: str,
    group: str,
    on_lines: Array,
    offset: Array,
    codes: Mapping[str, int],
) -> Row:
    """``row``, with a leading axis of one die: its drawn capacitors, the ``offset`` [V] of its comparators, that of the
    states on its lines, and its trim. A name of :func:`trim.rows` and a number give the top plate of a row."""
    law, memory, devices = design.technology.mismatch, registry.of_design(design), require_devices(design)

    def error(path: str, size: float) -> float:
        sigma = float(variation.capacitor_sigma(np.array(size), law))
        return size * sigma * draws.normal(path, ("cmom",), 0)

    weights, threshold, pad = row.weights.copy(), row.threshold.copy(), row.pad.copy()
    tops = [f"{name}{i}" for i in range(len(offset))]
    for i, top in enumerate(tops):
        for j in np.flatnonzero(row.weights[0, i]).tolist():
            size = float(row.weights[0, i, j])
            weights[0, i, j] += np.sign(size) * error(f"xc{top}_{j}", abs(size))
        bias = float(row.bias[0, i]) - memory.lowered(design)
        taps = memory.taps(bias, float(row.threshold[0, i]), group, devices.minimum, top)
        for tap, (node, size) in taps.items():
            threshold[0, i] += (1 if node.startswith("e") else -1) * error(f"xc{top}_{tap}", size)
        pad[0, i] += error(f"xc{top}_pad", float(row.pad[0, i]))
    made = replace(row, weights=weights, threshold=threshold, pad=pad)
    total = made.total + design.technology.capacitor.parasitic
    moved = (weights @ on_lines) / total
    if codes:
        # In use every row of the chip is lower by half a step. The replica of a small row is as small as the row.
        code = np.array([[codes[top] for top in tops]])
        shift = trim.shift(row, design.technology, code) + trim.step(row, design.technology) / 2
        moved = moved - shift * trim.replica(design.technology) / total
    return replace(made, offset=row.offset + offset + moved)
