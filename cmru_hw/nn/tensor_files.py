"""Read tensors from the files of training programs, under their original names.

``.pt``, ``.pth`` and ``.ckpt`` are read with ``torch.load(weights_only=True)``, ``.npz`` without unpickling, and
``.safetensors``. A trainer's dictionary (``{"state_dict": ..., "epoch": ...}``) is opened; it may contain tensors next
to the weights, such as a mean and a standard deviation of the data. Prefixes of wrappers (``module.`` of data
parallelism, ``_orig_mod.`` of torch.compile, ``model.`` of Lightning) are removed. Half precision, float64 and integers
become float32. ``notes`` lists everything that was removed or changed. Only files that NumPy cannot read load PyTorch.
"""

from __future__ import annotations

import os
import pickle
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import safetensors
from numpy.typing import NDArray

from cmru_hw.core.errors import CheckpointError
from cmru_hw.nn.input_files import check_file, check_zip, quoted, read_npz, reading

if TYPE_CHECKING:
    from torch import Tensor

METADATA_KEY = "cmru_hw"
MAX_BYTES = 64 << 20
"""Largest number of values in one file: far above any network that fits a circuit, far below a memory problem."""
MAX_JSON_BYTES = 1 << 20
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".npz")
WRAPPERS = ("module.", "_orig_mod.", "model.")
"""Prefixes that wrappers put before every name."""

_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of ``torch.save`` files before version 1.6, and with _use_new_zipfile_serialization=False."""
_NUMPY = ("F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64")
"""Types of a .safetensors file that NumPy has, and which have the same name in PyTorch."""
_WEIGHTS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """``tensors`` are float32 arrays. ``refused``: name → reason, for each that cannot be a weight.

    ``prefix`` is the prefix that was removed from every name, ``settings`` the JSON text under ``cmru_hw`` or None.
    """

    path: Path
    tensors: Mapping[str, NDArray[np.float32]]
    refused: Mapping[str, str]
    prefix: str
    settings: str | None
    notes: tuple[str, ...]

    def refuse(self, names: Iterable[str]) -> None:
        """Raise CheckpointError if one of ``names`` cannot be a weight."""
        if wrong := [self.refused[name] for name in sorted(set(names) & self.refused.keys())]:
            raise CheckpointError("; ".join(wrong))


def read(path: str | os.PathLike[str]) -> TensorFile:
    """All tensors of ``path``. Raises CheckpointError, with file, cause and remedy."""
    path = Path(path)
    suffix = path.suffix.lower()
    with reading(path, CheckpointError, "it is damaged, incomplete or no checkpoint; save it again"):
        check_file(path, CheckpointError, MAX_BYTES + MAX_JSON_BYTES)
        if suffix not in SUFFIXES:
            raise CheckpointError(f"{suffix or 'no suffix'} is not read; give a {', '.join(SUFFIXES)} file")
        reader = {".safetensors": _safetensors, ".npz": _npz}.get(suffix, _torch)
        settings, found, notes = reader(path)
        if not found:
            raise CheckpointError("it holds no tensors; save model.state_dict()")
        prefix, found, removed = _unwrapped(found)
        tensors, refused, types = _as_float32(found)
    return TensorFile(
        path=path, tensors=tensors, refused=refused, prefix=prefix, settings=settings, notes=(*notes, *removed, *types)
    )


# --- One reader for each kind of file ----------------------------------------------------------------------------

_Read = tuple[str | None, dict[str, object], list[str]]


def _safetensors(path: Path) -> _Read:
    with safetensors.safe_open(path, framework="np") as file:
        names = list(file.keys())
        plain = all(file.get_slice(name).get_dtype() in _NUMPY for name in names)
        if plain:
            return (file.metadata() or {}).get(METADATA_KEY), {name: file.get_tensor(name) for name in names}, []
    with safetensors.safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get(METADATA_KEY), {name: file.get_tensor(name) for name in names}, []


def _npz(path: Path) -> _Read:
    arrays = dict(read_npz(path, CheckpointError, MAX_BYTES))
    text = arrays.pop(METADATA_KEY, None)
    if text is not None and not (text.dtype.kind == "U" and text.ndim == 0):
        raise CheckpointError(f"its entry {METADATA_KEY!r} is {text.dtype}; it must be a JSON string")
    return None if text is None else str(text), dict(arrays), []


def _torch(path: Path) -> _Read:
    with path.open("rb") as file:
        if file.read(len(_LEGACY)) == _LEGACY:
            raise CheckpointError(
                "it has the format of PyTorch before 1.6, which is not read; load it and save it again with torch.save"
            )
    import torch

    names = check_zip(path, CheckpointError, MAX_BYTES)
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        raise CheckpointError("it holds TorchScript code, which is never run; save the network's state_dict() instead")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"objects ({named[1]})" if named else "objects"
        text = (
            f"it holds {what} that are not tensors, which are never unpickled; save network.state_dict() alone, in the "
            "program that trained it"
        )
        raise CheckpointError(text, evidence=str(error)) from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise CheckpointError(f"it holds a {type(found).__name__}, not a state_dict; save network.state_dict()")
    text = found.pop(METADATA_KEY, None)
    if text is not None and not isinstance(text, str):
        raise CheckpointError(f"its entry {METADATA_KEY!r} is a {type(text).__name__}; it must be a JSON string")
    tensors, notes = _weights_of(found)
    return text, tensors, notes


def _weights_of(found: dict[str, object]) -> tuple[dict[str, object], list[str]]:
    """The tensors of a state_dict, or of the state_dict in a trainer's dictionary with the tensors next to it."""
    if found.keys() == {"state", "param_groups"}:
        raise CheckpointError("it is the state of an optimizer and holds no weights; save model.state_dict()")
    nested = {name: value for name, value in found.items() if _is_state_dict(value)}
    if not nested:
        _only_tensors(found)
        return dict(found), []
    named = [name for name in _WEIGHTS if name in nested] or list(nested)
    if len(named) > 1:
        sets = ", ".join(map(quoted, named))
        raise CheckpointError(f"it holds {len(named)} sets of weights, {sets}; save only the one that is meant")
    chosen = nested[named[0]]
    _only_tensors(chosen)
    outer = {name: value for name, value in found.items() if _is_tensor(value)}
    if both := sorted(outer.keys() & chosen.keys()):
        raise CheckpointError(f"tensor {quoted(both[0])} is both in it and in its {quoted(named[0])}; rename one")
    left = sorted(found.keys() - outer.keys() - {named[0]})
    note = f"weights from {quoted(named[0])}" + (f"; not read: {_listed(left)}" if left else "")
    return {**chosen, **outer}, [note]


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    """Whether ``value`` is a PyTorch tensor; if PyTorch is not loaded, nothing is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _is_state_dict(value: object) -> TypeGuard[dict[str, object]]:
    return (
        isinstance(value, dict)
        and all(isinstance(name, str) for name in value)
        and any(_is_tensor(entry) for entry in value.values())
    )


def _only_tensors(found: Mapping[str, Any]) -> None:
    for name, value in found.items():
        if not _is_tensor(value):
            raise CheckpointError(
                f"entry {quoted(name)} is a {type(value).__name__}, not a tensor; save network.state_dict()"
            )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(quoted, names[:_SHOWN])) + more


# --- Names and types ---------------------------------------------------------------------------------------------


def _unwrapped(found: dict[str, object]) -> tuple[str, dict[str, object], list[str]]:
    """The wrappers' common prefix of all names, the tensors without it, and notes on it."""
    notes = []
    if found.keys() > {"n_averaged"} and all(name.startswith("module.") for name in found.keys() - {"n_averaged"}):
        # torch.optim.swa_utils.AveragedModel counts the averaged models here.
        del found["n_averaged"]
        notes.append("'n_averaged' not read")
    prefix = ""
    while (wrapper := next((one for one in WRAPPERS if all(_behind(name, one) for name in found)), None)) is not None:
        prefix += wrapper
        found = {name.removeprefix(wrapper): value for name, value in found.items()}
    inner = {name: name.replace("_orig_mod.", "") for name in found}
    if any(name != new for name, new in inner.items()) and len(set(inner.values())) == len(inner):
        found = {inner[name]: value for name, value in found.items()}
        notes.append("'_orig_mod.' removed from names")
    return prefix, found, [f"prefix {prefix!r} removed"] * bool(prefix) + notes


def _behind(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and len(name) > len(prefix)


def _as_float32(found: Mapping[str, Any]) -> tuple[dict[str, NDArray[np.float32]], dict[str, str], list[str]]:
    """Each tensor as a float32 array, or the reason why it cannot be; and the types that were converted."""
    size = sum(value.numel() if _is_tensor(value) else value.size for value in found.values())
    if size * 4 > MAX_BYTES:
        raise CheckpointError(f"the tensors hold more than {MAX_BYTES >> 20} MiB; no network of that size can be built")
    tensors: dict[str, NDArray[np.float32]] = {}
    refused: dict[str, str] = {}
    types: Counter[str] = Counter()
    for name, value in found.items():
        kind = str(value.dtype).removeprefix("torch.")
        because = _cannot(value, kind)
        if because:
            refused[name] = f"tensor {quoted(name)} {because}"
            continue
        if _is_tensor(value):
            tensors[name] = value.detach().float().contiguous().numpy()
        else:
            with np.errstate(over="ignore"):
                tensors[name] = np.ascontiguousarray(value, dtype=np.float32).reshape(value.shape)
        # The number of batches that a batch normalization counts is not reported.
        types[kind] += kind != "float32" and not name.endswith("num_batches_tracked")
    notes = [f"{count} tensor{'s' * (count > 1)} of {kind} as float32" for kind, count in types.items() if count]
    return tensors, refused, notes


def _cannot(value: Any, kind: str) -> str:
    """Reason why a tensor or an array cannot be a weight; "" if it can."""
    if _is_tensor(value):
        if value.is_complex():
            return f"is {kind}, but weights are real; save its real and imaginary parts as tensors of their own"
        if kind == "bool":
            return "is boolean, which no weight is; save it as float32, or leave it out"
        if str(value.layout) != "torch.strided" or value.is_quantized or value.device.type != "cpu":
            layout = str(value.layout).removeprefix("torch.")
            return f"is {layout} {kind} on {value.device.type}; save it as dense float32 on the CPU"
        return ""
    return {
        "c": f"is {kind}, but weights are real; save its real and imaginary parts as arrays of their own",
        "b": "is boolean, which no weight is; save it as float32, or leave it out",
        "U": "is text, which no weight is; leave it out",
        "S": "is text, which no weight is; leave it out",
        "O": "holds Python objects, which are never unpickled; save plain arrays of float32",
        "V": f"is of a type that NumPy does not know ({value.dtype.str}, as bfloat16 is saved); save it as float32",
    }.get(value.dtype.kind, "" if value.dtype.kind in "fiu" else f"is {kind}; save it as float32")
