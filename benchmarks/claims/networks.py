"""One backbone for every cell, and the shape that has a given number of parameters.

    u ← W_p x;    twice:  u ← u + ReLU(V cell(u) + v);    y = W_r u + b_r    at every timestep

The LRU paper has a non-linearity between its layers, too; without the ReLU that network would be linear. This is also
the backbone of the FQ-BMRU in :mod:`cmru_hw.nn.cells`: a circuit of the backbone exists if its cell has one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from benchmarks.claims.cells import RECURRENCES, Cell, Draw, Recur, affine, kind, moments, part, sums_of

LAYERS = 2


@dataclass(frozen=True, kw_only=True)
class Shape:
    """``width``: number of lines between the layers; ``units`` per layer of cells."""

    cell: str
    features: int
    width: int
    units: tuple[int, ...]
    outputs: int

    @property
    def kind(self) -> Cell:
        return kind(self.cell)

    def start(self, draw: Draw) -> dict[str, Tensor]:
        """One model's parameters by name."""
        found = {"projection.weight": draw.matrix(self.features, self.width)}
        found["projection.bias"] = torch.zeros(self.width)
        for index, units in enumerate(self.units):
            cell = self.kind.start(self.width, units, draw)
            found |= {f"{index}.cell.{name}": value for name, value in cell.items()}
            found[f"{index}.mix.weight"] = draw.matrix(self.kind.outputs(units), self.width)
            found[f"{index}.mix.bias"] = torch.zeros(self.width)
        found["readout.weight"] = draw.matrix(self.width, self.outputs)
        return found | {"readout.bias": torch.zeros(self.outputs)}

    @cached_property
    def sizes(self) -> dict[str, torch.Size]:
        return {name: value.shape for name, value in self.start(Draw(torch.Generator(), 1.0)).items()}

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        outside = (self.features + 1) * self.width + (self.width + 1) * self.outputs
        return outside + sum(_in_layer(self.cell, self.width, units) for units in self.units)


@cache
def _in_layer(cell: str, width: int, units: int) -> int:
    found = kind(cell)
    drawn = found.start(width, units, Draw(torch.Generator(), 1.0))
    # The gain of a normalisation is folded into the weights, so it is no parameter of the result.
    own = sum(value.numel() for name, value in drawn.items() if not fixed(f".{name}") and name != "gain")
    return own + (found.outputs(units) + 1) * width


def fixed(name: str) -> bool:
    """Whether the tensor ``name`` is an initial state, which is random and not trained."""
    return name.endswith(".state")


def shape_of(cell: str, *, features: int, outputs: int, parameters: int) -> Shape:
    """The most balanced shape with ``parameters`` ± 2.5 %, else the closest one.

    Balanced: as many lines between the layers as units, and as many units in one layer as in the other.
    """
    best: tuple[tuple[float, ...], Shape] | None = None
    for width in itertools.count(2):
        if features * width > parameters:
            break
        for units in itertools.count(2):
            shapes = [
                Shape(cell=cell, features=features, width=width, units=both, outputs=outputs)
                for both in ((units, units), (units + 1, units))
            ]
            for shape in shapes:
                off = abs(shape.parameters / parameters - 1)
                balance = abs(sum(shape.kind.outputs(n) for n in shape.units) / (LAYERS * width) - 1)
                rank = (max(off, 0.025), balance, float(shape.units[0] != shape.units[1]))
                if best is None or rank < best[0]:
                    best = rank, shape
            if shapes[0].parameters > parameters * 1.1:
                break
    if best is None:
        raise ValueError(f"no network of {parameters} parameters has {features} features")
    return best[1]


class Models:
    """Networks of one shape: ``values`` (M, parameters) are trained, ``states`` are not."""

    def __init__(self, shape: Shape, values: Tensor, states: Mapping[str, Tensor]) -> None:
        self.shape, self.values, self.states = shape, values, dict(states)

    @classmethod
    def drawn(cls, shape: Shape, seeds: Sequence[int], scale: float) -> Models:
        """A model for each seed, independent of the other seeds."""
        found = [shape.start(Draw(torch.Generator().manual_seed(seed), scale)) for seed in seeds]
        values = [torch.cat([v.flatten() for name, v in one.items() if not fixed(name)]) for one in found]
        states = {name: torch.stack([one[name] for one in found]) for name in found[0] if fixed(name)}
        return cls(shape, torch.stack(values), states)

    def take(self, rows: Tensor) -> Models:
        return Models(self.shape, self.values[rows], {name: value[rows] for name, value in self.states.items()})

    def parameters(self) -> dict[str, Tensor]:
        """By name, each (M, ...)."""
        trained = {name: size for name, size in self.shape.sizes.items() if not fixed(name)}
        pieces = self.values.split([size.numel() for size in trained.values()], dim=1)
        found = {name: piece.unflatten(1, size) for (name, size), piece in zip(trained.items(), pieces, strict=True)}
        return found | self.states

    def __call__(
        self,
        x: Tensor,
        *,
        recur: Recur = RECURRENCES["scan"],
        epsilon: float | None = None,
        valid: Tensor | None = None,
        settle: bool = False,
    ) -> Tensor:
        """(M or 1, features, T, B) → (M, outputs, T, B).

        ``valid`` (M or 1, 1, T, B): normalise candidates over this batch, where it is 1. With ``settle`` the moments of
        each layer are stored, layer by layer, for calls without ``valid``.
        """
        parameters, found = self.parameters(), self.shape.kind
        epsilon = found.epsilon if epsilon is None else epsilon
        u = x.expand(len(self.values), *x.shape[1:])
        u = affine(u, parameters["projection.weight"], parameters["projection.bias"])
        for index in range(len(self.shape.units)):
            own = part(parameters, f"{index}.cell")
            if found.normalised and valid is not None:
                own["valid"] = valid
                if settle:
                    mean, variance = moments(sums_of(own, u), valid)
                    self.states[f"{index}.cell.mean.state"] = mean
                    self.states[f"{index}.cell.variance.state"] = variance
            h = found.run(own, u, recur, epsilon)
            u = u + torch.relu(affine(h, parameters[f"{index}.mix.weight"], parameters[f"{index}.mix.bias"]))
        return affine(u, parameters["readout.weight"], parameters["readout.bias"])
