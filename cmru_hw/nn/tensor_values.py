"""Values of tensors: checked as NumPy arrays, and seen as PyTorch tensors where somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


class AsTorch(Mapping[str, "Tensor"]):
    """Arrays as PyTorch tensors that share their memory. The first look at one loads PyTorch."""

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: str) -> Tensor:
        import torch

        return torch.from_numpy(self._arrays[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def checked(cell: str, name: str, tensor: Any) -> NDArray[np.float32]:
    """A PyTorch tensor, or an array, as an array.

    Raises CheckpointError unless it is dense float32 on the CPU, and a circuit of ``cell`` can realize its values.
    """
    kind, place, dense = str(tensor.dtype).removeprefix("torch."), "cpu", True
    if not isinstance(tensor, np.ndarray):
        place, dense = tensor.device.type, str(tensor.layout) == "torch.strided"
    if kind != "float32" or not dense or place != "cpu":
        raise CheckpointError(f"tensor {name} is {kind} on {place}; save it as dense float32 on the CPU")
    array = tensor if isinstance(tensor, np.ndarray) else np.asarray(tensor.detach().numpy())
    if not np.isfinite(array).all():
        raise CheckpointError(f"tensor {name} holds NaN or infinity; train again, or from an earlier state")
    leaf = name.rsplit(".", 1)[-1]
    if leaf in ("low", "width") and (array < 0).any():
        raise CheckpointError(f"tensor {name} holds {array.min():g}; fq-bmru thresholds and widths are not negative")
    if leaf == "initial_state":
        values = (0.0, 1.0) if cell == "fq-bmru" else (-1.0, 1.0)
        if not np.isin(array, values).all():
            raise CheckpointError(
                f"tensor {name} is not binary; every initial state must be {values[0]:g} or {values[1]:g}"
            )
    return array
