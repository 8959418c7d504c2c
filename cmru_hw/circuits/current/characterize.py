"""Sweep the nine-transistor cell and the mirrors in a process: the source of a technology's tables.

``python -m cmru_hw.circuits.current.characterize gf180`` writes the complete technology file to standard output. A
temperature in degrees Celsius after the process gives a technology for circuits at that temperature.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tomlkit
from tomlkit import items

from cmru_hw.characterize.testbench import deck
from cmru_hw.circuits.current.technology import LANDINGS, POLARITIES, CurrentTechnology, from_dict
from cmru_hw.core.errors import SimulationError
from cmru_hw.core.signals import Array, Traces
from cmru_hw.process import device_models
from cmru_hw.spice import Engine, open_engine

THRESH = (0.03e-9, 0.1e-9, 0.3e-9, 1e-9, 3e-9, 10e-9)
FRACTION = (0.03, 0.06, 0.1, 0.2, 0.4, 0.7, 0.97)
GAIN = (0.03e-9, 0.1e-9, 0.3e-9, 1e-9, 3e-9, 10e-9)
# Currents [A] of the mirror sweeps. In weak inversion ratios change by 1 % per decade. Mismatch is measured mid-range.
MIRROR_CURRENTS = (0.03e-9, 0.3e-9, 3e-9, 30e-9)
MIRROR_CURRENT = 0.3e-9
# Ramp of the cell: duration of one way [s], and height relative to the threshold. See the testbench for their choice.
ARMS = ("i(vna)", "i(vpa)")
HALF = 1000.0
PEAK = 1.5
VDD = 1.8
ROOM = 27.0
NUMBERS_A_LINE = 10


@dataclass(frozen=True, kw_only=True)
class Point:
    """Bias currents of one cell [A] and sizes of its devices [m]; ``sink``: length of those that sink bias currents."""

    thresh: float
    width: float
    gain: float
    w: float = 2e-6
    l: float = 5e-6  # noqa: E741
    sink: float = 10e-6


@dataclass(frozen=True, kw_only=True)
class MeasuredCell:
    """Measured currents of a cell [A]: NaN if it did not switch up, or did not switch back down."""

    up: float
    down: float
    high: float
    low: float

    @property
    def width(self) -> float:
        return self.up - self.down


def cells(
    points: Sequence[Point], devices: Sequence[device_models.Devices], engine: Engine, *, half: float = HALF
) -> list[MeasuredCell]:
    """Ramp every cell of ``points`` up and down, ``half`` [s] each way, each on its own ``devices``.

    Raises SimulationError.
    """
    ramps = _ramps(points, devices, engine, half)
    return [_read(traces, point, half) for traces, point in zip(ramps, points, strict=True)]


def edge(point: Point, devices: device_models.Devices, engine: Engine, above: Sequence[float]) -> Array:
    """Relative output error of a set cell for candidates ``above`` [of I_thresh] the threshold where it resets.

    The candidate falls slowly. The reference level is the output at the top of the ramp. Raises SimulationError.
    """
    (traces,) = _ramps([point], [devices], engine, HALF)
    peak = PEAK * point.thresh
    down = _read(traces, point, HALF).down
    falling = HALF * (2 - (down + np.asarray(above) * point.thresh) / peak)
    return np.abs(traces.at("i(vy)", falling) / traces.at("i(vy)", np.array(HALF)) - 1)


def spreads(technology: CurrentTechnology, point: Point) -> dict[str, float]:
    """Relative σ of a cell's ``up``, ``width`` and ``high`` by the law σ(ΔI/I) = coefficient / √(w l) of its devices.

    A current is copied by a pair of devices of one type. An nf pair sinks I_thresh, and a pf pair sources the
    candidate. I_width passes through pairs of both types, and so do I_gain and the current of the output's reader.
    """
    n = 2 * technology.mismatch_n**2 / (point.w * point.sink)
    p = 2 * technology.mismatch_p**2 / (point.w * point.l)
    _, window, _ = technology.cell.biases(*np.array([[point.thresh], [point.width], [point.gain]]))
    opened, lost = float(window[0]) / point.width, float(window[0]) / point.width - 1
    return {
        "up": math.sqrt(n + p),
        "width": math.sqrt(p + opened**2 * (n + p) + lost**2 * n),
        "high": math.sqrt(n + p),
    }


def _ramps(
    points: Sequence[Point], devices: Sequence[device_models.Devices], engine: Engine, half: float
) -> list[Traces]:
    decks = []
    for point, models in zip(points, devices, strict=True):
        values = {"thresh": point.thresh, "width": point.width, "gain": point.gain, "peak": PEAK * point.thresh}
        values |= {"vdd": VDD, "half": half, "w": point.w, "l": point.l, "ls": point.sink}
        saved = ("ramp", "i(vy)")
        decks.append(deck("current_cell", models, saved=saved, parameters=values, stop=2 * half))
    found: dict[int, Traces] = {}
    for index, outcome in engine.map(decks):
        if isinstance(outcome, SimulationError):
            raise outcome
        found[index] = outcome.traces
    return [found[index] for index in range(len(points))]


def _read(traces: Traces, point: Point, half: float) -> MeasuredCell:
    """Thresholds are the candidates where the output, the only signal that other cells see, passes half its level.

    The node v0 is not suitable: it falls to a third of the supply, where the output hardly changes, at a candidate that
    is 1 to 2 % of the threshold above the one that resets the cell.
    """
    output, ramp = traces.values["i(vy)"], traces.values["ramp"] * PEAK * point.thresh
    turn = int(np.argmax(ramp))
    high, low = (float(traces.at("i(vy)", np.array(when))) for when in (half, half / 10))
    middle = point.gain / 2
    up, down = _crossing(output[: turn + 1] - middle, ramp[: turn + 1]), _crossing(middle - output[turn:], ramp[turn:])
    return MeasuredCell(up=up, down=down, high=high, low=low)


def _crossing(beyond: Array, ramp: Array) -> float:
    """The value of ``ramp`` where ``beyond`` first rises through 0; NaN if it starts above 0 or stays below."""
    above = beyond >= 0
    if above[0] or not above.any():
        return float("nan")
    after = int(np.argmax(above))
    share = -beyond[after - 1] / (beyond[after] - beyond[after - 1])
    return float(ramp[after - 1] + share * (ramp[after] - ramp[after - 1]))


def cell_table(devices: device_models.Devices, engine: Engine, *, w: float, l: float, sink: float) -> dict[str, Any]:  # noqa: E741
    """The values of `technology.CellTable` for cells of these sizes [m]: see :class:`Point`."""
    grid = [Point(thresh=t, width=f * t, gain=t, w=w, l=l, sink=sink) for t in THRESH for f in FRACTION]
    levels = [Point(thresh=0.3e-9, width=0.1e-9, gain=g, w=w, l=l, sink=sink) for g in GAIN]
    found = cells(grid, [devices] * len(grid), engine)
    highs = cells(levels, [devices] * len(levels), engine)
    up = np.array([cell.up / point.thresh for cell, point in zip(found, grid, strict=True)])
    lost = np.array([(point.width - cell.width) / point.thresh for cell, point in zip(found, grid, strict=True)])
    shape = (len(THRESH), len(FRACTION))
    return {
        "thresh": THRESH,
        "fraction": FRACTION,
        "up": tuple(map(tuple, up.reshape(shape).tolist())),
        "lost": tuple(map(tuple, lost.reshape(shape).tolist())),
        "gain": GAIN,
        "high": tuple(cell.high / point.gain for cell, point in zip(highs, levels, strict=True)),
    }


def mirror_table(
    devices: device_models.Devices, engine: Engine, *, sizes: Sequence[tuple[float, float]], unit: tuple[float, float]
) -> dict[str, Any]:
    """The values of `technology.MirrorTable` for arms of ``sizes`` (w, l) [m] on a diode of the ``unit`` size."""
    sources = {
        f"{polarity}_{landing}": f"i(v{polarity}{landing[0]})" for polarity in POLARITIES for landing in LANDINGS
    }
    grid = [(i, w, l) for i in MIRROR_CURRENTS for w, l in sizes]  # noqa: E741
    decks = []
    for i, w, l in grid:  # noqa: E741
        values = {"vdd": VDD, "i": i, "w": w, "l": l, "wd": unit[0], "ld": unit[1]}
        decks.append(deck("current_mirror", devices, saved=tuple(sources.values()), parameters=values, stop=2))
    found = {key: np.zeros(len(grid)) for key in sources}
    for index, outcome in engine.map(decks):
        if isinstance(outcome, SimulationError):
            raise outcome
        for key, source in sources.items():
            found[key][index] = float(outcome.traces.values[source][-1]) / grid[index][0]
    shape = (len(MIRROR_CURRENTS), len(sizes))
    return {
        "aspect": tuple(w / l for w, l in sizes),  # noqa: E741
        "current": MIRROR_CURRENTS,
        "ratios": {key: tuple(map(tuple, row.reshape(shape).tolist())) for key, row in found.items()},
    }


def mismatch(
    process: str,
    engine: Engine,
    *,
    w: float,
    l: float,  # noqa: E741
    temperature: float = ROOM,
    count: int = 200,
) -> dict[str, float]:
    """σ(ΔI/I) √(w l) [m] of a device by type, from mirrors of two equal devices on ``count`` dies."""
    values = {"vdd": VDD, "i": MIRROR_CURRENT, "w": w, "l": l, "wd": w, "ld": l}
    decks = [
        deck("current_mirror", models, saved=ARMS, parameters=values, stop=2)
        for models in (
            device_models.devices(process, mismatch=die + 1, temperature=temperature) for die in range(count)
        )
    ]
    currents = np.zeros((count, len(ARMS)))
    for index, outcome in engine.map(decks):
        if isinstance(outcome, SimulationError):
            raise outcome
        currents[index] = [outcome.traces.values[source][-1] for source in ARMS]
    # A mirror has two devices, so one device contributes 1/√2 of the spread.
    sigma = np.log(currents).std(axis=0, ddof=1) / np.sqrt(2) * np.sqrt(w * l)
    return dict(zip(("n", "p"), sigma.tolist(), strict=True))


def technology(process: str, engine: Engine, *, temperature: float = ROOM) -> CurrentTechnology:
    """A technology of ``process``, measured at ``temperature`` [degrees Celsius].

    Limits that are choices, not measurements, are set here. Raises SimulationError.
    """
    width, length, sink, narrow, widest, longest = 2e-6, 5e-6, 10e-6, 0.5e-6, 50e-6, 50e-6
    devices = device_models.devices(process, temperature=temperature)
    spread = mismatch(process, engine, w=width, l=length, temperature=temperature)
    # Models of real processes are binned, with a kink where two bins meet. Steps of 8 % reduce its error to 0.3 %.
    aspects = np.geomspace(narrow / longest, widest / length, 91)
    sizes = [(narrow, narrow / a) if a < narrow / length else (a * length, length) for a in aspects.tolist()]
    data = {
        "name": process,
        "process": process,
        "source": f"the sweep of cells and mirrors in {devices.version}, typical, {temperature:g} degrees Celsius",
        "corner": "typical",
        "temperature": temperature,
        "vdd": VDD,
        "timestep": 0.01,
        "unit": 1e-9,
        "bias": 1e-9,
        "full_scale": 2e-9,
        "width": width,
        "length": length,
        "sink_length": sink,
        "narrow": narrow,
        "widest": widest,
        "longest": longest,
        "grid": 5e-9,
        "smallest": 0.1e-9,
        "largest": 3e-9,
        "leakage": 1e-12,
        "mismatch_n": float(f"{spread['n']:.3g}"),
        "mismatch_p": float(f"{spread['p']:.3g}"),
        "cell": cell_table(devices, engine, w=width, l=length, sink=sink),
        "mirror": mirror_table(devices, engine, sizes=sizes, unit=(width, length)),
    }
    return from_dict(data, where=f"measured {process}")


def toml(technology: CurrentTechnology) -> str:
    """The technology as the text of its file."""
    document = tomlkit.document()
    document.add(tomlkit.comment("Measured: see the source. Currents in A, sizes in m."))
    for key in technology.__annotations__:
        value = getattr(technology, key)
        if isinstance(value, Mapping):
            if value:
                document.add(key, dict(value))
        else:
            document.add(key, value if isinstance(value, str | float) else _table(vars(value)))
    return tomlkit.dumps(document)


def _table(values: Mapping[str, Any]) -> items.Table:
    table = tomlkit.table()
    for name, value in values.items():
        table.add(name, _table(value) if isinstance(value, Mapping) else _array(value))
    return table


def _array(values: Sequence[Any], indent: str = "") -> items.Array:
    """Numbers with six digits, the accuracy of the sweeps; ten per line."""
    array = tomlkit.array()
    inner = indent + "  "
    if isinstance(values[0], tuple):
        for row in values:
            array.add_line(_array(row, inner), indent=inner)
    else:
        numbers = [float(f"{value:.6g}") for value in values]
        if len(numbers) <= NUMBERS_A_LINE:
            array.extend(numbers)
            return array
        for first in range(0, len(numbers), NUMBERS_A_LINE):
            array.add_line(*numbers[first : first + NUMBERS_A_LINE], indent=inner)
    array.add_line(indent=indent)
    return array


def main() -> None:
    process, *warm = sys.argv[1:]
    with open_engine() as engine:
        sys.stdout.write(toml(technology(process, engine, temperature=float(warm[0]) if warm else ROOM)))


if __name__ == "__main__":
    main()
