"""Networks that were trained elsewhere → Trained, by a map of names.

The other program saves its tensors as ``.npz`` or ``.safetensors`` under names of its own; a TOML file says which is
which::

    [model]
    cell = "cmru"
    epsilon = 1.0
    levels = 7                  # leave it out for unbounded states
    skip = false
    decision = "mean"
    classes = ["no", "yes"]

    [tensors]
    "layers.0.candidate.weight" = { from = "cell_0/candidate/kernel", transpose = true }
    "layers.0.candidate.bias" = { from = "cell_0/candidate/bias" }
    "input.scale" = { fill = 1.0, size = 12 }
    "layers.0.threshold.weight" = { fill = 0.0, size = [6, 12] }

Every tensor of the checkpoint is named once, as ``cmru_hw.nn.checkpoint`` lists them. ``transpose`` is for programs
that keep weights as [in, out], as Flax does in its kernels. ``fill`` makes a vector or a matrix of one value, for
what the other network does not have.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmru_hw.core.errors import CheckpointError, reason
from cmru_hw.core.regular_file import read_text
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import ModelConfig, Trained

MAX_SIDE = 10_000
_MODEL = ("cell", "epsilon", "levels", "skip", "decision", "classes")


def convert(tensors_path: Path, names_path: Path) -> Trained:
    """The network whose tensors are in ``tensors_path``, by the names in the TOML file ``names_path``.

    Raises CheckpointError, naming the tensor, where the two do not make a network that can be built.
    """
    model, names = _names(Path(names_path))
    found = checkpoint.read_arrays(tensors_path)
    tensors = {name: _tensor(name, entry, found, Path(tensors_path)) for name, entry in names.items()}
    if unused := sorted(found.keys() - {entry.get("from") for entry in names.values()}):
        raise CheckpointError(f"{tensors_path}: {unused[0]!r} is used by no line of {names_path}; name it, or drop it")
    try:
        return Trained(config=_config(model, tensors), tensors=tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{tensors_path} by {names_path}: {error}") from None


def _names(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    try:
        data = tomllib.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({reason(error)}): give the map of names, see docs/bring-your-own.md"
        ) from error
    model, tensors = data.get("model"), data.get("tensors")
    if not isinstance(model, dict) or not isinstance(tensors, dict) or set(data) != {"model", "tensors"}:
        raise CheckpointError(f"{path}: it has two tables, [model] and [tensors]; see docs/bring-your-own.md")
    if wrong := sorted((set(model) | {"levels"}) ^ set(_MODEL)):
        raise CheckpointError(f"{path}: [model] has {', '.join(_MODEL)}; look at {wrong[0]}")
    for name, entry in tensors.items():
        if not isinstance(entry, dict) or set(entry) not in ({"from"}, {"from", "transpose"}, {"fill", "size"}):
            raise CheckpointError(
                f'{path}: {name} is {{ from = "..." }}, {{ from = "...", transpose = true }} or '
                "{ fill = 1.0, size = 12 }; change it"
            )
        if "fill" in entry and not _is_shape(entry["size"]):
            raise CheckpointError(f"{path}: the size of {name} is {entry['size']!r}; it is 12, or [6, 12] for a matrix")
    return model, tensors


def _tensor(name: str, entry: Mapping[str, Any], found: Mapping[str, Tensor], path: Path) -> Tensor:
    if "fill" in entry:
        return torch.full(_shape(entry["size"]), float(entry["fill"]))
    if entry["from"] not in found:
        raise CheckpointError(f"{path}: there is no {entry['from']!r} for {name}; it has {', '.join(sorted(found))}")
    values = found[entry["from"]]
    return values.T.contiguous() if entry.get("transpose") and values.ndim == 2 else values


def _shape(size: Any) -> tuple[int, ...]:
    return tuple(size) if isinstance(size, list) else (size,)


def _is_shape(size: Any) -> bool:
    shape = _shape(size)
    return len(shape) in (1, 2) and all(type(side) is int and 0 < side <= MAX_SIDE for side in shape)


def _config(model: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ModelConfig:
    features, units, widths = checkpoint.read_shapes(tensors, str(model["cell"]))
    return ModelConfig(
        cell=model["cell"],
        epsilon=float(model["epsilon"]),
        levels=model.get("levels"),
        skip=model["skip"],
        decision=model["decision"],
        classes=tuple(model["classes"]),
        features=features,
        units=units,
        widths=widths,
    )
