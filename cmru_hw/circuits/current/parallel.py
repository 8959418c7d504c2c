"""Size classes: how many unit devices each mirror has in parallel.

A line is the gate of a diode and of all arms on it. If all of them are N devices in parallel, each device carries an
Nth of the current. The measured mirrors then hold at that current, mismatch falls as 1/√N, and area grows as N. Power
stays. The lines form these classes, of which a technology gives the number N by name::

    inputs constant                          lines of the features; line of the constant 1
    layer0/entry                             rows before a layer (only where there are any)
    layer0/thresholds                        candidate, I_thresh and I_width of the cells, with their feedback
    layer0/levels                            I_gain and output of the cells
    layer0/output                            rows after a layer

The last word of a name stands for this class in all layers, and ``all`` for every class. A more specific name wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmru_hw.core.errors import TechnologyError

ALL = "all"
KINDS = ("entry", "thresholds", "levels", "output")
MOST = 64
"""Most devices in parallel: beyond, a mirror is larger than a bond pad."""

_OF_A_LINE = {"u": "entry", "c": "thresholds", "h": "levels", "r": "output"}


def class_of(line: str) -> str:
    """Size class of a line, such as ``x3p``, ``one`` or ``c0_2`` (`netlist`)."""
    if line == "one":
        return "constant"
    if line[0] == "x":
        return "inputs"
    return of_layer(int(line[1:].partition("_")[0]), _OF_A_LINE[line[0]])


def of_layer(layer: int, kind: str) -> str:
    return f"layer{layer}/{kind}"


def count(given: Mapping[str, int], name: str) -> int:
    """Devices in parallel of class ``name``."""
    for key in (name, name.rpartition("/")[2], ALL):
        if key in given:
            return given[key]
    return 1


def checked(given: Mapping[str, object], *, where: str) -> dict[str, int]:
    """``given`` as numbers of devices. Raises TechnologyError for anything but whole numbers from 1 to `MOST`."""
    found = {}
    for name, value in given.items():
        whole = isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
        if not whole or not 1 <= value <= MOST:  # type: ignore[operator]
            raise TechnologyError(f"{where}: {name} is {value!r}, must be a whole number from 1 to {MOST}")
        found[name] = int(value)  # type: ignore[call-overload]
    return found


def unknown(given: Mapping[str, int], classes: Sequence[str]) -> list[str]:
    """Names in ``given`` that fit none of ``classes``."""
    known = {ALL, *classes, *(name.rpartition("/")[2] for name in classes)}
    return sorted(set(given) - known)
