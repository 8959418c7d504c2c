"""The loops of :mod:`cmru_hw.core.loops`, which numba compiles. It is loaded with the first one that is used."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from cmru_hw.core import loops

    found = globals()[name] = getattr(loops, name)
    return found
