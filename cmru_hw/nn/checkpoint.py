"""File ⇄ Trained network.

A checkpoint is a ``.safetensors`` file of float32 tensors with one JSON string in its metadata under ``cmru_hw``::

    {"format": 1, "cell": "cmru|bmru|eps|acmru|fq-bmru", "epsilon": 1.0, "levels": 7 or null, "skip": true,
     "decision": "mean|last|majority", "classes": ["a", "b"], "task": {...}, "training": {...}, "scores": {...}}

``levels`` may also be a list with an entry for each layer: a list with a number for each unit, or one number.
``task``, ``training`` and ``scores`` are free-form and optional. Settings without a meaning for the cell are optional
too: ``epsilon`` of all cells except eps, ``levels`` of bmru, acmru and fq-bmru, ``skip`` of one layer (except fq-bmru,
which uses it). The tensors are ``input.scale|offset``; per layer N ``layers.N.candidate.weight|bias``,
``layers.N.threshold.weight|bias``, ``layers.N.alpha`` (αCMRU: ``layers.N.alpha.weight|bias``),
``layers.N.initial_state``; and ``readout.weight|bias``. fq-bmru has ``projection.weight|bias`` before the layers and
per layer ``candidate.weight|bias``, ``low``, ``width``, ``alpha``, ``output.weight|bias``, ``initial_state``. Weights
are [out, in].

Files of other programs (:mod:`cmru_hw.nn.tensor_files`) with these tensors are read too. Their JSON is an entry
``cmru_hw`` of the dictionary, or a file of the same stem that ends in ``.json``. Nothing that can execute code is
unpickled. All validation happens here, once; a :class:`Trained` is always valid.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from cmru_hw.core.atomic_write import write_atomically
from cmru_hw.core.errors import CheckpointError, DataError, InputError, OutputError, reason
from cmru_hw.core.regular_file import read_text
from cmru_hw.nn import levels as level_limits
from cmru_hw.nn import tensor_files, tensor_names, tensor_values
from cmru_hw.nn.cell_config import CELLS, DECISIONS, CellConfig
from cmru_hw.nn.input_files import MAX_NAME
from cmru_hw.nn.levels import Levels
from cmru_hw.nn.sequences import Sequences
from cmru_hw.nn.tensor_files import MAX_BYTES, MAX_JSON_BYTES, METADATA_KEY, TensorFile

if TYPE_CHECKING:
    from torch import Tensor

    from cmru_hw.nn.cells import Network

__all__ = [
    "CELLS",
    "DECISIONS",
    "MAX_BYTES",
    "MAX_JSON_BYTES",
    "Loaded",
    "ModelConfig",
    "Trained",
    "check_settings",
    "load",
    "read",
    "save",
]

FORMAT = 1


# --- Values ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """All properties of a network except its tensors. Raises CheckpointError for an invalid combination.

    ``levels`` is K of all units, or of each unit, see :mod:`cmru_hw.nn.levels`. ``features``, ``units`` (per layer) and
    ``widths`` (fq-bmru only, see :class:`Network`) are not in the JSON; they follow from the shapes of the tensors.
    """

    cell: str
    epsilon: float
    levels: Levels
    skip: bool
    decision: str
    classes: tuple[str, ...]
    features: int
    units: tuple[int, ...]
    widths: tuple[int, ...] | None = None
    task: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = {key: getattr(self, key) for key in ("cell", "epsilon", "levels", "skip", "decision")}
        if not 1 <= len(self.units) <= tensor_names.MAX_LAYERS:
            raise CheckpointError(f"there are {len(self.units)} layers; give 1 to {tensor_names.MAX_LAYERS}")
        check_settings({**own, "classes": list(self.classes)}, "the settings", depth=len(self.units), nulls=True)
        try:
            object.__setattr__(self, "levels", level_limits.checked(self.levels, self.units))
            _ = self.cell_config
        except InputError as error:
            raise CheckpointError(str(error)) from None
        if self.decision not in DECISIONS:
            raise CheckpointError(f"decision {self.decision!r} is unknown; it must be one of {', '.join(DECISIONS)}")
        for name in self.classes:
            if not (name.isprintable() and name.strip() == name and 0 < len(name) <= MAX_NAME):
                raise CheckpointError(f"class name {name[:MAX_NAME]!r}: use 1 to {MAX_NAME} printable characters")
        if len(set(self.classes)) != len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise CheckpointError(f"class name {twice!r} occurs twice; give every class its own name")
        if not self.classes:
            raise CheckpointError('"classes" is empty; name every row of the readout')

    @property
    def cell_config(self) -> CellConfig:
        return CellConfig(cell=self.cell, epsilon=self.epsilon, levels=self.levels)

    def network(self) -> Network:
        """A new network of these shapes with torch's initial weights."""
        from cmru_hw.nn.cells import Network

        return Network(
            self.cell_config,
            features=self.features,
            units=self.units,
            classes=len(self.classes),
            skip=self.skip,
            widths=self.widths,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A network with its weights, float32 by their checkpoint names and checked against ``config``.

    ``tensors`` may be given as PyTorch tensors on the CPU or as NumPy arrays. ``arrays`` are their values as arrays;
    only a look at ``tensors`` loads PyTorch. Raises CheckpointError, with the tensor and the remedy, if ``tensors`` do
    not fit ``config``.
    """

    config: ModelConfig
    tensors: Mapping[str, Tensor]
    arrays: Mapping[str, NDArray[np.float32]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found = _checked(self.config, self.tensors)
        own = {name: np.array(found[name], order="C") for name in sorted(found)}
        object.__setattr__(self, "arrays", MappingProxyType(own))
        object.__setattr__(self, "tensors", tensor_values.AsTorch(own))

    def __reduce__(self) -> tuple[Any, ...]:
        # A read-only mapping cannot be pickled.
        return partial(Trained.of_arrays, self.config, dict(self.arrays)), ()

    @classmethod
    def from_network(cls, network: Network, config: ModelConfig) -> Trained:
        return cls(config=config, tensors=network.state_dict())

    @classmethod
    def of_arrays(cls, config: ModelConfig, arrays: Mapping[str, NDArray[Any]]) -> Trained:
        """A network of arrays in any precision, rounded to float32."""
        # arrays are taken as well as tensors
        rounded: Any = {name: array.astype(np.float32) for name, array in arrays.items()}
        return cls(config=config, tensors=rounded)

    @cached_property
    def sha256(self) -> str:
        """Identity of the computation: a hash of tensors, cell and decision, not of notes and scores."""
        hashed = hashlib.sha256(_json({**_essentials(self.config), "format": FORMAT}).encode())
        for name, array in self.arrays.items():
            hashed.update(f"\n{name} {array.shape}\n".encode())
            hashed.update(array.astype("<f4").tobytes())
        return hashed.hexdigest()

    def network(self) -> Network:
        """The network in evaluation mode, with its own copy of the weights."""
        import torch

        # The initial weights are overwritten at once and must not change the caller's random numbers.
        with torch.random.fork_rng(devices=[]):
            network = self.config.network()
        network.load_state_dict(dict(self.tensors))
        return network.eval()

    def check(self, sequences: Sequences) -> None:
        """Raises DataError unless this network can process these sequences."""
        features = sequences.inputs.shape[2]
        if features != self.config.features:
            raise DataError(
                f"the sequences have {features} features, but the network takes {self.config.features}; give others"
            )
        if sequences.labels is not None and sequences.labels.max() >= len(self.config.classes):
            classes = len(self.config.classes)
            raise DataError(f"label {sequences.labels.max()} has no class; labels must lie between 0 and {classes - 1}")


# --- Tensors -----------------------------------------------------------------------------------------------------


def _checked(config: ModelConfig, tensors: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Check that names and shapes are those of the network, and that a circuit can realize the values."""
    tensor_names.refuse_missing(config.cell, len(config.units), tensors.keys())
    rows = int(np.prod(tensors["readout.bias"].shape))
    if rows != len(config.classes):
        raise CheckpointError(f"readout.bias has {rows} rows for {len(config.classes)} classes; name one per row")
    shapes = tensor_names.shapes(
        config.cell, config.features, config.units, len(config.classes), skip=config.skip, widths=config.widths
    )
    for name, shape in shapes.items():
        found = tuple(tensors[name].shape)
        if found != shape:
            because = f'with "skip" {json.dumps(config.skip)} and {config.features} features'
            raise CheckpointError(f"tensor {name} has shape {found}, but {because} it must be {shape}")
    return {name: tensor_values.checked(config.cell, name, tensor) for name, tensor in tensors.items()}


# --- JSON --------------------------------------------------------------------------------------------------------


def _essentials(config: ModelConfig) -> dict[str, object]:
    return {
        "cell": config.cell,
        "epsilon": config.epsilon,
        "levels": level_limits.plain(config.levels),
        "skip": config.skip,
        "decision": config.decision,
        "classes": list(config.classes),
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def check_settings(found: Mapping[str, Any], place: str, *, depth: int, nulls: bool) -> dict[str, Any]:
    """The settings of a network of ``depth`` layers, completed by those without a meaning for its cell.

    ``place`` names their origin in messages ("its JSON"). ``nulls``: whether null can stand for absent levels. Raises
    CheckpointError, with the setting.
    """
    needed: dict[str, type | tuple[type, ...]] = {"cell": str, "decision": str, "classes": list}
    optional: dict[str, type | tuple[type, ...]] = {"epsilon": (int, float), "levels": _LEVELS, "skip": bool}
    for key, value in found.items():
        kinds = {**needed, **optional}.get(key)
        if kinds is None:
            text = f"{place} has an unknown key {str(key)[:MAX_NAME]!r}; known are {', '.join((*needed, *optional))}"
            raise CheckpointError(text)
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise CheckpointError(f'"{key}" is {_kind(value)} in {place}; it must be {_kind_name(kinds)}')
    if "cell" not in found:
        raise CheckpointError(f'"cell" is missing from {place}; it must be one of {", ".join(CELLS)}')
    cell = found["cell"]
    if cell not in CELLS:
        raise CheckpointError(f"cell {cell[:MAX_NAME]!r} is unknown; it must be one of {', '.join(CELLS)}")
    asked = [*needed]
    asked += ["epsilon"] * (cell == "eps") + ["levels"] * (nulls and cell in ("cmru", "eps"))
    asked += ["skip"] * (depth > 1 or cell == "fq-bmru")
    if missing := [key for key in asked if key not in found]:
        raise CheckpointError(f'"{missing[0]}" is missing from {place}; {_MEANING[missing[0]]}')
    settings = {"epsilon": CELL_EPSILON.get(cell), "levels": None, "skip": False, **found}
    if not all(isinstance(name, str) for name in settings["classes"]):
        raise CheckpointError('"classes" holds something that is not text; name every class by a string, as ["0", "1"]')
    if not 0 <= settings["epsilon"] <= 1:
        raise CheckpointError(f"epsilon is {str(settings['epsilon'])[:MAX_NAME]}; it must lie between 0 and 1")
    return {**settings, "epsilon": float(settings["epsilon"]), "classes": tuple(settings["classes"])}


CELL_EPSILON: Mapping[str, float] = MappingProxyType({"bmru": 0.0, "cmru": 1.0, "acmru": 1.0, "fq-bmru": 0.0})
"""ε of every cell except eps, for which it is a setting."""

_LEVELS = (int, list, tuple, type(None))
_MEANING = {
    "decision": f"it says how a sequence is classified: {', '.join(DECISIONS)}",
    "classes": 'it names every row of the readout, as ["no", "yes"]',
    "epsilon": "cell eps keeps this share, 0 to 1, of its state when it moves",
    "levels": "it is the largest level, or null for no limit",
    "skip": "it says whether a layer sees the previous layer's input too: true or false",
}


def _kind(value: Any) -> str:
    return {"str": "text", "dict": "a table", "NoneType": "null"}.get(type(value).__name__, type(value).__name__)


def _kind_name(kinds: Any) -> str:
    names = {str: "text", list: "a list of texts", bool: "true or false", (int, float): "a number"}
    return names.get(
        kinds, "a whole number, a list with one list of such numbers for each layer, or absent for no limit"
    )


def _parse(text: str) -> dict[str, Any]:
    """The checkpoint's JSON as a dict. Notes are checked, settings are not checked yet."""
    if len(text.encode(errors="replace")) > MAX_JSON_BYTES:
        raise CheckpointError(f"its JSON is larger than {MAX_JSON_BYTES >> 10} KiB; move logs elsewhere")
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its JSON cannot be read ({error}); write it with a JSON library") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"its JSON is not an object; {tensor_names.PAGE} has an example")
    if found.get("format") != FORMAT or isinstance(found["format"], bool):
        raise CheckpointError(f'"format" is {str(found.get("format"))[:MAX_NAME]}; this version reads format {FORMAT}')
    for key in _NOTES:
        if not isinstance(found.get(key, {}), dict):
            raise CheckpointError(f'"{key}" is {_kind(found[key])} in its JSON; it must be an object')
    return found


_NOTES = ("task", "training", "scores")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


# --- Files -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network from a file, and ``notes`` on everything that was changed or ignored on reading."""

    trained: Trained
    notes: tuple[str, ...]


def load(path: str | os.PathLike[str]) -> Trained:
    """The checkpoint at ``path`` (.safetensors, .pt, .pth, .ckpt or .npz).

    Raises CheckpointError, with file, cause and remedy.
    """
    return read(path).trained


def read(path: str | os.PathLike[str]) -> Loaded:
    """Like :func:`load`, with notes on the file."""
    file = tensor_files.read(path)
    try:
        return _loaded(file)
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from None


def _loaded(file: TensorFile) -> Loaded:
    names = file.tensors.keys() | file.refused.keys()
    prefix = tensor_names.common_prefix(names)
    tensor_names.check({name.removeprefix(prefix) for name in names})
    file.refuse(names)
    tensors = {name.removeprefix(prefix): tensor for name, tensor in file.tensors.items()}
    found = _parse(_settings_text(file))
    notes = {key: found.pop(key, {}) for key in _NOTES}
    del found["format"]
    settings = check_settings(found, "its JSON", depth=tensor_names.depth(tensors), nulls=True)
    features, units, widths = tensor_names.sizes(tensors, settings["cell"])
    config = ModelConfig(**settings, features=features, units=units, widths=widths, **notes)
    said = [f"prefix {prefix!r} removed"] if prefix else []
    return Loaded(trained=Trained.of_arrays(config, tensors), notes=(*file.notes, *said))


def _settings_text(file: TensorFile) -> str:
    if file.settings is not None:
        return file.settings
    separate = file.path.with_suffix(".json")
    if not separate.is_file():
        raise CheckpointError(
            f"it has no settings: there is no entry {METADATA_KEY!r} in it and there is no {separate.name} next to it; "
            f"write one, or use cmru-hw convert --names, see {tensor_names.PAGE}"
        )
    if separate.stat().st_size > MAX_JSON_BYTES:
        raise CheckpointError(f"{separate.name} is larger than {MAX_JSON_BYTES >> 10} KiB; move logs elsewhere")
    try:
        return read_text(separate)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{separate.name} cannot be read ({reason(error)}); write it as UTF-8") from error


def save(trained: Trained, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write ``trained`` to ``path`` (.safetensors), completely or not at all. An existing file needs ``force``.

    The file is read back before it gets its final name. Raises OutputError, or CheckpointError for a network that no
    reader accepts.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise OutputError(f"{path}: checkpoints are written as .safetensors; change the name")
    if path.exists() and not force:
        raise OutputError(f"{path} exists; choose another name, or force to replace it")
    config = trained.config
    notes = {key: dict(getattr(config, key)) for key in _NOTES}
    text = _json({"format": FORMAT, **_essentials(config), **notes})
    content = safetensors.numpy.save(dict(trained.arrays), {METADATA_KEY: text})

    def write(scratch: Path) -> None:
        scratch.write_bytes(content)
        try:
            same = load(scratch).sha256 == trained.sha256
        except CheckpointError as error:
            told = str(error).removeprefix(f"{scratch}: ")
            raise CheckpointError(f"{path} is not written, because it could not be read back: {told}") from None
        if not same:
            raise OutputError(
                f"{path} is not written, because reading it back gave another network; choose another disk"
            )

    write_atomically(path, write)
