"""The compared cells, many models at once.

Every tensor has a leading axis of models: independent networks of one shape that train together, because several small
ones take hardly more time than one. M is models, N units (or features), T timesteps, B sequences. Signals are
(M, N, T, B), so that values of the same operation are adjacent in memory.

===============  ===============================================================================================
cell             recurrence
===============  ===============================================================================================
cmru             as in :mod:`cmru_hw.nn.cells`, ε = 1, saturating at ±:data:`LEVELS`
acmru            αCMRU as in :mod:`cmru_hw.nn.cells`, without a limit
bmru             as in :mod:`cmru_hw.nn.cells`, ε = 0 from the first step on
bmru-annealed    the same, trained with ε going from 1 to 0 over the first 70 % of the steps
lru              h ← λ⊙h + γ⊙(B u), complex, λ = exp(−exp ν + i exp θ); its output is (Re h, Im h): arXiv:2303.06349
mingru           h ← (1 − z)⊙h + z⊙h̃, z = σ(W_z u + b_z), h̃ = W_h u + b_h: arXiv:2410.01201, section 3.1
hybrid           half of the units are bmru, the others lru, side by side: arXiv:2601.09495
===============  ===============================================================================================

All run on :func:`cmru_hw.nn.scan.scan` or another form of it. The states of LRU are complex, but λ does not change with
time. In coordinates that rotate with its phase, g_t = exp(−i θ t) h_t, the recurrence is g ← |λ| g + exp(−i θ t) γ B u.
Its gain is real and positive, as the scan requires.

This package cannot build circuits of the last three. They are included for comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cmru_hw.nn import levels
from cmru_hw.nn.cells import gate, sign
from cmru_hw.nn.normalisation import EPSILON
from cmru_hw.nn.scan import loop, parallel, scan

LEVELS = 7.0
MIXED = (1, 2, 4, 8, 31, 31)
"""K of the units of cmru-mixed, in equal parts of each layer."""
SLOPE = 0.5
"""Slope of the surrogate gradients."""
THRESHOLD, ALPHA = 0.5, 0.3
"""Initial threshold of window units, and initial α of units with levels. Candidates start with a deviation of 1."""
RING = (0.9, 0.999)
"""Initial |λ| of an LRU is uniform on this ring, its phase below PHASE: the paper's choice for long memory."""
PHASE = math.pi / 10
LONGEST = 100.0
"""[timesteps] Initial gate biases of a minGRU are −log U(1, LONGEST): as long a memory as that of the LRU's ring."""

Recur = Callable[..., Tensor]
"""``recur(kind, a, b, initial, lo, hi)``: states (M, N, T, B) of s ← clamp(a s + b, lo, hi); a may be None or smaller.

``kind`` is "levels" (integers), "bit" (±1) or "continuous": the set to which a restoring circuit restores its states.
"""


def recur_with(recurrence: Callable[..., Tensor]) -> Recur:
    """The ``recur`` function of a form of :mod:`cmru_hw.nn.scan`."""

    def recur(kind: str, a: Tensor | None, b: Tensor, initial: Tensor, lo: float | None, hi: float | None) -> Tensor:
        models, units, _, batch = b.shape
        start = initial.flatten()[:, None].expand(-1, batch)
        # The scan sees the units of all models as its sequences, and the sequences as its units.
        gains = None if a is None else a.expand_as(b).flatten(0, 1)
        states: Tensor = recurrence(gains, b.flatten(0, 1), start, lo, hi).unflatten(0, (models, units))
        return states

    return recur


RECURRENCES: Mapping[str, Recur] = {form.__name__: recur_with(form) for form in (scan, parallel, loop)}


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """W x + b of each model: x (M, F, T, B), weight (M, N, F), bias (M, N)."""
    found: Tensor = torch.baddbmm(bias[:, :, None], weight, x.flatten(2)).unflatten(2, x.shape[2:])
    return found


@dataclass(frozen=True)
class Draw:
    """Random numbers of one model; every weight matrix has variance ``scale``² / fan-in."""

    random: torch.Generator
    scale: float

    def matrix(self, inputs: int, outputs: int, gain: float = 1.0) -> Tensor:
        return torch.randn(outputs, inputs, generator=self.random) * (gain * self.scale / math.sqrt(inputs))

    def uniform(self, low: float, high: float, count: int) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=self.random)

    def signs(self, count: int) -> Tensor:
        return torch.randint(0, 2, (count,), generator=self.random) * 2.0 - 1.0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """``start(inputs, units, draw)`` gives one model's parameters by name; those named "state" are never trained.

    ``run(parameters, u, recur, epsilon)`` maps (M, inputs, T, B) to (M, ``outputs(units)``, T, B). ``annealed``: ε
    goes from 1 to 0 during training. ``quantised``: the states are integer levels. ``normalised``: candidates are
    normalised over each batch in training (:mod:`cmru_hw.nn.normalisation`).
    """

    start: Callable[[int, int, Draw], dict[str, Tensor]]
    run: Callable[[Mapping[str, Tensor], Tensor, Recur, float], Tensor]
    outputs: Callable[[int], int] = lambda units: units
    epsilon: float = 1.0
    annealed: bool = False
    quantised: bool = False
    normalised: bool = False


# --- Window units ------------------------------------------------------------------------------------------------


def _window_start(inputs: int, units: int, draw: Draw, alpha: float) -> dict[str, Tensor]:
    weight = torch.cat((draw.matrix(inputs, units), draw.matrix(inputs, units, 0.3)))
    bias = torch.cat((torch.zeros(units), torch.full((units,), THRESHOLD)))
    return {"weight": weight, "bias": bias, "alpha": torch.full((units,), alpha), "state": draw.signs(units)}


def _decisions(parameters: Mapping[str, Tensor], u: Tensor) -> tuple[Tensor, Tensor]:
    """z and z sgn(c)."""
    candidate, threshold = affine(u, parameters["weight"], parameters["bias"]).chunk(2, dim=1)
    moves = gate(candidate, threshold, SLOPE)
    return moves, moves * sign(candidate, SLOPE)


def _window(parameters: Mapping[str, Tensor], u: Tensor, recur: Recur, epsilon: float) -> Tensor:
    moves, decision = _decisions(parameters, u)
    gain = None if epsilon == 1 else 1 - (1 - epsilon) * moves
    states = recur("levels" if epsilon else "bit", gain, decision, parameters["state"], -LEVELS, LEVELS)
    return parameters["alpha"][:, :, None, None] * states


def _relaxed_start(inputs: int, units: int, draw: Draw) -> dict[str, Tensor]:
    found = _window_start(inputs, units, draw, ALPHA)
    found["alpha.weight"], found["alpha.bias"] = draw.matrix(inputs, units, 0.3 * ALPHA), found.pop("alpha")
    return {**found, "state": found["state"] * ALPHA}


def _relaxed(parameters: Mapping[str, Tensor], u: Tensor, recur: Recur, epsilon: float) -> Tensor:
    _, decision = _decisions(parameters, u)
    alpha = affine(u, parameters["alpha.weight"], parameters["alpha.bias"])
    return recur("continuous", None, decision * alpha, parameters["state"], None, None)


def _mixed_start(inputs: int, units: int, draw: Draw) -> dict[str, Tensor]:
    found = levels.shared(MIXED, (units,))
    of_units = list(found[0]) if isinstance(found, tuple) else [found] * units
    return {
        "weight": draw.matrix(inputs, units),
        "gain": torch.ones(units),
        "bias": torch.randn(units, generator=draw.random),
        "threshold": draw.uniform(0.0, 1.0, units),
        "alpha": torch.full((units,), ALPHA),
        "state": draw.signs(units),
        "levels.state": torch.tensor(of_units, dtype=torch.float32),
        "mean.state": torch.zeros(units),
        "variance.state": torch.ones(units),
    }


def sums_of(parameters: Mapping[str, Tensor], u: Tensor) -> Tensor:
    """W u of units with normalised candidates."""
    found: Tensor = torch.bmm(parameters["weight"], u.flatten(2)).unflatten(2, u.shape[2:])
    return found


def moments(sums: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (M, N) over the timesteps of all sequences where ``valid`` (M or 1, 1, T, B) is 1."""
    count = valid.sum((2, 3))
    mean = (sums * valid).sum((2, 3)) / count
    return mean, ((sums - mean[:, :, None, None]).square() * valid).sum((2, 3)) / count


def _mixed(parameters: Mapping[str, Tensor], u: Tensor, recur: Recur, epsilon: float) -> Tensor:
    """``valid`` among the parameters: normalise over this batch; without it, with the stored moments."""
    sums = sums_of(parameters, u)
    if "valid" in parameters:
        mean, variance = moments(sums, parameters["valid"])
    else:
        mean, variance = parameters["mean.state"], parameters["variance.state"]
    factor = parameters["gain"] * torch.rsqrt(variance + EPSILON)
    candidate = sums * factor[:, :, None, None] + (parameters["bias"] - factor * mean)[:, :, None, None]
    moves = gate(candidate, parameters["threshold"][:, :, None, None], SLOPE)
    # The scan has one limit for all lanes: it runs on states as shares of K.
    most = parameters["levels.state"][:, :, None, None]
    decision = moves * sign(candidate, SLOPE) / most
    shares = recur("ladder", None, decision, parameters["state"] / parameters["levels.state"], -1.0, 1.0)
    return parameters["alpha"][:, :, None, None] * most * shares


# --- Fading units ------------------------------------------------------------------------------------------------


def _linear_start(inputs: int, units: int, draw: Draw) -> dict[str, Tensor]:
    low, high = RING
    size = draw.uniform(low**2, high**2, units).sqrt()
    # Real and imaginary part share the input's variance; γ gives every state the same variance.
    weight = draw.matrix(inputs, 2 * units, 1 / math.sqrt(2))
    return {
        "weight": weight,
        "nu": torch.log(-torch.log(size)),
        "theta": torch.log(PHASE * draw.uniform(1e-3, 1, units)),
        "gamma": torch.log(torch.sqrt(1 - size**2)),
        "state": torch.zeros(2 * units),
    }


def _linear(parameters: Mapping[str, Tensor], u: Tensor, recur: Recur, epsilon: float) -> Tensor:
    weight = parameters["weight"] * parameters["gamma"].exp().repeat(1, 2)[:, :, None]
    real, imaginary = torch.bmm(weight, u.flatten(2)).unflatten(2, u.shape[2:]).chunk(2, dim=1)
    # Double precision: after ten thousand timesteps the third digit of a single-precision phase would be wrong.
    times = torch.arange(1, u.shape[2] + 1, dtype=torch.float64)
    phase = (parameters["theta"].exp().double()[:, :, None] * times)[..., None]
    cosine, sine = phase.cos().float(), phase.sin().float()
    turned = torch.cat((real * cosine + imaginary * sine, imaginary * cosine - real * sine), dim=1)
    size = torch.exp(-parameters["nu"].exp()).repeat(1, 2)[:, :, None, None]
    real, imaginary = recur("continuous", size, turned, parameters["state"], None, None).chunk(2, dim=1)
    return torch.cat((real * cosine - imaginary * sine, imaginary * cosine + real * sine), dim=1)


def _gated_start(inputs: int, units: int, draw: Draw) -> dict[str, Tensor]:
    return {
        "weight": draw.matrix(inputs, 2 * units),
        "bias": torch.cat((-draw.uniform(1.0, LONGEST, units).log(), torch.zeros(units))),
        "state": torch.zeros(units),
    }


def _gated(parameters: Mapping[str, Tensor], u: Tensor, recur: Recur, epsilon: float) -> Tensor:
    opening, candidate = affine(u, parameters["weight"], parameters["bias"]).chunk(2, dim=1)
    z = torch.sigmoid(opening)
    return recur("continuous", 1 - z, z * candidate, parameters["state"], None, None)


# --- Side by side ------------------------------------------------------------------------------------------------


def _halves(units: int) -> tuple[int, int]:
    return (units + 1) // 2, units // 2


def _hybrid_start(inputs: int, units: int, draw: Draw) -> dict[str, Tensor]:
    kept, fading = _halves(units)
    parts = {"memory": _window_start(inputs, kept, draw, 1.0), "linear": _linear_start(inputs, fading, draw)}
    return {f"{part}.{name}": value for part, found in parts.items() for name, value in found.items()}


def _hybrid(parameters: Mapping[str, Tensor], u: Tensor, recur: Recur, epsilon: float) -> Tensor:
    memory, linear = (part(parameters, name) for name in ("memory", "linear"))
    return torch.cat((_window(memory, u, recur, epsilon), _linear(linear, u, recur, epsilon)), dim=1)


def part(parameters: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The parameters named ``prefix.name``, by name."""
    start = f"{prefix}."
    return {name[len(start) :]: value for name, value in parameters.items() if name.startswith(start)}


CELLS: Mapping[str, Cell] = {
    "cmru": Cell(start=lambda i, n, d: _window_start(i, n, d, ALPHA), run=_window, quantised=True),
    "acmru": Cell(start=_relaxed_start, run=_relaxed),
    "bmru": Cell(start=lambda i, n, d: _window_start(i, n, d, 1.0), run=_window, epsilon=0.0, quantised=True),
    "bmru-annealed": Cell(
        start=lambda i, n, d: _window_start(i, n, d, 1.0), run=_window, epsilon=0.0, annealed=True, quantised=True
    ),
    "lru": Cell(start=_linear_start, run=_linear, outputs=lambda units: 2 * units),
    "mingru": Cell(start=_gated_start, run=_gated),
    "hybrid": Cell(
        start=_hybrid_start, run=_hybrid, outputs=lambda units: _halves(units)[0] + 2 * _halves(units)[1], epsilon=0.0
    ),
}
"""Initial α: the states of a bmru are ±1, so its α starts at 1; states with levels cover ±7."""

MORE: Mapping[str, Cell] = {"cmru-mixed": Cell(start=_mixed_start, run=_mixed, normalised=True)}
"""cmru by the recipe of `benchmarks.recipe`: fixed thresholds from U(0, 1), K of `MIXED`, normalised candidates."""


def kind(name: str) -> Cell:
    """The cell ``name`` of `CELLS` or `MORE`."""
    return CELLS[name] if name in CELLS else MORE[name]
