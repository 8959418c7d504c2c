"""Numbers formatted for people (engineering units) and for programs (JSON)."""

from __future__ import annotations

import json
import math
from typing import Any

_PREFIXES = {-18: "a", -15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def si(value: float, unit: str) -> str:
    """``value`` with a prefix: 4.1e-13 F is 410 fF."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    exponent = max(-18, min(12, 3 * math.floor(math.log10(abs(value)) / 3)))
    return f"{value / 10**exponent:.4g} {_PREFIXES[exponent]}{unit}"


def percent(share: float) -> str:
    """A share in percent. It prints 100 % or 0 % only for exactly 1 or 0."""
    digits = 4
    while digits < 12 and share not in (0, 1) and float(f"{100 * share:.{digits}g}") in (0, 100):
        digits += 1
    return f"{100 * share:.{digits}g} %"


def count(value: int) -> str:
    """A whole number with thin spaces between groups of three: 11 776."""
    return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(value)


def json_text(value: Any) -> str:
    """``value`` as JSON, with null where a number is not finite."""
    return json.dumps(_plain(value), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
