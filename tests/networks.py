"""Random networks and sequences for tests: any size, cell, sign, threshold and number of levels that has a circuit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.levels import Levels
from cmru_hw.nn.sequences import Sequences


@dataclass(frozen=True, kw_only=True)
class Shape:
    """``levels`` "mixed": K of each unit is one of `MIXED`, drawn from the seed."""

    cell: str = "cmru"
    features: int = 3
    units: tuple[int, ...] = (3, 2)
    classes: int = 2
    levels: Levels | Literal["mixed"] = 3
    skip: bool = True
    fixed_thresholds: bool = False
    seed: int = 0


MIXED = (1, 2, 4, 8, 31)


def levels(shape: Shape) -> Levels:
    if shape.levels != "mixed":
        return shape.levels
    rng = np.random.default_rng(shape.seed)
    return tuple(tuple(rng.choice(MIXED, size=count).tolist()) for count in shape.units)


def random_network(shape: Shape) -> Trained:
    """Normal weights, thresholds and α of either sign, initial states of either sign."""
    epsilon = 0.0 if shape.cell == "bmru" else 1.0
    config = ModelConfig(
        cell=shape.cell,
        epsilon=epsilon,
        levels=None if shape.cell == "acmru" else levels(shape),
        skip=shape.skip,
        decision="mean",
        classes=tuple(f"class {k}" for k in range(shape.classes)),
        features=shape.features,
        units=shape.units,
    )
    generator = torch.Generator().manual_seed(shape.seed)
    tensors = {}
    for name, tensor in config.network().state_dict().items():
        values = torch.randn(tensor.shape, generator=generator)
        if name.endswith("initial_state"):
            values = torch.where(values > 0, 1.0, -1.0)
        elif name.endswith(".alpha"):
            values = torch.where(values > 0, 0.3 + values, values - 0.3)
        elif name == "input.scale":
            values = 0.5 + values.abs()
        elif name.endswith("threshold.weight") and shape.fixed_thresholds:
            values = torch.zeros_like(values)
        tensors[name] = values
    return Trained(config=config, tensors=tensors)


def random_sequences(shape: Shape, lengths: tuple[int, ...] = (7, 12, 3)) -> Sequences:
    rng = np.random.default_rng(shape.seed)
    inputs = rng.normal(size=(len(lengths), max(lengths), shape.features)).astype(np.float32)
    return Sequences(inputs=inputs, lengths=np.array(lengths), labels=np.arange(len(lengths)) % shape.classes)
