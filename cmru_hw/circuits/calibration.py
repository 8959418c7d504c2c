"""Sequences for calibration without data."""

from __future__ import annotations

import torch

from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences

ASSUMED = "assumed: 64 random sequences of 64 timesteps, scaled inputs normal within 4 standard deviations"


def assumed_sequences(trained: Trained) -> Sequences:
    """Fixed sequences for mapping and verification if the user gives no data. See ASSUMED."""
    scale, offset = (trained.tensors[f"input.{name}"] for name in ("scale", "offset"))
    generator = torch.Generator().manual_seed(0)
    scaled = torch.randn((64, 64, trained.config.features), generator=generator).clamp(-4, 4)
    return Sequences(inputs=((scaled - offset) / torch.where(scale == 0, 1.0, scale)).numpy())
