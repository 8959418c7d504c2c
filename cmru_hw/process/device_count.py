"""What a transistor template is made of: devices, their nodes and sizes, read in the netlists themselves.

Area is an estimate before any layout: each transistor takes `LAYOUT` times its drawn diffusion, w (l + 0.88 um); each
capacitor its plates. Wires beyond that are not in it.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError

# Spacing, wells, contacts and wires around a small device, over its diffusion: about that of a standard cell.
LAYOUT = 3.0
# Contacted diffusion on either side of a gate [m], as in netlists/devices.
_DIFFUSION = 0.88e-6
# Plates [F/m2] of the capacitors, as in netlists/devices.
DENSITY = {"cmim": 1e-3, "cmom": 0.8e-3}
_TRANSISTORS = {"nf", "pf"}
GROUND = "0"
_NUMBER = re.compile(r"(?<![\w.])(\d+\.?\d*(?:e[+-]?\d+)?)([munpf]?)\b")
_SCALE = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """``transistors``, how many; ``gates`` [m²], their w l together; ``area`` [m²], estimated; ``capacitance`` [F].

    ``plates`` [m²] are those of the capacitors, a part of the area.
    """

    transistors: int = 0
    gates: float = 0.0
    area: float = 0.0
    capacitance: float = 0.0
    plates: float = 0.0

    def __add__(self, other: Inventory) -> Inventory:
        return Inventory(
            transistors=self.transistors + other.transistors,
            gates=self.gates + other.gates,
            area=self.area + other.area,
            capacitance=self.capacitance + other.capacitance,
            plates=self.plates + other.plates,
        )


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device: ``kind`` nf, pf (``nodes`` drain, gate, source, well), cmim, cmom or c (two plates).

    ``values`` in SI units: ``w`` and ``l``, or ``c``.
    """

    kind: str
    nodes: tuple[str, ...]
    values: Mapping[str, float]


@dataclass(frozen=True)
class _Subcircuit:
    pins: tuple[str, ...]
    defaults: Mapping[str, str]
    lines: tuple[str, ...]


def of(template: str, parameters: Mapping[str, float] | None = None) -> Inventory:
    """Devices of one instance of subcircuit ``template`` of the transistor level, ``parameters`` in SI units.

    Raises InputError for a subcircuit that no template defines.
    """
    library = _templates()
    given = {name: float(value) for name, value in (parameters or {}).items()}
    pins = library[template].pins if template in library else ()
    return _counted(_instance(template, pins, given, "", library))


def of_netlist(network: str, cells: Mapping[str, bytes]) -> Inventory:
    """Devices of all instances in the netlist ``network``, whose templates are the files ``cells``.

    Raises InputError for an instance of what no template defines.
    """
    return _counted(devices(network, cells))


def devices(network: str, cells: Mapping[str, bytes]) -> Iterator[Device]:
    """All devices of ``network``, whose templates are the files ``cells``, their nodes named as a simulator names them.

    Raises InputError for an instance of what no template defines, or whose nodes are not its pins.
    """
    library = _parsed([_devices(), *(content.decode() for content in cells.values())])
    for line in _lines(network):
        if line.startswith(("x", "c")):
            yield from _flat(line, {}, "", {}, library)


def _counted(found: Iterable[Device]) -> Inventory:
    transistors, gates, area, capacitance, plates = 0, 0.0, 0.0, 0.0, 0.0
    for device in found:
        values = device.values
        if device.kind in _TRANSISTORS:
            transistors += 1
            gates += values["w"] * values["l"]
            area += LAYOUT * values["w"] * (values["l"] + _DIFFUSION)
        elif device.kind in DENSITY:
            capacitance += values["c"]
            plates += values["c"] / DENSITY[device.kind]
    return Inventory(transistors=transistors, gates=gates, area=area + plates, capacitance=capacitance, plates=plates)


def _flat(
    line: str, nodes: Mapping[str, str], prefix: str, values: Mapping[str, float], library: Mapping[str, _Subcircuit]
) -> Iterator[Device]:
    """Devices of one line in a subcircuit whose pins are ``nodes``, its parameters ``values``."""
    name, *words = [word for word in line.split() if "=" not in word]
    outside = [nodes.get(word, word if word == GROUND else prefix + word) for word in words[:-1]]
    if name.startswith("c"):
        yield Device(kind="c", nodes=tuple(outside), values={"c": _value(words[-1], values)})
    else:
        given = {key: _value(text, values) for key, text in _parameters(line).items()}
        yield from _instance(words[-1], outside, given, f"{prefix}{name}.", library)


def _instance(
    kind: str, nodes: Iterable[str], given: Mapping[str, float], prefix: str, library: Mapping[str, _Subcircuit]
) -> Iterator[Device]:
    try:
        subcircuit = library[kind]
    except KeyError:
        raise InputError(f"no transistor template defines a subcircuit {kind!r}") from None
    values: dict[str, float] = {}
    for key, text in subcircuit.defaults.items():
        values[key] = given[key] if key in given else _value(text, values)
    if kind in _TRANSISTORS or kind in DENSITY:
        yield Device(kind=kind, nodes=tuple(nodes), values=values)
        return
    outside = tuple(nodes)
    if len(outside) != len(subcircuit.pins):
        raise InputError(f"{prefix[:-1]} has {len(outside)} nodes where {kind} has {len(subcircuit.pins)} pins")
    pins = dict(zip(subcircuit.pins, outside, strict=True))
    for line in subcircuit.lines:
        yield from _flat(line, pins, prefix, values, library)


@lru_cache(maxsize=1)
def _templates() -> dict[str, _Subcircuit]:
    files = sorted((package_data.folder("netlists") / "cells" / "transistor").glob("*.cir"))
    return _parsed([_devices(), *(file.read_text(encoding="utf-8") for file in files)])


def _devices() -> str:
    return (package_data.folder("netlists") / "devices" / "gf180.lib").read_text(encoding="utf-8")


def _parsed(texts: Iterable[str]) -> dict[str, _Subcircuit]:
    found: dict[str, _Subcircuit] = {}
    name, pins, defaults, inside = "", list[str](), dict[str, str](), list[str]()
    for line in (line for text in texts for line in _lines(text)):
        if line.startswith(".subckt"):
            _, name, *pins = [word for word in line.split() if "=" not in word]
            defaults, inside = _parameters(line), []
        elif line.startswith(".ends"):
            found[name] = _Subcircuit(tuple(pins), defaults, tuple(inside))
            name = ""
        elif line.startswith(("x", "c")) and name and name not in _TRANSISTORS | DENSITY.keys():
            inside.append(line)
    return found


def _lines(text: str) -> list[str]:
    return text.replace("\n+", " ").lower().splitlines()


def _parameters(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def _value(text: str, names: Mapping[str, float]) -> float:
    """An expression of a netlist: numbers with suffixes, the parameters ``names``, + - * / and brackets."""
    written = _NUMBER.sub(lambda match: repr(float(match[1]) * _SCALE[match[2]]), text.strip("{}"))

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            return node.value
        if isinstance(node, ast.Name) and node.id in names:
            return names[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return float(_OPERATORS[type(node.op)](value(node.left), value(node.right)))
        raise InputError(f"a template has an expression that cannot be counted: {text}")

    return value(ast.parse(written, mode="eval").body)
