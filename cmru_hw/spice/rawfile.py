"""ngspice's binary raw file → Plot.

It reads one format: real vectors of one transient analysis, as ``ngspice -b -r`` writes them. It refuses any other
format by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmru_hw.core.errors import ResultRejected
from cmru_hw.core.signals import Array

_MARK = b"Binary:\n"


@dataclass(frozen=True, kw_only=True, eq=False)
class Plot:
    """One analysis as the simulator stores it: ``data[i]`` are the values of the vector ``names[i]`` [s, V or A]."""

    title: str
    names: tuple[str, ...]
    data: Array


def read(path: Path) -> Plot:
    """The plot in the raw file at ``path``; raises `ResultRejected` if it is missing or not as expected."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ResultRejected("ngspice wrote no result") from None
    return parse(content)


def parse(content: bytes) -> Plot:
    """The plot in the bytes of a raw file; raises `ResultRejected`."""
    head, mark, body = content.partition(_MARK)
    if not mark:
        raise ResultRejected("the raw file has no binary part: it is cut short, or ASCII")
    fields, names = _header(head.decode("utf-8", "replace"))
    flags = fields.get("flags", "").split()
    # "padded" is the default layout spelled out; "unpadded" leaves short vectors out of later rows.
    if "real" not in flags or not set(flags) <= {"real", "padded"}:
        raise ResultRejected(f"the raw file holds {' '.join(flags) or 'unknown'} data instead of real transient data")
    try:
        # ngspice pads the number with blanks, because it writes 0 first and overwrites it at the end of the analysis.
        variables, points = int(fields["no. variables"]), int(fields["no. points"])
    except (KeyError, ValueError):
        raise ResultRejected("the raw file does not state its number of points") from None
    if len(names) != variables or variables < 1:
        raise ResultRejected(f"the raw file names {len(names)} vectors where it promises {variables}")
    if points < 1:
        raise ResultRejected("the raw file holds no points")
    if len(body) != 8 * variables * points:
        raise ResultRejected(f"the raw file holds {len(body)} bytes where {8 * variables * points} belong")
    data = np.frombuffer(body, dtype="<f8").reshape(points, variables)
    return Plot(title=fields.get("title", ""), names=names, data=np.ascontiguousarray(data.T, dtype=np.float64))


def _header(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Fields by lower-case key, and the names of the vectors in the order of the columns."""
    fields: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        if line.startswith("\t"):
            # index, name, type: a name may contain blanks, but never a tab
            columns = line.split("\t")
            if len(columns) < 4 or columns[1] != str(len(names)):
                raise ResultRejected("the raw file's list of vectors is damaged")
            names.append(columns[2].lower())
        else:
            key, _, value = line.partition(":")
            fields[key.strip().lower()] = value.strip()
    return fields, tuple(names)
