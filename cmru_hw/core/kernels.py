"""The loops of :mod:`cmru_hw.core.loops` and :mod:`cmru_hw.core.sum_loops`, which numba compiles.

They are loaded with the first one that is used.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from cmru_hw.core import loops, sum_loops

    found = globals()[name] = getattr(sum_loops if hasattr(sum_loops, name) else loops, name)
    return found
