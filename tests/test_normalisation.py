"""Normalised candidates: statistics of valid timesteps, and exact folding into weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cmru_hw.nn import normalisation, training
from cmru_hw.nn.cell_config import CellConfig
from cmru_hw.nn.cells import Network
from cmru_hw.nn.normalisation import NormalisedLinear
from cmru_hw.nn.recipes import Recipe
from cmru_hw.nn.sequences import Sequences
from tests.networks import Shape, random_network


def network(cell: str, *, skip: bool) -> Network:
    torch.manual_seed(3)
    epsilon = {"bmru": 0.0, "fq-bmru": 0.0, "eps": 0.5}.get(cell, 1.0)
    levels = ((1, 4, 31, 2), (7, 3, 1)) if cell == "cmru" else None
    config = CellConfig(cell=cell, epsilon=epsilon, levels=levels)
    made = Network(config, features=3, units=(4, 3), classes=2, skip=skip).double()
    with torch.no_grad():
        for name, value in made.named_parameters():
            value.normal_()
            if name.endswith(("low", "width")):
                value.abs_()
    return made


def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(0)
    for _ in range(count):
        lengths = torch.randint(3, 21, (8,), generator=random)
        lengths[0] = 20
        yield 2 + 3 * torch.randn(8, 20, 3, generator=random, dtype=torch.double), lengths


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("cell", ["cmru", "bmru", "eps", "acmru", "fq-bmru"])
def test_folding_changes_no_output(cell: str, skip: bool) -> None:
    """The network with the measured statistics, and the one without normalisation."""
    made = network(cell, skip=skip)
    maps = normalisation.normalise(made)
    with torch.no_grad():
        for one in maps:
            one.gain.normal_()
            one.bias.normal_()
    data = list(batches(5))
    normalisation.fold(made, data)
    assert all(type(layer.candidate) is nn.Linear for layer in made.layers)
    assert all(one.statistics is not None for one in maps)
    x, lengths = data[0]
    after = made(x, lengths)
    for layer, one in zip(made.layers, maps, strict=True):
        layer.candidate = one
    before = made(x, lengths)
    for one, other in zip(after.candidates, before.candidates, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    for one, other in zip(after.decisions, before.decisions, strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-12, atol=1e-12)


def test_statistics_are_those_of_all_valid_timesteps() -> None:
    """Layer by layer: the second layer is measured behind the folded first one."""
    made = network("cmru", skip=True)
    maps = normalisation.normalise(made)
    weights = [one.weight.detach().clone() for one in maps]
    data = list(batches(4))
    normalisation.fold(made, data)
    for index, weight in enumerate(weights):
        seen = []
        for x, lengths in data:
            output = made(x, lengths)
            lines = x if index == 0 else torch.cat((output.outputs[0], x), dim=-1)
            sums = lines @ weight.T
            seen += [row[:length] for row, length in zip(sums, lengths.tolist(), strict=True)]
        values = torch.cat(seen)
        statistics = maps[index].statistics
        assert statistics is not None
        torch.testing.assert_close(statistics[0], values.mean(0))
        torch.testing.assert_close(statistics[1], values.var(0, correction=0))


def test_padding_does_not_count() -> None:
    one = NormalisedLinear(nn.Linear(2, 3))
    one.valid = (torch.arange(6) < 4)[:, None, None].expand(6, 5, 1)
    x = torch.randn(6, 5, 2)
    spoiled = x.clone()
    spoiled[4:] = 1e6
    found, other = one(x), one(spoiled)
    assert torch.equal(found[:4], other[:4])
    inside = found[:4].flatten(0, 1) - one.bias
    torch.testing.assert_close(inside.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(inside.std(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)


def test_the_gradient_is_that_of_the_whole_batch() -> None:
    one = NormalisedLinear(nn.Linear(2, 2)).double()
    x = torch.randn(4, 3, 2, dtype=torch.double)
    valid = torch.rand(4, 3, 1) > 0.3

    def loss(weight: Tensor) -> Tensor:
        one.valid = valid
        found: Tensor = torch.func.functional_call(one, {"weight": weight}, (x,)).pow(3).sum()
        return found

    assert torch.autograd.gradcheck(loss, (one.weight.detach().clone().requires_grad_(),))


def data() -> Sequences:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, size=60)
    # Features of unlike size and a large mean: raw sums are far from the scale of the thresholds.
    inputs = rng.normal(size=(60, 12, 3)) * np.array([100.0, 1.0, 0.1]) + 50
    inputs[:, 3:, 0] += 400 * labels[:, None]
    return Sequences(inputs=inputs.astype(np.float32), lengths=rng.integers(6, 13, size=60), labels=labels)


@pytest.mark.parametrize("row_margin", [0.0, 0.1])
def test_training_with_normalisation_leaves_an_ordinary_network(row_margin: float) -> None:
    config = random_network(Shape(levels=((1, 4, 31), (2, 8)), units=(3, 2))).config
    recipe = Recipe(steps=40, learning_rate=0.03, normalised=True, scattered=True, noise=0.1, row_margin=row_margin)
    sequences = data()
    made = training.fit(config, sequences, recipe, seed=2)
    assert made.tensors.keys() == config.network().state_dict().keys()
    assert training.fit(config, sequences, recipe, seed=2).sha256 == made.sha256
    assert training.accuracy(made, sequences) > 0.8


def test_starts_are_scattered_if_asked() -> None:
    config = random_network(Shape(units=(40, 40))).config
    sequences = data()
    found = {}
    for scattered in (False, True):
        recipe = Recipe(steps=1, learning_rate=1e-9, scattered=scattered, dependent=False)
        tensors = training.fit(config, sequences, recipe, seed=2).tensors
        found[scattered] = tensors["layers.0.threshold.bias"], tensors["layers.0.candidate.bias"]
    assert found[False][0].std() < 1e-6
    thresholds, biases = found[True]
    assert 0 <= thresholds.min() < 0.1 and 0.9 < thresholds.max() <= 1
    assert biases.std() == pytest.approx(1, abs=0.35)
