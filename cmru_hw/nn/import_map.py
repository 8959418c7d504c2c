"""A map of names: the TOML file that assigns the tensors of another program to those of a checkpoint.

::

    ignore = ["criterion.*"]    # tensors that are no part of the network; before the first table

    [model]
    cell = "cmru"
    levels = 7                  # leave it out for unbounded states
    skip = false                # only asked for where it means something, as is epsilon (cell eps)
    decision = "mean"
    classes = ["no", "yes"]

    [input]                     # x becomes (x - mean) / std; tensors of the file, numbers, or lists of numbers
    mean = "mu"
    std = "sd"

    [[before]]                  # maps in front of a layer, in order; layer = "readout" in front of the readout
    layer = 0
    linear = "encoder"          # encoder.weight and encoder.bias, or encoder/kernel and encoder/bias

    [[before]]
    layer = 1
    batch_norm = "bn1"
    eps = 1e-5

    [tensors]
    "layers.0.candidate.weight" = { from = "cell_0/candidate/kernel", transpose = true }
    "layers.0.initial_state" = { fill = 1.0 }

An entry of ``[tensors]`` is either ``from`` or ``fill``. ``from`` is the name in the file, with operations in this
order: ``reshape`` (a single value is repeated), ``transpose``, ``rows`` (``[first, end]``, for a matrix that holds
several), ``abs``, ``scale`` (a factor) and ``binarise`` (to the two values of an initial state). ``fill`` is one value,
with a ``size`` that is optional if it follows from another tensor. Without ``[input]`` and ``input.scale`` the network
sees the data unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmru_hw.core import toml_file
from cmru_hw.core.errors import CheckpointError
from cmru_hw.core.regular_file import read_text
from cmru_hw.nn import tensor_names
from cmru_hw.nn.input_files import MAX_NAME, check_file, quoted, reading

MAX_BYTES = 1 << 20
MAX_SIDE = 10_000
READOUT = "readout"
_FROM = {"from", "reshape", "transpose", "rows", "abs", "scale", "binarise"}
_GRAMMAR = (
    '{ from = "..." } with reshape, transpose, rows, abs, scale or binarise, or { fill = 1.0 } with or without size'
)


@dataclass(frozen=True, kw_only=True)
class TensorRule:
    """One tensor of a checkpoint: ``source`` is its name in the file, or None if it is filled with ``fill``."""

    name: str
    source: str | None = None
    fill: float = 0.0
    shape: tuple[int, ...] | None = None
    transpose: bool = False
    rows: tuple[int, int] | None = None
    absolute: bool = False
    factor: float = 1.0
    binarise: bool = False


@dataclass(frozen=True, kw_only=True)
class Before:
    """An affine map before layer ``layer`` (None: before the readout).

    ``parts`` is the prefix of its tensors, or their names by role: weight and bias; for a batch normalization weight,
    bias, mean and var.
    """

    layer: int | None
    kind: str
    parts: str | Mapping[str, str]
    transpose: bool = False
    eps: float = 1e-5

    @property
    def title(self) -> str:
        named = self.parts if isinstance(self.parts, str) else next(iter(self.parts.values()))
        return f"{'linear layer' if self.kind == 'linear' else 'batch normalisation'} {quoted(named)}"

    @property
    def place(self) -> str:
        return "the readout" if self.layer is None else f"layer {self.layer}"


@dataclass(frozen=True, kw_only=True)
class ImportMap:
    """``model`` holds the settings as written, ``mean`` and ``std`` the entries of [input]."""

    path: Path
    model: Mapping[str, Any]
    entries: tuple[TensorRule, ...]
    before: tuple[Before, ...]
    mean: Any
    std: Any
    ignore: tuple[str, ...]


def read(path: Path) -> ImportMap:
    """The map at ``path``. Raises CheckpointError, with file, cause and remedy."""
    otherwise = f"it cannot be read as TOML: write a map of names, {tensor_names.PAGE} has an example"
    with reading(path, CheckpointError, otherwise):
        check_file(path, CheckpointError, MAX_BYTES)
        try:
            data = toml_file.parse(read_text(path))
        except ValueError as error:
            raise CheckpointError(
                f"it cannot be read ({str(error)[:200]}): write a map of names, {tensor_names.PAGE} has an example"
            ) from None
        _check_tables(data)
        tensor_names.check(data["tensors"].keys())
        given = data.get("input", {})
        return ImportMap(
            path=path,
            model=data["model"],
            entries=tuple(_entry(name, entry) for name, entry in data["tensors"].items()),
            before=tuple(map(_before, data.get("before", []))),
            mean=given.get("mean"),
            std=given.get("std"),
            ignore=tuple(data.get("ignore", [])),
        )


def _check_tables(data: Mapping[str, Any]) -> None:
    kinds = {"model": dict, "tensors": dict, "input": dict, "before": list, "ignore": list}
    right = all(isinstance(data.get(key), dict) for key in ("model", "tensors")) and data.keys() <= kinds.keys()
    if not right or not all(isinstance(value, kinds[key]) for key, value in data.items()):
        raise CheckpointError(
            "it has two tables, [model] and [tensors], and where needed [input], [[before]] and ignore = [...]; "
            f"see {tensor_names.PAGE}"
        )
    if not all(isinstance(name, str) for name in data.get("ignore", [])):
        raise CheckpointError('ignore is a list of names, as ["criterion.*"]; change it')
    given = data.get("input", {})
    if not given.keys() <= {"mean", "std"} or not all(_is_moment(value) for value in given.values()):
        raise CheckpointError('[input] has mean and std: names of tensors ("mu"), numbers, or lists of numbers')
    if given and any(name in data["tensors"] for name in ("input.scale", "input.offset")):
        raise CheckpointError("it has [input], and input.scale or input.offset in [tensors]; leave one of them out")


def _is_moment(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_number, value))
    return isinstance(value, str) or _is_number(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # TOML allows integers of any size.
    return abs(value) < 1e38 if isinstance(value, int) else math.isfinite(value)


def _entry(name: str, entry: Any) -> TensorRule:
    keys = set(entry) if isinstance(entry, dict) else set()
    if not ("from" in keys and keys <= _FROM) and keys not in ({"fill"}, {"fill", "size"}):
        raise CheckpointError(f"{name} is {_GRAMMAR}; change it")
    if "fill" in keys and not _is_number(entry["fill"]):
        raise CheckpointError(f"the fill of {name} is {_shown(entry['fill'])}; it must be a number")
    for key, kind, wanted in (("from", str, "a name"), ("transpose", bool, "true or false")):
        if key in keys and not isinstance(entry[key], kind):
            raise CheckpointError(f"{key} of {name} is {_shown(entry[key])}; it must be {wanted}")
    for key in keys & {"abs", "binarise"}:
        if not isinstance(entry[key], bool):
            raise CheckpointError(f"{key} of {name} is {_shown(entry[key])}; it must be true or false")
    if "scale" in keys and not _is_number(entry["scale"]):
        raise CheckpointError(f"the scale of {name} is {_shown(entry['scale'])}; it must be a number")
    return TensorRule(
        name=name,
        source=entry.get("from"),
        fill=float(entry.get("fill", 0.0)),
        shape=_shape(name, entry),
        transpose=entry.get("transpose", False),
        rows=_rows(name, entry.get("rows")),
        absolute=entry.get("abs", False),
        factor=float(entry.get("scale", 1.0)),
        binarise=entry.get("binarise", False),
    )


def _shape(name: str, entry: Mapping[str, Any]) -> tuple[int, ...] | None:
    key = next((key for key in ("size", "reshape") if key in entry), None)
    if key is None:
        return None
    shape = tuple(entry[key]) if isinstance(entry[key], list) else (entry[key],)
    if len(shape) not in (1, 2) or not all(type(side) is int and 0 < side <= MAX_SIDE for side in shape):
        raise CheckpointError(f"the {key} of {name} is {_shown(entry[key])}; it must be 12, or [6, 12] for a matrix")
    return shape


def _rows(name: str, rows: Any) -> tuple[int, int] | None:
    if rows is None:
        return None
    if not (isinstance(rows, list) and len(rows) == 2 and all(type(row) is int for row in rows)):
        raise CheckpointError(f"the rows of {name} are {_shown(rows)}; they must be [first, end], as [0, 6] for six")
    if not 0 <= rows[0] < rows[1] <= MAX_SIDE:
        raise CheckpointError(f"the rows of {name} are {_shown(rows)}; first must be below end, as [0, 6] for six")
    return rows[0], rows[1]


def _before(entry: Any) -> Before:
    keys = set(entry) if isinstance(entry, dict) else set()
    kind = next((kind for kind in ("linear", "batch_norm") if kind in keys), "")
    allowed = {"layer", "linear", "transpose"} if kind == "linear" else {"layer", "batch_norm", "eps"}
    if not kind or "layer" not in keys or not keys <= allowed:
        raise CheckpointError(
            "[[before]] has layer, and linear (with or without transpose) or batch_norm (with or without eps); fix it"
        )
    layer = entry["layer"]
    if layer != READOUT and (type(layer) is not int or not 0 <= layer < tensor_names.MAX_LAYERS):
        raise CheckpointError(
            f'layer of [[before]] is {_shown(layer)}; it must be the number of a layer, or "{READOUT}"'
        )
    if not isinstance(entry.get("transpose", False), bool):
        raise CheckpointError(f"transpose of [[before]] is {_shown(entry['transpose'])}; it must be true or false")
    if not _is_number(entry.get("eps", 1e-5)) or not entry.get("eps", 1e-5) >= 0:
        raise CheckpointError(f"eps of [[before]] is {_shown(entry['eps'])}; it must be a number, as 1e-5")
    return Before(
        layer=None if layer == READOUT else layer,
        kind=kind,
        parts=_parts(kind, entry[kind]),
        transpose=entry.get("transpose", False),
        eps=float(entry.get("eps", 1e-5)),
    )


def _parts(kind: str, parts: Any) -> str | Mapping[str, str]:
    roles = ("weight", "bias") if kind == "linear" else ("weight", "bias", "mean", "var")
    needed = {"weight"} if kind == "linear" else {"mean", "var"}
    named = isinstance(parts, dict) and needed <= parts.keys() <= set(roles)
    if isinstance(parts, str):
        return parts
    if named and all(isinstance(part, str) for part in parts.values()):
        return dict(parts)
    raise CheckpointError(f"{kind} of [[before]] is a prefix of names, or a table of names for {', '.join(roles)}")


def _shown(value: Any) -> str:
    return repr(value)[:MAX_NAME]
