"""Convert networks that other programs trained, by a map of names (:mod:`cmru_hw.nn.import_map`)."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmru_hw.core.errors import CheckpointError
from cmru_hw.nn import checkpoint, folding, import_map, tensor_files, tensor_names
from cmru_hw.nn.checkpoint import Loaded, ModelConfig, Trained
from cmru_hw.nn.import_map import ImportMap, TensorRule
from cmru_hw.nn.input_files import quoted
from cmru_hw.nn.tensor_files import TensorFile

_SHOWN = 40


def convert(tensors_path: Path, names_path: Path) -> Trained:
    """The network whose tensors are in ``tensors_path``, by the map of names in the TOML file ``names_path``.

    Raises CheckpointError, with the tensor, if these do not make a network that can be built.
    """
    return read(tensors_path, names_path).trained


def read(tensors_path: Path, names_path: Path) -> Loaded:
    """Like :func:`convert`, with notes on folded, converted and ignored tensors."""
    names = import_map.read(Path(names_path))
    file = tensor_files.read(tensors_path)
    try:
        return _Import(file, names).run()
    except CheckpointError as error:
        raise CheckpointError(f"{tensors_path} by {names_path}: {error}") from None


class _Import:
    """State of one import: the tensors used so far, and notes on them."""

    def __init__(self, file: TensorFile, names: ImportMap) -> None:
        self.file, self.names = file, names
        self.used: set[str] = set()
        self.notes = list(file.notes)

    def run(self) -> Loaded:
        self._check_sources()
        names = [entry.name for entry in self.names.entries]
        depth = tensor_names.depth(names)
        settings = checkpoint.check_settings(self.names.model, "[model]", depth=depth, nulls=False)
        cell, entries = settings["cell"], self.names.entries
        self._check_complete(cell, depth, names)
        tensors = {entry.name: self._tensor(entry, cell) for entry in entries if entry.source is not None}
        fills = [entry for entry in entries if entry.source is None]
        early = [entry for entry in fills if not entry.name.startswith("input.")]
        # Matrices first, because the lengths of vectors follow from them.
        for entry in sorted(early, key=lambda entry: not entry.name.endswith(".weight")):
            tensors[entry.name] = _filled(entry, tensors)
        tensors, folded = folding.fold(
            tensors, self.names.before, self._look, cell=cell, depth=depth, skip=settings["skip"]
        )
        self.notes += folded
        for entry in fills:
            if entry.name.startswith("input."):
                tensors[entry.name] = _filled(entry, tensors)
        tensors |= self._scaling(tensors)
        self._check_all_used()
        features, units, widths = tensor_names.sizes(tensors, cell)
        config = ModelConfig(**settings, features=features, units=units, widths=widths)
        return Loaded(trained=Trained(config=config, tensors=tensors), notes=tuple(self.notes))

    # --- Tensors of the file ---

    def _look(self, name: str) -> Tensor | None:
        """The tensor ``name``, with or without the prefix that all names of the file share."""
        for one in (name, name.removeprefix(self.file.prefix).replace("_orig_mod.", "")):
            if one in self.file.tensors or one in self.file.refused:
                self.file.refuse([one])
                self.used.add(one)
                return torch.from_numpy(self.file.tensors[one])
        return None

    def _check_sources(self) -> None:
        """Raise CheckpointError, which lists all of them, for names that the file does not have."""
        wanted = [entry for entry in self.names.entries if entry.source is not None]
        lacks = [entry for entry in wanted if self._look(str(entry.source)) is None]
        if lacks:
            listed = ", ".join(f"{quoted(str(entry.source))} for {entry.name}" for entry in lacks)
            names = sorted(self.file.tensors)
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise CheckpointError(f"there is no {listed}; name one of {', '.join(map(quoted, names[:_SHOWN]))}{more}")

    def _check_complete(self, cell: str, depth: int, names: list[str]) -> None:
        """Raise CheckpointError, which lists all of them, for tensors that the map lacks."""
        has = set(names)
        if not any(name.startswith("input.") for name in names):
            has |= {"input.scale", "input.offset"}
        if cell == "fq-bmru" and any(one.layer == 0 for one in self.names.before):
            has |= {"projection.weight", "projection.bias"}
        tensor_names.refuse_missing(cell, depth, has)

    def _check_all_used(self) -> None:
        names = self.file.tensors.keys() | self.file.refused.keys()
        unused = sorted(
            name for name in names - self.used if not any(fnmatchcase(name, one) for one in self.names.ignore)
        )
        if unused:
            tensor_names.refuse_unfoldable(unused, names)
            self.file.refuse(unused)
            listed = ", ".join(map(quoted, unused[:_SHOWN]))
            subject = f"{listed} is" if len(unused) == 1 else f"{listed} are"
            raise CheckpointError(f"{subject} used by no line of the map; name it, or list it under ignore = [...]")
        if left := len(names - self.used):
            self.notes.append(f"{left} tensor{'s' * (left > 1)} ignored, as the map says")

    def _tensor(self, entry: TensorRule, cell: str) -> Tensor:
        found = self._look(str(entry.source))
        assert found is not None
        values = _reshaped(found, entry)
        if entry.transpose:
            if values.ndim != 2:
                raise CheckpointError(f"{entry.name} is transposed, but has shape {tuple(values.shape)}; reshape it")
            values = values.T
        if entry.rows is not None:
            if values.ndim == 0 or entry.rows[1] > len(values):
                raise CheckpointError(f"{entry.name} takes rows {list(entry.rows)} of shape {tuple(values.shape)}")
            values = values[slice(*entry.rows)]
        values = values.abs() if entry.absolute else values
        # No multiplication by 1: the weights of another program stay the same to the last bit.
        values = values * entry.factor if entry.factor != 1 else values
        if entry.binarise:
            values = self._binarised(entry.name, values, cell)
        return values.contiguous()

    def _binarised(self, name: str, values: Tensor, cell: str) -> Tensor:
        binary = (values >= 0.5).float() if cell == "fq-bmru" else torch.where(values >= 0, 1.0, -1.0)
        changed = int((binary != values).sum())
        self.notes.append(f"{name} binarised: {changed} of {values.numel()} values changed")
        return binary

    # --- Scaling of the data ---

    def _scaling(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """input.scale and input.offset from [input]; 1 and 0 where the map gives neither."""
        if any(name.startswith("input.") for name in tensors):
            return {}
        first = tensors.get("projection.weight", tensors.get("layers.0.candidate.weight"))
        if first is None or first.ndim != 2:
            return {}
        features = first.shape[1]
        if self.names.mean is None and self.names.std is None:
            self.notes.append("no scaling of the inputs: neither [input] nor input.scale in the map")
        mean = self._moment("mean", 0.0 if self.names.mean is None else self.names.mean, features)
        std = self._moment("std", 1.0 if self.names.std is None else self.names.std, features)
        if not (std > 0).all():
            place = int((std > 0).int().argmin())
            raise CheckpointError(f"[input] std of feature {place} is {float(std[place]):g}; it must be above 0")
        return {"input.scale": (1 / std).float(), "input.offset": (-mean / std).float()}

    def _moment(self, key: str, given: Any, features: int) -> Tensor:
        if isinstance(given, str):
            found = self._look(given)
            if found is None:
                raise CheckpointError(f"there is no {quoted(given)} for [input] {key}; correct the name")
            values = found.flatten().double()
        else:
            values = torch.tensor(given, dtype=torch.float64).flatten()
        if len(values) not in (1, features):
            raise CheckpointError(
                f"[input] {key} has {len(values)} values, but the network takes {features} features; give as many"
            )
        return values.expand(features)


def _reshaped(values: Tensor, entry: TensorRule) -> Tensor:
    if entry.shape is None:
        return values
    wanted = torch.Size(entry.shape)
    if values.numel() == 1:
        return values.reshape(1).expand(wanted.numel()).reshape(wanted)
    if values.numel() != wanted.numel():
        raise CheckpointError(
            f"{entry.name} has shape {tuple(values.shape)}, which cannot be reshaped to {entry.shape}"
        )
    return values.reshape(wanted)


def _filled(entry: TensorRule, tensors: Mapping[str, Tensor]) -> Tensor:
    shape = entry.shape or _follows(entry.name, tensors)
    if shape is None:
        raise CheckpointError(f"the fill of {entry.name} needs a size: no tensor of the map says it")
    return torch.full(shape, entry.fill)


def _follows(name: str, tensors: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """The shape of ``name``, derived from its weights."""
    part, _, leaf = name.rpartition(".")
    layer = ".".join(name.split(".")[:2])
    if name.startswith("input."):
        first = tensors.get("projection.weight", tensors.get("layers.0.candidate.weight"))
        return tuple(first.shape[1:]) if first is not None and first.ndim == 2 else None
    same = leaf == "bias" and f"{part}.weight" in tensors
    guide = tensors.get(f"{part}.weight" if same else f"{layer}.candidate.weight")
    if guide is None or guide.ndim != 2 or name == f"{layer}.output.weight":
        return None
    return tuple(guide.shape) if leaf == "weight" else (guide.shape[0],)
