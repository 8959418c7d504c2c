"""Offset trim of a power-gated chip at transistor level: what it adds to `power_gated_netlist`, and what it changes.

Every row, readout rows included, has a bank on its replica and five bits that its own comparator finds at power-on
(``netlists/cells/transistor/power_gated_trim.cir``). Ten lines, ``try0 … try4 drop0 … drop4``, search all rows of the
chip in the same five frames, one for each bit: ``try`` sets the bit, and ``drop`` takes it back if the row is below its
replica. A frame before them clears the codes. Meanwhile the inputs are at their zero, states are empty (``kinit``), and
the constants stand still: the taps of row a0_3 are on ``ec_a0_3`` and ``fc_a0_3``, which follow e and f while ``use``
is high. Every row has switches of its own for that: two more lines past all units would cost more. The
comparators of readout rows decide in the search only, and the comparator between two classes after it only.

The replica of a row that is smaller than the full size is as small as the row, so that kicks stay alike. A step moves
it further in proportion; in units of the candidate a step is the same for both rows of a unit.

In use every constant is smaller by half a step than in the design, so that codes are rounded to the nearest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from cmru_hw.circuits.charge import power_gated_netlist as chip
from cmru_hw.circuits.charge import trim
from cmru_hw.circuits.charge.design import Design, Row, padding
from cmru_hw.circuits.charge.energy import power_gated as energy
from cmru_hw.circuits.charge.transistor_parts import (
    WINDOW,
    MeteredSupply,
    Rows,
    require_devices,
    row_lines,
    total,
)
from cmru_hw.circuits.comparison import Reference
from cmru_hw.core.errors import MappingError
from cmru_hw.core.signals import Array
from cmru_hw.process.technology import PowerGated, Transistor
from cmru_hw.spice.deck import num
from cmru_hw.spice.schedule import Schedule

BITS = 5
CELLS = (*chip.CELLS, "power_gated_trim", "power_gated_trimmed_unit")
SUPPLIES = {**chip.SUPPLIES, "readout": MeteredSupply(node="vr", header=2e-6), "trim": MeteredSupply(node="vm")}
EXCLUDES = (
    *chip.EXCLUDES,
    "the sources of the ten lines that search the trim codes and of the gate of the constants, which move at power-on",
    f"the search of the trim codes: {BITS + 1} timesteps after power-on",
)
LINES = (*(f"try{bit}" for bit in range(BITS)), *(f"drop{bit}" for bit in range(BITS)))
# Frames before a sequence: codes are cleared, one for each bit, and the first packet is sent.
LEAD = BITS + 2
# Reach [V] of a bank with the capacitors of the template, at a row of the technology's [trim] section.
REACH = 16.8e-3
# Capacitance [F] of such a bank, by which its replica is smaller.
LOAD = 4.3e-15
# Pulses of the search, from and to a share of the strobe: after the last decision, and before the supplies go.
WRITE, SET = (0.82, 0.87), (0.91, 0.96)
DECISION = "xtdecision vtd useb vr vr pf w=0.6u l=0.28u\nxdecision y1 y0 cknr qy1 qy0 vtd vr power_gated_comparator"
ESTIMATE_DIFFERENCES = {
    **energy.ESTIMATE_DIFFERENCES,
    "clocks": "analytic: every node rises to VDD once, half of the trim bits are 1, and nothing flows straight through",
    "trim": "analytic: no bit changes; simulated is the leakage of the bits",
}


def require(design: Design) -> tuple[Transistor, PowerGated]:
    """See `power_gated_netlist.require`. Raises MappingError also for a bank with fingers that cannot be drawn."""
    devices, sizes = chip.require(design)
    if scale(design) * 2e-15 < 0.999 * devices.minimum:
        raise MappingError(
            f"a trim bank of {scale(design):.3g} times the designed one has capacitors below "
            f"{devices.minimum * 1e15:.3g} fF: raise trim.reach or capacitor.row"
        )
    return devices, sizes


def scale(design: Design) -> float:
    """Size of the banks, relative to the template."""
    found, technology = design.technology.trim, design.technology
    assert found is not None
    return technology.capacitor.row / found.row * found.reach / REACH


def lowered(design: Design) -> float:
    """Capacitor [F] of half a step."""
    return float(trim.half(design.layers[0].low.taps)[0])


def rest(design: Design, size: float) -> float:
    """The capacitor of a replica [F], which the bank's load makes up to ``size`` where that is large enough."""
    return max(size - LOAD * scale(design), require_devices(design).minimum)


def taps(bias: float, threshold: float, group: str, minimum: float, top: str) -> dict[str, tuple[str, float]]:
    """Taps on the gated clocks of row ``top``: see `power_gated_netlist.taps`."""
    plain = chip.taps(bias, threshold, group, minimum, top)
    return {name: (f"{node[0]}c_{top}", size) for name, (node, size) in plain.items()}


def constants(design: Design, row: Row, i: int, group: str, top: str) -> list[str]:
    """Switches between the clocks of a group and the taps of its row ``top``, the row ``i`` of ``row``."""
    least = require_devices(design).minimum
    plain = chip.taps(float(row.bias[i]) - lowered(design), float(row.threshold[i]), group, least, top)
    return [f"xs{node[0]}_{top} {node} use useb {node[0]}c_{top} vw trim_switch" for node, _ in plain.values()]


def head(design: Design) -> list[str]:
    # Lines of negative weights sample a state before sm falls, and those of positive weights after it. A state that is
    # emptied until sm falls would show the amplifier's offset to positive weights only. It is emptied with its packet.
    return chip.head(design, SUPPLIES, emptied=partial(chip.emptied, clock="pb"))


def unit(design: Design, index: int, i: int, sizes: str) -> list[str]:
    """One unit with trim: the pins and sizes of `power_gated_netlist.unit`, and those of the trim."""
    here = f"{index}_{i}"
    plain = chip.unit(design, index, i, sizes)[0]
    head, _, tail = plain.partition(f" r{index} ckn{index} ")
    clocks, _, values = tail.partition(" vcm vd vc va vw power_gated_unit\n")
    assert values, here
    layer, group = design.layers[index], str(index)
    return [
        *constants(design, layer.low, i, group, f"a{here}"),
        *constants(design, layer.high, i, group, f"b{here}"),
        f"{head} r{index} e{index} f{index} ckn{index} {clocks}\n+ {' '.join(LINES)} vcm vd vc va vm vw "
        f"power_gated_trimmed_unit\n{values} k={num(scale(design))}",
    ]


def class_row(design: Design, k: int, rows: Rows) -> list[str]:
    """Readout row ``k`` with its replica, bank and bits, and the comparator that searches them."""
    devices, top = require_devices(design), f"y{k}"
    totals = np.array([total(row) for row in rows.values()])
    pad = float(padding(totals, design.technology.capacitor.row)[list(rows).index(top)])
    images = {node: f"d{node[1:]}" for row in rows.values() for node, _ in row.values() if node.startswith("pr_")}
    others = {name: part for name, part in rows[top].items() if part[0] not in images}
    gates = chip.gates({name: {n: p for n, p in row.items() if p[0] not in images} for name, row in rows.items()})
    width, length = gates.get(top, (0.3e-6, 0.28e-6))
    lines = [] if k else ["xtrows vtr use vr vr pf w=0.6u l=0.28u", *_dummies(images, devices.wire * len(rows) / 2)]
    return [
        *lines,
        *constants(design, design.readout, k, "r", top),
        *row_lines(top, top, rows[top], pad, "0"),
        *[f"xf{top}_{n} f{top} {images[node]} cmom c={num(c)}" for n, (node, c) in rows[top].items() if node in images],
        f"xr{top} {top} vcm f{top} vcm rr vcm vd power_gated_row "
        f"c={num(rest(design, total(others) + pad))} wf={num(width)} lf={num(length)}",
        f"xk{top} {top} f{top} cknr t{top} t{top}b vtr vr power_gated_comparator",
        f"xt{top} f{top} rr er fr t{top}b {' '.join(LINES)} vr vcm vm vw trim_row k={num(scale(design))}",
    ]


def _dummies(images: Mapping[str, str], load: float) -> list[str]:
    return [
        f"xdummy_{image} {image} vcm vd power_gated_dummy c={num(chip.DUMMY + load)}"
        for image in sorted(images.values())
    ]


def plan(design: Design, lengths: Sequence[int]) -> Schedule:
    return chip.plan(design, lengths, LEAD)


def stimulus(design: Design, plan: Schedule) -> list[str]:
    """The sources of `power_gated_netlist.stimulus`, those of the search, and the gate of the constants."""
    devices, _ = chip.require(design)
    use = chip.levels(plan, design.supply, devices.edge, begin=LEAD, frames=LEAD - 1)
    return [
        *chip.stimulus(design, plan, LEAD),
        *_search(design, plan),
        chip.source("useb", use),
        chip.source("use", [(time, design.supply - value) for time, value in use]),
    ]


def _search(design: Design, plan: Schedule) -> list[str]:
    """Sources of the ten lines. Bits are tried from the highest to the lowest, one in each frame after the first."""
    devices, sizes = chip.require(design)

    def pulse(frame: float, begin: float, end: float) -> list[tuple[float, float]]:
        return [
            (frame * plan.timestep + begin, 0.0),
            (frame * plan.timestep + begin + devices.edge, design.supply),
            (frame * plan.timestep + end, design.supply),
            (frame * plan.timestep + end + devices.edge, 0.0),
        ]

    def inside(shares: tuple[float, float]) -> tuple[float, float]:
        begin, end = (WINDOW * plan.timestep + share * sizes.strobe for share in shares)
        return begin, end

    found = []
    for kind, shares in (("try", SET), ("drop", WRITE)):
        for bit in range(BITS):
            points = [(0.0, 0.0)]
            for start in plan.starts:
                clear = start - LEAD
                tried = clear + BITS - bit
                if kind == "drop":
                    # High before the comparators decide and until they have: that clears the bit.
                    points += pulse(clear, chip.POWER_ON_CHANGE * plan.timestep, inside(WRITE)[1])
                points += pulse(tried - (kind == "try"), *inside(shares))
            found.append(chip.source(f"{kind}{bit}", points))
    return found


def codes(design: Design) -> dict[str, list[str]]:
    """Nodes of the bits of every row's code, lowest first, by row (``a0_3``, ``y1``)."""
    banks = {
        f"{kind}{index}_{i}": f"xunit{index}_{i}.xt{kind}"
        for index, layer in enumerate(design.layers)
        for i in range(layer.units)
        for kind in "ab"
    } | {f"y{k}": f"xty{k}" for k in range(len(design.readout.bias))}
    return {row: [f"{bank}.b{bit}" for bit in range(BITS)] for row, bank in banks.items()}


def saved(design: Design) -> list[str]:
    """Bits of the codes, and the replicas of readout rows."""
    bits = [node for nodes in codes(design).values() for node in nodes]
    return [*bits, *(f"fy{k}" for k in range(len(design.readout.bias)))]


def start(design: Design) -> tuple[list[str], list[str]]:
    """See `power_gated_netlist.start`. Before the search every bit is 1: at power-on it may be anything."""
    middle, high = chip.start(design)
    bits = codes(design)
    banks = [nodes[0].removesuffix(".b0") for nodes in bits.values()]
    middle += [f"{bank}.xbank.{node}" for bank in banks for node in ("m", "m2")]
    return middle, [*high, *(node for nodes in bits.values() for node in nodes)]


def analytic(
    design: Design, network: str, cells: Mapping[str, bytes], expected: Reference, inputs: Array, sequence: int
) -> dict[str, Array]:
    """See `energy.power_gated.analytic`."""
    return energy.analytic(design, network, cells, expected, inputs, sequence, supplies=SUPPLIES)
