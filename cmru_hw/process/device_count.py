"""Devices of a transistor template, with their nodes and sizes, read from the netlists.

The area is an estimate before layout: each transistor takes `LAYOUT` times its drawn diffusion, w (l + contact), and
each capacitor the area of its plates. The estimate includes no other wires.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError
from cmru_hw.process import pdk
from cmru_hw.process.pdk import Process
from cmru_hw.spice import lexer
from cmru_hw.spice.lexer import LogicalLine, Subcircuit
from cmru_hw.spice.values import evaluate, resolve

# Spacing, wells, contacts and wires around a small device, over its diffusion: about that of a standard cell.
LAYOUT = 3.0
_CAPACITORS = {"cmim", "cmom"}
_TRANSISTORS = {"nf", "pf"}
GROUND = "0"
# Subcircuits inside subcircuits: more than any circuit has.
_DEEPEST = 50


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """``transistors``: their number; ``gates`` [m²]: sum of their w·l; estimated ``area`` [m²]; ``capacitance`` [F].

    ``plates`` [m²]: area of the capacitors' plates, part of ``area``.
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

    ``values`` in SI units: ``w`` and ``l``, and the number ``k`` of devices in parallel; or ``c``.
    """

    kind: str
    nodes: tuple[str, ...]
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class _Library:
    """Subcircuits by name, and the values of parameters outside of them."""

    subcircuits: Mapping[str, Subcircuit]
    values: Mapping[str, float]


def of(template: str, parameters: Mapping[str, float] | None = None, *, process: str = pdk.DEFAULT) -> Inventory:
    """Devices of one instance of subcircuit ``template`` of the transistor level, ``parameters`` in SI units.

    Raises InputError for a subcircuit that no template defines.
    """
    library = _templates(process)
    given = {name: float(value) for name, value in (parameters or {}).items()}
    known = library.subcircuits.get(template)
    return _counted(_instance(template, known.pins if known else (), given, "", library), pdk.get(process))


def of_netlist(network: str, cells: Mapping[str, bytes], *, process: str = pdk.DEFAULT) -> Inventory:
    """Devices of all instances in the netlist ``network``, whose templates are the files ``cells``.

    Raises InputError for an instance without a template, or an instance whose size cannot be evaluated.
    """
    return _counted(devices(network, cells, process=process), pdk.get(process))


def devices(network: str, cells: Mapping[str, bytes], *, process: str = pdk.DEFAULT) -> Iterator[Device]:
    """All devices of ``network``, whose templates are the files ``cells``, their nodes named as a simulator names them.

    Raises InputError for an instance without a template, with nodes that do not match its pins, or with a size that
    cannot be evaluated.
    """
    # network.cir may define subcircuits; outside of them it contains instances and parameters.
    library = _library({"devices": _devices(process), **cells, "network.cir": network.encode()})
    for line in lexer.outside_subcircuits(lexer.logical_lines(network, where="network.cir")):
        yield from _flat(line, {}, "", library.values, library)


def _counted(found: Iterable[Device], process: Process) -> Inventory:
    transistors, gates, area, capacitance, plates = 0, 0.0, 0.0, 0.0, 0.0
    for device in found:
        values = device.values
        if device.kind in _TRANSISTORS:
            transistors += 1
            # devices in parallel, each with its own diffusion
            several = values.get("k", 1.0)
            gates += several * values["w"] * values["l"]
            area += several * LAYOUT * values["w"] * (values["l"] + process.contact)
        elif device.kind in _CAPACITORS:
            capacitance += values["c"]
            plates += values["c"] / process.capacitors[device.kind].density
    return Inventory(transistors=transistors, gates=gates, area=area + plates, capacitance=capacitance, plates=plates)


def _flat(
    line: LogicalLine, nodes: Mapping[str, str], prefix: str, values: Mapping[str, float], library: _Library
) -> Iterator[Device]:
    """Devices of one line in a subcircuit whose pins are ``nodes``, its parameters ``values``."""
    if line.card == ".if":
        raise InputError(f"{line.text!r}: devices behind a condition cannot be counted: use a parameter")
    if not line.card.startswith(("x", "c")):
        return
    taken = lexer.statement(line)
    name, *words = taken.words
    if name.startswith("c"):
        value = words[2] if len(words) > 2 else taken.parameters.get("c", "")
        outside = [_outside(word, nodes, prefix) for word in words[:2]]
        yield Device(kind="c", nodes=tuple(outside), values={"c": evaluate(value, values)})
        return
    if taken.stray:
        raise InputError(f"{line.text!r}: {taken.stray[0]!r} is not a parameter: put expressions in braces")
    given = {key: evaluate(text, values) for key, text in taken.parameters.items()}
    outside = [_outside(word, nodes, prefix) for word in words[:-1]]
    yield from _instance(words[-1] if words else "", outside, given, f"{prefix}{name}.", library)


def _outside(word: str, nodes: Mapping[str, str], prefix: str) -> str:
    return nodes.get(word) or (GROUND if word in (GROUND, "gnd") else prefix + word)


def _instance(
    kind: str, nodes: Iterable[str], given: Mapping[str, float], prefix: str, library: _Library
) -> Iterator[Device]:
    try:
        subcircuit = library.subcircuits[kind]
    except KeyError:
        raise InputError(f"no transistor template defines a subcircuit {kind!r}") from None
    if kind in _TRANSISTORS | _CAPACITORS:
        values = resolve(subcircuit.parameters, given)
        yield Device(kind=kind, nodes=tuple(nodes), values=values)
        return
    if prefix.count(".") > _DEEPEST:
        raise InputError(f"{kind} contains itself: {prefix[:40]}...")
    outside = tuple(nodes)
    if len(outside) != len(subcircuit.pins):
        raise InputError(f"{prefix[:-1]} has {len(outside)} nodes where {kind} has {len(subcircuit.pins)} pins")
    pins = dict(zip(subcircuit.pins, outside, strict=True))
    # A parameter in the body hides an outer one with the same name, like a parameter of the .subckt line.
    values = resolve(_parameters(subcircuit.lines) | dict(subcircuit.parameters), given, library.values)
    for line in subcircuit.lines:
        yield from _flat(line, pins, prefix, values, library)


def _parameters(lines: Iterable[LogicalLine]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        if line.card == ".param":
            found |= lexer.statement(line).parameters
    return found


@lru_cache(maxsize=4)
def _templates(process: str) -> _Library:
    files = sorted((package_data.folder("netlists") / "cells" / "transistor").glob("*.cir"))
    return _library({"devices": _devices(process), **{file.name: file.read_bytes() for file in files}})


def _devices(process: str) -> bytes:
    return pdk.get(process).devices.read_bytes()


def _library(texts: Mapping[str, bytes]) -> _Library:
    found: dict[str, Subcircuit] = {}
    parameters: dict[str, str] = {}
    for name, content in texts.items():
        lines = list(lexer.logical_lines(lexer.decode(content), where=name))
        try:
            found |= lexer.subcircuits(lines)
            parameters |= _parameters(lexer.outside_subcircuits(lines))
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    return _Library(subcircuits=found, values=resolve(parameters))
