"""The software model in NumPy against the network in PyTorch that training uses."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cmru_hw.core.errors import InputError
from cmru_hw.nn import cells, checkpoint, forward
from cmru_hw.nn.cell_config import DECISIONS
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.forward import Model
from cmru_hw.nn.sequences import Sequences, load_sequences
from tests import test_current
from tests.networks import Shape, random_network, random_sequences

MODELS = Path(__file__).parent.parent / "models"
KINDS = (
    Shape(units=(4, 3), levels=2),
    Shape(units=(4, 3), levels="mixed"),
    Shape(units=(4, 3), levels=None),
    Shape(cell="bmru", units=(4, 3)),
    Shape(cell="acmru", units=(4, 3)),
)
SHAPES = [replace(kind, skip=skip, seed=seed) for kind in KINDS for skip, seed in ((True, 1), (False, 2))]


def both(
    trained: Trained, data: Sequences, limits: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[cells.NetworkOutput, forward.Output]:
    network = trained.network().double()
    if limits is not None:
        network.input.limits = torch.from_numpy(limits[0]), torch.from_numpy(limits[1])
    with torch.no_grad():
        wanted = network(torch.from_numpy(data.inputs).double(), torch.from_numpy(data.lengths))
    return wanted, Model.of(trained, limits=limits).run(data.inputs, data.lengths)


def equal(wanted: cells.NetworkOutput, found: forward.Output) -> None:
    for name in ("states", "outputs", "candidates", "thresholds"):
        for one, other in zip(getattr(wanted, name), getattr(found, name), strict=True):
            np.testing.assert_allclose(other, one.numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.logits, wanted.logits.numpy(), rtol=1e-12, atol=1e-12)
    for one, other in zip(wanted.decisions, found.decisions, strict=True):
        assert other.dtype == np.int8
        assert (other == one.numpy()).all()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.cell} {shape.levels} {shape.skip}")
def test_it_is_the_network_of_pytorch(shape: Shape) -> None:
    trained, data = random_network(shape), random_sequences(shape, lengths=(40, 12, 60, 3))
    wanted, found = both(trained, data)
    equal(wanted, found)
    assert len({*np.unique(found.decisions[0])}) == 3
    limits = np.array([-0.5, -1.0, 0.0]), np.array([0.5, 1.5, 2.0])
    clamped = both(trained, data, limits)
    equal(*clamped)
    assert (clamped[1].scaled <= limits[1]).all() and not (found.scaled <= limits[1]).all()


@pytest.mark.parametrize("skip", [True, False])
def test_an_fq_bmru_is_the_network_of_pytorch(skip: bool) -> None:
    equal(*both(test_current.network(skip=skip), test_current.sequences()))


def test_epsilon_between_zero_and_one() -> None:
    config = checkpoint.ModelConfig(
        cell="eps", epsilon=0.3, levels=2, skip=False, decision="last", classes=("a", "b"), features=3, units=(5,)
    )
    torch.manual_seed(3)
    trained = Trained.from_network(config.network(), config)
    equal(*both(trained, random_sequences(Shape(features=3))))


@pytest.mark.parametrize("name", ["vowels-acmru-2x16", "vowels-cmru-2x16", "detect-fq-bmru-2x8"])
def test_shipped_networks(name: str) -> None:
    data = load_sequences(MODELS / f"{name.split('-')[0]}-eval.npz").first(50)
    equal(*both(checkpoint.load(MODELS / f"{name}.safetensors"), data))


@pytest.mark.parametrize("rule", DECISIONS)
def test_classes_are_those_of_pytorch(rule: str) -> None:
    rng = np.random.default_rng(0)
    logits, lengths = rng.normal(size=(50, 9, 3)), rng.integers(1, 10, 50)
    # ties go to the lower index
    logits[:5] = 1.0
    wanted = cells.classify(torch.from_numpy(logits), torch.from_numpy(lengths), rule)
    assert (forward.classify(logits, lengths, rule) == wanted.numpy()).all()
    with pytest.raises(InputError, match="decision 'best' is unknown"):
        forward.classify(logits, lengths, "best")


def test_a_network_has_its_tensors_and_arrays(tmp_path: Path) -> None:
    trained = random_network(Shape())
    for name, array in trained.arrays.items():
        assert array.dtype == np.float32
        assert (trained.tensors[name].numpy() == array).all()
    again = Trained(config=trained.config, tensors=dict(trained.tensors))
    assert again.sha256 == pickle.loads(pickle.dumps(trained)).sha256 == trained.sha256
    # a network keeps its numbers, whatever happens to those that it was given
    given = {name: tensor.clone() for name, tensor in trained.tensors.items()}
    made = Trained(config=trained.config, tensors=given)
    given["readout.bias"] += 1
    assert made.sha256 == trained.sha256
    path = tmp_path / "half.safetensors"
    checkpoint.save(trained, path)
    assert checkpoint.load(path).sha256 == trained.sha256
