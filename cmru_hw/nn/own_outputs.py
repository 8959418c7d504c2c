"""Comparison of an imported network with the original: the outputs of both on the same sequences.

The original's outputs and inputs are in one ``.npz``: ``inputs`` (sequences, timesteps, features) in the data's own
units and optionally ``lengths``; and at least one of ``logits`` (sequences, timesteps, classes), or (sequences,
classes) after the network's decision rule; ``states_N`` (sequences, timesteps, units), s of layer N in levels;
``outputs_N``, h of layer N.

Scores and outputs are floats, and agree within :data:`TOLERANCE` of the largest magnitude of their kind. States are
levels and agree exactly. A sequence that differs after a decision that rounding could reverse is *too close to
call*: it counts neither as agreement nor as difference.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cmru_hw.core.errors import DataError
from cmru_hw.core.signals import Array
from cmru_hw.nn.cells import NetworkOutput, evidence
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.input_files import MAX_NAME, check_file, read_npz, reading
from cmru_hw.nn.sequences import MAX_SEQUENCE_BYTES, Sequences

TOLERANCE = 1e-3
"""Relative to the largest magnitude: far above float32 rounding, far below the effect of a wrong weight."""
ROUNDING = 1e-5
"""Relative to the largest candidate of a layer: decisions with a smaller margin may differ by rounding."""
HALF_A_LEVEL = 0.5
_BATCH = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnOutputs:
    """``values`` maps "logits", "states_N" and "outputs_N" to (sequences, timesteps, columns).

    Logits per sequence are "scores", (sequences, 1, columns).
    """

    sequences: Sequences
    values: Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first difference: ``timestep`` is None for the score of a sequence, ``layer`` None for scores."""

    sequence: int
    timestep: int | None
    layer: int | None
    name: str
    column: int
    imported: float
    own: float

    def __str__(self) -> str:
        what = "logit" if self.layer is None else f"layer {self.layer}, {self.name.split('_')[0].rstrip('s')} of unit"
        when = "" if self.timestep is None else f"timestep {self.timestep}, "
        values = f"imported {self.imported:.6g}, own {self.own:.6g}"
        return f"sequence {self.sequence}, {when}{what} {self.column}: {values}"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Numbers of ``sequences`` that agree, differ, or are too close to call; ``compared`` lists the arrays by name."""

    sequences: int
    differ: int
    too_close: int
    compared: tuple[str, ...]
    first: Difference | None

    @property
    def agree(self) -> int:
        return self.sequences - self.differ - self.too_close

    def holds(self) -> bool:
        """True if at least one sequence agrees and none differs."""
        return self.agree > 0 and not self.differ


def load(path: str | os.PathLike[str]) -> OwnOutputs:
    """The arrays of ``path``. Raises DataError."""
    path = Path(path)
    with reading(path, DataError, "it is damaged or no .npz file; write it with numpy.savez"):
        check_file(path, DataError, MAX_SEQUENCE_BYTES)
        arrays = read_npz(path, DataError, MAX_SEQUENCE_BYTES)
        if "inputs" not in arrays:
            raise DataError("array 'inputs' is missing; it must be (sequences, timesteps, features)")
        sequences = Sequences(**{name: arrays.pop(name) for name in ("inputs", "lengths", "labels") if name in arrays})
        for name in arrays:
            if not re.fullmatch(r"logits|(states|outputs)_\d{1,2}", name):
                raise DataError(f"array {name[:MAX_NAME]!r} is unknown; outputs are logits, states_0 or outputs_0, ...")
        if not arrays:
            raise DataError("it holds only inputs; add results of the original: logits, states_0 or outputs_0, ...")
        return OwnOutputs(
            sequences=sequences, values=dict(_values(name, arrays[name], sequences) for name in sorted(arrays))
        )


def _values(name: str, values: NDArray[Any], sequences: Sequences) -> tuple[str, Array]:
    count, time, _ = sequences.inputs.shape
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise DataError(f"{name} hold {values.dtype} or values that are not finite; save them as float32")
    if name == "logits" and values.ndim == 2 and len(values) == count:
        return "scores", values[:, None].astype(np.float64)
    if values.ndim != 3 or values.shape[:2] != (count, time):
        raise DataError(f"{name} have shape {values.shape}; for these inputs they are ({count}, {time}, columns)")
    return name, values.astype(np.float64)


def compare(trained: Trained, own: OwnOutputs) -> Agreement:
    """Compare the software model of ``trained`` with ``own``, sequence by sequence. Raises DataError."""
    trained.check(own.sequences)
    _check_shapes(trained, own)
    found = _computed(trained, own)
    lengths = own.sequences.lengths
    first: Difference | None = None
    differ = too_close = 0
    allowed = {name: _allowed(name, values, trained) for name, values in found.items() if name in own.values}
    for sequence, length in enumerate(lengths):
        here = _first(found, own, allowed, sequence, int(length))
        if here is None:
            continue
        until = int(length) if here.timestep is None else here.timestep + 1
        if (found["margin"][sequence, :until] < 1).any():
            too_close += 1
            continue
        differ += 1
        first = first or here
    return Agreement(
        sequences=len(lengths), differ=differ, too_close=too_close, compared=tuple(own.values), first=first
    )


def _check_shapes(trained: Trained, own: OwnOutputs) -> None:
    config = trained.config
    for name, values in own.values.items():
        layer = _layer(name)
        if layer is not None and layer >= len(config.units):
            raise DataError(f"{name} belong to a layer that a network of {len(config.units)} layers does not have")
        columns = len(config.classes) if layer is None else config.units[layer]
        if values.shape[2] != columns:
            what = "classes" if layer is None else "units"
            raise DataError(f"{name} have {values.shape[2]} columns, but the network has {columns} {what} there")


def _layer(name: str) -> int | None:
    return int(name.split("_")[1]) if "_" in name else None


def _allowed(name: str, values: Array, trained: Trained) -> float:
    if name.startswith("states") and trained.config.cell not in ("acmru", "eps"):
        return HALF_A_LEVEL
    return TOLERANCE * max(float(np.abs(values).max()), 1e-30)


def _first(
    found: Mapping[str, Array], own: OwnOutputs, allowed: Mapping[str, float], sequence: int, length: int
) -> Difference | None:
    """The earliest difference of one sequence; at one timestep, the one of the layer closest to the inputs."""
    best: tuple[int, int, Difference] | None = None
    for name, values in own.values.items():
        # States of quantized cells may be stored as floats. A NaN in our result is a difference.
        wrong = np.argwhere(~(np.abs(found[name][sequence, :length] - values[sequence, :length]) <= allowed[name]))
        if not len(wrong):
            continue
        time, column = (int(place) for place in wrong[0])
        layer, at = _layer(name), (sequence, time, column)
        entry = Difference(
            sequence=sequence,
            timestep=None if name == "scores" else time,
            layer=layer,
            name=name,
            column=column,
            imported=float(found[name][at]),
            own=float(values[at]),
        )
        rank = (length if name == "scores" else time, 1000 if layer is None else layer)
        if best is None or rank < best[:2]:
            best = (*rank, entry)
    return None if best is None else best[2]


def _computed(trained: Trained, own: OwnOutputs) -> dict[str, Array]:
    """Arrays of the software model by name, and "margin" (sequences, timesteps): that of the closest decision, relative
    to the margin that rounding can reverse.
    """
    network = trained.network()
    parts: dict[str, list[Array]] = {}
    sequences = own.sequences
    for start in range(0, len(sequences), _BATCH):
        batch = sequences.take(np.arange(start, min(start + _BATCH, len(sequences))))
        lengths = torch.from_numpy(batch.lengths)
        with torch.no_grad():
            output = network(torch.from_numpy(batch.inputs), lengths)
        for name, values in _named(output):
            parts.setdefault(name, []).append(values)
        summed = evidence(output.logits, lengths, trained.config.decision)[:, None]
        parts.setdefault("scores", []).append(summed.double().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def _named(output: NetworkOutput) -> Iterator[tuple[str, Array]]:
    yield "logits", output.logits.double().numpy()
    closest: list[Array] = []
    for layer, (c, beta) in enumerate(zip(output.candidates, output.thresholds, strict=True)):
        yield f"states_{layer}", output.states[layer].double().numpy()
        yield f"outputs_{layer}", output.outputs[layer].double().numpy()
        edges = (beta[0], beta[1]) if beta.ndim == 2 else (beta, -beta)
        scale = ROUNDING * max(float(c.abs().max()), float(beta.abs().max()), 1e-30)
        margin = torch.minimum((c - edges[0]).abs(), (c - edges[1]).abs()).amin(-1) / scale
        closest.append(margin.double().numpy())
    yield "margin", np.minimum.reduce(closest)
