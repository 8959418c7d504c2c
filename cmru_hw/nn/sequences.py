"""Sequences, and the ``.npz`` files that hold them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core.atomic_write import write_atomically
from cmru_hw.core.errors import DataError, OutputError
from cmru_hw.core.signals import valid_mask
from cmru_hw.nn.input_files import MAX_NAME, check_file, read_npz, reading

MAX_SEQUENCE_BYTES = 1 << 30
_ARRAYS = ("inputs", "lengths", "labels")


def evaluation_file(checkpoint: Path) -> Path | None:
    """The evaluation sequences that belong to a checkpoint named TASK-CELL-LxN, if they are next to it."""
    path = checkpoint.with_name(f"{checkpoint.stem.split('-')[0]}-eval.npz")
    return path if path.is_file() else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """Padded sequences: ``inputs`` (sequences, timesteps, features) float32 in the data's own units.

    ``lengths`` (sequences,) counts the valid timesteps; None means all. ``labels`` (sequences,) are class indices, or
    None. Raises DataError if they do not fit together.
    """

    inputs: NDArray[np.float32]
    lengths: NDArray[np.int64] = None  # type: ignore[assignment]  # never None after __post_init__
    labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        inputs = self.inputs
        if inputs.dtype.kind == "O":
            raise DataError(
                "inputs are Python objects, as for sequences of unequal length; pad with zeros and give lengths"
            )
        if inputs.ndim != 3 or 0 in inputs.shape:
            raise DataError(
                f"inputs have shape {inputs.shape}; they must be (sequences, timesteps, features), none empty"
            )
        if inputs.dtype.kind not in "fiu":
            raise DataError(f"inputs are of type {inputs.dtype}; store them as float32")
        with np.errstate(over="ignore"):
            inputs = np.ascontiguousarray(inputs, dtype=np.float32)
        if not np.isfinite(inputs).all():
            raise DataError("inputs hold NaN or infinite values; pad with zeros and give lengths")
        count, time, _ = inputs.shape
        lengths = np.full(count, time) if self.lengths is None else self.lengths
        lengths = _indices("lengths", lengths, count, low=1, high=time)
        labels = None if self.labels is None else _indices("labels", self.labels, count, low=0, high=1 << 31)
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "lengths", lengths)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(sequences, timesteps): whether a timestep is valid, not padding."""
        return valid_mask(self.lengths, self.inputs.shape[1])

    def first(self, count: int) -> Sequences:
        """The first ``count`` sequences."""
        if not 1 <= count <= len(self):
            raise DataError(f"{count} sequences were asked for, but there are {len(self)}")
        return self.take(np.arange(count))

    def take(self, indices: NDArray[np.int64]) -> Sequences:
        """The sequences at ``indices``, in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return Sequences(inputs=self.inputs[indices], lengths=self.lengths[indices], labels=labels)


def _indices(name: str, values: NDArray[Any], count: int, *, low: int, high: int) -> NDArray[np.int64]:
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise DataError(f"{name} are {values.dtype} of shape {values.shape}; {count} whole numbers are needed")
    if values.min() < low or values.max() > high:
        raise DataError(f"{name} run from {values.min()} to {values.max()}; they must lie between {low} and {high}")
    return values.astype(np.int64)


def load_sequences(path: str | os.PathLike[str]) -> Sequences:
    """Sequences from an ``.npz`` with ``inputs`` and optionally ``lengths`` and ``labels``. Raises DataError."""
    path = Path(path)
    with reading(path, DataError, "it is damaged or no .npz file; write it with numpy.savez"):
        check_file(path, DataError, MAX_SEQUENCE_BYTES)
        arrays = read_npz(path, DataError, MAX_SEQUENCE_BYTES)
        if unknown := sorted(set(arrays) - set(_ARRAYS)):
            raise DataError(f"array {unknown[0][:MAX_NAME]!r} is unknown; it holds inputs, lengths and labels")
        if "inputs" not in arrays:
            raise DataError("array 'inputs' is missing; it must be (sequences, timesteps, features)")
        return Sequences(**arrays)


def save_sequences(sequences: Sequences, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write ``sequences`` to ``path`` (.npz), compressed. An existing file needs ``force``.

    Raises OutputError.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise OutputError(f"{path}: sequences are written as .npz; change the name")
    if path.exists() and not force:
        raise OutputError(f"{path} exists; choose another name, or force to replace it")
    arrays: dict[str, Any] = {"inputs": sequences.inputs, "lengths": sequences.lengths}
    if sequences.labels is not None:
        arrays["labels"] = sequences.labels
    write_atomically(path, lambda scratch: np.savez_compressed(scratch, **arrays))
