"""Everything that a macromodel deck reads from files: inputs, power-on references, noise, and states of other decks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.part import Part
from cmru_hw.core.signals import Array
from cmru_hw.spice.schedule import Schedule

# filesource reads lines of at most about 500 characters. From a longer line it silently repeats the first row.
COLUMNS_PER_FILE = 24
# Time of the input change within a timestep, in the middle of the hold.
INPUT_CHANGE = 0.2
# In the power-on frame the comparators' references move by this voltage [V], which is more than any row can move.
START_SHIFT = 1.0


@dataclass(frozen=True, kw_only=True)
class Sources:
    """``lines`` of a deck that drive nodes from ``files`` (path in the deck → content)."""

    lines: tuple[str, ...]
    files: Mapping[str, bytes]


def stimulus(
    design: Design,
    part: Part,
    inputs: Sequence[Array],
    plan: Schedule,
    *,
    features: Sequence[int],
    noise: Sequence[Mapping[str, Array]] | None,
    calibrating: bool,
) -> Sources:
    """Sources of the inputs ``features``, the power-on references and the noise of ``part``: see
    :func:`cmru_hw.circuits.charge.macro_netlist.deck` for the arguments."""
    common = design.technology.supply.common_mode
    columns: dict[str, Array] = {f"x{j}": np.full(plan.frames, common) for j in features}
    start = np.zeros(plan.frames, dtype=bool)
    for first, sequence in zip(plan.starts, inputs, strict=True):
        start[first - 1] = not calibrating
        voltages = design.voltages(np.asarray(sequence)).T
        for j in features:
            columns[f"x{j}"][first : first + len(sequence)] = voltages[j]
    columns["ref_up"] = np.where(start, common - START_SHIFT, common)
    columns["ref_down"] = np.where(start, common + START_SHIFT, common)
    for node, offset in offsets(design, part).items():
        if noise and node in noise[0]:
            # Noise has the frames of a sequence: one for power-on, then the timesteps.
            columns[node] = common + offset + np.concatenate([one[node] for one in noise])
    files: dict[str, bytes] = {}
    lines: list[str] = []
    for number, chosen in enumerate(_chunks(list(columns))):
        path = f"stimulus{number}.txt"
        files[path] = _stimulus_file(design.timestep, np.stack([columns[name] for name in chosen], axis=1))
        lines += _filesource(f"stimulus{number}", path, chosen)
    if calibrating:
        return Sources(lines=(*lines, "vinit init 0 1"), files=files)
    files["start.txt"] = _start_file(plan, start, design.phase / 2)
    lines += _filesource("start", "start.txt", ["init"])
    return Sources(lines=tuple(lines), files=files)


def recorded(time: Array, values: Mapping[str, Array]) -> Sources:
    """Sources that repeat ``values``, node → voltages [V] at ``time`` [s] (points,), with straight lines in between."""
    files: dict[str, bytes] = {}
    lines: list[str] = []
    # The last voltages are held past the end, because filesource interpolates to a next point.
    time = np.concatenate((time, time[-1] + (time[-1] - time[0]) * np.array([1.0, 2.0])))
    for number, chosen in enumerate(_chunks(list(values))):
        path = f"recorded{number}.txt"
        table = np.column_stack((time, *[np.concatenate((values[name], values[name][[-1, -1]])) for name in chosen]))
        files[path] = _text(table[_bends(table)])
        lines += _filesource(f"recorded{number}", path, chosen, step=False)
    return Sources(lines=tuple(lines), files=files)


def offsets(design: Design, part: Part) -> dict[str, float]:
    """Offset of every precharge node from V_cm [V]: ``za0_3 zb0_3 zg0_3 zy2`` of rows, ``zp0_3`` of packets."""
    found: dict[str, float] = {}
    for index, (layer, units) in enumerate(zip(design.layers, part.units, strict=True)):
        kinds = {"a": layer.low.offset, "b": layer.high.offset, "p": layer.packet_offset}
        if layer.packet_row is not None:
            kinds["g"] = layer.packet_row.offset
        found |= {f"z{kind}{index}_{i}": float(values[i]) for kind, values in kinds.items() for i in units}
    return found | {f"zy{k}": float(design.readout.offset[k]) for k in part.classes}


def _chunks(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[first : first + COLUMNS_PER_FILE] for first in range(0, len(names), COLUMNS_PER_FILE)]


# A recorded point is left out if its voltages are within this distance [V] of the line through its neighbours.
_STRAIGHT = 1e-11
# At most so many points in a row are left out.
_SKIPPED = 12


def _bends(table: Array) -> Array:
    """(points,): False for rows of ``table`` (time, then voltages) that a straight line replaces."""
    time, values = table[:, 0], table[:, 1:]
    keep = np.ones(len(time), dtype=bool)
    share = ((time[1:-1] - time[:-2]) / (time[2:] - time[:-2]))[:, None]
    line = values[:-2] + share * (values[2:] - values[:-2])
    keep[1:-1] = (np.abs(values[1:-1] - line) > _STRAIGHT).any(axis=1)
    keep[:: _SKIPPED + 1] = True
    return keep


def _stimulus_file(timestep: float, values: Array) -> bytes:
    """One row per change. The last one is repeated past the end, because filesource interpolates to a next point."""
    frames = len(values)
    times = np.concatenate(([0.0], (np.arange(1, frames + 3) + INPUT_CHANGE) * timestep))
    held = values[np.minimum(np.arange(frames + 3), frames - 1)]
    return _text(np.column_stack((times, held)))


def _text(table: Array) -> bytes:
    return "".join(" ".join(f"{v:.10g}" for v in row) + "\n" for row in table.tolist()).encode()


def _start_file(plan: Schedule, start: Array, early: float) -> bytes:
    """The power-on line: up in the hold before a start frame, down ``early`` before that frame's clocks fall."""
    rows: list[tuple[float, int]] = []
    for frame in np.flatnonzero(start).tolist():
        rows.append(((frame + INPUT_CHANGE) * plan.timestep if frame else 0.0, 1))
        rows.append(((frame + 1 - early) * plan.timestep, 0))
    rows += [((plan.frames + extra) * plan.timestep, 0) for extra in (1, 2)]
    return "".join(f"{time:.10g} {value}\n" for time, value in rows).encode()


def _filesource(name: str, path: str, columns: Sequence[str], *, step: bool = True) -> list[str]:
    zeros, ones = (" ".join([value] * len(columns)) for value in ("0", "1"))
    return [
        f"a{name} %v([{' '.join(columns)}]) {name}_source",
        f'.model {name}_source filesource(file="{path}" amploffset=[{zeros}] amplscale=[{ones}] '
        f"amplstep={str(step).lower()})",
    ]
