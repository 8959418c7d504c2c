"""A level stored as the bits of a saturating up/down counter, with external clocks.

One template depends on K: it selects the nets that detect the end of the range. At level K counting up, and at −K
counting down, every input of one gate must be high. Each input is either a bit with the same value at both ends
(``m0``, or ``m0b`` where it is 0), or a bit that differs, taken relative to the direction of the count (``a1`` or
``a1b``). One gate therefore guards both ends for any K.

If K differs between units, every K has its own copies of the three cells that depend on it, named after it
(``counter_end_3``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from cmru_hw.circuits.charge import clocked_netlist
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.memories.integrator import INTEGRATOR
from cmru_hw.circuits.charge.transistor_parts import LineSource, MeteredSupply
from cmru_hw.circuits.comparison import Reference
from cmru_hw.core import package_data
from cmru_hw.core.errors import MappingError, TechnologyError
from cmru_hw.core.signals import Array
from cmru_hw.process.technology import Technology
from cmru_hw.spice.deck import num

# Value of each bit of a level, least significant first: two's complement.
BIT_VALUES = (1.0, 2.0, 4.0, -8.0)
BITS = len(BIT_VALUES)
LARGEST = 2 ** (BITS - 1) - 1
# The cells that depend on K, from the inside.
OF_LEVELS = ("counter_end", "counter_core", "unit_counter")
EDGES = ("kr", "ke", "kck", "ken", "kpb")
CLOCKS = ("r", "rb", "e", "eb", "f", "fb", "ck", "en", "pb")
SUPPLIES = {"lines": MeteredSupply(node="vl"), "memory": MeteredSupply(node="vm"), **clocked_netlist.SUPPLIES}


def end_nets(levels: int) -> tuple[str, ...]:
    """Nets of the gate's inputs for K = ``levels``, at most `LARGEST`."""
    nets = []
    for place in range(BITS - 1):
        top, bottom = levels >> place & 1, -levels >> place & 1
        nets.append(("m" if top == bottom else "a") + str(place) + ("" if top else "b"))
    # The sign bit is 0 at the upper end and 1 at the lower end for any K.
    return (*nets, f"a{BITS - 1}")


def end_template(levels: int) -> str:
    """The template ``counter_end`` for K = ``levels``."""
    text = _shipped("counter_end")
    nets = end_nets(levels)
    inverters = [f"x{net} {net[:-1]} {net} vd inv" for net in nets if net[0] == "a" and net.endswith("b")]
    gate = f"xe {' '.join(nets)} endb vd nand4"
    return text.replace("This is K = 7;", f"This is K = {levels};").replace(
        f"xe {' '.join(end_nets(LARGEST))} endb vd nand4", "\n".join([*inverters, gate])
    )


def templates(design: Design) -> dict[str, str]:
    """``counter_end`` for K of ``design``; or for each K of its units, copies of the cells that depend on it.

    Raises MappingError for a ``counter_end`` of the user's own, which knows one K, in a design with several.
    """
    found = design.config.levels
    if not isinstance(found, tuple):
        return {"counter_end": end_template(found or 0)}
    own = dict(design.templates)
    if OF_LEVELS[0] in own:
        raise MappingError(
            f"this network has units of several K, and your template {OF_LEVELS[0]} is for one K: name it after "
            f"that K, as {OF_LEVELS[0]}_3"
        )
    made = {}
    for levels in sorted({k for layer in found for k in layer}):
        end = end_template(levels).partition("\n.subckt nand4")[0] + "\n"
        texts = (end, *(own.get(cell) or _shipped(cell) for cell in OF_LEVELS[1:]))
        for cell, text in zip(OF_LEVELS, texts, strict=True):
            made[f"{cell}_{levels}"] = _named(text, levels)
    return made


def _named(text: str, levels: int) -> str:
    """``text`` of a cell with its name, and the names of the cells in it that depend on K, extended by K."""
    return re.sub(rf"\b({'|'.join(OF_LEVELS)})\b(?!\.)", rf"\g<1>_{levels}", text)


def _shipped(cell: str) -> str:
    return (package_data.folder("netlists") / "cells" / "transistor" / f"{cell}.cir").read_text(encoding="utf-8")


def check_levels(levels: int | None, place: str) -> None:
    """Raises MappingError if ``levels`` of the unit at ``place`` is unbounded or does not fit in four bits."""
    if levels is None or levels > LARGEST:
        raise MappingError(
            f"{place}: a counter has {BITS} bits and counts to {LARGEST}, not to {levels or 'infinity'}: train with "
            f"levels = {LARGEST} or less, or export with --memory integrator"
        )


def adapt(technology: Technology) -> Technology:
    """``technology`` for a weight capacitor per bit, which may be as small as one unit piece."""
    if technology.transistor is None:
        raise TechnologyError(
            f"technology {technology.name!r} has no section [transistor]: choose another --technology"
        )
    return replace(technology, capacitor=replace(technology.capacitor, minimum=technology.transistor.piece))


def unit(design: Design, index: int, i: int, sizes: str) -> list[str]:
    """One unit, with the precharge sources of its rows."""
    layer, here = design.layers[index], f"{index}_{i}"
    lines: list[str] = []
    za, zb, _, reference = clocked_netlist.unit_pins(design, index, i, lines)
    clocks = " ".join(f"{clock}{index}" for clock in ("r", "rb", "ck", "en", "pb"))
    levels = design.config.levels
    cell = f"unit_counter_{levels[index][i]}" if isinstance(levels, tuple) else "unit_counter"
    bits = _bits(here)
    level = "+".join(f"{num(value)}*v({bit})" for bit, value in zip(bits, BIT_VALUES, strict=True))
    return [
        *lines,
        # Not a part of the circuit: a probe that converts the level to the voltage that an integrator would have.
        f"xunit{here} a{here} b{here} {' '.join(bits)} qa{here} qb{here} {za} {zb} "
        f"{reference} {reference}\n+ {clocks} init vcm vd vc vm {cell}{sizes}\n"
        f"eo{here} o{here} 0 vol='v(vcm)+{num(layer.step[i])}*({level})/v(vm)'",
    ]


def bit_lines(source: LineSource, group: str, pair: tuple[str, str]) -> str:
    """The driver of the line ``pair``, which switches from rail to rail if the bit is set."""
    return f"xline{pair[0][1:]} {source.node} {' '.join(pair)} e{group} vl counter_line"


def no_estimate(
    design: Design, network: str, cells: Mapping[str, bytes], expected: Reference, inputs: Array, sequence: int
) -> dict[str, Array]:
    """Empty: the unit that technologies measure is an integrator, so there is no estimate for a counter."""
    return {}


def _bits(here: str) -> list[str]:
    return [f"q{here}_{place}" for place in range(BITS)]


COUNTER = replace(
    INTEGRATOR,
    name="counter",
    # Static logic drives the lines, so rows do not move.
    kick=1e-3,
    bits=BIT_VALUES,
    cells=(
        *clocked_netlist.CELLS,
        *("counter_bit", "counter_end", "counter_core", "counter_line", "unit_counter", "counter_clocks"),
    ),
    supplies=SUPPLIES,
    adapt=adapt,
    check_levels=check_levels,
    templates=templates,
    layer_wires=CLOCKS,
    layer_head=partial(clocked_netlist.layer_head, edges=EDGES, clocks=CLOCKS, driver="counter_clocks"),
    bit_lines=bit_lines,
    unit=unit,
    replica=clocked_netlist.replica,
    outputs=lambda here: [LineSource(node=node, digital=True) for node in _bits(here)],
    schedule=partial(clocked_netlist.plan, counts=True),
    stimulus=partial(clocked_netlist.stimulus, counts=True),
    start=partial(clocked_netlist.start, supplies=SUPPLIES, outputs=False, inner=("fa", "fb"), leaning=("qab", "qbb")),
    awake=lambda design: clocked_netlist.window(design, counts=True).length,
    analytic=no_estimate,
    estimate_differences={},
    restores="a counter keeps its level as bits for as long as it is supplied",
)
