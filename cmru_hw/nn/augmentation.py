"""Training sequences with random variations: noise, shifts, crops, stretches, and mixtures within a class."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cmru_hw.nn.cells import Network, valid_timesteps
from cmru_hw.nn.recipes import Recipe
from cmru_hw.nn.sequences import Sequences

EVENLY = 32
"""Timesteps to which sequences are resampled before they are averaged."""
SHRINKAGE = 0.15
"""Shrinkage of the teacher's covariance."""


def _values(sequences: Sequences) -> Tensor:
    """(valid timesteps, features)"""
    return torch.from_numpy(sequences.inputs[sequences.valid])


def moments(sequences: Sequences) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (features,) over the valid timesteps.

    No deviation is below a tenth of the largest, so that a feature which hardly changes is not amplified.
    """
    values = _values(sequences)
    spread = values.std(0)
    return values.mean(0), spread.clamp(min=max(spread.max().item() / 10, 1e-6))


def ranges(sequences: Sequences, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Center and unit (features,) that give every feature the same range, with a standard deviation near 1."""
    values = _values(sequences)
    low, high = values.amin(0), values.amax(0)
    half = (high - low) / 2
    half = half.clamp(min=max(half.max().item() / 10, 1e-6))
    return (high + low) / 2, half / (half / spread).mean()


class AugmentedSource:
    """Training sequences with random variations."""

    def __init__(self, sequences: Sequences, spread: Tensor, recipe: Recipe) -> None:
        self.inputs = torch.from_numpy(sequences.inputs)
        self.lengths = torch.from_numpy(sequences.lengths)
        self.labels = torch.from_numpy(sequences.labels)
        self.spread, self.recipe = spread, recipe
        if recipe.mixed or recipe.taught:
            # All sequences at one length: the mean course of each class, and each sequence's deviation from it.
            evenly = _evenly(self.inputs, self.lengths)
            classes = range(int(self.labels.max()) + 1)
            self.courses = torch.stack([evenly[self.labels == label].mean(0) for label in classes])
            self.deviations = evenly - self.courses[self.labels]
            # All classes share one covariance. It is shrunk towards a multiple of 1, because there are few sequences.
            means, rest = self._parts(self.courses), self._parts(self.deviations)
            covariance = rest.T @ rest / max(1, len(rest) - len(means))
            covariance *= 1 - SHRINKAGE
            covariance.diagonal().add_(SHRINKAGE / (1 - SHRINKAGE) * covariance.diagonal().mean())
            self.discriminant = torch.linalg.solve(covariance, means.T)
            self.bias = -(means.T * self.discriminant).sum(0) / 2

    def largest(self, network: Network) -> float:
        """Largest magnitude of the scaled inputs."""
        return float(network.input(self.inputs[valid_timesteps(self.lengths, self.inputs.shape[1])]).abs().max())

    def draw(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Variations of the sequences ``rows``: inputs (batch, time, features) and lengths (batch,)."""
        recipe = self.recipe
        x, lengths = self.inputs[rows], self.lengths[rows]
        if recipe.mixed or recipe.crop or recipe.stretch:
            uniform = torch.rand(3, len(rows), generator=random)
            first, last = uniform[0] * recipe.crop, 1 - uniform[1] * recipe.crop
            factor = (last - first) * torch.exp((2 * uniform[2] - 1) * recipe.stretch)
            new = (factor * (lengths - 1)).round().long().clamp(min=1) + 1
            end = (lengths - 1).float()
            if recipe.mixed:
                x, end = self._mixed(rows, random), torch.full_like(end, EVENLY - 1)
            x, lengths = _resample(x, first * end, last * end, new), new
        if recipe.noise:
            x = x + recipe.noise * self.spread * torch.randn(x.shape, generator=random)
        if recipe.shift:
            x = x + recipe.shift * self.spread * torch.randn(len(x), 1, x.shape[2], generator=random)
        return x, lengths

    def rounds(self, count: int, batch: int, random: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """``count`` variations of every sequence, in parts of about ``batch``: as :meth:`draw`."""
        for _ in range(count):
            for rows in torch.randperm(len(self.labels), generator=random).split(batch):
                yield self.draw(rows, random)

    def teach(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Probabilities (batch, classes) by linear discriminant analysis, for equally likely classes."""
        odds: Tensor = self._parts(_evenly(x, lengths)) @ self.discriminant + self.bias
        return odds.softmax(-1)

    def _parts(self, evenly: Tensor) -> Tensor:
        """(batch, 8 features): means over eighths of sequences (batch, EVENLY, features), in units of the spread."""
        eighths: Tensor = (evenly / self.spread).unflatten(1, (8, -1))
        return eighths.mean(2).flatten(1)

    def _mixed(self, rows: Tensor, random: torch.Generator) -> Tensor:
        """(batch, EVENLY, features): some sequences unchanged, the others synthetic."""
        made = torch.rand(len(rows), generator=random) < self.recipe.mixed
        # cos² + sin² = 1: a synthetic sequence has the deviation of a recorded one.
        angle = (torch.rand(len(rows), generator=random) * (torch.pi / 2) * made)[:, None, None]
        one, other = torch.randint(len(self.labels), (2, len(rows)), generator=random)
        one = torch.where(made, one, rows)
        deviation = self.deviations[one] * angle.cos() + self.deviations[other] * angle.sin()
        return self.courses[self.labels[rows]] + deviation


def _evenly(x: Tensor, lengths: Tensor) -> Tensor:
    """Complete sequences, each resampled to EVENLY timesteps."""
    end = (lengths - 1).float()
    return _resample(x, torch.zeros_like(end), end, torch.full_like(lengths, EVENLY))


def _resample(x: Tensor, first: Tensor, last: Tensor, lengths: Tensor) -> Tensor:
    """Interpolate sequence i linearly from time ``first[i]`` to ``last[i]`` [timesteps] in ``lengths[i]`` ≥ 2 steps."""
    pace = (last - first) / (lengths - 1)
    times = first[:, None] + pace[:, None] * torch.arange(int(lengths.max()))
    times = times.minimum(last[:, None])
    before = times.long()
    after = (before + 1).minimum(last.ceil().long()[:, None])
    return torch.lerp(_at(x, before), _at(x, after), (times - before)[..., None])


def _at(x: Tensor, times: Tensor) -> Tensor:
    """x[i, times[i, t]] as (batch, t, features)."""
    return x.gather(1, times[..., None].expand(-1, -1, x.shape[2]))
