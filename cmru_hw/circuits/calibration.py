"""The software model on calibration data: given sequences, or assumed ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.input_range import ASSUMED_RANGE, InputRange, magnitudes
from cmru_hw.core.signals import Array
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.forward import Output
from cmru_hw.nn.sequences import Sequences

ASSUMED = "assumed: 64 random sequences of 64 timesteps, scaled inputs normal within 4 standard deviations"


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationData:
    """The software model with clamped inputs on calibration data.

    ``scaled`` inputs (sequences, timesteps, features) are clamped; ``valid`` (sequences, timesteps). ``ranges`` are
    the fields ``inputs``, ``largest`` and ``percentile`` of a calibration, and ``source`` says where the data is from.
    """

    scaled: Array
    valid: NDArray[np.bool_]
    output: Output
    ranges: dict[str, Any]
    source: str


def calibration_data(trained: Trained, sequences: Sequences | None, percentile: float) -> CalibrationData:
    """Find the range of each feature, and run the software model with inputs clamped to it.

    Raises DataError for sequences that do not fit, MappingError if all inputs are zero.
    """
    source = f"{len(sequences)} given sequences" if sequences is not None else ASSUMED
    data = sequences if sequences is not None else assumed_sequences(trained)
    trained.check(data)
    scale, offset = (trained.arrays[f"input.{name}"].astype(np.float64) for name in ("scale", "offset"))
    if sequences is None:
        percentile, features = 100.0, trained.config.features
        limit = largest = np.full(features, ASSUMED_RANGE)
    else:
        limit, largest = magnitudes(data.inputs * scale + offset, data.lengths, percentile)
    limits = InputRange.of(scale=scale, offset=offset, limits=limit, largest=largest)
    output = limits.model(trained).run(data.inputs, data.lengths)
    return CalibrationData(
        scaled=output.scaled,
        valid=data.valid,
        output=output,
        ranges={"inputs": tuple(limit.tolist()), "largest": tuple(largest.tolist()), "percentile": float(percentile)},
        source=source,
    )


def assumed_sequences(trained: Trained) -> Sequences:
    """Fixed sequences for mapping and verification if the user gives no data. See ASSUMED."""
    # the random numbers of PyTorch, which designs without data were always calibrated with
    import torch

    scale, offset = (trained.tensors[f"input.{name}"] for name in ("scale", "offset"))
    generator = torch.Generator().manual_seed(0)
    scaled = torch.randn((64, 64, trained.config.features), generator=generator).clamp(-ASSUMED_RANGE, ASSUMED_RANGE)
    return Sequences(inputs=((scaled - offset) / torch.where(scale == 0, 1.0, scale)).numpy())
