"""Elaborate a netlist: cells without parameters, whose ground and substrate are pins instead of node 0.

A template whose parameters have different values in two instances becomes two cells, as it would be drawn. Names of
instances and nodes stay, so a node has the same path as in the netlist that was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cmru_hw.core.errors import InputError
from cmru_hw.spice import lexer, values

GROUND, SUBSTRATE = "vss", "vsub"
# The last of the four pins of a transistor is its bulk.
_BULK = 3
# Parameters of a device that are always written.
_SIZES = ("w", "l", "c")


@dataclass(frozen=True, kw_only=True)
class Element:
    """One line of a cell: an instance of the cell or device ``of``, or an ideal capacitor if that is "".

    ``values`` are the parameters [SI units]; that of an ideal capacitor is ``c``.
    """

    name: str
    nodes: tuple[str, ...]
    of: str
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A subcircuit without parameters. ``comment``: the lines above its template, of the first cell made from it."""

    name: str
    template: str
    pins: tuple[str, ...]
    elements: tuple[Element, ...]
    comment: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """A voltage source [V] outside of all cells."""

    name: str
    nodes: tuple[str, str]
    volts: float


@dataclass(frozen=True, kw_only=True)
class Elaborated:
    """``cells``, each after those that it uses; the last has the lines outside of all subcircuits and no pins yet.

    ``devices`` are the names of those that occur. ``sources`` were outside of all subcircuits.
    """

    cells: tuple[Cell, ...]
    devices: tuple[str, ...]
    sources: tuple[Source, ...]

    @property
    def top(self) -> Cell:
        return self.cells[-1]

    def with_top(self, pins: Sequence[str], renamed: Mapping[str, str]) -> Elaborated:
        """This netlist with ``pins`` of its last cell, whose nodes are ``renamed`` (old → new).

        Raises InputError for a new name that another node has.
        """
        top = self.top
        used = {node for element in top.elements for node in element.nodes}
        if taken := [new for old, new in renamed.items() if new in used and new != old]:
            raise InputError(f"the netlist has a node {taken[0]}, the name of a port: rename it")
        elements = tuple(
            replace(element, nodes=tuple(renamed.get(node, node) for node in element.nodes)) for element in top.elements
        )
        return replace(self, cells=(*self.cells[:-1], replace(top, pins=tuple(pins), elements=elements)))


def elaborate(
    network: str, templates: Mapping[str, str], devices: Mapping[str, lexer.Subcircuit], top: str
) -> Elaborated:
    """The netlist ``network``, which uses ``templates`` (name of the file → text) and ``devices``, as cells.

    Its lines outside of subcircuits become the cell ``top``, without controlled sources. A device that has node 0
    inside gets one more pin, the substrate (see `with_substrate`). Raises InputError for an element other than a
    subcircuit, a capacitor or, outside of subcircuits, a voltage source, for a value that cannot be evaluated, and for
    names that mean something else here.
    """
    work = _Work(devices=devices, found={}, comments={})
    for name, text in templates.items():
        lines = list(lexer.logical_lines(text, where=name))
        if others := [line.text for line in lexer.outside_subcircuits(lines) if not line.card.startswith(".ends")]:
            raise InputError(f"{name}: {others[0]!r} is outside a subcircuit: a handover needs it inside one")
        work.found |= lexer.subcircuits(lines)
        work.comments |= dict(_comments(text, lines))
    lines = list(lexer.logical_lines(network, where="network.cir"))
    work.found |= lexer.subcircuits(lines)
    outside = [line for line in lexer.outside_subcircuits(lines) if not line.card.startswith(".ends")]
    sources = tuple(_source(line) for line in outside if line.card.startswith("v"))
    # A controlled source only shows a state that is stored as bits: it is no part of the circuit.
    rest = tuple(line for line in outside if not line.card.startswith(("v", "e")))
    body = lexer.Subcircuit(name=top, pins=(), parameters={}, lines=rest)
    elements = work.elements(body, {})
    work.cells.append(Cell(name=top, template=top, pins=(), elements=elements))
    return Elaborated(cells=tuple(work.cells), devices=tuple(sorted(work.used)), sources=sources)


def with_substrate(text: str, names: Sequence[str]) -> tuple[str, frozenset[str]]:
    """The device file ``text`` with a pin more for the substrate, in place of node 0, where ``names`` have node 0.

    Returns the text and the names of the devices that have the pin.
    """
    physical = text.split("\n")
    lines = list(lexer.logical_lines(text))
    chosen: set[str] = set()
    inside: list[tuple[str, lexer.LogicalLine]] = []
    current = ""
    for line in lines:
        if line.card == ".subckt":
            current = lexer.statement(line).words[1]
        if current in names:
            inside.append((current, line))
            if line.card[0] not in ".*" and "0" in _nodes_of(line):
                chosen.add(current)
        if line.card.startswith(".ends"):
            current = ""
    for name, line in inside:
        if name not in chosen or (line.card.startswith(".") and line.card != ".subckt"):
            continue
        words = line.text.split()
        if line.card == ".subckt":
            place = 2 + len(lexer.statement(line).words[2:])
            words.insert(place, SUBSTRATE)
        else:
            count = len(_nodes_of(line))
            words[1 : 1 + count] = [SUBSTRATE if word == "0" else word for word in words[1 : 1 + count]]
        physical[line.first - 1 : line.last] = [" ".join(words), *[""] * (line.last - line.first)]
    return "\n".join(physical), frozenset(chosen)


def _nodes_of(line: lexer.LogicalLine) -> tuple[str, ...]:
    """Nodes of an element: all words of an instance except the last, four of a transistor, two of the others."""
    words = lexer.statement(line).words
    return words[1:-1] if line.card[0] == "x" else words[1:5] if line.card[0] == "m" else words[1:3]


@dataclass(kw_only=True)
class _Work:
    """The cells so far. ``made``: the cell of a template and the values of its parameters."""

    devices: Mapping[str, lexer.Subcircuit]
    found: dict[str, lexer.Subcircuit]
    comments: dict[str, tuple[str, ...]]
    cells: list[Cell] = field(default_factory=list)
    made: dict[tuple[str, tuple[tuple[str, float], ...]], Cell] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def elements(self, body: lexer.Subcircuit, known: Mapping[str, float]) -> tuple[Element, ...]:
        found = []
        for line in body.lines:
            if line.card == ".param":
                continue
            where = f"{body.name}: {line.text!r}"
            try:
                found.append(self._element(lexer.statement(line), known))
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
        if clash := {GROUND, SUBSTRATE} & {*body.pins}:
            raise InputError(f"{body.name} has a pin {min(clash)}, the name of the ground here: rename it")
        return tuple(found)

    def _element(self, read: lexer.Statement, known: Mapping[str, float]) -> Element:
        name, kind = read.words[0], read.words[0][0]
        if kind == "c" and len(read.words) == 4 and not read.parameters:
            plates = self._grounded(read.words[1:3], SUBSTRATE)
            return Element(name=name, nodes=plates, of="", values={"c": values.evaluate(read.words[3], known)})
        if kind != "x":
            raise InputError("a handover takes subcircuits and capacitors only")
        *nodes, of = read.words[1:]
        given = {name: values.evaluate(text, known) for name, text in read.parameters.items()}
        target = self.devices.get(of) or self.found.get(of)
        if target is None or len(nodes) != len(target.pins):
            raise InputError(f"there is no {of} with {len(nodes)} pins")
        if wrong := given.keys() - target.parameters.keys():
            raise InputError(f"{of} has no parameter {min(wrong)}")
        if of in self.devices:
            return self._device(name, nodes, of, given)
        cell = self._cell(target, given)
        more = [pin for pin in (GROUND, SUBSTRATE) if pin in cell.pins[len(nodes) :]]
        return Element(name=name, nodes=(*self._grounded(nodes, GROUND), *more), of=cell.name)

    def _device(self, name: str, nodes: Sequence[str], of: str, given: Mapping[str, float]) -> Element:
        self.used.add(of)
        device = self.devices[of]
        sizes = values.resolve(device.parameters, given)
        chosen = {key: value for key, value in sizes.items() if key in given or key in _SIZES}
        grounded = list(self._grounded(nodes, GROUND))
        if len(nodes) > _BULK and nodes[_BULK] == "0":
            grounded[_BULK] = SUBSTRATE
        more = [SUBSTRATE] if any("0" in _nodes_of(line) for line in device.lines if line.card[0] not in ".*") else []
        return Element(name=name, nodes=(*grounded, *more), of=of, values=chosen)

    def _cell(self, template: lexer.Subcircuit, given: Mapping[str, float]) -> Cell:
        inside = {
            name: text
            for line in template.lines
            if line.card == ".param"
            for name, text in lexer.statement(line).parameters.items()
        }
        known = values.resolve({**template.parameters, **inside}, given)
        key = (template.name, tuple(sorted(known.items())))
        if key not in self.made:
            elements = self.elements(template, known)
            nodes = {node for element in elements for node in element.nodes}
            earlier = sum(made == template.name for made, _ in self.made)
            cell = Cell(
                name=self._name(template.name, earlier),
                template=template.name,
                pins=(*template.pins, *(pin for pin in (GROUND, SUBSTRATE) if pin in nodes)),
                elements=elements,
                comment=() if earlier else self.comments.get(template.name, ()),
            )
            self.made[key] = cell
            self.cells.append(cell)
        return self.made[key]

    def _name(self, template: str, earlier: int) -> str:
        """The template's name for its first cell, then NAME_2, NAME_3 …, without names of other templates."""
        name = template if earlier == 0 else f"{template}_{earlier + 1}"
        taken = {*self.found, *(cell.name for cell in self.cells)} - ({template} if earlier == 0 else set())
        while name in taken:
            name += "x"
        return name

    @staticmethod
    def _grounded(nodes: Sequence[str], ground: str) -> tuple[str, ...]:
        if clash := {GROUND, SUBSTRATE} & {*nodes}:
            raise InputError(f"a node is called {min(clash)}, as the ground here: rename it")
        return tuple(ground if node == "0" else node for node in nodes)


def _source(line: lexer.LogicalLine) -> Source:
    words = lexer.statement(line).words
    if len(words) != 4 or "(" in words[3]:
        raise InputError(f"network.cir: {line.text!r}: a handover takes sources of one constant voltage only")
    return Source(name=words[0], nodes=(words[1], words[2]), volts=values.evaluate(words[3]))


def _comments(text: str, lines: Sequence[lexer.LogicalLine]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each subcircuit of ``text`` with the comment lines directly above it."""
    physical = text.split("\n")
    for line in lines:
        if line.card == ".subckt":
            begin = line.first - 1
            while begin > 0 and physical[begin - 1].startswith("*"):
                begin -= 1
            yield lexer.statement(line).words[1], tuple(raw.rstrip() for raw in physical[begin : line.first - 1])
