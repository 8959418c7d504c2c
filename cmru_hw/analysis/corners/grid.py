"""Corners and their names: ``ff/125/1.98`` is the fast process corner at 125 °C and 1.98 V."""

from __future__ import annotations

from collections.abc import Sequence

from cmru_hw.circuits.corner import Corner
from cmru_hw.core.errors import InputError
from cmru_hw.process import CORNERS

TEMPERATURES = (-40.0, 27.0, 125.0)
SUPPLY = (0.9, 1.0, 1.1)


def every(vdd: float) -> list[Corner]:
    """All 45 corners around the supply ``vdd`` [V]."""
    return [
        Corner(process=process, temperature=temperature, vdd=round(share * vdd, 4))
        for process in CORNERS
        for share in SUPPLY
        for temperature in TEMPERATURES
    ]


def chosen(corners: Sequence[Corner], only: Sequence[str]) -> list[Corner]:
    """The ``corners`` that ``only`` selects: ``ff/125/1.98``, or with ``*`` as wildcard: ``ff/*/1.98``.

    Raises InputError for a name that matches none.
    """
    if not only:
        return list(corners)
    found = {name: [corner for corner in corners if _fits(corner, name)] for name in only}
    for name, fitting in found.items():
        if not fitting:
            raise InputError(f"no corner is called {name!r}: write process/temperature/supply, such as {corners[-1]}")
    return [corner for corner in corners if any(corner in fitting for fitting in found.values())]


def _fits(corner: Corner, name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 3 and all(part in ("*", own) for part, own in zip(parts, str(corner).split("/"), strict=True))
