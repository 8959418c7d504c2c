"""File ⇄ Trained network, and the sequences that go with it.

A checkpoint is a ``.safetensors`` file of float32 tensors with one JSON string in its metadata under ``cmru_hw``::

    {"format": 1, "cell": "cmru|bmru|eps|acmru|fq-bmru", "epsilon": 1.0, "levels": 7 or null, "skip": true,
     "decision": "mean|last|majority", "classes": ["a", "b"], "task": {...}, "training": {...}, "scores": {...}}

``task``, ``training`` and ``scores`` are free-form and may be left out. The tensors are ``input.scale|offset``;
per layer N ``layers.N.candidate.weight|bias``, ``layers.N.threshold.weight|bias``, ``layers.N.alpha`` (αCMRU:
``layers.N.alpha.weight|bias``), ``layers.N.initial_state``; and ``readout.weight|bias``. fq-bmru has
``projection.weight|bias`` in front and per layer ``candidate.weight|bias``, ``low``, ``width``, ``alpha``,
``output.weight|bias``, ``initial_state``. Weights are [out, in].

A plain torch ``state_dict`` (``.pt``, ``.pth``) with these tensors is read too; its JSON is a string entry
``cmru_hw`` in the dict, or a file of the same stem that ends in ``.json``. Nothing that can execute code is ever
unpickled. Everything is validated here, once: what has become a :class:`Trained` can be trusted.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmru_hw.core.errors import CheckpointError, CmruError, DataError, InputError, OutputError
from cmru_hw.core.regular_file import read_text
from cmru_hw.nn.cells import CELLS, DECISIONS, CellConfig, Network

FORMAT = 1
METADATA_KEY = "cmru_hw"
MAX_BYTES = 64 << 20
"""Of one checkpoint's tensors: far above any network that fits a circuit, far below what hurts."""
MAX_SEQUENCE_BYTES = 1 << 30
MAX_JSON_BYTES = 1 << 20
MAX_LAYERS = 64
MAX_NAME = 64

# What networks of this family are often trained with and no circuit here can have, by how such tensors are named.
_UNFOLDABLE = {
    "layer normalisation": r"norm|ln\d*|layer_?norm\d*|rms_?norm\d*|group_?norm\d*",
    "batch normalisation": r"bn\d*|batch_?norm\d*|running_(mean|var)|num_batches_tracked",
    "a gated linear unit": r"glu\d*|swiglu|geglu",
    "attention": r"attn\d*|(self_|cross_)?attention|[qkv]_proj|in_proj_(weight|bias)",
    "softmax": r"softmax",
}


# --- Values ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """All of a network that is not a tensor. Raises CheckpointError if it has no meaning.

    ``features``, ``units`` (per layer) and ``widths`` (fq-bmru only, see :class:`Network`) are not in the JSON: a file
    states them once, by the shapes of its tensors.
    """

    cell: str
    epsilon: float
    levels: int | None
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
        try:
            _ = self.cell_config
        except InputError as error:
            raise CheckpointError(str(error)) from None
        if self.decision not in DECISIONS:
            raise CheckpointError(f"decision {self.decision!r} is unknown; it is one of {', '.join(DECISIONS)}")
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
        """A fresh network of these shapes, its weights as torch initialises them."""
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
    """A network with its weights: float32 tensors on the CPU by their checkpoint names, checked against ``config``.

    Raises CheckpointError, which names the tensor and the remedy, if the two do not make a network that can be built.
    """

    config: ModelConfig
    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        _check_tensors(self.config, self.tensors)
        own = {name: self.tensors[name].detach().clone().contiguous() for name in sorted(self.tensors)}
        object.__setattr__(self, "tensors", MappingProxyType(own))

    def __reduce__(self) -> tuple[Any, ...]:
        # a read-only mapping cannot be pickled
        return partial(Trained, config=self.config, tensors=dict(self.tensors)), ()

    @classmethod
    def from_network(cls, network: Network, config: ModelConfig) -> Trained:
        return cls(config=config, tensors=network.state_dict())

    @cached_property
    def sha256(self) -> str:
        """Identity of what is computed: tensors, cell and decision. Notes and scores do not count."""
        hashed = hashlib.sha256(_json({**_essentials(self.config), "format": FORMAT}).encode())
        for name, tensor in self.tensors.items():
            hashed.update(f"\n{name} {tuple(tensor.shape)}\n".encode())
            hashed.update(tensor.numpy().astype("<f4").tobytes())
        return hashed.hexdigest()

    def network(self) -> Network:
        """The network in evaluation mode, its own copy of the weights."""
        # What is overwritten at once must not cost the caller's random numbers.
        with torch.random.fork_rng(devices=[]):
            network = self.config.network()
        network.load_state_dict(dict(self.tensors))
        return network.eval()

    def check(self, sequences: Sequences) -> None:
        """Raises DataError unless these sequences can be fed to this network."""
        features = sequences.inputs.shape[2]
        if features != self.config.features:
            raise DataError(f"the sequences have {features} features, but the network takes {self.config.features}")
        if sequences.labels is not None and sequences.labels.max() >= len(self.config.classes):
            classes = len(self.config.classes)
            raise DataError(
                f"label {sequences.labels.max()} has no class; the network's classes are 0 to {classes - 1}"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """Padded sequences: ``inputs`` (sequences, timesteps, features) float32 in the data's own units.

    ``lengths`` (sequences,) counts the valid timesteps; given as None it becomes all of them. ``labels`` (sequences,)
    are class indices, or None. Raises DataError if they do not fit together.
    """

    inputs: NDArray[np.float32]
    lengths: NDArray[np.int64] = None  # type: ignore[assignment]
    labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        inputs = self.inputs
        if inputs.ndim != 3 or 0 in inputs.shape:
            raise DataError(f"inputs have shape {inputs.shape}; they are (sequences, timesteps, features), none empty")
        if inputs.dtype.kind not in "fiu":
            raise DataError(f"inputs are of type {inputs.dtype}; store them as float32")
        with np.errstate(over="ignore"):
            inputs = np.ascontiguousarray(inputs, dtype=np.float32)
        if not np.isfinite(inputs).all():
            raise DataError("inputs hold NaN or infinite values; pad with zeros and give lengths")
        count, time, _ = inputs.shape
        lengths = np.full(count, time) if self.lengths is None else self.lengths
        lengths = _indices("lengths", lengths, count, low=1, high=time)
        labels = None if self.labels is None else _indices("labels", self.labels, count, low=0, high=1 << 31)
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "lengths", lengths)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.inputs)

    def first(self, count: int) -> Sequences:
        """The first ``count`` sequences."""
        if not 1 <= count <= len(self):
            raise DataError(f"{count} sequences were asked for, but there are {len(self)}")
        return self.take(np.arange(count))

    def take(self, indices: NDArray[np.int64]) -> Sequences:
        """The sequences at ``indices``, in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return Sequences(inputs=self.inputs[indices], lengths=self.lengths[indices], labels=labels)


def _indices(name: str, values: NDArray[Any], count: int, *, low: int, high: int) -> NDArray[np.int64]:
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise DataError(f"{name} are {values.dtype} of shape {values.shape}; {count} whole numbers are needed")
    if values.min() < low or values.max() > high:
        raise DataError(f"{name} run from {values.min()} to {values.max()}; they lie between {low} and {high}")
    return values.astype(np.int64)


# --- Tensors -----------------------------------------------------------------------------------------------------


def _check_tensors(config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Names and shapes are those of the network that would load them; values are such that it can be built."""
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in config.network().state_dict().items()}
    if missing := sorted(expected.keys() - tensors.keys()):
        raise CheckpointError(f"tensor {missing[0]} is missing; a {config.cell} network of this depth has it")
    if unknown := sorted(tensors.keys() - expected.keys()):
        raise CheckpointError(f"tensor {unknown[0]} has no place in a {config.cell} network; remove or rename it")
    if (rows := tensors["readout.bias"].numel()) != len(config.classes):
        raise CheckpointError(f"readout.bias has {rows} rows for {len(config.classes)} classes; name one per row")
    for name, shape in expected.items():
        found = tuple(tensors[name].shape)
        if found != shape:
            because = f'with "skip" {json.dumps(config.skip)} and {config.features} features'
            raise CheckpointError(f"tensor {name} has shape {found}, but {because} it is {shape}")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tensor.layout != torch.strided or tensor.device.type != "cpu":
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"tensor {name} is {kind} on {tensor.device.type}; save it as dense float32 on the CPU"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"tensor {name} holds NaN or infinity; train again, or from an earlier state")
        leaf = name.rsplit(".", 1)[-1]
        if leaf in ("low", "width") and (tensor < 0).any():
            raise CheckpointError(
                f"tensor {name} holds {tensor.min():g}; fq-bmru thresholds and widths are not negative"
            )
        if leaf == "initial_state":
            values = (0.0, 1.0) if config.cell == "fq-bmru" else (-1.0, 1.0)
            if not all(value in values for value in tensor.tolist()):
                raise CheckpointError(
                    f"tensor {name} is not binary; every initial state is {values[0]:g} or {values[1]:g}"
                )


def read_shapes(tensors: Mapping[str, Tensor], cell: str) -> tuple[int, tuple[int, ...], tuple[int, ...] | None]:
    """(features, units, widths) that the tensors state. Raises CheckpointError on a name that no network here has."""
    for name in tensors:
        _check_name(name)
    if sum(tensor.numel() for tensor in tensors.values()) * 4 > MAX_BYTES:
        raise CheckpointError(f"the tensors hold more than {MAX_BYTES >> 20} MiB; no network of that size can be built")
    depth = 0
    while any(name.startswith(f"layers.{depth}.") for name in tensors) and depth <= MAX_LAYERS:
        depth += 1
    if not 1 <= depth <= MAX_LAYERS:
        raise CheckpointError(
            f"there are {depth} layers; tensors layers.0.… to at most layers.{MAX_LAYERS - 1}.… are read"
        )
    units = tuple(_size(tensors, f"layers.{index}.candidate.bias") for index in range(depth))
    widths = None
    if cell == "fq-bmru":
        rows = (_size(tensors, f"layers.{index}.output.bias") for index in range(depth))
        widths = (_size(tensors, "projection.bias"), *rows)
    return _size(tensors, "input.scale"), units, widths


def _size(tensors: Mapping[str, Tensor], name: str) -> int:
    if name not in tensors:
        raise CheckpointError(f"tensor {name} is missing; every network has it")
    if tensors[name].ndim != 1 or not len(tensors[name]):
        raise CheckpointError(f"tensor {name} has shape {tuple(tensors[name].shape)}; it is a vector")
    return len(tensors[name])


_NAME = re.compile(
    r"input\.(scale|offset)|(projection|readout)\.(weight|bias)"
    r"|layers\.(0|[1-9]\d{0,3})\.((candidate|threshold|alpha|output)\.(weight|bias)|alpha|low|width|initial_state)"
)


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name):
        return
    shown = repr(name[: 2 * MAX_NAME])
    for part in name.lower().split("."):
        for what, pattern in _UNFOLDABLE.items():
            if re.fullmatch(pattern, part):
                raise CheckpointError(
                    f"tensor {shown} belongs to {what}, which depends on the data it sees and cannot be folded into "
                    "fixed weights; train a network without it"
                )
    raise CheckpointError(f"tensor name {shown} is unknown; the names are listed in cmru_hw/nn/checkpoint.py")


# --- JSON --------------------------------------------------------------------------------------------------------


def _essentials(config: ModelConfig) -> dict[str, object]:
    return {
        "cell": config.cell,
        "epsilon": config.epsilon,
        "levels": config.levels,
        "skip": config.skip,
        "decision": config.decision,
        "classes": list(config.classes),
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _parse(text: str) -> dict[str, Any]:
    """The checkpoint's JSON as a dict whose keys and types are right."""
    if len(text.encode(errors="replace")) > MAX_JSON_BYTES:
        raise CheckpointError(f"its JSON is larger than {MAX_JSON_BYTES >> 10} KiB; move logs elsewhere")
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its JSON cannot be read ({error}); write it with a JSON library") from None
    if not isinstance(found, dict):
        raise CheckpointError("its JSON is not an object; see cmru_hw/nn/checkpoint.py for the keys")
    if found.get("format") != FORMAT or isinstance(found["format"], bool):
        raise CheckpointError(f'"format" is {found.get("format")!r}; this version reads format {FORMAT}')
    required: dict[str, type | tuple[type, ...]] = {
        "format": int,
        "cell": str,
        "epsilon": (int, float),
        "levels": (int, type(None)),
        "skip": bool,
        "decision": str,
        "classes": list,
    }
    optional: dict[str, type | tuple[type, ...]] = {"task": dict, "training": dict, "scores": dict}
    for key in required.keys() - found.keys():
        raise CheckpointError(f'"{key}" is missing from its JSON; add it')
    for key, value in found.items():
        kinds = {**required, **optional}.get(key)
        if kinds is None:
            raise CheckpointError(f"its JSON has an unknown key {key[:MAX_NAME]!r}; put notes under task or training")
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise CheckpointError(f'"{key}" is {type(value).__name__} in its JSON, which it cannot be; see the format')
    if found["cell"] not in CELLS:
        raise CheckpointError(f"cell {found['cell'][:MAX_NAME]!r} is unknown; it is one of {', '.join(CELLS)}")
    if not all(isinstance(name, str) for name in found["classes"]):
        raise CheckpointError('"classes" holds something that is no text; name every class by a string')
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


# --- Files -------------------------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str]) -> Trained:
    """The checkpoint at ``path`` (.safetensors, .pt or .pth). Raises CheckpointError: file, cause and remedy."""
    path = Path(path)
    with _reading(path, CheckpointError, "it is damaged, incomplete or no checkpoint; save it again"):
        _check_file(path, CheckpointError, MAX_BYTES + MAX_JSON_BYTES)
        if path.suffix == ".safetensors":
            text, tensors = _read_safetensors(path)
        elif path.suffix in (".pt", ".pth"):
            text, tensors = _read_state_dict(path)
        else:
            raise CheckpointError(f"{path.suffix or 'no suffix'} is not read; give a .safetensors, .pt or .pth file")
        found = _parse(text)
        features, units, widths = read_shapes(tensors, found["cell"])
        config = ModelConfig(
            cell=found["cell"],
            epsilon=float(found["epsilon"]),
            levels=found["levels"],
            skip=found["skip"],
            decision=found["decision"],
            classes=tuple(found["classes"]),
            features=features,
            units=units,
            widths=widths,
            task=found.get("task", {}),
            training=found.get("training", {}),
            scores=found.get("scores", {}),
        )
        return Trained(config=config, tensors=tensors)


def save(trained: Trained, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write ``trained`` to ``path`` (.safetensors), whole or not at all. An existing file needs ``force``.

    Raises OutputError.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise OutputError(f"{path}: checkpoints are written as .safetensors; change the name")
    config = trained.config
    notes = {"task": dict(config.task), "training": dict(config.training), "scores": dict(config.scores)}
    text = _json({"format": FORMAT, **_essentials(config), **notes})
    _write(path, safetensors.torch.save(dict(trained.tensors), {METADATA_KEY: text}), force)


def load_sequences(path: str | os.PathLike[str]) -> Sequences:
    """Sequences from an ``.npz`` with ``inputs`` and optionally ``lengths`` and ``labels``. Raises DataError."""
    path = Path(path)
    with _reading(path, DataError, "it is damaged or no .npz file; write it with numpy.savez"):
        _check_file(path, DataError, MAX_SEQUENCE_BYTES)
        _check_zip(path, DataError, MAX_SEQUENCE_BYTES)
        with np.load(path, allow_pickle=False) as arrays:
            if unknown := sorted(set(arrays.files) - {"inputs", "lengths", "labels"}):
                raise DataError(f"array {unknown[0][:MAX_NAME]!r} is unknown; it holds inputs, lengths and labels")
            if "inputs" not in arrays.files:
                raise DataError("array 'inputs' is missing; it is (sequences, timesteps, features)")
            return Sequences(**{name: arrays[name] for name in arrays.files})


def save_sequences(sequences: Sequences, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write ``sequences`` to ``path`` (.npz), compressed. An existing file needs ``force``.

    Raises OutputError.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise OutputError(f"{path}: sequences are written as .npz; change the name")
    arrays: dict[str, Any] = {"inputs": sequences.inputs, "lengths": sequences.lengths}
    if sequences.labels is not None:
        arrays["labels"] = sequences.labels
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    _write(path, buffer.getvalue(), force)


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Tensors under whatever names an ``.npz`` or ``.safetensors`` file has, as float32. Raises CheckpointError."""
    path = Path(path)
    with _reading(path, CheckpointError, "it is damaged, or neither .npz nor .safetensors; save it again"):
        _check_file(path, CheckpointError, MAX_BYTES + MAX_JSON_BYTES)
        if path.suffix == ".safetensors":
            return {name: tensor.float() for name, tensor in safetensors.torch.load_file(path).items()}
        if path.suffix != ".npz":
            raise CheckpointError(f"{path.suffix or 'no suffix'} is not read; give an .npz or .safetensors file")
        _check_zip(path, CheckpointError, MAX_BYTES)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.asarray(arrays[name], dtype=np.float32)) for name in arrays.files}


def _read_safetensors(path: Path) -> tuple[str, dict[str, Tensor]]:
    with safetensors.safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(METADATA_KEY)
        if text is None:
            raise CheckpointError(
                f"there is no metadata entry {METADATA_KEY!r}; save it with cmru_hw.nn.checkpoint.save"
            )
        return text, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _read_state_dict(path: Path) -> tuple[str, dict[str, Tensor]]:
    names = _check_zip(path, CheckpointError, MAX_BYTES)
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        raise CheckpointError("it holds TorchScript code, which is never run; save the network's state_dict() instead")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = "it holds objects that are no tensors, which are never unpickled; save network.state_dict()"
        raise CheckpointError(text, evidence=str(error)) from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise CheckpointError(f"it holds a {type(found).__name__}, not a state_dict; save network.state_dict()")
    text = found.pop(METADATA_KEY, None)
    if text is None:
        sidecar = path.with_suffix(".json")
        if not sidecar.is_file():
            raise CheckpointError(f"it has no entry {METADATA_KEY!r} and there is no {sidecar.name} beside it; add one")
        if sidecar.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{sidecar.name} is larger than {MAX_JSON_BYTES >> 10} KiB; move logs elsewhere")
        text = read_text(sidecar)
    for name, value in found.items():
        if not isinstance(value, Tensor):
            shown = repr(name[: 2 * MAX_NAME])
            raise CheckpointError(f"entry {shown} is a {type(value).__name__}, not a tensor; save network.state_dict()")
    if not isinstance(text, str):
        raise CheckpointError(f"its entry {METADATA_KEY!r} is a {type(text).__name__}; it is a JSON string")
    return text, found


def _check_file(path: Path, kind: type[CmruError], limit: int) -> None:
    if path.is_dir():
        raise kind("it is a directory; name the file in it")
    if not path.exists():
        raise kind("there is no such file; check the path")
    if not path.is_file():
        raise kind("it is not a regular file; copy it to one")
    if path.stat().st_size > limit:
        raise kind(f"it is larger than {limit >> 20} MiB; no such file is read")
    if path.stat().st_size == 0:
        raise kind("it is empty; save it again")


def _check_zip(path: Path, kind: type[CmruError], limit: int) -> list[str]:
    """Names in the archive, once it is known that unpacking it cannot fill the memory."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > limit:
        raise kind(f"it unpacks to more than {limit >> 20} MiB; no such file is read")
    return [entry.filename for entry in entries]


@contextmanager
def _reading(path: Path, kind: type[CmruError], otherwise: str) -> Iterator[None]:
    """The one place where errors of foreign readers become ours, with the file's name and their text as evidence.

    Any exception: a hostile file can make a parser raise anything, and the answer is the same for all of them.
    """
    try:
        yield
    except CmruError as error:
        raise kind(f"{path}: {error}", evidence=error.evidence) from None
    except OSError as error:
        raise kind(
            f"{path}: it cannot be read ({error.strerror or error}); check the file and its permissions"
        ) from error
    except Exception as error:
        raise kind(f"{path}: {otherwise}", evidence=f"{type(error).__name__}: {error}") from error


def _write(path: Path, content: bytes, force: bool) -> None:
    if path.exists() and not force:
        raise OutputError(f"{path} exists; choose another name, or force to replace it")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: it cannot be written ({error.strerror}); choose another place") from error
    finally:
        partial.unlink(missing_ok=True)
