"""What ngspice is given to read, and what it must never be given.

A netlist is code: ngspice runs what stands between ``.control`` and ``.endc`` when it loads a deck, in every mode and
from included files too. A deck is therefore checked against the list of cards that a circuit needs, and everything
else is refused, so that no template or name can run a command or read a file that was not handed over.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cmru_hw.core.errors import InputError

if TYPE_CHECKING:
    # Only for the signatures: the worker imports this package and must stay light.
    from cmru_hw.spice.deck import Deck

DECK = "deck.cir"
RAW = "out.raw"
STARTUP = ".spiceinit"

# The analysis is one transient, so other analyses are not here; neither is .end, which would cut the circuit short.
_CARDS = frozenset(
    (
        *("subckt", "ends", "model", "param", "func", "global", "options", "option", "ic", "nodeset", "temp", "tran"),
        *("save", "include", "inc", "lib", "endl", "if", "elseif", "else", "endif", "meas", "measure"),
    )
)
_MODELS_THAT_RUN_PROGRAMS = frozenset(("d_process", "d_cosim"))
_CARD = re.compile(r"\.([a-z_]*)(.*)", re.IGNORECASE | re.DOTALL)
_ARGUMENT = re.compile(r"\s*(?:\"([^\"]*)\"|'([^']*)'|(\S+))")
_MODEL = re.compile(r"\s*\S+\s+([a-z0-9_]+)", re.IGNORECASE)
_FILE = re.compile(r"\b\w*file\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s)]+)", re.IGNORECASE)
_SETTING = re.compile(r"[a-z_][a-z0-9_]*(=[a-z0-9_.+-]+)?", re.IGNORECASE)


def content_hash(deck: Deck) -> str:
    """SHA-256 (64 hex digits) over the deck's text, settings and files: the title under which it is run."""
    digest = hashlib.sha256()
    parts = [deck.text.encode(), *(setting.encode() for setting in settings(deck)), b""]
    for name in sorted(deck.files):
        parts += [name.encode(), deck.files[name]]
    for part in parts:
        # With its length before it, no part can borrow bytes from its neighbour.
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def complete_text(deck: Deck) -> str:
    """The deck as a file: title line, text, ``.end``. It also runs by hand, beside its files and `startup_text`."""
    return _under_title(content_hash(deck), deck)


def _under_title(title: str, deck: Deck) -> str:
    return f"{title}\n{deck.text.rstrip()}\n.end\n"


def startup_text(settings: tuple[str, ...]) -> str:
    """The ``.spiceinit`` that belongs beside a deck with these ``settings`` ("ngbehavior=hsa", "ng_nomodcheck", ...).

    ngspice reads it before the deck, which is the only moment when some settings count. One thread always: several
    make transistor circuits slower by a factor of 5 and more.
    """
    for setting in settings:
        if not _SETTING.fullmatch(setting):
            raise InputError(f"{setting!r} is not a setting for ngspice: write NAME or NAME=VALUE")
    return "".join(f"set {setting}\n" for setting in ("num_threads=1", *settings))


def settings(deck: Deck) -> tuple[str, ...]:
    return tuple(getattr(deck, "settings", ()))


def write(deck: Deck, directory: Path) -> str:
    """Write the deck and its files into the empty ``directory`` and return its title.

    Raises InputError for a deck that is not only a circuit, OSError.
    """
    refuse_code(deck.text, files=deck.files, libraries=tuple(getattr(deck, "libraries", ())))
    title = content_hash(deck)
    (directory / DECK).write_text(_under_title(title, deck), encoding="utf-8")
    for name, content in deck.files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return title


def refuse_code(text: str, *, files: Mapping[str, bytes] | None = None, libraries: tuple[str, ...] = ()) -> None:
    """Raise InputError unless ``text`` is only a circuit, its transient analysis and what these need.

    ``files`` are the deck's own, by relative path; those that are included are checked like the text. ``libraries``
    are the absolute paths that the caller vouches for: they may be included, and are not looked into.
    """
    files = files or {}
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or name != str(path) or not name.isprintable() or "\\" in name:
            raise InputError(f"{name!r} is not a plain relative path for a file beside the deck")
        if name in (DECK, RAW, STARTUP):
            raise InputError(f"a deck cannot bring a file called {name}: the name is taken")
    seen: set[str] = set()
    waiting = [("the deck", PurePosixPath("."), text)]
    while waiting:
        where, folder, source = waiting.pop()
        for number, line in _logical_lines(where, source):
            for name in _check(f"{where}, line {number}", line, folder, files, libraries):
                if name not in seen:
                    seen.add(name)
                    waiting.append((name, PurePosixPath(name).parent, files[name].decode("latin-1")))


def _logical_lines(where: str, text: str) -> Iterator[tuple[int, str]]:
    """(number, line) without comments, continuation lines joined. ngspice's own order of events is kept."""
    held: tuple[int, str] | None = None
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not all(c.isprintable() or c == "\t" for c in line):
            raise InputError(f"{where}, line {number}: control characters do not belong into a netlist")
        if line.startswith("*#"):
            raise InputError(f"{where}, line {number}: {line!r}: ngspice runs what follows *# as a command")
        if not line or line.startswith("*"):
            continue
        if line.startswith("+") and held is not None:
            held = (held[0], f"{held[1]} {line[1:]}")
            continue
        if held is not None:
            yield held
        held = (number, line)
    if held is not None:
        yield held


def _check(
    where: str, line: str, folder: PurePosixPath, files: Mapping[str, bytes], libraries: tuple[str, ...]
) -> Iterator[str]:
    """Yield the deck's own files that ``line`` includes."""
    for match in _FILE.finditer(line):
        # ngspice reads data files relative to the deck, and a missing one as zeros without an error.
        _own_file(where, match[1].strip("\"'"), PurePosixPath("."), files, libraries)
    if not line.startswith("."):
        return
    dotted = _CARD.match(line)
    assert dotted is not None, "the pattern matches everything that starts with a dot"
    card, rest = dotted[1].lower(), dotted[2]
    if card not in _CARDS:
        raise InputError(f"{where}: {line!r} is not a card of a circuit; a netlist must not bring commands")
    if card == "model" and (kind := _MODEL.match(rest)) and kind[1].lower() in _MODELS_THAT_RUN_PROGRAMS:
        raise InputError(f"{where}: a model of type {kind[1]} runs other programs")
    arguments = ["".join(groups) for groups in _ARGUMENT.findall(rest)]
    # `.lib NAME` opens a section, `.lib FILE NAME` reads one.
    reads_file = card in ("include", "inc") or (card == "lib" and len(arguments) > 1)
    if reads_file:
        if not arguments:
            raise InputError(f"{where}: {line!r} names no file")
        name = _own_file(where, arguments[0], folder, files, libraries)
        if name is not None:
            yield name


def _own_file(
    where: str, target: str, folder: PurePosixPath, files: Mapping[str, bytes], libraries: tuple[str, ...]
) -> str | None:
    """The deck's file that ``target`` names, None for a library; anything else is refused."""
    if target in libraries:
        return None
    # ngspice looks beside the including file first, then beside the deck. The names in `files` lead nowhere else.
    for name in (posixpath.normpath(folder / target), posixpath.normpath(target)):
        if name in files:
            return name
    raise InputError(f"{where}: {target!r} is neither a file of this deck nor one of its libraries")
