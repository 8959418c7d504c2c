"""Waveforms for other tools: the raw file of the SPICE family, and CSV.

The raw file has the format of ``ngspice -r``: ngspice's ``load`` and waveform viewers read it. It names voltages
``v(o0_3)`` and currents ``i(vdd)``, as ngspice does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmru_hw.core.atomic_write import write_bytes
from cmru_hw.core.signals import Traces


def write_raw(traces: Traces, path: Path) -> None:
    """``traces`` as a binary raw file of doubles, time first [s], then [V] and [A] by name. Raises OutputError."""
    names = list(traces.values)
    lines = [
        f"Title: {traces.title}",
        "Plotname: Transient Analysis",
        "Flags: real",
        f"No. Variables: {len(names) + 1}",
        f"No. Points: {len(traces.time)}",
        "Variables:",
        "\t0\ttime\ttime",
        *[f"\t{place}\t{_vector(name)}\t{_kind(name)}" for place, name in enumerate(names, 1)],
        "Binary:\n",
    ]
    points = np.stack([traces.time, *(traces.values[name] for name in names)], axis=1)
    write_bytes(path, "\n".join(lines).encode() + points.astype("<f8").tobytes())


def write_csv(traces: Traces, path: Path) -> None:
    """``traces`` as text: one row per time point, in s, V and A. Raises OutputError."""
    names = list(traces.values)
    points = np.stack([traces.time, *(traces.values[name] for name in names)], axis=1)
    rows = [",".join(["time", *map(_vector, names)]), *(",".join(f"{v:.10g}" for v in row) for row in points.tolist())]
    write_bytes(path, ("\n".join(rows) + "\n").encode())


def _vector(name: str) -> str:
    return name if name.startswith("i(") else f"v({name})"


def _kind(name: str) -> str:
    return "current" if name.startswith("i(") else "voltage"
