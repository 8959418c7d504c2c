"""Cut a macro netlist into pieces that are simulated one after the other, as one simulation of the whole network.

The cost of a deck grows faster than its number of units, because its matrix no longer fits the processor's cache. A
large network is therefore simulated in pieces: some units of one layer, or the readout rows. A state is an ideal
voltage source for the lines that read it, and so is every line for the rows on it; a row and its unit read nothing
else. A piece thus behaves exactly as it does in the whole deck if its lines repeat the states that the pieces of
earlier layers produced. Those are recorded from the simulator, never taken from software.

The pieces are cut from the text of the netlist, so that an edited netlist is simulated as it stands. One that connects
units in another way is not cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.macro_stimulus import INPUT_CHANGE
from cmru_hw.circuits.charge.part import Part
from cmru_hw.core.signals import Array, Traces
from cmru_hw.spice import lexer
from cmru_hw.spice.schedule import Schedule

# Networks of up to MOST_UNITS units are one deck; larger ones are cut into pieces of up to PIECE units.
MOST_UNITS, PIECE = 32, 16

_UNIT = re.compile(r"(?:xunit|c[abg]|vz[abgp]|xf[ab]|xt[ab]|ct[ab])(\d+)_(\d+)(?:_\w+)?")
_CLASS = re.compile(r"(?:c|xr|vz|xf|xt|ct|xc)y(\d+)(?:_\w+)?")
_SHARED = re.compile(r"(?:xline|vlines|xtrim)(\d+|r)(?:_\w+)?")
_LINE = re.compile(r"(?:[pn](\d+|r)_\w+|t[udh](\d+|r)|ret(\d+|r))")
_STATE = re.compile(r"o(\d+)_(\d+)")
_INPUT = re.compile(r"x(\d+)")
# Nodes of ideal sources that every deck has.
_FIXED = frozenset(("0", "vcm", "vdd", "bias", "vrp", "vrn", "init", "cal", "ref_up", "ref_down"))


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A ``part`` of a design and its ``network``, the lines of the netlist; ``reads`` are the states of other parts."""

    part: Part
    network: str
    reads: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Element:
    """One line of a netlist. ``owner`` is (layer, unit) or ("r", class), or (group, "") for the lines of a group."""

    owner: tuple[str, str]
    nodes: tuple[str, ...]
    text: str


def cut(design: Design, network: str) -> tuple[tuple[Piece, ...], ...]:
    """Pieces of ``network`` by stage: those of layer 0, of layer 1, …, of the readout. () if it stays whole.

    A network of up to MOST_UNITS units stays whole, and so does one that cannot be cut without a change: with cells of
    the user, or with elements and connections that a netlist of this program does not have.
    """
    if design.templates or sum(layer.units for layer in design.layers) <= MOST_UNITS:
        return ()
    elements: dict[tuple[str, str], list[_Element]] = {}
    for line in lexer.logical_lines(network):
        element = _element(line)
        if element is None:
            return ()
        elements.setdefault(element.owner, []).append(element)
    wanted = {(str(index), str(i)) for index, layer in enumerate(design.layers) for i in range(layer.units)}
    wanted |= {("r", str(k)) for k in range(len(design.readout.bias))}
    groups = [*map(str, range(len(design.layers))), "r"]
    if {owner for owner in elements if owner[1]} != wanted or not _separable(design, elements):
        return ()
    return tuple(tuple(_pieces(design, stage, group, elements)) for stage, group in enumerate(groups))


def _element(line: lexer.LogicalLine) -> _Element | None:
    """``line``, if it is one of a netlist of this program."""
    name = line.card
    owner: tuple[str, str] | None = None
    if found := _UNIT.fullmatch(name):
        owner = (found[1], found[2])
    elif found := _CLASS.fullmatch(name):
        owner = ("r", found[1])
    elif found := _SHARED.fullmatch(name):
        owner = (found[1], "")
    if owner is None:
        return None
    nodes = lexer.statement(line).words[1:-1] if name.startswith("x") else tuple(line.text.lower().split()[1:3])
    return _Element(owner=owner, nodes=nodes, text=line.text)


def _separable(design: Design, elements: Mapping[tuple[str, str], list[_Element]]) -> bool:
    """True if units and classes share ideal sources only: supplies, clocks, their own lines, and earlier states."""
    owned: dict[str, tuple[str, str]] = {}
    for (group, member), parts in elements.items():
        own = {name for name in design.phases if name in (group, f"e{group}", f"m{group}", f"u{group}")}
        for node in (node for element in parts for node in element.nodes):
            line = _LINE.fullmatch(node)
            if node in _FIXED or node in own or (line and group in line.groups()):
                continue
            if member:
                foreign = line or node in design.phases or _INPUT.fullmatch(node)
                if foreign or owned.setdefault(node, (group, member)) != (group, member):
                    return False
            elif not _readable(design, node, group):
                return False
    return all(
        owned.get(f"o{index}_{i}") == (str(index), str(i))
        for index, layer in enumerate(design.layers)
        for i in range(layer.units)
    )


def _readable(design: Design, node: str, group: str) -> bool:
    """True if a line of ``group`` may read ``node``: an input, or the state of an earlier layer."""
    if found := _INPUT.fullmatch(node):
        return int(found[1]) < design.config.features
    found = _STATE.fullmatch(node)
    return found is not None and (group == "r" or int(found[1]) < int(group))


def _pieces(
    design: Design, stage: int, group: str, elements: Mapping[tuple[str, str], list[_Element]]
) -> Iterator[Piece]:
    shared = elements.get((group, ""), [])
    reads = dict.fromkeys(node for element in shared for node in element.nodes if _STATE.fullmatch(node))
    readout = group == "r"
    count = len(design.readout.bias) if readout else design.layers[stage].units
    for members in np.array_split(np.arange(count), -(-count // PIECE)):
        chosen = tuple(members.tolist())
        lines = [element.text for i in chosen for element in elements[group, str(i)]]
        yield Piece(
            part=Part(
                units=tuple(chosen if index == stage else () for index in range(len(design.layers))),
                classes=chosen if readout else (),
            ),
            network="\n".join([*(element.text for element in shared), *lines]) + "\n",
            reads=tuple(reads),
        )


def instants(design: Design, plan: Schedule) -> Array:
    """Times [s] at which no clock or input changes: before and after each of their changes, in every frame."""
    share, count = design.phase, len(design.phases)
    first = 1 - share * (count + 1)
    inside = [0.0, share, INPUT_CHANGE / 2, 1.5 * INPUT_CHANGE, 0.95 * first, 1 - share / 4]
    inside += [first + share * place for place in range(count + 1)]
    shares = np.unique(np.round(inside, 9))
    times = (np.arange(plan.frames)[:, None] + shares).ravel()
    return np.asarray(np.concatenate((times, plan.frames + np.array([0.0, INPUT_CHANGE / 2]))) * plan.timestep)


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """Traces of all pieces of a deck at common ``time`` points.

    A clock that drives several pieces is the lowest of theirs. Every other vector of that kind is a charge meter, and
    the charge of the whole is the sum.
    """

    time: Array
    clocks: frozenset[str]
    values: dict[str, Array] = field(default_factory=dict)

    def add(self, traces: Traces) -> None:
        """Add the ``traces`` of one piece."""
        for name in traces.values:
            found = traces.at(name, self.time)
            if name not in self.values:
                self.values[name] = found
            elif name in self.clocks:
                self.values[name] = np.minimum(self.values[name], found)
            else:
                self.values[name] = self.values[name] + found

    def traces(self) -> Traces:
        """Everything that was added."""
        return Traces(title="", time=self.time, values=self.values)
