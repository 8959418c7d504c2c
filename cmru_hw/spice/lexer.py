"""Read SPICE netlists as ngspice reads them: logical lines, words, parameters and included files.

The rules are those of ngspice 39, found by experiment (``tests/test_lexer.py`` repeats them with the simulator):

* A line that begins with ``*``, ``$`` or ``//`` is a comment. Within a line, ``;`` and ``//`` begin a comment, and so
  does ``$`` after a blank, a comma or a tab; quotes protect none of them.
* A line that begins with ``+`` continues the last line that is not a comment; blank lines may come between. The line
  after one that ends with ``\\\\`` also continues it. A line that begins with ``;`` is a comment, and so are its
  continuations.
* ngspice splits a ``.lib`` line, in some places, before it removes comments; quotes do not protect a blank in it.
* Values are ``{...}``, ``'...'``, ``"..."`` or one word; blanks may surround ``=``.

This module refuses input that ngspice would misread without an error (stop reading, run a comment as a command).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cmru_hw.core.errors import InputError

_BLANK = " \t"
_COMMENT = re.compile(r"(?<=.);|//|(?<=[ ,\t])\$")
_QUOTED = re.compile(r"\s*(?:\"([^\"]*)\"|'([^']*)'|(\S+))")
_LIB_WORD = re.compile(r"[^\s\"']+")
# ngspice replaces such a line by a file or section: a continuation would continue the file's last line.
_NOT_CONTINUED = (".inc", ".lib", ".endl")
_CLOSING = {"{": "}", "'": "'", '"': '"'}


@dataclass(frozen=True, kw_only=True)
class LogicalLine:
    """A logical line: ``text`` without comments, continuations joined; physical lines ``first`` to ``last`` (from 1).

    ``with_comment`` is the text of a ``.lib`` line before its comment was removed.
    """

    text: str
    first: int
    last: int
    with_comment: str = ""

    @property
    def card(self) -> str:
        """The first word in lower case: ".subckt", "x1", "r2"."""
        return self.text.split(maxsplit=1)[0].lower()


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A parsed line, in lower case: ``words``, then ``parameters`` (name → expression without braces or quotes).

    ``stray`` are the words after a parameter.
    """

    words: tuple[str, ...]
    parameters: Mapping[str, str]
    stray: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Subcircuit:
    """A subcircuit's definition: ``parameters`` with their defaults, ``lines`` between ``.subckt`` and ``.ends``."""

    name: str
    pins: tuple[str, ...]
    parameters: Mapping[str, str]
    lines: tuple[LogicalLine, ...]


@dataclass(frozen=True, kw_only=True)
class FileReference:
    """A file that a line reads, as written, and the section of it; None for the whole file."""

    file: str
    section: str | None


def decode(content: bytes) -> str:
    """Text of a netlist: UTF-8, with or without a byte order mark, or else Latin-1.

    Raises InputError for UTF-16 and UTF-32, which ngspice cannot read, and for bytes that are not text.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError("it is in UTF-16: save it as UTF-8")
    if b"\0" in content[:4096]:
        raise InputError("it is not text: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def logical_lines(  # noqa: C901 - one branch for each kind of line
    text: str, *, where: str = "the netlist"
) -> Iterator[LogicalLine]:
    """All logical lines of ``text``, a file that begins without a title line; ``where`` names it in errors.

    Raises InputError, with the number of the line.
    """
    held: LogicalLine | None = None
    # The continuations of a comment that begins with ";" belong to the comment.
    swallowing = continued = False
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.replace("\r", "").lstrip(_BLANK)
        if not line.strip():
            continue
        at = f"{where}, line {number}"
        if continued:
            if line.startswith("."):
                raise InputError(
                    f"{at}: {line!r} continues a line that ends with \\\\: ngspice reads it as a separate card as well"
                )
            line = "+" + line
        line, continued = _without_backslashes(line)
        if _is_comment(line, at):
            if line.startswith(";"):
                if held is not None:
                    yield held
                held, swallowing = None, True
            continue
        uncut = line.rstrip() if line.lower().startswith(".lib") else ""
        line = _without_comment(line)
        if not line:
            continue
        _check_code(line, raw, at)
        if not line.startswith("+"):
            if held is not None:
                yield held
            held = LogicalLine(text=line, first=number, last=number, with_comment=uncut)
            swallowing = False
        elif held is not None:
            held = _joined(held, line, number, at)
        elif not swallowing:
            raise InputError(f"{at}: {line!r} continues nothing: a file must not begin with a continuation")
    if held is not None:
        yield held


def _without_backslashes(line: str) -> tuple[str, bool]:
    """``line`` without the two backslashes at its end, and whether it had them."""
    stripped = line.rstrip()
    if line[0] in "*$" or not stripped.endswith("\\\\"):
        return line, False
    return stripped[:-2] + "  ", True


def _is_comment(line: str, at: str) -> bool:
    if line[0] in "*;$" and line[1:2] == "#":
        raise InputError(f"{at}: {line!r}: ngspice runs the text after {line[:2]} as a command")
    if line[0] in "@#":
        raise InputError(f"{at}: ngspice stops reading at a line that begins with {line[0]!r}: comments begin with *")
    return line[0] in "*;$" or line.startswith("//")


def _without_comment(line: str) -> str:
    """``line`` up to its comment, without blanks at the end."""
    found = _COMMENT.search(line)
    return (line[: found.start()] if found else line).rstrip()


def _check_code(line: str, raw: str, at: str) -> None:
    if "\r" in _without_comment(raw):
        raise InputError(f"{at}: a carriage return inside a line: save the file with line ends of Unix or Windows")
    if not line.replace("\t", "").isprintable():
        raise InputError(f"{at}: control characters do not belong in a netlist: remove them")


def _joined(held: LogicalLine, continuation: str, number: int, at: str) -> LogicalLine:
    if held.text.lower().startswith(_NOT_CONTINUED):
        raise InputError(f"{at}: {continuation!r} continues a line that reads a file: write it on one line")
    return LogicalLine(text=f"{held.text} {continuation[1:].strip()}", first=held.first, last=number)


def file_reference(line: LogicalLine) -> FileReference | None:
    """The file that ``line`` reads: ``.include FILE``, ``.inc FILE`` or ``.lib FILE SECTION``; None for other lines.

    Raises InputError for an ``.include`` that names none.
    """
    card, _, rest = line.text.replace("\t", " ").partition(" ")
    if card.lower() in (".include", ".inc"):
        found = _QUOTED.match(rest)
        if found is None:
            raise InputError(f"{line.text!r} names no file")
        return FileReference(file="".join(group or "" for group in found.groups()), section=None)
    words = _LIB_WORD.findall(rest) if card.lower() == ".lib" else []
    return FileReference(file=words[0], section=words[1].lower()) if len(words) > 1 else None


def reference_in_comment(line: LogicalLine) -> FileReference | None:
    """The file reference in ``.lib NAME ; COMMENT`` if ngspice takes the comment for a section of a file NAME.

    ngspice does so in a deck and in the first line of an included file. Elsewhere the line opens a section.
    """
    words = _LIB_WORD.findall(line.with_comment)
    if section(line) is None or len(words) < 3:
        return None
    return FileReference(file=words[1], section=words[2])


def section(line: LogicalLine) -> str | None:
    """Name of the section that ``line`` opens (``.lib NAME``), in lower case; None for other lines."""
    words = _LIB_WORD.findall(line.text)
    return words[1].lower() if len(words) == 2 and words[0].lower() == ".lib" else None


def sections(lines: Iterable[LogicalLine]) -> Iterator[tuple[LogicalLine, str | None]]:
    """Each line with its section, None outside of sections; ``.lib`` and ``.endl`` are part of their section.

    Raises InputError for a section inside another, or one that does not end.
    """
    inside: str | None = None
    for line in lines:
        opened = section(line)
        if opened is not None:
            if inside is not None:
                raise InputError(f"section {opened} begins before section {inside} has ended: an .endl is missing")
            inside = opened
        yield line, inside
        if line.card == ".endl":
            inside = None
    if inside is not None:
        raise InputError(f"section {inside} does not end: an .endl is missing")


def statement(line: LogicalLine) -> Statement:
    """``line`` as words and parameters. Raises InputError for a brace or quote that is not closed."""
    card = line.card
    tokens = list(_tokens(line.text.lower()))
    if card.startswith((".subckt", "x")):
        tokens = [token.removeprefix("params:") for token in tokens if token != "params:"]
    names = [place for place in range(len(tokens) - 1) if tokens[place + 1] == "="]
    words = [token.rstrip(",") or token for token in (tokens[: names[0]] if names else tokens)]
    if not words:
        raise InputError(f"{line.text!r} has no name before its parameters")
    # parentheses may surround the pins
    place = 2 if card == ".subckt" else 1
    if len(words) > place and words[place].startswith("(") and words[place].endswith(")"):
        words[place : place + 1] = words[place][1:-1].split()
    parameters: dict[str, str] = {}
    stray: list[str] = []
    for begin, end in zip(names, [*names, len(tokens)][1:], strict=True):
        values = tokens[begin + 2 : end]
        if not values or "=" in values:
            raise InputError(f"{line.text!r}: {tokens[begin]} has no value")
        if card == ".param":
            values = [" ".join(map(unwrapped, values))]
        parameters[tokens[begin]] = unwrapped(values[0])
        stray += values[1:]
    return Statement(words=tuple(words), parameters=parameters, stray=tuple(stray))


def unwrapped(token: str) -> str:
    """``token`` without the braces or quotes around it."""
    if len(token) > 1 and _CLOSING.get(token[0]) == token[-1]:
        return token[1:-1].strip()
    return token


def _tokens(text: str) -> Iterator[str]:
    """Words, values in braces, quotes or parentheses as one, and ``=``."""
    at = 0
    while at < len(text):
        here = text[at]
        end = at + 1
        if here in _CLOSING:
            end = text.find(_CLOSING[here], at + 1) + 1
            if not end:
                raise InputError(f"{text!r}: {here} is not closed")
        elif here != "=" and not here.isspace():
            depth = int(here == "(")
            while end < len(text) and (depth or not (text[end].isspace() or text[end] in "={'\"")):
                depth += (text[end] == "(") - (text[end] == ")")
                end += 1
            if depth > 0:
                raise InputError(f"{text!r}: ( is not closed")
        if not here.isspace():
            yield text[at:end]
        at = end


def subcircuits(lines: Iterable[LogicalLine]) -> dict[str, Subcircuit]:
    """All subcircuits by name, those inside others too. Raises InputError for one that does not end, or has no name."""
    found: dict[str, Subcircuit] = {}
    opened: list[tuple[Statement, list[LogicalLine]]] = []
    for line in lines:
        if line.card == ".subckt":
            taken = statement(line)
            if len(taken.words) < 2:
                raise InputError(f"{line.text!r} has no name")
            if taken.stray:
                raise InputError(f"{line.text!r}: {taken.stray[0]!r} is not a parameter: put expressions in braces")
            opened.append((taken, []))
        elif line.card.startswith(".ends"):
            if not opened:
                raise InputError(f"{line.text!r} ends no subcircuit")
            taken, inside = opened.pop()
            _, name, *pins = taken.words
            found[name] = Subcircuit(name=name, pins=tuple(pins), parameters=taken.parameters, lines=tuple(inside))
        elif opened:
            opened[-1][1].append(line)
    if opened:
        raise InputError(f"subcircuit {opened[-1][0].words[1]} does not end: an .ends is missing")
    return found


def outside_subcircuits(lines: Iterable[LogicalLine]) -> Iterator[LogicalLine]:
    """The lines outside of all subcircuits."""
    depth = 0
    for line in lines:
        depth += line.card == ".subckt"
        if depth <= 0:
            yield line
        depth -= line.card.startswith(".ends")
