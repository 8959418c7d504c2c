"""How far a network's rows stay from zero, as the circuit that is made of it will see them, and a loss of it.

A row of capacitors settles at the mean of its lines, weighted by |w|: every weight that is added costs the others
signal. What a comparator sees of a sum Σ w x + b is therefore, as a share of the swing,

    r = (Σ w x + b) / (Σ |w| X + |b|)

where X is the largest magnitude of each line. A unit has two such rows, c − β and c + β, and decides rightly where both
are further from 0 than offset, kick and noise reach. The constant 1 is taken as a line of full swing; a technology may
give it less (``signal.bias``) or more.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cmru_hw.core.errors import InputError
from cmru_hw.nn.cells import Network, NetworkOutput, WindowLayer

SELDOM = 0.03
"""Share of its decisions that each unit is to spend on each of up, hold and down, clear of the margin. Without it the
shortest way to a margin is a unit that never moves."""
WEIGHT, ON_STATES = 0.1, 4.0
"""Of the loss beside the task's cross-entropy, and of decisions on states beside those on inputs. States have levels,
between which there is room for a threshold; inputs have none, so theirs cost accuracy."""
SMALLEST = 0.01
"""Share of its row below which a capacitor is not worth making, and in many a technology cannot be made."""


def refuse(network: Network) -> None:
    """Raise InputError for a network whose states have no known swing."""
    config = network.config
    if config.cell in ("acmru", "fq-bmru") or (config.levels is None and config.epsilon):
        raise InputError(
            f"a row margin is a share of the swing, which a {config.cell} with levels = {config.levels} does not have; "
            "train a cmru or eps with --levels, or a bmru"
        )


def rows(network: Network, output: NetworkOutput, inputs: float) -> Iterator[Tensor]:
    """r of each layer: (2, batch, time, units), of the rows c − β and c + β.

    ``inputs`` is the largest magnitude of the scaled inputs.
    """
    layers = zip(_layers(network, inputs), output.candidates, output.thresholds, strict=True)
    for (layer, lines), c, beta in layers:
        low, high = _loads(layer, lines)
        yield torch.stack(((c - beta) / low, (c + beta) / high))


def _layers(network: Network, inputs: float) -> Iterator[tuple[WindowLayer, Tensor]]:
    """Each layer with the largest magnitudes (lines,) of what it reads."""
    highest = float(network.config.levels or 1) if network.config.epsilon else 1.0
    lines = torch.full_like(network.input.scale, inputs)
    for layer in network.layers:
        assert isinstance(layer, WindowLayer) and isinstance(layer.alpha, Tensor)
        yield layer, lines
        own = (highest * layer.alpha.detach().abs().max()).expand(layer.alpha.shape)
        lines = torch.cat((own, lines)) if network.skip else own


def _loads(layer: WindowLayer, lines: Tensor) -> tuple[Tensor, Tensor]:
    """Total weights (units,) of the rows c − β and c + β."""
    weight, width = layer.candidate.weight, layer.threshold.weight
    taps = layer.candidate.bias.abs() + layer.threshold.bias.abs()
    return (weight - width).abs() @ lines + taps, (weight + width).abs() @ lines + taps


def scores(r: Tensor) -> Tensor:
    """How far each decision is from being up, down or hold: (3, ...) of r (2, ...).

    The one that is made has a score above zero, which is its margin; the other two are below.
    """
    low, high = r.amin(0), r.amax(0)
    return torch.stack((low, -high, torch.minimum(high, -low)))


def loss(network: Network, output: NetworkOutput, valid: Tensor, *, inputs: float, margin: float) -> Tensor:
    """What decisions within ``margin`` [share of the swing] of another cost, and moves that a unit hardly makes.

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
    """Set to zero, in place, what would be less than SMALLEST of its row's capacitance: weights of rows, and biases.

    A unit's two rows share a scale, so the larger one decides for both.
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
