"""Train many models at once: AdamW, surrogate gradients, the same budget for every cell.

A model's initial weights, order of data and noise follow from its own seed and do not depend on the other models. All
models of one call have the same shape; each has its own learning rate, gradient clipping and optimizer state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.claims.cells import RECURRENCES, Recur
from benchmarks.claims.networks import Models, Shape, fixed
from benchmarks.claims.problems import Part, Problem
from cmru_hw.nn.cells import evidence

DECAY, CLIP, BETAS, ANNEALED = 0.01, 1.0, (0.9, 0.99), 0.7
AT_ONCE = 2_000_000
"""Largest number of values per tensor in scoring, which limits the memory for long sequences."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The budget of every cell: optimizer steps, sequences per step, and learning rates to choose from."""

    steps: int
    batch: int = 16
    rates: tuple[float, ...] = (0.01, 0.03)


def fit(
    shape: Shape,
    problem: Problem,
    budget: Budget,
    *,
    seeds: Sequence[int],
    scale: float = 1.0,
    average: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> Models:
    """Trained models: all ``seeds`` at the first learning rate, then all at the second, and so on.

    ``average``: factor of the exponential moving average of the weights, which is the result; 0: the last weights.
    """
    models = Models.drawn(shape, [seed for _ in budget.rates for seed in seeds], scale)
    rates = torch.tensor(budget.rates).repeat_interleave(len(seeds))[:, None]
    source = _Source(problem, seeds, len(budget.rates), budget)
    decayed = _matrices(shape)
    values = models.values.requires_grad_()
    first, second, averaged = torch.zeros_like(values), torch.zeros_like(values), values.detach().clone()
    for step in range(budget.steps):
        x, lengths, targets = source.draw(step)
        outputs = models(x, epsilon=_epsilon(shape, step, budget), valid=_valid(lengths, x.shape[2]))
        total = loss(outputs, lengths, targets, problem.decision).sum()
        (gradient,) = torch.autograd.grad(total, values)
        with torch.no_grad():
            norm = gradient.norm(dim=1, keepdim=True)
            # A gradient that is not finite is skipped: the model keeps its weights and is scored with them.
            gradient = torch.where(norm.isfinite(), gradient * (CLIP / norm.clamp(min=CLIP)), 0.0)
            first.lerp_(gradient, 1 - BETAS[0])
            second.lerp_(gradient.square(), 1 - BETAS[1])
            size = rates * _schedule(step, budget.steps)
            values.mul_(1 - size * DECAY * decayed)
            mean, square = first / (1 - BETAS[0] ** (step + 1)), second / (1 - BETAS[1] ** (step + 1))
            values.sub_(size * mean / (square.sqrt() + 1e-8))
            # A short average at the start forgets early weights.
            averaged.lerp_(values, max(1 - average, 9 / (step + 10)) if average else 1.0)
        if progress is not None:
            progress(step + 1, budget.steps)
    models.values = averaged
    if shape.kind.normalised:
        part = problem.train
        with torch.no_grad():
            models(
                part.inputs.permute(2, 1, 0)[None], valid=_valid(part.lengths[None], part.inputs.shape[1]), settle=True
            )
    return models


def _valid(lengths: Tensor, time: int) -> Tensor:
    """(M, 1, T, B), 1 at the valid timesteps of sequences of ``lengths`` (M, B)."""
    return (torch.arange(time)[:, None] < lengths[:, None, :])[:, None].float()


def loss(outputs: Tensor, lengths: Tensor, targets: Tensor, decision: str) -> Tensor:
    """Cross-entropy of each model (M,), or mean square error of a course; outputs (M, ·, T, B), targets (M, B)."""
    if decision == "course":
        return (outputs - targets.permute(0, 3, 2, 1)).square().mean((1, 2, 3))
    found = _evidence(outputs, lengths, decision)
    return (
        nn.functional.cross_entropy(found.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets).mean(1)
    )


def _evidence(outputs: Tensor, lengths: Tensor, decision: str) -> Tensor:
    """(M, classes, T, B) → (M, B, classes)."""
    models, classes, time, batch = outputs.shape
    flat = outputs.permute(0, 3, 2, 1).reshape(models * batch, time, classes)
    return evidence(flat, lengths.expand(models, batch).reshape(-1), decision).view(models, batch, classes)


@torch.no_grad()
def score(
    models: Models,
    part: Part,
    decision: str,
    *,
    recur: Recur = RECURRENCES["scan"],
    noise: Callable[[Tensor], Tensor] | None = None,
) -> list[float]:
    """Score of each model: accuracy, or R² of a course. ``noise(x)`` is added to inputs (1 or M, features, T, B)."""
    count, time, _ = part.inputs.shape
    widest = max(models.shape.width, *(models.shape.kind.outputs(n) for n in models.shape.units))
    together = max(1, AT_ONCE // (len(models.values) * time * widest))
    right = torch.zeros(len(models.values), dtype=torch.float64)
    for begin in range(0, count, together):
        rows = slice(begin, begin + together)
        x = part.inputs[rows].permute(2, 1, 0)[None]
        outputs = models(x if noise is None else noise(x), recur=recur)
        targets = part.targets[rows][None]
        if decision == "course":
            right += (outputs - targets.permute(0, 3, 2, 1)).square().sum((1, 2, 3)).double()
        else:
            found = _evidence(outputs, part.lengths[rows][None], decision).argmax(-1)
            right += (found == targets).sum(1)
    if decision == "course":
        spread = (part.targets - part.targets.mean((0, 1))).square().sum().double()
        return (1 - right / spread).nan_to_num(nan=-math.inf).clamp(min=-1).tolist()
    return (right / count).tolist()


def _matrices(shape: Shape) -> Tensor:
    """(parameters,): 1 for weight matrices, to which weight decay applies, else 0."""
    sizes = [(name, size.numel()) for name, size in shape.sizes.items() if not fixed(name)]
    return torch.cat([torch.full((count,), float(name.endswith("weight"))) for name, count in sizes])


def _schedule(step: int, steps: int) -> float:
    """Warm-up over a tenth, then a cosine to zero."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _epsilon(shape: Shape, step: int, budget: Budget) -> float:
    if not shape.kind.annealed:
        return shape.kind.epsilon
    return max(0.0, 1 - step / (ANNEALED * budget.steps))


class _Source:
    """The order of training sequences and the noise of each seed; the same at every learning rate."""

    def __init__(self, problem: Problem, seeds: Sequence[int], rates: int, budget: Budget) -> None:
        self.part, self.noise, self.rates = problem.train, problem.noise, rates
        self.random = [torch.Generator().manual_seed(seed + 1_000_003) for seed in seeds]
        size = (budget.steps, budget.batch)
        self.rows = torch.stack([torch.randint(len(self.part), size, generator=one) for one in self.random])

    def draw(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (M, features, T, B), lengths (M, B), targets (M, B, ...)."""
        rows = self.rows[:, step]
        lengths = self.part.lengths[rows]
        x, targets = self.part.inputs[rows], self.part.targets[rows]
        if self.noise:
            x = x + self.noise * torch.stack([torch.randn(x.shape[1:], generator=one) for one in self.random])
        x = x[:, :, : int(lengths.max())]
        x, lengths, targets = (torch.cat([value] * self.rates) for value in (x.permute(0, 3, 2, 1), lengths, targets))
        return x, lengths, targets
