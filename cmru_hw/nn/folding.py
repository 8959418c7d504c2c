"""Fold affine maps before layers into the weights of those layers.

A linear layer, or a batch normalization in evaluation mode, is x → A x + b. A layer with weights W and biases c
computes the same from A x + b as a layer with W A and c + W b computes from x. With ``skip`` a layer reads the units of
the layer before it and everything that this layer read, so a map before one layer changes the weights of all later
layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cmru_hw.core.errors import CheckpointError
from cmru_hw.nn.import_map import Before
from cmru_hw.nn.input_files import quoted

_TORCH = {"weight": ".weight", "bias": ".bias", "mean": ".running_mean", "var": ".running_var"}
_FLAX = {"linear": {"weight": "/kernel", "bias": "/bias"}}
_FLAX["batch_norm"] = {"weight": "/scale", "bias": "/bias", "mean": "/mean", "var": "/var"}

Look = Callable[[str], Tensor | None]
"""The file's tensor of a given name, which is then marked as used; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class Affine:
    """x → ``matrix`` x + ``vector``, in float64."""

    matrix: Tensor
    vector: Tensor

    def after(self, first: Affine | None, title: str) -> Affine:
        """``first``, then this one. Raises CheckpointError if the sizes do not fit."""
        if first is None:
            return self
        if self.matrix.shape[1] != first.matrix.shape[0]:
            raise CheckpointError(
                f"{title} takes {self.matrix.shape[1]} values, but the map before it gives "
                f"{first.matrix.shape[0]}; check layer and order of [[before]]"
            )
        return Affine(matrix=self.matrix @ first.matrix, vector=self.matrix @ first.vector + self.vector)


def affine(before: Before, look: Look) -> Affine:
    """The map that ``before`` describes. Raises CheckpointError if its tensors are missing or do not fit together."""
    transpose = before.transpose
    if isinstance(before.parts, str):
        kernel = before.kind == "linear" and look(f"{before.parts}/kernel") is not None
        styles = [_FLAX[before.kind], _TORCH] if kernel or look(f"{before.parts}/mean") is not None else [_TORCH]
        parts = {role: look(before.parts + ending) for role, ending in styles[0].items()}
        # Flax stores kernels as [in, out].
        transpose ^= kernel
        look(f"{before.parts}.num_batches_tracked")
    else:
        parts = {role: look(name) for role, name in before.parts.items()}
        if lacks := [name for role, name in before.parts.items() if parts[role] is None]:
            raise CheckpointError(f"there is no {quoted(lacks[0])} for {before.title}; correct [[before]]")
    return _linear(before, parts, transpose) if before.kind == "linear" else _batch_norm(before, parts)


def _linear(before: Before, parts: Mapping[str, Tensor | None], transpose: bool) -> Affine:
    weight = parts["weight"]
    if weight is None:
        raise CheckpointError(f"there is no weight of {before.title} in the file; name its tensors in [[before]]")
    if weight.ndim != 2:
        raise CheckpointError(f"the weight of {before.title} has shape {tuple(weight.shape)}; it must be a matrix")
    matrix = (weight.T if transpose else weight).double()
    bias = parts.get("bias")
    vector = torch.zeros(len(matrix)) if bias is None else bias
    if vector.shape != (len(matrix),):
        raise CheckpointError(
            f"the bias of {before.title} has shape {tuple(vector.shape)}, its weight {len(matrix)} rows; transpose one?"
        )
    return Affine(matrix=matrix, vector=vector.double())


def _batch_norm(before: Before, parts: Mapping[str, Tensor | None]) -> Affine:
    mean, var = parts["mean"], parts["var"]
    if mean is None or var is None:
        raise CheckpointError(
            f"there is no running mean and variance of {before.title} in the file; without them it depends on the "
            "data: train it with track_running_stats, or name them in [[before]]"
        )
    weight, bias = parts.get("weight"), parts.get("bias")
    weight = torch.ones_like(mean) if weight is None else weight
    bias = torch.zeros_like(mean) if bias is None else bias
    if mean.ndim != 1 or not mean.shape == var.shape == weight.shape == bias.shape:
        raise CheckpointError(f"the tensors of {before.title} have different shapes; each is a vector of one length")
    if not (var.double() + before.eps > 0).all():
        raise CheckpointError(f"the variance of {before.title} is not positive; check which tensor is which")
    factor = weight.double() / (var.double() + before.eps).sqrt()
    return Affine(matrix=torch.diag(factor), vector=bias.double() - factor * mean.double())


def fold(
    tensors: Mapping[str, Tensor], before: tuple[Before, ...], look: Look, *, cell: str, depth: int, skip: bool
) -> tuple[dict[str, Tensor], list[str]]:
    """``tensors`` of an equivalent network without ``before``, and one sentence for each folded map."""
    maps: dict[int | None, Affine] = {}
    notes = []
    for one in before:
        if one.layer is not None and one.layer >= (1 if cell == "fq-bmru" else depth):
            why = "behind a ReLU, where nothing can be folded" if cell == "fq-bmru" else f"but there are {depth} layers"
            raise CheckpointError(f"{one.title} is in front of {one.place}, {why}; correct [[before]]")
        found = affine(one, look)
        maps[one.layer] = found.after(maps.get(one.layer), one.title)
        size = f"{found.matrix.shape[1]} → {found.matrix.shape[0]}"
        notes.append(f"{one.title} ({size}) folded into {one.place}")
    folded = dict(tensors)
    if cell == "fq-bmru":
        _fold_projection(folded, maps.pop(0, None))
    else:
        _fold_layers(folded, maps, cell=cell, depth=depth, skip=skip)
    if None in maps:
        _apply(folded, "readout", maps[None])
    return folded, notes


def _fold_projection(tensors: dict[str, Tensor], first: Affine | None) -> None:
    """Fold a map into fq-bmru's own first linear map, or use the map as that if there is none."""
    if first is None:
        return
    if "projection.weight" in tensors:
        _apply(tensors, "projection", first)
    else:
        tensors["projection.weight"], tensors["projection.bias"] = first.matrix.float(), first.vector.float()


def _fold_layers(
    tensors: dict[str, Tensor], maps: Mapping[int | None, Affine], *, cell: str, depth: int, skip: bool
) -> None:
    seen: Affine | None = None  # input of this package's layer → input of the original layer
    for layer in range(depth):
        if not skip:
            seen = None
        elif layer and seen is not None:
            units = len(tensors[f"layers.{layer - 1}.candidate.weight"])
            seen = Affine(
                matrix=torch.block_diag(torch.eye(units, dtype=torch.float64), seen.matrix),
                vector=torch.cat((torch.zeros(units, dtype=torch.float64), seen.vector)),
            )
        if layer in maps:
            seen = maps[layer].after(seen, f"the map of [[before]] for layer {layer}")
        if seen is not None:
            for part in ("candidate", "threshold", *(("alpha",) if cell == "acmru" else ())):
                _apply(tensors, f"layers.{layer}.{part}", seen)


def _apply(tensors: dict[str, Tensor], name: str, seen: Affine) -> None:
    if f"{name}.weight" not in tensors:
        return  # the missing tensor is reported later
    weight = tensors[f"{name}.weight"].double()
    if weight.ndim != 2 or weight.shape[1] != seen.matrix.shape[0]:
        raise CheckpointError(
            f"{name}.weight of shape {tuple(weight.shape)} cannot take the {seen.matrix.shape[0]} values that "
            "[[before]] gives; check layer and order of [[before]], and transpose"
        )
    tensors[f"{name}.weight"] = (weight @ seen.matrix).float()
    bias = tensors.get(f"{name}.bias", torch.zeros(len(weight)))
    tensors[f"{name}.bias"] = (bias.double() + weight @ seen.vector).float()
