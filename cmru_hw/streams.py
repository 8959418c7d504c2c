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
# A hash has 31 bits for the radius, so no number is larger than this: who compares with a threshold may rely on it.
BOUND = math.sqrt(-2 * math.log(0.5**32)) * (1 + 1e-6)


def keys(seed: int, name: str, dies: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """(dies,) int64: the key of stream ``name`` on each of ``dies``."""
    start = int.from_bytes(hashlib.sha256(f"{seed}\n{name}".encode()).digest()[:8], "little", signed=True)
    return _mix(torch.tensor(np.asarray(dies, dtype=np.int64)) * _signed(GAMMA) + start)


def advanced(key: Tensor, counter: Tensor) -> Tensor:
    """The key whose counters begin where ``counter`` is: ``normals(advanced(k, m), n)`` is ``normals(k, m + n)``."""
    return torch.add(key, counter, alpha=_signed(GAMMA))


def normals(key: Tensor, counter: Tensor) -> Tensor:
    """Standard normal numbers, float64 of the shape that ``key`` and ``counter`` (int64) broadcast to.

    Their values have the resolution of float32, which is what noise is worth, and magnitudes up to BOUND.
    """
    where = advanced(key, counter)
    halves = _mix(where.reshape(-1).contiguous()).numpy().view(np.int32).reshape(-1, 2)
    # Contiguous operands take the same vectorised path at every length, so a number's last bit is its own too.
    radius, angle = torch.from_numpy(halves.T.astype(np.float32, order="C"))
    radius.abs_().add_(0.5).mul_(0.5**31).log_().mul_(-2).sqrt_()
    return radius.mul_(angle.mul_(math.pi * 0.5**31).cos_()).double().view(where.shape)


def _mix(x: Tensor) -> Tensor:
    """The finalizer, in place. By numpy, which has unsigned shifts and vectorises 64-bit products."""
    bits = x.numpy().view(np.uint64)
    shifted = np.empty_like(bits)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits ^= np.right_shift(bits, np.uint64(shift), out=shifted)
        bits *= np.uint64(factor)
    bits ^= np.right_shift(bits, np.uint64(31), out=shifted)
    return x


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
