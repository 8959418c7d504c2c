"""Further tests of trained models besides their score, and of untrained cells."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.claims import problems
from benchmarks.claims.cells import CELLS, LEVELS, RECURRENCES, Draw, Recur, recur_with
from benchmarks.claims.fitting import loss, score
from benchmarks.claims.networks import Models, Shape, fixed
from benchmarks.claims.problems import Part, Problem
from cmru_hw.nn.scan import scan

NOISES = {
    "input": (0.1, 0.2, 0.5, 1.0),
    "weight": (0.05, 0.1, 0.2, 0.4),
    "state": (0.02, 0.05, 0.1, 0.2),
}
"""Standard deviations of noise: on inputs, relative to their own (flipflop: to the pulse height); on every weight and
bias, relative to itself; on every state at every timestep, relative to that unit's root mean square."""
NOISY = 200
"""Number of test sequences that are scored with noise."""
LENGTHS, LONG = (100, 1000, 10000), 50
"""Distances in timesteps of the answer from the end; number of sequences for each."""
LAGS, GRADIENT_UNITS, GRADIENT_FEATURES, GRADIENT_BATCH = 100, 16, 8, 8


def resilience(models: Models, problem: Problem, *, draws: int) -> dict[str, dict[str, list[float]]]:
    """Mean score of each model under each of :data:`NOISES`, by kind and deviation."""
    test = problem.test
    part = Part(inputs=test.inputs[:NOISY], lengths=test.lengths[:NOISY], targets=test.targets[:NOISY])
    clean = score(models, part, problem.decision)
    found: dict[str, dict[str, list[float]]] = {kind: {"0": clean} for kind in NOISES}
    for kind, deviations in NOISES.items():
        for deviation in deviations:
            random = torch.Generator().manual_seed(1)
            scores = [_noisy(models, part, problem.decision, kind, deviation, random) for _ in range(draws)]
            found[kind][str(deviation)] = torch.tensor(scores, dtype=torch.float64).mean(0).tolist()
    return found


def _noisy(
    models: Models, part: Part, decision: str, kind: str, deviation: float, random: torch.Generator
) -> list[float]:
    if kind == "input":
        noise = lambda x: x + deviation * torch.randn(x.shape, generator=random)  # noqa: E731
        return score(models, part, decision, noise=noise)
    if kind == "weight":
        return score(_mismatched(models, deviation, random), part, decision)
    return score(models, part, decision, recur=noisy_states(deviation, random))


def _mismatched(models: Models, deviation: float, random: torch.Generator) -> Models:
    """A random factor on every weight and bias. The ν, θ and γ of linear units stay exact, which favors them."""
    exact = ("nu", "theta", "gamma")
    sizes = [(name, size.numel()) for name, size in models.shape.sizes.items() if not fixed(name)]
    vary = torch.cat([torch.full((count,), float(not name.endswith(exact))) for name, count in sizes])
    factors = 1 + deviation * vary * torch.randn(models.values.shape, generator=random)
    return Models(models.shape, models.values * factors, models.states)


def noisy_states(deviation: float, random: torch.Generator) -> Recur:
    """Recurrence with noise on the state at every timestep; quantized states are restored to their nearest level.

    A circuit with quantized states can do this (with a latch, or by requantizing); a circuit with analog states cannot.
    """
    clean = RECURRENCES["scan"]

    def recur(kind: str, a: Tensor | None, b: Tensor, initial: Tensor, lo: float | None, hi: float | None) -> Tensor:
        size = deviation * clean(kind, a, b, initial, lo, hi).square().mean((2, 3)).sqrt()[:, :, None]
        gains = [None] * b.shape[2] if a is None else a.expand_as(b).unbind(2)
        state = initial[:, :, None].expand_as(b[:, :, 0])
        states = []
        for gain, packet in zip(gains, b.unbind(2), strict=True):
            state = packet + (state if gain is None else gain * state)
            state = state if lo is None else state.clamp(lo, hi)
            state = state + size * torch.randn(state.shape, generator=random)
            if kind == "levels":
                state = state.round().clamp(lo, hi)
            elif kind == "bit":
                state = torch.where(state >= 0, 1.0, -1.0)
            states.append(state)
        return torch.stack(states, dim=2)

    return recur


def longer(
    models: Models, name: str, lengths: Sequence[int], count: int = LONG, *, quiet: bool = False
) -> dict[str, list[float]]:
    """Score of each model for answers farther back than in training; ``quiet``: without noise."""
    decision = problems.get(name).decision
    return {str(n): score(models, problems.of_length(name, n, count, quiet=quiet), decision) for n in lengths}


@torch.no_grad()
def scan_error(models: Models, problem: Problem) -> list[float | None]:
    """Largest output difference between the parallel form and the loop for each model, relative to its largest output.

    None if neither is finite: such a model has diverged in training.
    """
    x = problem.test.inputs[:32].permute(2, 1, 0)[None]
    one, other = (models(x, recur=RECURRENCES[mode]) for mode in ("parallel", "loop"))
    errors = (one - other).abs().amax((1, 2, 3)) / other.abs().amax((1, 2, 3))
    return [error if math.isfinite(error) else None for error in errors.tolist()]


def _by_scan(cell: str, parameters: dict[str, Tensor], u: Tensor) -> Tensor:
    return CELLS[cell].run(parameters, u, RECURRENCES["scan"], 1.0)


def gradients(seeds: Sequence[int], *, time_: int = LAGS) -> dict[str, list[list[float]]]:
    """‖∂L/∂x‖ of each input, (seeds, lags) backwards from the last timestep, for untrained layers.

    One layer of 16 units with initial weights; the input is white noise, the loss a random linear function of the last
    output. Values are relative to the last timestep's.
    """
    cases: dict[str, Callable[[dict[str, Tensor], Tensor], Tensor]] = {
        f"epsilon {epsilon:g}{suffix}": _window_case(epsilon, bound)
        for epsilon in (0.0, 0.5, 1.0)
        for suffix, bound in (("", None), (f", limited to {LEVELS:g} levels", LEVELS))
        if epsilon == 1.0 or not bound
    }
    for name in ("lru", "mingru"):
        cases[name] = partial(_by_scan, name)
    found = {}
    for name, run in cases.items():
        cell = CELLS[name if name in CELLS else "cmru"]
        draws = [Draw(torch.Generator().manual_seed(seed), 1.0) for seed in seeds]
        starts = [cell.start(GRADIENT_FEATURES, GRADIENT_UNITS, draw) for draw in draws]
        parameters = {key: torch.stack([start[key] for start in starts]) for key in starts[0]}
        shape = (GRADIENT_FEATURES, time_, GRADIENT_BATCH)
        u = torch.stack([torch.randn(shape, generator=draw.random) for draw in draws]).requires_grad_()
        last = run(parameters, u)[:, :, -1]
        weight = torch.stack([torch.randn(last.shape[1:], generator=draw.random) for draw in draws])
        (gradient,) = torch.autograd.grad((last * weight).sum(), u)
        norms = gradient.norm(dim=(1, 3)).flip(1)
        found[name] = (norms / norms[:, :1]).tolist()
    return found


def _window_case(epsilon: float, bound: float | None) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    recur = recur_with(lambda a, b, initial, lo, hi: scan(a, b, initial, None if bound is None else -bound, bound))
    return lambda parameters, u: CELLS["cmru"].run(parameters, u, recur, epsilon)


def throughput(shape: Shape, timesteps: int, batch: int, seconds: float) -> dict[str, float]:
    """Least CPU time [s] of one training step (forward and backward) of one model, for each form of the recurrence.

    The forms take turns in one process, so that both see the same machine load.
    """
    models = Models.drawn(shape, [0], 1.0)
    models.values.requires_grad_()
    random = torch.Generator().manual_seed(0)
    x = torch.randn((1, shape.features, timesteps, batch), generator=random)
    lengths, targets = torch.full((1, batch), timesteps), torch.zeros((1, batch), dtype=torch.long)
    found = dict.fromkeys(RECURRENCES, float("inf"))

    def step(recur: Recur) -> None:
        torch.autograd.grad(loss(models(x, recur=recur), lengths, targets, "last").sum(), models.values)

    step(RECURRENCES["scan"])  # compiled now
    end = time.process_time() + seconds
    while max(found.values()) == float("inf") or time.process_time() < end:
        for mode, recur in RECURRENCES.items():
            start = time.process_time()
            step(recur)
            found[mode] = min(found[mode], time.process_time() - start)
    return found
