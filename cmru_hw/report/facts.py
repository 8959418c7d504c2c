"""Numbers with their source, and the text around them.

A :class:`Fact` is made from a file and a place in it, never from a bare value. Every number of a page of facts can
therefore be traced. Prose is a sequence of plain text and facts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cmru_hw.core import records
from cmru_hw.core.errors import InputError, reason


@dataclass(frozen=True, kw_only=True)
class ResultFile:
    """A result file. ``command`` reproduces it; empty if the file does not record it."""

    path: Path
    command: str

    @cached_property
    def content(self) -> Any:
        return _READERS.get(self.path.suffix, records.read)(self.path)

    def value(self, key: str) -> Any:
        """The value at ``key``, a path with slashes such as ``yield/ci95/0``. Raises InputError if there is none."""
        found = self.content
        for part in key.split("/"):
            try:
                found = found[int(part) if isinstance(found, list) else part]
            except (KeyError, IndexError, TypeError, ValueError):
                raise InputError(
                    f"{self.path} has no {key}: it is damaged or from another version; make it again"
                ) from (None)
        return found

    def has(self, key: str) -> bool:
        """True if ``key`` exists and is not null. Raises InputError if the file cannot be read."""
        _ = self.content
        try:
            return self.value(key) is not None
        except InputError:
            return False

    def fact(
        self, name: str, key: str | Sequence[str], show: Callable[..., str] = str, *, rule: str = "", meaning: str = ""
    ) -> Fact:
        """The value at ``key``, formatted by ``show``. Several keys become several arguments of ``show``.

        ``rule``: how the shown value follows from the file, if by more than rounding.
        """
        keys = (key,) if isinstance(key, str) else tuple(key)
        values = [self.value(one) for one in keys]
        try:
            shown = show(*values)
        except (TypeError, ValueError, KeyError, ZeroDivisionError):
            raise InputError(f"{self.path}: {' and '.join(keys)} cannot be read: it is damaged; make it again") from (
                None
            )
        return Fact(name=name, shown=shown, source=self, keys=keys, rule=rule, meaning=meaning)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One number, name or hash of a report."""

    name: str
    shown: str
    source: ResultFile
    keys: tuple[str, ...]
    rule: str = ""
    meaning: str = ""

    @property
    def where(self) -> str:
        return ", ".join(self.keys)


Prose = tuple[str | Fact, ...]
# The content of one cell of a table, usually one name or number.
Cell = str | Fact | Prose


def pieces(cell: Cell) -> Prose:
    """``cell`` as prose."""
    return cell if isinstance(cell, tuple) else (cell,)


def plain(cell: Cell) -> str:
    """The text of a cell, or of prose."""
    return "".join(piece if isinstance(piece, str) else piece.shown for piece in pieces(cell))


@dataclass(frozen=True, kw_only=True)
class Figure:
    """``draw(path)`` writes SVG or PDF, by the suffix of ``path``. ``caption`` is also the alternative text."""

    name: str
    caption: str
    sources: tuple[ResultFile, ...]
    draw: Callable[[Path], None] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Table:
    """``meanings`` explain the first cells of the rows, "" where there is nothing to explain; () for none at all."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    meanings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """One heading with its content. ``headlines`` are facts repeated at the top of the page, ``points`` a list of short
    statements. ``design``: name, technology, level, supply and corner of the design, for headings. ``compared``: values
    that a table of several designs has in addition to ``facts``, by name (`cmru_hw.report.columns`)."""

    name: str
    title: str
    lead: tuple[Prose, ...] = ()
    points: tuple[Prose, ...] = ()
    headlines: tuple[Fact, ...] = ()
    facts: tuple[Fact, ...] = ()
    table: Table | None = None
    figures: tuple[Figure, ...] = ()
    design: str = ""
    compared: tuple[tuple[str, Cell], ...] = ()

    def every_fact(self) -> list[Fact]:
        """All facts in reading order, each once."""
        cells = [piece for row in self.table.rows for cell in row for piece in pieces(cell)] if self.table else []
        said = [piece for prose in (*self.lead, *self.points) for piece in prose]
        found = [piece for piece in (*self.headlines, *said, *self.facts, *cells) if isinstance(piece, Fact)]
        return list(dict.fromkeys(found))


@dataclass(frozen=True, kw_only=True)
class Report:
    title: str
    sections: tuple[Section, ...]

    def every_fact(self) -> list[tuple[Section, Fact]]:
        return [(section, fact) for section in self.sections for fact in section.every_fact()]


def _checkpoint(path: Path) -> dict[str, object]:
    """The JSON of a checkpoint, with ``units`` (per layer) and ``features`` from the shapes of its tensors."""
    from cmru_hw.nn import checkpoint

    config = checkpoint.load(path).config
    found = {name: getattr(config, name) for name in ("cell", "epsilon", "levels", "decision", "features")}
    notes = {name: dict(getattr(config, name)) for name in ("task", "training", "scores")}
    return found | notes | {"units": list(config.units), "classes": list(config.classes)}


def _rows(path: Path) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq

    try:
        columns: dict[str, list[Any]] = pq.read_table(path).to_pydict()
        return columns
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({reason(error)}): make it again") from error


_READERS: dict[str, Callable[[Path], Any]] = {".json": records.read, ".safetensors": _checkpoint, ".parquet": _rows}
