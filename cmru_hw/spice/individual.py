"""One die of a deck: every instance of a device gets random numbers of its own, which follow from its path.

ngspice draws random numbers in the order in which it reads a deck, so a change anywhere in a netlist changes all
deviations. Here the numbers of a device follow from its path (``xunit0_3.xca.xi1.x0``): a device that two netlists
share has the same deviations in both. A number takes the place of each ``agauss`` and ``gauss``: it is a parameter of
the subcircuit, which every subcircuit around it has as well, so that an instance at the top gives the numbers of all
devices inside. The expressions of the model files stay, so a size sets its spread as before. Paths and nodes stay, too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cmru_hw.core.errors import InputError
from cmru_hw.core.regular_file import read_regular
from cmru_hw.spice import lexer
from cmru_hw.spice.deck import Deck

Draw = Callable[[str, tuple[str, ...], int], float]
"""``draw(path, within, index)``: a standard normal number for random value ``index`` of the subcircuit at ``path``.
``within`` are the names of the subcircuits on the path, the outermost first."""

_RANDOM = re.compile(r"(?<![\w.])(agauss|gauss|aunif|unif|limit)\s*\(", re.IGNORECASE)
# Name of a changed subcircuit, and of its parameters.
_SUFFIX, _NUMBER = "_drawn", "zdie"


def individual(deck: Deck, draw: Draw) -> Deck:
    """``deck`` with random numbers from ``draw``, for instances outside of the libraries.

    Raises InputError for devices without a random value, and for one that is not normal.
    """
    files = {name: list(lexer.logical_lines(lexer.decode(text), where=name)) for name, text in deck.files.items()}
    own = list(lexer.logical_lines(deck.text, where="the deck"))
    work = _Work(draw=draw, found={})
    for lines in (*files.values(), own):
        for reference in map(lexer.file_reference, lines):
            if reference is not None and reference.file in deck.libraries:
                work.found |= _library(reference.file, reference.section, _version(reference.file))
        work.found |= _definitions(lines)
    changed = {
        name: work.rewritten(lexer.decode(deck.files[name]), lines).encode()
        for name, lines in files.items()
        if work.instantiates(lines)
    }
    text = work.rewritten(deck.text, own)
    if not work.made:
        raise InputError("the devices have no random value (agauss, gauss), so dies cannot be drawn from their models")
    return replace(deck, text=text + "\n".join(work.made) + "\n", files={**deck.files, **changed})


@dataclass(frozen=True, kw_only=True)
class _Definition:
    """A subcircuit: its first line, and the lines of its body with the subcircuit that an instance refers to, or ""."""

    head: lexer.LogicalLine
    body: tuple[tuple[lexer.LogicalLine, str], ...]


@dataclass(frozen=True, kw_only=True)
class _Value:
    """A random value inside a subcircuit: ``path`` from there, names of the subcircuits on it, and its number."""

    path: tuple[str, ...]
    within: tuple[str, ...]
    index: int


@dataclass(kw_only=True)
class _Work:
    """``found`` are all subcircuits by name, ``made`` the lines of the changed ones, ``values`` of each."""

    draw: Draw
    found: dict[str, _Definition]
    made: list[str] = field(default_factory=list)
    values: dict[str, tuple[_Value, ...]] = field(default_factory=dict)

    def random(self, name: str) -> tuple[_Value, ...]:
        """The random values of subcircuit ``name``; () without any, or if there is no such subcircuit."""
        if name not in self.values:
            definition = self.found.get(name)
            self.values[name] = () if definition is None else self._changed(name, definition)
        return self.values[name]

    def instantiates(self, lines: list[lexer.LogicalLine]) -> bool:
        return any(self.random(_of(line)) for line in lexer.outside_subcircuits(lines))

    def rewritten(self, text: str, lines: list[lexer.LogicalLine]) -> str:
        """``text`` of ``lines``, with the numbers of all instances outside of subcircuits."""
        physical = text.split("\n")
        for line in lexer.outside_subcircuits(lines):
            of = _of(line)
            if values := self.random(of):
                drawn = [self.draw(".".join((line.card, *one.path)), (of, *one.within), one.index) for one in values]
                given = _wrapped([f"{_NUMBER}{place}={number!r}" for place, number in enumerate(drawn)])
                physical[line.first - 1] = _renamed(line.text, of) + given
                physical[line.first : line.last] = [""] * (line.last - line.first)
        return "\n".join(physical)

    def _changed(self, name: str, definition: _Definition) -> tuple[_Value, ...]:
        """The random values of a subcircuit, whose changed lines are added to ``made``."""
        values: list[_Value] = []
        lines = []
        for line, of in definition.body:
            first = len(values)
            if of and (inner := self.random(of)):
                values += [replace(value, path=(line.card, *value.path), within=(of, *value.within)) for value in inner]
                given = [f"{_NUMBER}{place}={{{_NUMBER}{first + place}}}" for place in range(len(inner))]
                lines.append(_renamed(line.text, of) + _wrapped(given))
            else:
                text, count = _drawn(name, line, first)
                values += [_Value(path=(), within=(), index=first + place) for place in range(count)]
                lines.append(text)
        if values:
            words = definition.head.text.split(maxsplit=2)
            head = " ".join([words[0], f"{name}{_SUFFIX}", *words[2:]])
            head += _wrapped([f"{_NUMBER}{place}=0" for place in range(len(values))])
            self.made += [head, *lines, f".ends {name}{_SUFFIX}"]
        return tuple(values)


def _drawn(name: str, line: lexer.LogicalLine, first: int) -> tuple[str, int]:
    """``line`` of subcircuit ``name`` with parameters, from number ``first`` on, as random values; their count."""
    place = first

    def of(text: str) -> str:
        nonlocal place
        while match := _RANDOM.search(text):
            arguments, end = _arguments(text, match.end())
            kind = match[1].lower()
            if kind not in ("agauss", "gauss") or len(arguments) != 3:
                raise InputError(f"{name}: {line.text!r}: only agauss and gauss with three values can be drawn")
            mean, spread, sigmas = arguments
            share = f"({spread})/({sigmas})*{_NUMBER}{place}"
            number = f"(({mean})+{share})" if kind == "agauss" else f"(({mean})*(1+{share}))"
            text = text[: match.start()] + number + text[end:]
            place += 1
        return text

    if not _RANDOM.search(line.text):
        return line.text, 0
    if line.card != ".param":
        return of(line.text), place - first
    values = lexer.statement(line).parameters
    text = " ".join([".param", *(f"{parameter}={{{of(value)}}}" for parameter, value in values.items())])
    return text, place - first


def _wrapped(words: list[str]) -> str:
    return "".join("\n+ " + " ".join(words[first : first + 8]) for first in range(0, len(words), 8))


def _of(line: lexer.LogicalLine) -> str:
    """The subcircuit that ``line`` is an instance of; "" for other lines."""
    return lexer.statement(line).words[-1] if line.card.startswith("x") else ""


def _renamed(text: str, of: str) -> str:
    """The instance ``text`` of subcircuit ``of`` as one of the changed subcircuit."""
    end = text.index("=") if "=" in text else len(text)
    *_, last = re.finditer(rf"(?<!\S){re.escape(of)}(?!\S)", text[:end], re.IGNORECASE)
    return text[: last.end()] + _SUFFIX + text[last.end() :]


def _arguments(text: str, begin: int) -> tuple[list[str], int]:
    """Arguments of a function whose parenthesis opens before ``begin``, and the place after its end."""
    found, depth, at = [""], 1, begin
    while depth and at < len(text):
        here = text[at]
        depth += (here == "(") - (here == ")")
        if here == "," and depth == 1:
            found.append("")
        elif depth:
            found[-1] += here
        at += 1
    if depth:
        raise InputError(f"{text!r}: ( is not closed")
    return [part.strip() for part in found], at


def _definitions(lines: list[lexer.LogicalLine]) -> dict[str, _Definition]:
    found: dict[str, _Definition] = {}
    head: lexer.LogicalLine | None = None
    body: list[tuple[lexer.LogicalLine, str]] = []
    for line in lines:
        if line.card == ".subckt":
            head, body = line, []
        elif line.card.startswith(".ends") and head is not None:
            found[lexer.statement(head).words[1]] = _Definition(head=head, body=tuple(body))
            head = None
        elif head is not None:
            body.append((line, _of(line)))
    return found


def _version(path: str) -> int:
    return Path(path).stat().st_mtime_ns


@functools.lru_cache(maxsize=64)
def _library(path: str, section: str | None, version: int) -> Mapping[str, _Definition]:
    """Subcircuits of a section of the library ``path``, or of its lines outside of sections, and of files it reads.

    ``version`` changes with the file.
    """
    chosen = list(_section(path, section, version))
    found = _definitions(chosen)
    for line in chosen:
        reference = lexer.file_reference(line)
        if reference is not None:
            other = str((Path(path).parent / reference.file).resolve())
            found = {**_library(other, reference.section, _version(other)), **found}
    return found


def _section(path: str, section: str | None, version: int) -> Iterator[lexer.LogicalLine]:
    for line, name in _lines(path, version):
        if name == section and line.card != ".endl" and lexer.section(line) is None:
            yield line


@functools.lru_cache(maxsize=16)
def _lines(path: str, version: int) -> tuple[tuple[lexer.LogicalLine, str | None], ...]:
    text = lexer.decode(read_regular(Path(path)))
    return tuple(lexer.sections(lexer.logical_lines(text, where=path)))
