"""Numbers formatted for people (engineering units) and for programs (JSON)."""

from __future__ import annotations

import json
import math
from typing import Any

MOST_SEED = 2**53 - 1
"""Largest seed: every reader of JSON keeps whole numbers up to it."""

_PREFIXES = {
    -24: "y", -21: "z", -18: "a", -15: "f", -12: "p", -9: "n", -6: "µ", -3: "m",
    0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E", 21: "Z", 24: "Y",
}  # fmt: skip


def si(value: float, unit: str, digits: int = 4) -> str:
    """``value`` with a prefix, and ``digits`` significant ones: 4.1e-13 F is 410 fF."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    # a value that is rounded up to 1000 takes the next prefix
    text = f"{value:.{digits - 1}e}"
    exponent = 3 * (_exponent(text) // 3)
    if exponent not in _PREFIXES:
        return f"{_power(text)} {unit}"
    return f"{_fixed(float(text) / 10.0**exponent, digits)} {_PREFIXES[exponent]}{unit}"


def plain(value: float, digits: int = 3) -> str:
    """``value`` for people: ``digits`` significant ones, and no e-05 or e+04: 0.0000263, 0.5, 12600, 10^30."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    text = f"{value:.{digits - 1}e}"
    return _fixed(float(text), digits) if -6 <= _exponent(text) < 9 else _power(text)


def _fixed(value: float, digits: int) -> str:
    """``digits`` significant ones, as a decimal number."""
    places = max(0, digits - 1 - _exponent(f"{value:.{digits - 1}e}"))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _exponent(text: str) -> int:
    return int(text.split("e")[1])


def _power(text: str) -> str:
    mantissa = text.split("e")[0]
    factor = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{'' if factor == '1' else factor + '·'}10^{_exponent(text)}"


def percent(share: float) -> str:
    """A share in percent. It prints 100 % or 0 % only for exactly 1 or 0."""
    digits = 4
    while digits < 12 and share not in (0, 1) and float(f"{100 * share:.{digits}g}") in (0, 100):
        digits += 1
    return f"{plain(100 * share, digits)} %"


def joules(largest: float) -> tuple[float, str]:
    """(scale, unit) that gives short numbers for energies up to ``largest`` [J]: fJ, pJ or nJ."""
    return next(((scale, unit) for scale, unit in ((1e15, "fJ"), (1e12, "pJ")) if largest * scale < 1000), (1e9, "nJ"))


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
