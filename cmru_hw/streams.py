"""Random numbers that are a function of where they belong and of nothing else.

``normals(key, counter)`` hashes a key (seed, name of the stream, die) and a counter (place in the stream) to a standard
normal number. There is no generator with a state, so a number cannot depend on what was drawn before it, beside it, by
how many workers, or whether another stream is switched off; and one that is not needed is not computed.

The hash is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014; constants of Stafford's mix 13), whose stream number k with
start s is mix(s + k γ). Two halves of each hash become a normal number by the polar map of Box and Muller.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15
STEP = GAMMA - (1 << 64)  # the same, as int64 has it
# A hash has 31 bits for the radius, so no number is larger than this: who compares with a threshold may rely on it.
BOUND = math.sqrt(-2 * math.log(0.5**32)) * (1 + 1e-6)


def keys(seed: int, name: str, dies: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """(dies,) int64: the key of stream ``name`` on each of ``dies``."""
    start = int.from_bytes(hashlib.sha256(f"{seed}\n{name}".encode()).digest()[:8], "little", signed=True)
    return _mix(torch.tensor(np.asarray(dies, dtype=np.int64)) * STEP + start)


def advanced(key: Tensor, counter: Tensor) -> Tensor:
    """The key whose counters begin where ``counter`` is: ``normals(advanced(k, m), n)`` is ``normals(k, m + n)``."""
    return torch.add(key, counter, alpha=STEP)


def normals(key: Tensor, counter: Tensor) -> Tensor:
    """Standard normal numbers, float64 of the shape that ``key`` and ``counter`` (int64) broadcast to.

    Their values have the resolution of float32, which is what noise is worth, and magnitudes up to BOUND.
    """
    return numbers(advanced(key, counter))


def numbers(key: Tensor) -> Tensor:
    """As :func:`normals` with counters of 0; ``key`` is overwritten."""
    bits = _mix(key.reshape(-1).contiguous()).numpy()
    # Contiguous operands take the same vectorised path at every length, so a number's last bit is its own too.
    halves = np.empty((2, len(bits)), dtype=np.float32)
    np.copyto(halves, bits.view(np.int32).reshape(-1, 2).T)
    radius, angle = halves
    # by numpy, which takes less than half of torch's time for these
    np.abs(radius, out=radius)
    radius += np.float32(0.5)
    radius *= np.float32(0.5**31)
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    angle *= np.float32(math.pi * 0.5**31)
    radius *= np.cos(angle, out=angle)
    return torch.from_numpy(radius.astype(np.float64)).view(key.shape)


def _mix(x: Tensor) -> Tensor:
    """The finalizer, in place. By numpy, which has unsigned shifts and vectorises 64-bit products."""
    bits = x.numpy().view(np.uint64)
    shifted = np.empty_like(bits)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits ^= np.right_shift(bits, np.uint64(shift), out=shifted)
        bits *= np.uint64(factor)
    bits ^= np.right_shift(bits, np.uint64(31), out=shifted)
    return x
