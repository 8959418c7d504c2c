"""Write an elaborated netlist: for ngspice, and as CDL for a comparison of layout and schematic."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from cmru_hw.core.errors import InputError
from cmru_hw.spice.elaborate import GROUND, SUBSTRATE, Cell, Elaborated, Element

WIDTH = 110


def spice_text(netlist: Elaborated, title: Sequence[str]) -> str:
    """Every cell as a ``.subckt``."""
    lines = [f"* {line}" for line in title]
    for cell in netlist.cells:
        lines += ["", *(cell.comment or _origin(cell)), folded(f".subckt {' '.join((cell.name, *cell.pins))}")]
        lines += [folded(_spice_line(element)) for element in cell.elements]
        lines.append(f".ends {cell.name}")
    return "\n".join(lines) + "\n"


def cdl_text(
    netlist: Elaborated,
    title: Sequence[str],
    *,
    names: Mapping[str, str],
    directions: Mapping[str, str],
    sides: Mapping[float, float],
) -> str:
    """Transistors (M) with W and L, capacitors (C) with their value, and instances of cells (X).

    ``names``: the process's name of each device; ``directions``: of each pin of the last cell, a letter of *.PININFO;
    ``sides``: side of a square capacitor of that size, where it is known [m, by F]. Ideal capacitors, which stand for
    wires, are left out: the layout has wires of its own.
    """
    lines = [*(f"* {line}" for line in title), "*.SCALE METER"]
    found: dict[str, dict[str, str]] = {}
    for cell in netlist.cells:
        found[cell.name] = dict(directions) if cell is netlist.top else _directions(cell, netlist.devices, found)
        lines += ["", folded(f".SUBCKT {' '.join((cell.name, *cell.pins))}")]
        lines += _pininfo(found[cell.name], cell.pins)
        lines += [folded(_cdl_line(element, names, sides)) for element in cell.elements if element.of]
        lines.append(f".ENDS {cell.name}")
    return "\n".join(lines) + "\n"


def folded(line: str) -> str:
    """``line`` in lines of at most WIDTH characters, where its words allow it; those after the first begin with +."""
    parts = textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n+ ".join(parts)


def _origin(cell: Cell) -> list[str]:
    return [] if cell.name == cell.template else [f"* {cell.template} with other sizes"]


def _spice_line(element: Element) -> str:
    if not element.of:
        return " ".join((element.name, *element.nodes, _size(element.values["c"])))
    sizes = [f"{key}={_size(value)}" for key, value in element.values.items()]
    return " ".join((element.name, *element.nodes, element.of, *sizes))


def _cdl_line(element: Element, names: Mapping[str, str], sides: Mapping[float, float]) -> str:
    own = element.name[1:] or element.name
    if element.of not in names:
        return " ".join((f"X{own}", *element.nodes, "/", element.of))
    device, sizes = names[element.of], element.values
    if "c" in sizes:
        # The substrate below the plates is no terminal of the drawn device.
        side = [f"W={_size(sides[sizes['c']])}", f"L={_size(sides[sizes['c']])}"] if sizes["c"] in sides else []
        return " ".join((f"C{own}", *element.nodes[:2], _size(sizes["c"]), f"$[{device}]", *side))
    if other := sizes.keys() - {"w", "l"}:
        raise InputError(f"{element.name}: CDL has no parameter {min(other)} of {element.of}: leave it out")
    return " ".join((f"M{own}", *element.nodes[:4], device, f"W={_size(sizes['w'])}", f"L={_size(sizes['l'])}"))


def _size(value: float) -> str:
    # Twelve digits: more than a simulation resolves, and 20u is 2e-05.
    return f"{value:.12g}"


def _pininfo(directions: Mapping[str, str], pins: Sequence[str]) -> list[str]:
    words = [f"{pin}:{directions[pin]}" for pin in pins]
    return [f"*.PININFO {' '.join(words[first : first + 10])}" for first in range(0, len(words), 10)]


def _directions(cell: Cell, devices: Sequence[str], found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """I for a pin with nothing but gates, G for ground and substrate, P for a well, B for all others."""
    roles: dict[str, set[str]] = {pin: set() for pin in cell.pins}
    for element in cell.elements:
        for node, role in zip(element.nodes, _roles(element, devices, found), strict=True):
            if node in roles:
                roles[node].add(role)
    return {
        pin: "G" if pin in (GROUND, SUBSTRATE) else "P" if "P" in seen else "I" if seen == {"I"} else "B"
        for pin, seen in roles.items()
    }


def _roles(element: Element, devices: Sequence[str], found: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    if element.of in found:
        yield from found[element.of].values()
    elif element.of in devices and "w" in element.values:
        # drain, gate, source, bulk, and what else the model has
        yield from ("B", "I", "B", "P", *"G" * (len(element.nodes) - 4))
    else:
        yield from "B" * len(element.nodes)
