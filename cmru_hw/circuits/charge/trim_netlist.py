"""The trim of a macro netlist: each row's replica with its taps, and the bits of its code as parameters.

Names: replicas ``fa0_3 fy2``, taps ``xta0_3_4`` (bit 4 of row a0_3), lines of a layer's taps ``tu0 td0 th0``.
"""

from __future__ import annotations

from cmru_hw.circuits.charge import trim
from cmru_hw.circuits.charge.design import Design, Row
from cmru_hw.circuits.charge.part import Part
from cmru_hw.spice.deck import num

CELLS = ["replica", "trim_line", "trim_tap"]


def lines(design: Design, group: str, clock: str) -> list[str]:
    """Bottom-plate lines of the taps of a layer or of the readout (``"r"``); none without trim."""
    if not design.technology.trim_bits:
        return []
    return [f"xtrim{group} tu{group} td{group} th{group} {clock} cal vdd trim_line"]


def replica(design: Design, row: Row, i: int, top: str, start: str, clock: str) -> list[str]:
    """The replica ``f<top>`` that row ``top`` is compared with, and its taps; it is precharged to node ``start``."""
    group, node, taps, code = clock.removeprefix("e"), f"f{top}", row.taps[i], int(row.code[i])
    extra = float(trim.half(taps))
    rest = float(trim.replica(design.technology) - taps.sum() - extra)
    found = [f"x{node} {node} {start} {clock} vcm replica c={num(rest)}"]
    for bit, size in enumerate(taps.tolist()):
        line = f"td{group}" if bit == len(taps) - 1 else f"tu{group}"
        found.append(f"xt{top}_{bit} {node} {line} trim_tap c={num(size)} bit={code >> bit & 1}")
    return [*found, f"ct{top}_half {node} th{group} {num(extra)}"]


def class_row(design: Design, k: int) -> list[str]:
    """Replica and comparator of readout row ``k``; none without trim.

    The comparator decides while the row's code is searched. The decision among classes is not built.
    """
    if not design.technology.trim_bits:
        return []
    return [
        *replica(design, design.readout, k, f"y{k}", "vcm", "r"),
        f"xcy{k} y{k} fy{k} r qy{k} vdd comparator",
    ]


def readout_replicas(design: Design, part: Part) -> list[str]:
    """Nodes that the readout rows of ``part`` are read against; none without trim, when it is V_cm."""
    return [f"fy{k}" for k in part.classes] if design.technology.trim_bits else []


def readout_comparators(design: Design) -> list[str]:
    """Decisions of the readout rows, which count while codes are searched."""
    return [f"qy{k}" for k in range(len(design.readout.bias))]
