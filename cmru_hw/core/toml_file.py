"""TOML that a user hands over: one reader, which raises ValueError alone, with the cause in words."""

from __future__ import annotations

import math
import tomllib
from typing import Any

DEEPEST = 20
LARGEST = 2**63
"""Bound of whole numbers: TOML has no others."""


def parse(text: str) -> dict[str, Any]:
    """The table in ``text``. Raises ValueError, also for tables in one another without end and for numbers that no
    64 bits hold."""
    try:
        found = tomllib.loads(text)
        _check(found, "", DEEPEST)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return found


def _check(value: object, place: str, depth: int) -> None:
    if not depth:
        raise RecursionError
    if isinstance(value, dict):
        for key, inner in value.items():
            _check(inner, f"{place}.{key}" if place else str(key), depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, place, depth - 1)
    elif isinstance(value, int) and not -LARGEST <= value < LARGEST:
        raise ValueError(f"{place[:80]} is a whole number beyond 64 bits")
    elif isinstance(value, float) and math.isinf(value):
        raise ValueError(f"{place[:80]} is infinite")
