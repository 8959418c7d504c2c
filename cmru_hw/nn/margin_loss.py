"""Distance of a network's rows from zero, as its circuit sees it, and a loss that increases it.

A row of capacitors settles at the mean of its lines, weighted by |w|: every added weight attenuates the signal of the
others. For a sum Σ w x + b a comparator therefore sees, as a share of the swing,

    r = (Σ w x + b) / (Σ |w| X + |b|)

where X is the largest magnitude of each line. A unit has two such rows, c − β and c + β. It decides correctly if both
are farther from 0 than offset, kick and noise reach. Here the constant 1 is a line of full swing; a technology may give
it less (``signal.bias``) or more.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cmru_hw.core.errors import InputError
from cmru_hw.nn.cells import Network, NetworkOutput, WindowLayer
from cmru_hw.nn.normalisation import affine

SELDOM = 0.03
"""Intended share of each unit's decisions for each of up, hold and down, outside of the margin. Without it the easiest
way to a large margin is a unit that never moves."""
WEIGHT, ON_STATES = 0.1, 4.0
"""Weight of the loss relative to the task's cross-entropy, and of decisions on states relative to those on inputs.
States have levels with room for a threshold between them; inputs do not, so margins on inputs cost accuracy."""
SMALLEST = 0.01
"""Smallest useful capacitor, as a share of its row. Many technologies cannot make smaller ones."""


def refuse(network: Network) -> None:
    """Raise InputError for a network whose states have no known swing."""
    config = network.config
    if config.cell in ("acmru", "fq-bmru") or (config.levels is None and config.epsilon):
        raise InputError(
            f"a row margin is a share of the swing, which a {config.cell} with levels = {config.levels} does not have; "
            "train a cmru or eps with --levels, or a bmru"
        )


def rows(network: Network, output: NetworkOutput, inputs: float | Tensor) -> Iterator[Tensor]:
    """r of each layer: (2, batch, time, units), for the rows c − β and c + β.

    ``inputs``: the range of the scaled inputs, of all or (features,) of each.
    """
    layers = zip(_layers(network, inputs), output.candidates, output.thresholds, strict=True)
    for (layer, lines), c, beta in layers:
        low, high = _loads(layer, lines)
        yield torch.stack(((c - beta) / low, (c + beta) / high))


def _layers(network: Network, inputs: float | Tensor) -> Iterator[tuple[WindowLayer, Tensor]]:
    """Each layer with the largest magnitudes (lines,) of its inputs."""
    scale = network.input.scale
    lines = torch.as_tensor(inputs, dtype=scale.dtype).expand_as(scale)
    for layer in network.layers:
        assert isinstance(layer, WindowLayer) and isinstance(layer.alpha, Tensor)
        yield layer, lines
        highest = 1.0 if layer.highest is None or not network.config.epsilon else layer.highest
        own = (highest * layer.alpha.detach().abs().max()).expand(layer.alpha.shape)
        lines = torch.cat((own, lines)) if network.skip else own


def _loads(layer: WindowLayer, lines: Tensor) -> tuple[Tensor, Tensor]:
    """Total weights (units,) of the rows c − β and c + β."""
    weight, bias = affine(layer.candidate)
    width = layer.threshold.weight
    taps = bias.abs() + layer.threshold.bias.abs()
    return (weight - width).abs() @ lines + taps, (weight + width).abs() @ lines + taps


def scores(r: Tensor) -> Tensor:
    """Distance of each decision from being up, down or hold: (3, ...) for r (2, ...).

    The actual decision has a positive score, which is its margin; the other two are negative.
    """
    low, high = r.amin(0), r.amax(0)
    return torch.stack((low, -high, torch.minimum(high, -low)))


def loss(network: Network, output: NetworkOutput, valid: Tensor, *, inputs: float, margin: float) -> Tensor:
    """Penalty of decisions within ``margin`` [share of the swing] of another decision, and of moves that a unit rarely
    makes.

    ``valid`` (batch, time). Mean over the decisions of a layer, summed over layers.
    """
    total = torch.zeros(())
    for index, r in enumerate(rows(network, output, inputs)):
        found = scores(r[:, valid])
        near = (1 - found.amax(0) / margin).relu().mean()
        most = found.topk(max(1, round(SELDOM * found.shape[1])), dim=1).values
        total = total + (ON_STATES if index else 1.0) * near + (1 - most / margin).relu().mean()
    return WEIGHT * total


def prune(network: Network, inputs: float) -> None:
    """Set weights of rows, and biases, below SMALLEST of their row's capacitance to zero, in place.

    A unit's two rows share a scale, so the larger value decides for both.
    """
    with torch.no_grad():
        for layer, lines in _layers(network, inputs):
            least = SMALLEST * torch.maximum(*_loads(layer, lines))
            candidate, threshold = layer.candidate, layer.threshold
            low, high = candidate.weight - threshold.weight, candidate.weight + threshold.weight
            for row in (low, high):
                row[row.abs() * lines < least[:, None]] = 0
            candidate.weight.copy_((low + high) / 2)
            threshold.weight.copy_((high - low) / 2)
            for bias in (candidate.bias, threshold.bias):
                bias[bias.abs() < least] = 0
