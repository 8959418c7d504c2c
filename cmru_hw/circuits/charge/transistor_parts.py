"""Fragments of transistor netlists that every memory uses: rows of capacitors, replica switches, wires, sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cmru_hw.circuits.charge.design import Design, Row
from cmru_hw.core.errors import MappingError
from cmru_hw.core.signals import Array
from cmru_hw.process.technology import Transistor
from cmru_hw.spice.deck import num

# Time of the input change and opening of the window, as shares of a timestep.
INPUT_CHANGE, WINDOW = 0.2, 0.5
# Rise time of the inputs [s], which are slow.
INPUT_EDGE = 1e-6
# Gate of the smallest switch [m], which switches a line. The switches below replicas are sized relative to it.
SWITCH_WIDTH, SWITCH_LENGTH = 0.3e-6, 0.28e-6

Capacitors = Mapping[str, tuple[str, float]]
"""Capacitors of one row by name: the node of the bottom plate, and the size [F]."""
Rows = Mapping[str, Capacitors]
"""Rows by top-plate node."""


@dataclass(frozen=True, kw_only=True)
class MeteredSupply:
    """A supply on ``node``: ``share`` of VDD, behind a power switch of width ``header`` [m], 0 for none."""

    node: str
    share: float = 1.0
    header: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LineSource:
    """A node whose lines feed the rows of a layer. ``digital``: it is a bit, and logic drives its lines.

    ``zero`` is the node whose voltage represents zero.
    """

    node: str
    digital: bool = False
    zero: str = "vcm"


def require_devices(design: Design) -> Transistor:
    """The devices of ``design``. Raises MappingError for a technology without any."""
    devices = design.technology.transistor
    if devices is None:
        raise MappingError(f"technology {design.technology.name} has no devices: export with --level macro")
    return devices


def group_name(group: int, layers: int) -> str:
    """Name of a group of rows in nodes: a layer's number, or ``"r"`` for the readout."""
    return "r" if group == layers else str(group)


def weights(row: Row, i: int, group: str) -> dict[str, tuple[str, float]]:
    """Weight capacitors of row ``i``, by the number of their line's source."""
    return {
        str(j): (f"{'p' if value > 0 else 'n'}{group}_{j}", abs(float(value)))
        for j, value in enumerate(row.weights[i])
        if value != 0
    }


def total(row: Capacitors) -> float:
    """Capacitance of a row [F]."""
    return sum(size for _, size in row.values())


def row_lines(name: str, top: str, row: Capacitors, pad: float, pad_node: str) -> list[str]:
    """Netlist lines of a row's capacitors and of its padding ``pad`` [F]."""
    lines = [f"xc{name}_{j} {top} {node} cmom c={num(size)}" for j, (node, size) in row.items()]
    return lines + ([f"xc{name}_pad {top} {pad_node} cmom c={num(pad)}"] if pad > 0 else [])


def replica_gates(rows: Rows) -> dict[str, tuple[float, float]]:
    """Width and length [m] of the gate below each row's replica, which is as resistive as the lines below the row.

    All rows of a layer receive kickback at once. A row whose capacitance has the share g_j on line j sees the charge
    that all rows push into that line, so the resistance of its lines is Σ_j g_j ΣC_j / C times that of one line's gate.
    A ratio up to 2 is set by widths alone, because resistance scales with the drawn width, but not with the drawn
    length.
    """
    loads: dict[str, float] = {}
    for row in rows.values():
        for node, size in row.values():
            loads[node] = loads.get(node, 0.0) + size
    gates = {}
    for top, row in rows.items():
        ratio = sum(size * loads[node] for node, size in row.values()) / total(row) ** 2
        gates[top] = (SWITCH_WIDTH / min(ratio, 2.0), SWITCH_LENGTH * max(ratio / 2, 1.0))
    return gates


def wires(clocks: Sequence[str], group: str, capacitance: float) -> list[str]:
    """Wire capacitance [F] of each clock of ``group``."""
    return [f"cwire_{clock}{group} {clock}{group} 0 {num(capacitance)}" for clock in clocks]


def piecewise(values: Array, timestep: float) -> str:
    """A PWL source with one of ``values`` [V] per timestep."""
    points = [(0.0, float(values[0]))]
    for frame in range(1, len(values)):
        if values[frame] != values[frame - 1]:
            points += step_to(frame + INPUT_CHANGE, float(values[frame]), points[-1][1], timestep, INPUT_EDGE)
    return f"pwl({wrapped(f'{num(t)} {num(v)}' for t, v in points)})"


def step_to(frame: float, after: float, before: float, timestep: float, edge: float) -> list[tuple[float, float]]:
    """Points [(s, V)] of one edge that begins at ``frame`` [timesteps]."""
    return [(frame * timestep, before), (frame * timestep + edge, after)]


def wrapped(words: Iterable[str]) -> str:
    """``words`` on continuation lines of eight words each."""
    chosen = list(words)
    return "\n+ ".join(" ".join(chosen[first : first + 8]) for first in range(0, len(chosen), 8))
