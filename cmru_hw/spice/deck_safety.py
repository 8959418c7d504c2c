"""Checks of every deck before ngspice reads it.

A netlist is code: ngspice runs the commands between ``.control`` and ``.endc`` when it loads a deck, in every mode and
from included files too. A deck, its files, its libraries and every file that these read are therefore checked against
the list of cards that a circuit needs. Everything else is refused, so that no template, library or name can run a
command or read a file that was not handed over.
"""

from __future__ import annotations

import functools
import hashlib
import os
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cmru_hw.core.errors import InputError, reason
from cmru_hw.core.regular_file import read_regular
from cmru_hw.spice import lexer

if TYPE_CHECKING:
    # Only for type hints: the worker imports this package and must start fast.
    from cmru_hw.spice.deck import Deck

DECK = "deck.cir"
RAW = "out.raw"
STARTUP = ".spiceinit"
QUOTES = "\"'"

# A deck has one transient analysis, so the list has no other. It lacks .end, which would cut the circuit short.
_CARDS = frozenset(
    (
        *(
            ".subckt",
            ".ends",
            ".model",
            ".param",
            ".func",
            ".global",
            ".options",
            ".option",
            ".ic",
            ".nodeset",
            ".temp",
        ),
        *(".tran", ".save", ".include", ".inc", ".lib", ".endl", ".if", ".elseif", ".else", ".endif", ".meas"),
        ".measure",
    )
)
_MODELS_THAT_RUN_PROGRAMS = frozenset(("d_process", "d_cosim"))
_CARD = re.compile(r"\.[a-z_]*")
_SEPARATORS = re.compile(r"[\s,()=]+")
_FILE = re.compile(r"\b\w*file\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s)]+)", re.IGNORECASE)
_SETTING = re.compile(r"[a-z_][a-z0-9_]*(=[a-z0-9_.+-]+)?", re.IGNORECASE)


def content_hash(deck: Deck) -> str:
    """SHA-256 (64 hex digits) over the deck's text, settings, files and libraries: the title under which it is run.

    Raises InputError for a library that cannot be read.
    """
    digest = hashlib.sha256()
    parts = [deck.text.encode(), *(setting.encode() for setting in settings(deck)), b""]
    for name in sorted(deck.files):
        parts += [name.encode(), deck.files[name]]
    for library in getattr(deck, "libraries", ()):
        parts += [b"", library_sha256(library).encode()]
    for part in parts:
        # Each part is preceded by its length, so that parts cannot be mistaken for each other.
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def complete_text(deck: Deck) -> str:
    """The deck as a file: title line, text, ``.end``. ngspice runs it in a folder with its files and `startup_text`."""
    return _under_title(content_hash(deck), deck)


def _under_title(title: str, deck: Deck) -> str:
    return f"{title}\n{deck.text.rstrip()}\n.end\n"


def startup_text(settings: tuple[str, ...]) -> str:
    """The ``.spiceinit`` for the folder of a deck with these ``settings`` ("ngbehavior=hsa", "ng_nomodcheck", ...).

    ngspice reads this file before the deck; some settings take effect only then. It always sets one thread, because
    several threads make transistor circuits slower by a factor of 5 or more.
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


def refuse_code(
    text: str, *, files: Mapping[str, bytes] | None = None, libraries: tuple[str, ...] = (), where: str = "the deck"
) -> None:
    """Raise InputError unless ``text`` is only a circuit, its transient analysis and the files these need.

    ``files`` are the deck's own, by relative path. ``libraries`` are the absolute paths of other files that may be
    included. Included files and libraries are checked like the text, and so is every file that they read.
    """
    files = files or {}
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or name != str(path) or not name.isprintable() or "\\" in name:
            raise InputError(f"{name!r} is not a plain relative path for a file of the deck")
        if name in (DECK, RAW, STARTUP):
            raise InputError(f"a deck cannot contain a file called {name}: the name is taken")
    seen: set[str] = set()
    waiting = [(where, PurePosixPath("."), text)]
    while waiting:
        place, folder, source = waiting.pop()
        for line in lexer.logical_lines(source, where=place):
            at = f"{place}, line {line.first}"
            reference = _included(line, at)
            known = partial(_known, folder=folder, files=files, libraries=libraries)
            _refuse_hidden(line, at, known)
            # ngspice does not read a data file as a netlist, so its existence is sufficient.
            for target in _data_files(line):
                _own_files(at, target, folder, files, libraries)
            if reference is not None:
                for name in _own_files(at, reference.file, folder, files, libraries):
                    if name not in seen:
                        seen.add(name)
                        waiting.append((name, PurePosixPath(name).parent, lexer.decode(files[name])))
    for library in libraries:
        library_files(library, own=files)


def _included(line: lexer.LogicalLine, at: str) -> lexer.FileReference | None:
    """The file that ``line`` includes, if any. Raises InputError for a line that does not belong in a circuit."""
    lower = line.text.lower()
    words = set(_SEPARATORS.split(lower))
    if programs := words & _MODELS_THAT_RUN_PROGRAMS:
        raise InputError(f"{at}: a model of type {', '.join(programs)} runs other programs")
    found = _CARD.match(lower)
    if found is None:
        return None
    if found[0] not in _CARDS:
        raise InputError(f"{at}: {line.text!r} is not a card of a circuit; a netlist must not contain commands")
    if found[0] in (".include", ".inc", ".lib") and line.card != found[0]:
        raise InputError(f"{at}: {line.text!r}: write a space after {found[0]}")
    return lexer.file_reference(line)


def _refuse_hidden(line: lexer.LogicalLine, at: str, known: Callable[[str], bool]) -> None:
    """Raise InputError if ngspice could take a comment for a section of a file that is ``known``."""
    hidden = lexer.reference_in_comment(line)
    if hidden is not None and known(hidden.file):
        raise InputError(f"{at}: {line.with_comment!r}: ngspice takes the comment for a section of a file: remove it")


def _data_files(line: lexer.LogicalLine) -> list[str]:
    # ngspice reads data files relative to the deck, and a missing one as zeros without an error.
    return [f"./{match[1].strip(QUOTES)}" for match in _FILE.finditer(line.text)]


def _known(name: str, folder: PurePosixPath, files: Mapping[str, bytes], libraries: tuple[str, ...]) -> bool:
    here = (posixpath.normpath(name), posixpath.normpath(folder / name))
    return name in libraries or any(one in files for one in here) or Path(name).is_absolute()


def _own_files(
    at: str, target: str, folder: PurePosixPath, files: Mapping[str, bytes], libraries: tuple[str, ...]
) -> list[str]:
    """The deck's files that ``target`` may name, none for a library; anything else is refused."""
    if target in libraries:
        return []
    # ngspice searches the deck's folder first, then the including file's folder.
    # The names in `files` lead nowhere else.
    here = [posixpath.normpath(target), *([] if target.startswith("./") else [posixpath.normpath(folder / target)])]
    found = [name for name in dict.fromkeys(here) if name in files]
    if not found:
        raise InputError(f"{at}: {target.removeprefix('./')!r} is neither a file of this deck nor one of its libraries")
    return found


# --- libraries -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LibraryFile:
    """A checked file of models: its ``sections``, and the files that it ``reads``, as written, with their lines."""

    sha256: str
    sections: frozenset[str]
    reads: tuple[tuple[int, lexer.FileReference], ...]


def library(path: str) -> LibraryFile:
    """The file ``path``, checked. Raises InputError for one that cannot be read or is not only a circuit."""
    try:
        # Cached while the file is unchanged: a process has megabytes of models, and a run reads them for every die.
        found = os.stat(path)  # noqa: PTH116
        return _library(path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({reason(error)}): correct the path to it") from error


@functools.lru_cache(maxsize=256)
def _library(path: str, _version: tuple[int, ...]) -> LibraryFile:
    content = read_regular(path)
    try:
        lines = list(lexer.logical_lines(lexer.decode(content), where=path))
        for line in lines:
            _refuse_hidden(line, f"{path}, line {line.first}", lambda name: (Path(path).parent / name).exists())
        sections = frozenset(name for _, name in lexer.sections(lines) if name is not None)
    except InputError as error:
        raise InputError(str(error) if path in str(error) else f"{path}: {error}") from None
    reads = []
    for line in lines:
        at = f"{path}, line {line.first}"
        if data := _data_files(line):
            raise InputError(f"{at}: a library must not read the data file {data[0].removeprefix('./')!r}")
        if reference := _included(line, at):
            reads.append((line.first, reference))
    return LibraryFile(sha256=hashlib.sha256(content).hexdigest(), sections=sections, reads=tuple(reads))


def library_files(path: str, *, own: Mapping[str, bytes] | None = None) -> dict[str, LibraryFile]:
    """The library ``path`` and every file that can be reached from it, checked, by absolute path.

    ``own`` are the files of the deck, which ngspice prefers. Raises InputError for a file that cannot be read, is not
    only a circuit, or has the name of one of ``own``.
    """
    found: dict[str, LibraryFile] = {}
    waiting = [path]
    while waiting:
        here = waiting.pop()
        if here in found:
            continue
        found[here] = library(here)
        for line, reference in found[here].reads:
            at, target = f"{here}, line {line}", reference.file
            if target.startswith("~"):
                raise InputError(f"{at}: write the path {target!r} in full")
            if own and posixpath.normpath(target) in own:
                raise InputError(f"{at}: {target!r} is also the name of a file of the deck: rename it")
            reached = os.path.realpath(Path(here).parent / target)
            if Path(reached).exists():
                waiting.append(reached)
            elif reference.section is None:
                # A missing file may be named in a section that the deck does not use; otherwise ngspice stops there.
                raise InputError(f"{at}: {target!r} does not exist: correct the path in it")
    return found


def library_sha256(path: str) -> str:
    """SHA-256 over the library ``path`` and every file that it reads, independent of their folders."""
    found = library_files(path)
    parts = [found[path].sha256, *sorted(one.sha256 for one in found.values())]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()
