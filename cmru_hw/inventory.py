"""What a transistor template is made of: devices and their sizes, counted in the netlists themselves.

Area is an estimate before any layout: each transistor takes `LAYOUT` times its drawn diffusion, w (l + 0.88 um); each
capacitor its plates. Wires beyond that are not in it.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from cmru_hw import shipped
from cmru_hw.errors import InputError

# Spacing, wells, contacts and wires around a small device, over its diffusion: about that of a standard cell.
LAYOUT = 3.0
# Contacted diffusion on either side of a gate [m], as in netlists/devices.
_DIFFUSION = 0.88e-6
# Plates [F/m2] of the capacitors, as in netlists/devices.
_DENSITY = {"cmim": 1e-3, "cmom": 0.8e-3}
_TRANSISTORS = {"nf", "pf"}
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


@dataclass(frozen=True)
class _Subcircuit:
    defaults: Mapping[str, str]
    instances: tuple[tuple[str, Mapping[str, str]], ...]


def of(template: str, parameters: Mapping[str, float] | None = None) -> Inventory:
    """Devices of one instance of subcircuit ``template`` of the transistor level, ``parameters`` in SI units.

    Raises InputError for a subcircuit that no template defines.
    """
    return _of(template, {name: float(value) for name, value in (parameters or {}).items()}, _templates())


def of_netlist(network: str, cells: Mapping[str, bytes]) -> Inventory:
    """Devices of all instances in the netlist ``network``, whose templates are the files ``cells``.

    Raises InputError for an instance of what no template defines.
    """
    library = _parsed([_devices(), *(content.decode() for content in cells.values())])
    found = Inventory()
    for line in _lines(network):
        if line.startswith("x"):
            child, texts = _instance(line)
            found += _of(child, {key: _value(text, {}) for key, text in texts.items()}, library)
    return found


def _of(name: str, given: Mapping[str, float], library: Mapping[str, _Subcircuit]) -> Inventory:
    try:
        subcircuit = library[name]
    except KeyError:
        raise InputError(f"no transistor template defines a subcircuit {name!r}") from None
    values: dict[str, float] = {}
    for key, text in subcircuit.defaults.items():
        values[key] = given.get(key, _value(text, values))
    if name in _TRANSISTORS:
        gate = values["w"] * values["l"]
        return Inventory(transistors=1, gates=gate, area=LAYOUT * values["w"] * (values["l"] + _DIFFUSION))
    if name in _DENSITY:
        plates = values["c"] / _DENSITY[name]
        return Inventory(capacitance=values["c"], area=plates, plates=plates)
    found = Inventory()
    for child, texts in subcircuit.instances:
        found += _of(child, {key: _value(text, values) for key, text in texts.items()}, library)
    return found


@lru_cache(maxsize=1)
def _templates() -> dict[str, _Subcircuit]:
    files = sorted((shipped.folder("netlists") / "cells" / "transistor").glob("*.cir"))
    return _parsed([_devices(), *(file.read_text(encoding="utf-8") for file in files)])


def _devices() -> str:
    return (shipped.folder("netlists") / "devices" / "gf180.lib").read_text(encoding="utf-8")


def _parsed(texts: Iterable[str]) -> dict[str, _Subcircuit]:
    found: dict[str, _Subcircuit] = {}
    name, defaults = "", dict[str, str]()
    instances: list[tuple[str, dict[str, str]]] = []
    for line in (line for text in texts for line in _lines(text)):
        if line.startswith(".subckt"):
            words = [word for word in line.split() if "=" not in word]
            name, defaults, instances = words[1], _parameters(line), []
        elif line.startswith(".ends"):
            found[name] = _Subcircuit(defaults, tuple(instances))
        elif line.startswith("x") and name not in _TRANSISTORS:
            instances.append(_instance(line))
    return found


def _lines(text: str) -> list[str]:
    return text.replace("\n+", " ").lower().splitlines()


def _instance(line: str) -> tuple[str, dict[str, str]]:
    """Subcircuit and parameters of an instance."""
    return [word for word in line.split() if "=" not in word][-1], _parameters(line)


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
