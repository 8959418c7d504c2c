"""A schematic sheet drawn with schemdraw, and its comparison with the netlist that it shows.

A :class:`Sheet` records where every terminal lies and every piece of wire. :func:`differences` derives the nets from
this geometry, as an extraction from a layout does, and compares them with the subcircuit in the netlist. A wire that
ends on another one connects to it; two wires that cross do not.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import schemdraw
import schemdraw.elements as elm
from schemdraw import logic
from schemdraw.elements import Element
from schemdraw.segments import Segment, SegmentText

from cmru_hw.spice import lexer

CELLS = Path(__file__).resolve().parent.parent / "netlists" / "cells" / "transistor"
DEVICES = {"nf": ("d", "g", "s", "b"), "pf": ("d", "g", "s", "b"), "cmom": ("t", "b"), "cmim": ("t", "b")}
GATES: dict[str, Callable[..., Element]] = {"nand2": logic.Nand, "nor2": logic.Nor}
ALIGN: tuple[Literal["left", "center", "right"], ...] = ("left", "center", "right")
PITCH, LEAD, STUB = 0.75, 0.5, 0.35
SMALL, NORMAL = 9, 11

Point = tuple[float, float]
# A corner of a wire: a coordinate, or "device.terminal".
Corner = Point | str

schemdraw.use("svg")


def box(title: str, left: Sequence[str], right: Sequence[str], width: float) -> Element:
    """A rectangle with named pins; ``left`` and ``right`` from the top, "" for a gap."""
    made = Element()
    low, high = -(max(len(left), len(right)) - 0.25) * PITCH, PITCH * 0.75
    made.segments.append(Segment([(0, high), (width, high), (width, low), (0, low), (0, high)]))
    made.segments.append(SegmentText((width / 2, high + 0.08), title, align=("center", "bottom"), fontsize=SMALL))
    for align, pins, edge, way in (("left", left, 0.0, -1), ("right", right, width, 1)):
        for slot, pin in enumerate(pins):
            if pin:
                y = -slot * PITCH
                made.segments.append(Segment([(edge, y), (edge + way * LEAD, y)]))
                made.segments.append(_written((edge - 0.1 * way, y), pin, align, SMALL))
                made.anchors[pin] = (edge + way * LEAD, y)
    made.elmparams["drop"] = (0, 0)
    return made


def _written(at: Point, text: str, align: str, size: int) -> SegmentText:
    side = next(word for word in ALIGN if word == align)
    return SegmentText(at, text, align=(side, "center"), fontsize=size)


@dataclass
class Sheet:
    """One drawn subcircuit: ``file`` and ``cell`` of the netlist.

    A bulk that is not drawn is at node 0 for ``nf`` and at ``well`` for ``pf``; a gate's supply that is not written is
    ``supply``.
    """

    file: str
    cell: str
    well: str = "vdd"
    supply: str = "vdd"
    devices: dict[str, str] = field(default_factory=dict)
    pins: dict[str, Point] = field(default_factory=dict)
    segments: list[tuple[Point, Point]] = field(default_factory=list)
    names: list[tuple[str, Point]] = field(default_factory=list)
    # Terminals that have a net but no place on the sheet: "device.terminal" → net.
    hidden: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.netlist = subcircuits(self.file)[self.cell]
        self.drawing = schemdraw.Drawing(show=False)
        self.drawing.config(fontsize=NORMAL, lw=1.2, bgcolor="white", font="sans-serif", margin=0.4)

    # ---- parts

    def mos(self, name: str, kind: str, at: Point, gate: str = "left", bulk: str = "", **nets: str) -> None:
        """A transistor with its centre ``at``; ``gate``: left or right of a vertical one, "up" of a horizontal one
        whose drain is at its left, "up-right" at its right. ``nets``: names written at its terminals d, g, s."""
        made = (elm.NFet if kind == "nf" else elm.PFet)()
        turned = {
            "left": lambda: made.reverse().theta(0),
            "right": lambda: made.theta(0),
            "up": lambda: made.theta(90),
            "up-right": lambda: made.flip().theta(90),
        }[gate]()
        placed = self.drawing.add(turned.at(at).anchor("center"))
        for pin, anchor in (("d", "drain"), ("g", "gate"), ("s", "source")):
            self._pin(f"{name}.{pin}", placed.absanchors[anchor])
        self._device(name, kind)
        self.hidden[f"{name}.b"] = bulk or ("0" if kind == "nf" else self.well)
        note = f"{name} {self._size(name)}" + (f", bulk {bulk}" if bulk else "")
        places = {"left": (0.18, 0.0, "left"), "right": (-0.18, 0.0, "right")}
        dx, dy, align = places.get(gate, (0.0, -0.42, "center"))
        self._text((at[0] + dx, at[1] + dy), note, align, SMALL)
        for pin, net in nets.items():
            self.name(f"{name}.{pin}", net, _away(at, self.pins[f"{name}.{pin}"]))

    def cap(self, name: str, kind: str, at: Point, end: Point, **nets: str) -> None:
        """A capacitor from its terminal t ``at`` to its terminal b at ``end``."""
        self.drawing.add(elm.Capacitor().endpoints(at, end))
        self._pin(f"{name}.t", at)
        self._pin(f"{name}.b", end)
        self._device(name, kind)
        middle = ((at[0] + end[0]) / 2, (at[1] + end[1]) / 2)
        self._text((middle[0], middle[1] + 0.5), f"{name} {self._size(name)}", "center", SMALL)
        for pin, net in nets.items():
            self.name(f"{name}.{pin}", net, _away(middle, self.pins[f"{name}.{pin}"]))

    def gate(self, name: str, kind: str, at: Point, vdd: str = "", **nets: str) -> None:
        """A logic gate with its first input ``at``; ``nets`` as in `mos`."""
        if kind == "inv":
            found = self.drawing.add(logic.Not().endpoints(at, (at[0] + 1.6, at[1]))).absanchors
            ends = {"a": found["start"], "y": found["end"]}
        else:
            found = self.drawing.add(GATES[kind](inputs=2).theta(0).at(at).anchor("in1")).absanchors
            ends = {"a": found["in1"], "b": found["in2"], "y": found["out"]}
        for pin, point in ends.items():
            self._pin(f"{name}.{pin}", point)
        self._device(name, kind)
        self.hidden[f"{name}.vdd"] = vdd or self.supply
        middle = (ends["a"][0] + ends["y"][0]) / 2
        note = name + (f", {vdd}" if vdd else "")
        self._text((middle, ends["y"][1] + 0.72), note, "center", SMALL)
        for pin, net in nets.items():
            self.name(f"{name}.{pin}", net, (1.0, 0.0) if pin == "y" else (-1.0, 0.0))

    def block(
        self, name: str, kind: str, at: Point, left: Sequence[str], right: Sequence[str], width: float = 3
    ) -> None:
        """A cell as a block whose first pin has its edge ``at``; pins "pin" (to be wired) or "pin=net" (named)."""
        pins = [[entry.partition("=")[0] for entry in side] for side in (left, right)]
        placed = self.drawing.add(box(f"{name}: {kind}", pins[0], pins[1], width).at(at).theta(0))
        self._device(name, kind)
        for way, side in ((-1.0, left), (1.0, right)):
            for pin, _, net in (entry.partition("=") for entry in side):
                if pin:
                    self._pin(f"{name}.{pin}", placed.absanchors[pin])
                    if net:
                        self.name(f"{name}.{pin}", net, (way, 0.0))

    # ---- wires

    def wire(self, *corners: Corner) -> None:
        """A wire through ``corners``; between two that are not aligned it goes sideways first."""
        path: list[Point] = []
        for corner in corners:
            point = self._point(corner)
            if path and not (_same(path[-1][0], point[0]) or _same(path[-1][1], point[1])):
                path.append((point[0], path[-1][1]))
            path.append(point)
        for start, end in itertools.pairwise(path):
            self.drawing.add(elm.Line().endpoints(start, end))
            self.segments.append((start, end))

    def name(self, at: Corner, net: str, way: Point = (0.0, 0.0)) -> None:
        """Write the name of a net at a terminal or wire, with a stub towards ``way``; node 0 is a ground symbol."""
        start = self._point(at)
        end = (start[0] + STUB * way[0], start[1] + STUB * way[1])
        if way != (0.0, 0.0):
            self.drawing.add(elm.Line().endpoints(start, end))
        if net == "0":
            self.drawing.add(
                elm.GroundSignal().at(end).theta({(0.0, -1.0): 0, (-1.0, 0.0): 270, (1.0, 0.0): 90}.get(way, 0))
            )
        else:
            shift = 0.08
            align = {(-1.0, 0.0): "right", (1.0, 0.0): "left"}.get(way, "center")
            dy = {(0.0, 1.0): 0.2, (0.0, -1.0): -0.22}.get(way, 0.0 if way[0] else 0.2)
            self._text((end[0] + shift * way[0], end[1] + dy), net, align, NORMAL)
        self.names.append((net, start))

    def finish(self) -> None:
        """Draw a dot wherever three or more ends of wires and terminals meet."""
        ends = [end for segment in self.segments for end in segment] + list(self.pins.values())
        for point in sorted({(round(x, 3), round(y, 3)) for x, y in ends}):
            meeting = sum(_near(point, pin) for pin in self.pins.values())
            for segment in self.segments:
                if _on(point, segment):
                    meeting += 1 if _near(point, segment[0]) or _near(point, segment[1]) else 2
            if meeting > 2:
                self.drawing.add(elm.Dot(radius=0.06).at(point))

    def svg(self) -> str:
        """The drawing as SVG, with the fixed width of its page."""
        return str(self.drawing.get_imagedata("svg").decode()) + "\n"

    # ---- inner parts

    def _device(self, name: str, kind: str) -> None:
        if name in self.devices:
            raise ValueError(f"{self.cell}: {name} is drawn twice")
        self.devices[name] = kind

    def _pin(self, name: str, at: Point) -> None:
        self.pins[name] = (float(at[0]), float(at[1]))

    def _point(self, corner: Corner) -> Point:
        return self.pins[corner] if isinstance(corner, str) else corner

    def _text(self, at: Point, text: str, align: str, size: int) -> None:
        label = elm.Element()
        label.segments.append(_written((0, 0), text, align, size))
        self.drawing.add(label.at(at).theta(0))

    def _size(self, name: str) -> str:
        """W/L [µm] of a transistor, or the capacitance, with the defaults of the cell's parameters."""
        found = _instances(self.netlist)[name].parameters
        values = {key: _default(value, self.netlist.parameters) for key, value in found.items()}
        if "c" in values:
            return values["c"]
        return f"{values.get('w', '0.3')}/{values.get('l', '0.45')}"


def subcircuits(file: str) -> dict[str, lexer.Subcircuit]:
    """The subcircuits of a template."""
    return lexer.subcircuits(lexer.logical_lines((CELLS / f"{file}.cir").read_text(encoding="utf-8")))


def _instances(cell: lexer.Subcircuit) -> dict[str, lexer.Statement]:
    return {statement.words[0]: statement for statement in map(lexer.statement, cell.lines)}


def _default(value: str, defaults: Mapping[str, str]) -> str:
    """``value`` without its unit; a parameter is replaced by its default."""
    written = re.sub(r"[a-z]\w*", lambda found: defaults.get(found[0], found[0]), value)
    return re.sub(r"(\d)u\b", r"\1", written)


def differences(sheet: Sheet) -> list[str]:
    """Every difference between ``sheet`` and its subcircuit in the netlist: devices, types, terminals, nets, ports."""
    cell, parts = sheet.netlist, _instances(sheet.netlist)
    found = [f"{name} is not drawn" for name in parts.keys() - sheet.devices.keys()]
    found += [f"{name} is not in the netlist" for name in sheet.devices.keys() - parts.keys()]
    drawn = _nets(sheet)
    written = {net: root for net, root in drawn["names"].items() if net != "0"}
    nets: dict[str, str] = {}
    for name in sheet.devices.keys() & parts.keys():
        *connected, kind = parts[name].words[1:]
        if sheet.devices[name] != kind:
            found.append(f"{name} is a {kind}, drawn as {sheet.devices[name]}")
            continue
        for pin, net in zip(_pins(kind), connected, strict=True):
            root = drawn["pins"].get(f"{name}.{pin}")
            if root is None:
                found.append(f"{name}.{pin} is not drawn")
            elif nets.setdefault(root, net) != net:
                found.append(f"{name}.{pin} is on {net}, drawn on {nets[root]}")
    found += [f"{net} is drawn as two nets" for net in set(nets.values()) if list(nets.values()).count(net) > 1]
    found += [
        f"the name {net} is at {nets.get(root, 'no terminal')}"
        for net, root in written.items()
        if nets.get(root) != net
    ]
    return sorted(found + [f"port {port} has no name" for port in cell.pins if port not in written])


def _pins(kind: str) -> tuple[str, ...]:
    """Terminals of a device or cell, in the order of the netlist."""
    if kind in DEVICES:
        return DEVICES[kind]
    for path in sorted(CELLS.glob("*.cir")):
        if (found := subcircuits(path.stem).get(kind)) is not None:
            return found.pins
    raise ValueError(f"no cell is called {kind}")


class _Nets:
    """Sets of connected nodes."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def root(self, node: str) -> str:
        while self._parents.setdefault(node, node) != node:
            node = self._parents[node]
        return node

    def join(self, one: str, other: str) -> None:
        self._parents[self.root(one)] = self.root(other)


def _nets(sheet: Sheet) -> dict[str, dict[str, str]]:
    """The net of each terminal and of each name, as the name of one member of it."""
    nets = _Nets()
    for one, other in itertools.combinations(range(len(sheet.segments)), 2):
        pair = sheet.segments[one], sheet.segments[other]
        if any(_on(end, pair[0]) and _on(end, pair[1]) for end in (*pair[0], *pair[1])):
            nets.join(f"wire {one}", f"wire {other}")
    pins = [(f"pin {pin}", at) for pin, at in sheet.pins.items()]
    places = [*pins, *((f"name {net}", at) for net, at in sheet.names)]
    for node, at in places:
        for other_pin in (pin for pin, there in pins if _near(at, there)):
            nets.join(node, other_pin)
        for wire in (place for place, segment in enumerate(sheet.segments) if _on(at, segment)):
            nets.join(node, f"wire {wire}")
    for pin, net in sheet.hidden.items():
        nets.join(f"pin {pin}", f"name {net}")
    names = {net for net, _ in sheet.names} | set(sheet.hidden.values())
    return {
        "pins": {pin: nets.root(f"pin {pin}") for pin in (*sheet.pins, *sheet.hidden)},
        "names": {net: nets.root(f"name {net}") for net in names},
    }


def _away(middle: Point, pin: Point) -> Point:
    """Unit vector from the middle of a part to its terminal."""
    dx, dy = pin[0] - middle[0], pin[1] - middle[1]
    return (math.copysign(1.0, dx), 0.0) if abs(dx) > abs(dy) else (0.0, math.copysign(1.0, dy))


def _same(one: float, other: float) -> bool:
    return abs(one - other) < 1e-3


def _near(one: Point, other: Point) -> bool:
    return _same(one[0], other[0]) and _same(one[1], other[1])


def _on(point: Point, segment: tuple[Point, Point]) -> bool:
    """True if ``point`` lies on a horizontal or vertical segment."""
    (x0, y0), (x1, y1) = segment
    return min(x0, x1) - 1e-3 < point[0] < max(x0, x1) + 1e-3 and min(y0, y1) - 1e-3 < point[1] < max(y0, y1) + 1e-3
