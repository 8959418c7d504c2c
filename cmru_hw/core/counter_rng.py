"""Counter-based random numbers: each is a pure function of its key and counter.

``normals(key, counter)`` hashes a key (seed, name of the stream, die) and a counter (place in the stream) to a standard
normal number. There is no generator state, so a number does not depend on earlier draws, other streams or the number
of workers, and only the numbers that are needed are computed.

The hash is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014; constants of Stafford's mix 13), whose stream number k with
start s is mix(s + k γ). Two halves of each hash become a normal number by the polar map of Box and Muller.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core import kernels
from cmru_hw.core.signals import Array

# Keys and counters are unsigned 64-bit integers that wrap around.
Hashed = NDArray[np.uint64]

# A hash has 31 bits for the radius, so no number is larger than this bound; threshold tests rely on it.
BOUND = math.sqrt(-2 * math.log(0.5**32)) * (1 + 1e-6)


def keys(seed: int, name: str, dies: Sequence[int] | NDArray[np.int64]) -> Hashed:
    """(dies,): the key of stream ``name`` on each of ``dies``."""
    start = int.from_bytes(hashlib.sha256(f"{seed}\n{name}".encode()).digest()[:8], "little")
    begun = advanced(np.full(len(dies), start, dtype=np.uint64), np.asarray(dies, dtype=np.uint64))
    found = np.empty_like(begun)
    kernels.mixed(begun, found)
    return found


def advanced(key: Hashed, counter: Hashed) -> Hashed:
    """The key whose counters begin where ``counter`` is: ``normals(advanced(k, m), n)`` is ``normals(k, m + n)``."""
    return np.asarray(key + counter * kernels.GAMMA)


def normals(key: Hashed, counter: Hashed) -> Array:
    """Standard normal numbers of the shape that ``key`` and ``counter`` broadcast to, of magnitudes up to BOUND."""
    at = advanced(key, counter)
    found = np.empty(at.shape)
    kernels.normals(at.ravel(), found.reshape(-1))
    return found
