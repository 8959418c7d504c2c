"""Batch normalisation of candidates: trained with, saved without.

A layer's candidates are g ⊙ (W x − μ)/√(v + `EPSILON`) + b, with μ and v of the batch at hand, over the valid timesteps
of all its sequences. After training, μ and v are measured layer by layer with the weights that are kept, and the whole
is one affine map again: W ← g/√(v + `EPSILON`) W, b ← b − g μ/√(v + `EPSILON`). Thresholds are not changed, so they are
in units of a candidate's spread while the network is trained.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cmru_hw.nn.cells import Network, valid_timesteps
from cmru_hw.nn.folding import Affine

EPSILON = 1e-5


class NormalisedLinear(nn.Module):
    """Candidates with batch normalisation, in the place of a linear map, whose ``weight`` and ``bias`` it takes over.

    ``valid`` (time, batch, 1): the timesteps that count; None: all. ``statistics``: μ and v (units,); None: those of
    each batch. ``seen``: μ and v of the last forward pass.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.gain = nn.Parameter(torch.ones_like(linear.bias))
        self.valid: Tensor | None = None
        self.statistics: tuple[Tensor, Tensor] | None = None
        self.seen: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (time, batch, inputs) → (time, batch, units)."""
        sums = nn.functional.linear(x, self.weight)
        mean, variance = self.statistics or _moments(sums, self.valid)
        self.seen = mean, variance
        return (sums - mean) * (self.gain * torch.rsqrt(variance + EPSILON)) + self.bias


def normalise(network: Network) -> list[NormalisedLinear]:
    """Give every layer of ``network`` normalised candidates, in place; the new maps, layer by layer."""
    made = []
    for layer in network.layers:
        layer.candidate = NormalisedLinear(layer.candidate)  # type: ignore[arg-type]  # every layer has a linear map
        made.append(layer.candidate)
    return made


def affine(candidate: nn.Module) -> tuple[Tensor, Tensor]:
    """Weights and biases of a layer's candidates: of a normalised map those that it has with the ``seen`` moments."""
    if isinstance(candidate, NormalisedLinear):
        if candidate.seen is None:
            raise ValueError("a normalised map has no weights before its first forward pass")
        mean, variance = candidate.seen
        factor = candidate.gain * torch.rsqrt(variance + EPSILON)
        return candidate.weight * factor[:, None], candidate.bias - factor * mean
    assert isinstance(candidate, nn.Linear)
    return candidate.weight, candidate.bias


@torch.no_grad()
def fold(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Replace every normalised map by a linear one, in place, layer by layer from the input on.

    μ and v of a layer are those over all ``batches`` (inputs (batch, time, features), lengths (batch,)), with the
    layers before it folded.
    """
    batches = list(batches)
    for layer in network.layers:
        found = layer.candidate
        if isinstance(found, NormalisedLinear):
            found.statistics = _over(network, found, batches)
            layer.candidate = folded(found)


def folded(found: NormalisedLinear) -> nn.Linear:
    """The linear map that equals ``found`` with its ``statistics``, which are computed in double precision."""
    assert found.statistics is not None
    mean, variance = (value.double() for value in found.statistics)
    factor = found.gain.double() / (variance + EPSILON).sqrt()
    first = Affine(matrix=found.weight.double(), vector=torch.zeros_like(factor))
    whole = Affine(matrix=torch.diag(factor), vector=found.bias.double() - factor * mean).after(first, "normalisation")
    made = nn.Linear(found.in_features, found.out_features, dtype=found.weight.dtype)
    made.weight.copy_(whole.matrix)
    made.bias.copy_(whole.vector)
    return made


def _over(
    network: Network, candidate: NormalisedLinear, batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Mean and variance (units,) of the sums of ``candidate`` over all valid timesteps of ``batches``."""
    count, total, squares = 0.0, torch.zeros(()), torch.zeros(())
    for x, lengths in batches:
        valid = valid_timesteps(lengths, x.shape[1]).T[..., None]
        for other in network.modules():
            if isinstance(other, NormalisedLinear):
                other.valid = valid
        network(x, lengths)
        assert candidate.seen is not None
        mean, variance = (value.double() for value in candidate.seen)
        number = float(valid.sum())
        count, total = count + number, total + number * mean
        squares = squares + number * (variance + mean.square())
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0)
    return mean.to(candidate.weight.dtype), variance.to(candidate.weight.dtype)


def _moments(sums: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    if valid is None:
        return sums.mean((0, 1)), sums.var((0, 1), correction=0)
    count = valid.sum()
    mean = (sums * valid).sum((0, 1)) / count
    return mean, ((sums - mean).square() * valid).sum((0, 1)) / count
