"""Frozen dataclasses as JSON: one writer, and one reader that checks types, ranges and sums.

A :class:`Record` is a frozen, keyword-only dataclass. Its fields are written under their names, in the order of their
declaration, and read back by their type hints: ``bool``, ``int``, ``float``, ``str``, ``Literal``, ``X | None``,
``tuple[X, ...]``, ``tuple[X, Y]``, ``Mapping[str, X]``, another record, or ``object`` for any JSON value. A limit is
part of the type: ``Annotated[float, Range(low=0)]``. Numbers that are not finite are written as null.

Metadata of a field whose name is not its key: :func:`named`; ``INLINE`` for a record whose fields are written among
those of the outer record; ``REST`` for a mapping of all keys without a field; ``OMIT_NONE`` for a key that is omitted
if the value is None. A field with a default may be absent from a file. Keys without a field are ignored, so that older
versions read the files of newer ones.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from cmru_hw.core.atomic_write import write_text
from cmru_hw.core.errors import DefectError, InputError, reason
from cmru_hw.core.regular_file import read_text
from cmru_hw.core.units import json_text

INLINE: Mapping[str, object] = {"inline": True}
REST: Mapping[str, object] = {"rest": True}
OMIT_NONE: Mapping[str, object] = {"omit": True}
ABSENT = "is absent"
"""The problem of a required field that a file lacks."""
# Deeper than any result, and far below Python's own limit.
DEEPEST = 50


def named(key: str) -> Mapping[str, object]:
    """Metadata of a field whose JSON key is ``key``."""
    return {"key": key}


class Invalid(ValueError):
    """An impossible value in a record. ``place`` is its path in the file, with slashes."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place} {problem}" if place else problem)
        self.place = place
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class Range:
    """Limits of a number, both inclusive."""

    low: float = -math.inf
    high: float = math.inf

    def check(self, value: object, place: str) -> None:
        if isinstance(value, int | float) and not self.low <= value <= self.high:
            limits = f"below {self.low:g}" if value < self.low else f"above {self.high:g}"
            raise Invalid(place, f"is {value:g}, {limits}")


@dataclass(frozen=True, kw_only=True)
class Digest:
    """A SHA-256 in hexadecimal digits."""

    def check(self, value: object, place: str) -> None:
        if not (isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")):
            raise Invalid(place, "is not a SHA-256")


@dataclass(frozen=True)
class OneOf:
    """One of a set of names."""

    names: tuple[str, ...]

    def check(self, value: object, place: str) -> None:
        if value not in self.names:
            raise Invalid(place, f"is {_shown(value)}, not {' or '.join(self.names)}")


Count = Annotated[int, Range(low=0)]
Share = Annotated[float, Range(low=0, high=1)]
NotNegative = Annotated[float, Range(low=0)]
Positive = Annotated[float, Range(low=math.ulp(0.0))]
Sha256 = Annotated[str, Digest()]


class Record:
    """Base of the frozen dataclasses that are stored as JSON."""

    def check(self) -> None:
        """Check sums and relations of a record that was read. Raises Invalid, with the field's name as its place."""

    def to_plain(self) -> dict[str, object]:
        """Keys and plain values in the form in which they are written."""
        return _written(self)

    def to_json(self) -> str:
        return json_text(self.to_plain()) + "\n"

    def save(self, path: Path) -> None:
        """Write to ``path``, completely or not at all. Raises OutputError; DefectError if it cannot be read again."""
        text = self.to_json()
        try:
            same = type(self).from_json(text, where=path).to_json() == text
        except InputError as error:
            raise DefectError(f"{path} is not written, because it could not be read back: {error}") from error
        if not same:
            raise DefectError(f"{path} is not written, because reading it back would give another result")
        write_text(path, text)

    @classmethod
    def from_plain(cls, content: object, *, where: str | Path) -> Self:
        """The record with the keys of ``content``, from the file ``where``. Raises InputError: see :meth:`from_json`"""
        try:
            made: Self = _record(cls, content, "")
        except Invalid as error:
            problem = f" has no {error.place}" if error.problem == ABSENT else f": {error}"
            raise InputError(f"{where}{problem}: it is damaged or of another version; make it again") from None
        return made

    @classmethod
    def from_json(cls, text: str, *, where: str | Path) -> Self:
        """The record in ``text``, the content of ``where``. Raises InputError with file, field and cause."""
        return cls.from_plain(parse(text, where=where), where=where)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The record in ``path``. Raises InputError."""
        return cls.from_plain(read(path), where=path)


def read(path: Path) -> object:
    """The JSON in ``path``. Raises InputError for a file that cannot be read."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({reason(error)}): make it again") from error
    return parse(text, where=path)


def parse(text: str, *, where: str | Path) -> object:
    """Parse ``text`` as JSON. Raises InputError for a duplicate key, NaN, or a number beyond the range of a float."""
    try:
        found: object = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite, parse_int=_integer
        )
        _shallow(found, DEEPEST)
    except (ValueError, RecursionError) as error:
        cause = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{where} cannot be read ({cause}): make it again") from None
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)[:40]!r} occurs twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is too large a number")
    return value


def _integer(digits: str) -> int:
    if len(digits) > 40:
        raise ValueError(f"{digits[:20]}… is too large a number")
    return int(digits)


def _shallow(value: object, depth: int) -> None:
    inner: Iterable[object] = ()
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list):
        inner = value
    for one in inner:
        if not depth:
            raise RecursionError
        _shallow(one, depth - 1)


# --- Writing -----------------------------------------------------------------------------------------------------


def _written(record: Any) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.metadata.get("inline"):
            found |= _written(value)
        elif field.metadata.get("rest"):
            found |= {key: _plain(entry) for key, entry in value.items()}
        elif value is not None or not field.metadata.get("omit"):
            found[_key(field)] = _plain(value)
    return found


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return _written(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _key(field: Field[Any]) -> str:
    return str(field.metadata.get("key", field.name))


# --- Reading -----------------------------------------------------------------------------------------------------

_NAMES: Mapping[object, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind, include_extras=True)


@cache
def _keys(kind: Any) -> frozenset[str]:
    """All keys for which ``kind`` has fields, those of inline records included."""
    found: set[str] = set()
    for field in fields(kind):
        if field.metadata.get("inline"):
            found |= _keys(_hints(kind)[field.name])
        elif not field.metadata.get("rest"):
            found.add(_key(field))
    return frozenset(found)


def _record(kind: Any, content: object, place: str) -> Any:
    if not isinstance(content, Mapping):
        raise Invalid(place, f"is {_shown(content)}, not an object" if place else "it is not an object")
    values: dict[str, object] = {}
    for field in fields(kind):
        hint, key = _hints(kind)[field.name], _key(field)
        if field.metadata.get("inline"):
            values[field.name] = _record(hint, content, place)
        elif field.metadata.get("rest"):
            values[field.name] = {name: value for name, value in content.items() if name not in _keys(kind)}
        elif key in content:
            values[field.name] = _value(hint, content[key], _inside(place, key))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise Invalid(_inside(place, key), ABSENT)
    found = kind(**values)
    if isinstance(found, Record):
        try:
            found.check()
        except Invalid as error:
            raise Invalid(_inside(place, error.place), error.problem) from None
    return found


def _value(hint: Any, value: object, place: str) -> object:
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *limits = get_args(hint)
        found = _value(inner, value, place)
        for limit in limits:
            limit.check(found, place)
        return found
    if hint is object:
        return value
    if origin in (Union, types.UnionType):
        return _one_of(get_args(hint), value, place)
    if origin is Literal:
        if value not in get_args(hint):
            raise Invalid(place, f"is {_shown(value)}, not {' or '.join(map(str, get_args(hint)))}")
        return value
    if origin is tuple:
        return _tuple(get_args(hint), value, place)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise Invalid(place, f"is {_shown(value)}, not an object")
        return {key: _value(get_args(hint)[1], entry, _inside(place, key)) for key, entry in value.items()}
    if is_dataclass(hint) and isinstance(hint, type):
        return _record(hint, value, place)
    return _scalar(hint, value, place)


def _one_of(kinds: tuple[Any, ...], value: object, place: str) -> object:
    if value is None and types.NoneType in kinds:
        return None
    problems = []
    for kind in kinds:
        if kind is not types.NoneType:
            try:
                return _value(kind, value, place)
            except Invalid as error:
                problems.append(error)
    raise problems[0]


def _tuple(kinds: tuple[Any, ...], value: object, place: str) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise Invalid(place, f"is {_shown(value)}, not a list")
    if kinds[-1] is not Ellipsis and len(kinds) != len(value):
        raise Invalid(place, f"has {len(value)} entries, not {len(kinds)}")
    each = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else kinds
    pairs = enumerate(zip(each, value, strict=True))
    return tuple(_value(kind, one, _inside(place, str(number))) for number, (kind, one) in pairs)


def _scalar(hint: Any, value: object, place: str) -> object:
    integer = isinstance(value, int) and not isinstance(value, bool)
    if hint is float and (integer or isinstance(value, float)):
        return float(value)  # type: ignore[arg-type]  # checked to be a number above
    if (hint is int and integer) or (hint in (str, bool) and isinstance(value, hint)):
        return value
    raise Invalid(place, f"is {_shown(value)}, not {_NAMES[hint]}")


def _inside(place: str, name: str) -> str:
    return f"{place}/{name}" if place and name else place or name


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return f"{str(value)[:40]!r}" if isinstance(value, str) else str(value)[:40]


def approximately(one: float, other: float, *, share: float = 1e-9) -> bool:
    """Whether two numbers of one file are equal except for rounding."""
    return math.isclose(one, other, rel_tol=share, abs_tol=1e-30)
