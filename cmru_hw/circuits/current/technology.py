"""The values of a current-mode technology, read from TOML: limits of the drawing, and measured cells and mirrors.

A cell deviates slightly from its bias currents, because its transistors have a finite output conductance, and a mirror
deviates slightly from the ratio of its widths. Both were swept once (`cmru_hw.circuits.current.characterize`). The
results are part of the technology, so that a mapping can correct for the deviations without a simulator.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cmru_hw.circuits.current import parallel
from cmru_hw.core import toml_file
from cmru_hw.core.errors import TechnologyError, reason
from cmru_hw.core.regular_file import read_text
from cmru_hw.core.signals import Array
from cmru_hw.core.units import si
from cmru_hw.process import ranges

LANDINGS = ("across", "same_type", "half")
"""The end of an arm: a diode of the other type, a diode of its own type, or a node at half the supply."""
POLARITIES = ("n", "p")


@dataclass(frozen=True, kw_only=True)
class CellTable:
    """A swept cell: measured behavior over its bias currents [A].

    ``thresh`` (T,) and ``fraction`` (F,) = I_width / I_thresh span a grid. ``up`` (T, F) is the measured upper
    threshold over I_thresh. ``lost`` (T, F) is (I_width − measured width) / I_thresh: a finite output conductance
    closes the window by a share of the threshold. ``gain`` (G,) [A] and ``high`` (G,), measured high level over I_gain.
    """

    thresh: tuple[float, ...]
    fraction: tuple[float, ...]
    up: tuple[tuple[float, ...], ...]
    lost: tuple[tuple[float, ...], ...]
    gain: tuple[float, ...]
    high: tuple[float, ...]

    def biases(self, up: Array, width: Array, high: Array) -> tuple[Array, Array, Array]:
        """(I_thresh, I_width, I_gain) [A] for wanted upper thresholds, widths and high levels [A] of the same shape."""
        thresh, bias = up, width
        # The corrections are a few percent and vary by a few percent of that, so the iteration converges quickly.
        for _ in range(20):
            fraction = bias / thresh
            bias = width + thresh * self._at(self.lost, thresh, fraction)
            thresh = up / self._at(self.up, thresh, fraction)
        gain = high
        for _ in range(20):
            gain = high / np.interp(np.log(gain), np.log(self.gain), self.high)
        return thresh, bias, gain

    def _at(self, table: Sequence[Sequence[float]], thresh: Array, fraction: Array) -> Array:
        """Interpolate linearly in log(thresh) and fraction; outside of the grid use the value at its edge."""
        rows = np.stack([np.interp(fraction, self.fraction, row) for row in table])
        place = np.interp(np.log(thresh), np.log(self.thresh), np.arange(len(rows)))
        below = np.minimum(place.astype(int), len(rows) - 2)
        share = place - below
        index = np.arange(thresh.size).reshape(thresh.shape)
        flat = rows.reshape(len(rows), -1)
        return np.asarray((1 - share) * flat[below, index] + share * flat[below + 1, index])


@dataclass(frozen=True, kw_only=True)
class MirrorTable:
    """Swept arms on a diode of the unit size: ``aspect`` (A,) = w / l and ``current`` (C,) of the diode [A], rising.

    ``ratios`` has keys such as "n_across" (polarity of the arm, landing), with current ratios (C, A).
    """

    aspect: tuple[float, ...]
    current: tuple[float, ...]
    ratios: dict[str, tuple[tuple[float, ...], ...]]

    def ratio(self, aspect: ArrayLike, polarity: str, landing: str, current: float) -> Array:
        """Current ratio of arms of ``aspect``, interpolated linearly on logarithmic scales."""
        return np.asarray(np.exp(np.interp(np.log(aspect), np.log(self.aspect), self._at(polarity, landing, current))))

    def aspect_for(self, ratio: ArrayLike, polarity: str, landing: str, current: float) -> Array:
        """Inverse of :meth:`ratio`; outside of the sweep the nearest swept aspect."""
        return np.asarray(np.exp(np.interp(np.log(ratio), self._at(polarity, landing, current), np.log(self.aspect))))

    def at_currents(self, aspect: float, polarity: str, landing: str, current: Array) -> Array:
        """Ratio of one arm of ``aspect`` at each diode ``current`` [A] > 0, of any shape."""
        return np.asarray(
            np.exp(np.interp(np.log(current), np.log(self.current), self._swept(aspect, polarity, landing)))
        )

    def landing(self, aspect: float, polarity: str, landing: str, current: Array) -> Array:
        """Exponent with which an arm of unit ``aspect`` depends on the current in the diode that it ends on.

        An arm of its diode's size differs from the diode only by its drain voltage. In the sweep with landing "across"
        this voltage follows both end diodes, which carry the same ``current`` [A] and move alike, so half of the
        ratio's change is due to the far diode. A far diode of the arm's own type has the opposite effect. A node at
        half the supply does not move.
        """
        if landing == "half":
            return np.zeros_like(current)
        swept = self._swept(aspect, polarity, "across")
        slopes = np.gradient(swept, np.log(self.current))
        power: Array = np.interp(np.log(current), np.log(self.current), slopes) / 2
        return power if landing == "across" else -power

    def _swept(self, aspect: float, polarity: str, landing: str) -> Array:
        """Logarithms of the ratios (C,) of one arm."""
        rows = np.log(self.ratios[f"{polarity}_{landing}"])
        return np.array([np.interp(np.log(aspect), np.log(self.aspect), row) for row in rows])

    def _at(self, polarity: str, landing: str, current: float) -> Array:
        """Logarithms of the ratios (A,) at a diode's ``current``."""
        table = np.log(self.ratios[f"{polarity}_{landing}"])
        place = float(np.interp(np.log(current), np.log(self.current), np.arange(len(table))))
        below = min(int(place), len(table) - 2)
        return np.asarray(table[below] + (place - below) * (table[below + 1] - table[below]))


@dataclass(frozen=True, kw_only=True)
class CurrentTechnology:
    """One process for current-mode circuits. All SI: ``vdd`` [V], ``timestep`` [s], currents [A], sizes [m].

    ``process``, ``corner`` and ``temperature`` [degrees Celsius] select the devices for simulation; the measured values
    apply to the corner and temperature that its file names (see :meth:`at`).
    ``unit`` is the current of one software unit, ``bias`` that of the constant 1, ``full_scale`` that of the largest
    input. ``width`` and ``length`` are those of every cell device and diode, except that the devices which sink a
    cell's bias currents, and their diodes, have length ``sink_length``. An arm with a w/l above ``narrow`` / ``length``
    has the unit length; one below it has the narrow width. ``grid`` is the step of all drawn sizes, 0 for none.
    ``smallest`` and ``largest`` bound the thresholds and high levels of the swept cell. ``leakage`` is the largest
    current that cannot be distinguished from leakage. A device has σ(ΔI/I) = ``mismatch_n`` or ``mismatch_p`` [m] /
    √(w l). ``parallel`` are numbers of devices in parallel by size class; 1 for a class that it does not name
    (`cmru_hw.circuits.current.parallel`).
    """

    name: str
    process: str
    source: str
    corner: str
    temperature: float
    vdd: float
    timestep: float
    unit: float
    bias: float
    full_scale: float
    width: float
    length: float
    sink_length: float
    narrow: float
    widest: float
    longest: float
    grid: float
    smallest: float
    largest: float
    leakage: float
    mismatch_n: float
    mismatch_p: float
    cell: CellTable
    mirror: MirrorTable
    parallel: dict[str, int] = field(default_factory=dict)

    @property
    def level(self) -> str:
        return "transistor"

    @property
    def trim_bits(self) -> int:
        """Rows have no comparator, and so no offset to trim."""
        return 0

    @property
    def sha256(self) -> str:
        """Content hash of all values: technologies with the same values have the same hash."""
        values = asdict(self)
        if not self.parallel:
            # The same hash as a technology from before there were size classes.
            del values["parallel"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def aspects(self) -> tuple[float, float]:
        """Smallest and largest w/l that can be drawn."""
        return self.narrow / self.longest, self.widest / self.length

    def count(self, line: str) -> int:
        """Devices in parallel of the diode of ``line`` and of each arm on it."""
        return parallel.count(self.parallel, parallel.class_of(line))

    def at(self, *, corner: str, temperature: float, vdd: float) -> CurrentTechnology:
        """The same technology on devices of another corner. Its tables stay those that the circuit was drawn with."""
        return replace(self, corner=corner, temperature=temperature, vdd=vdd)

    def drawn(self, aspect: Array) -> tuple[Array, Array]:
        """(width, length) [m] of arms with ``aspect``, on the drawing grid."""
        short = aspect >= self.narrow / self.length
        with np.errstate(divide="ignore"):
            length = np.where(short, self.length, self.narrow / aspect)
        width = np.where(short, aspect * self.length, self.narrow)
        if self.grid:
            width, length = (np.round(size / self.grid) * self.grid for size in (width, length))
        return width, length


_NUMBERS = tuple(key for key, kind in CurrentTechnology.__annotations__.items() if kind == "float")


def available() -> tuple[str, ...]:
    """Names of the shipped current-mode technologies."""
    folder = resources.files("cmru_hw.circuits.current") / "technologies"
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load(name_or_path: str | Path) -> CurrentTechnology:
    """Read a technology: one of :func:`available` by name, or a TOML file by path. Raises TechnologyError."""
    text = str(name_or_path)
    if text in available():
        file = resources.files("cmru_hw.circuits.current") / "technologies" / f"{text}.toml"
        return parse(file.read_text(encoding="utf-8"), where=f"technology {text!r}")
    path = Path(name_or_path)
    if path.suffix != ".toml":
        names = ", ".join(available())
        raise TechnologyError(
            f"no current-mode technology is called {text!r}: choose one of {names}, or give the path of a TOML file"
        )
    try:
        content = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise TechnologyError(f"technology file {text!r} cannot be read ({reason(error)}): check the path") from error
    return parse(content, where=f"technology file {text!r}")


def with_unit_current(technology: CurrentTechnology, ampere: float) -> CurrentTechnology:
    """``technology`` with ``ampere`` for one software unit and for the constant 1; inputs keep their ratio to it.

    Raises TechnologyError for a current at which mirrors were not swept.
    """
    ratio = ampere / technology.unit
    values = {"unit": ampere, "bias": ratio * technology.bias, "full_scale": ratio * technology.full_scale}
    swept = technology.mirror.current
    for key, value in values.items():
        if not swept[0] <= value <= swept[-1]:
            raise TechnologyError(
                f"--unit-current {si(ampere, 'A')} makes {key} {si(value, 'A')}, but mirrors of {technology.name} were "
                f"swept from {si(swept[0], 'A')} to {si(swept[-1], 'A')}: choose another current"
            )
    return replace(technology, unit=values["unit"], bias=values["bias"], full_scale=values["full_scale"])


def with_parallel(technology: CurrentTechnology, given: Mapping[str, int]) -> CurrentTechnology:
    """``technology`` with other numbers of devices in parallel, by name of a size class. Raises TechnologyError."""
    found = parallel.checked(given, where="--parallel")
    return replace(technology, parallel={**technology.parallel, **found})


def parse(content: str, *, where: str) -> CurrentTechnology:
    """The technology in the TOML text ``content``; ``where`` names it in errors."""
    try:
        data = toml_file.parse(content)
    except ValueError as error:
        raise TechnologyError(f"{where} is not valid TOML ({error}): correct it") from error
    return from_dict(data, where=where)


def from_dict(data: dict[str, Any], *, where: str) -> CurrentTechnology:  # noqa: C901 - one check after another
    """Inverse of ``dataclasses.asdict``. Raises TechnologyError, which names the key."""
    data, given = _without_parallel(data, where)
    _same_keys(data, CurrentTechnology, where, without="parallel")
    for key in ("name", "process", "source", "corner"):
        if not isinstance(data[key], str) or not data[key].isprintable():
            raise TechnologyError(f"{where}: {key} must be one line of text")
    for key in _NUMBERS:
        if problem := ranges.CURRENT[key].problem(_number(data[key], f"{where}: {key}", signed=True)):
            raise TechnologyError(f"{where}: {key} {problem}")
    cell, mirror = data["cell"], data["mirror"]
    _same_keys(cell, CellTable, f"{where}, [cell]")
    _same_keys(mirror, MirrorTable, f"{where}, [mirror]")
    axes: dict[str, tuple[float, ...]] = {
        key: _row(cell[key], f"{where}: cell.{key}") for key in ("thresh", "fraction", "gain", "high")
    }
    grids: dict[str, tuple[tuple[float, ...], ...]] = {}
    for key in ("up", "lost"):
        if not isinstance(cell[key], list | tuple) or len(cell[key]) != len(axes["thresh"]):
            raise TechnologyError(f"{where}: cell.{key} needs one row for each of cell.thresh")
        rows = tuple(_row(row, f"{where}: cell.{key}", signed=True) for row in cell[key])
        if any(len(row) != len(axes["fraction"]) for row in rows):
            raise TechnologyError(f"{where}: every row of cell.{key} needs one number for each of cell.fraction")
        grids[key] = rows
    aspect, current = (_row(mirror[key], f"{where}: mirror.{key}") for key in ("aspect", "current"))
    wanted = {f"{polarity}_{landing}" for polarity in POLARITIES for landing in LANDINGS}
    if not isinstance(mirror["ratios"], dict) or set(mirror["ratios"]) != wanted:
        raise TechnologyError(f"{where}: mirror.ratios must have exactly the keys {', '.join(sorted(wanted))}")
    rising = {"cell.thresh": axes["thresh"], "cell.fraction": axes["fraction"], "cell.gain": axes["gain"]}
    rising |= {"mirror.aspect": aspect, "mirror.current": current}
    ratios = {}
    for key, rows in mirror["ratios"].items():
        if not isinstance(rows, list | tuple) or len(rows) != len(current):
            raise TechnologyError(f"{where}: mirror.ratios.{key} needs one row for each of mirror.current")
        ratios[key] = tuple(_row(row, f"{where}: mirror.ratios.{key}") for row in rows)
        rising |= {f"mirror.ratios.{key}, row {place}": row for place, row in enumerate(ratios[key])}
    for key, row in rising.items():
        if len(row) < 2 or (np.diff(row) <= 0).any():
            raise TechnologyError(f"{where}: {key} must rise from number to number")
    if len(axes["high"]) != len(axes["gain"]) or any(
        len(row) != len(aspect) for rows in ratios.values() for row in rows
    ):
        raise TechnologyError(f"{where}: a measured row and its axis differ in length")
    numbers = {key: float(data[key]) for key in _NUMBERS}
    _within_sweeps(numbers, axes, aspect, current, where)
    return CurrentTechnology(
        name=data["name"],
        process=data["process"],
        source=data["source"],
        corner=data["corner"],
        **numbers,
        cell=CellTable(
            thresh=axes["thresh"],
            fraction=axes["fraction"],
            up=grids["up"],
            lost=grids["lost"],
            gain=axes["gain"],
            high=axes["high"],
        ),
        mirror=MirrorTable(aspect=aspect, current=current, ratios=ratios),
        parallel=given,
    )


def _without_parallel(data: Any, where: str) -> tuple[Any, dict[str, int]]:
    """``data`` without its optional table ``parallel``, and this table."""
    if not isinstance(data, dict) or "parallel" not in data:
        return data, {}
    given = data["parallel"]
    if not isinstance(given, dict):
        raise TechnologyError(f"{where}: parallel must be a table")
    rest = {key: value for key, value in data.items() if key != "parallel"}
    return rest, parallel.checked(given, where=f"{where}: parallel")


def _within_sweeps(
    numbers: dict[str, float],
    axes: dict[str, tuple[float, ...]],
    aspect: tuple[float, ...],
    current: tuple[float, ...],
    where: str,
) -> None:
    """Raise TechnologyError for currents and sizes outside of the sweeps, where corrections would be invented."""
    for key in ("unit", "bias", "full_scale"):
        if not current[0] <= numbers[key] <= current[-1]:
            swept = f"{si(current[0], 'A')} to {si(current[-1], 'A')}"
            raise TechnologyError(f"{where}: {key} is {si(numbers[key], 'A')}, but mirrors were swept from {swept}")
    for axis, row in (("cell.thresh", axes["thresh"]), ("cell.gain", axes["gain"])):
        if not row[0] <= numbers["smallest"] < numbers["largest"] <= row[-1]:
            raise TechnologyError(
                f"{where}: smallest ({si(numbers['smallest'], 'A')}) and largest ({si(numbers['largest'], 'A')}) "
                f"must rise within {axis}, {si(row[0], 'A')} to {si(row[-1], 'A')}"
            )
    narrowest, unit, widest = (
        numbers[a] / numbers[b] for a, b in (("narrow", "longest"), ("narrow", "length"), ("widest", "length"))
    )
    # Small tolerance, because the sweep's ends were themselves rounded.
    if not aspect[0] * (1 - 1e-5) <= narrowest <= unit <= widest <= aspect[-1] * (1 + 1e-5):
        raise TechnologyError(
            f"{where}: arms from narrow/longest = {narrowest:g} over narrow/length = {unit:g} to widest/length = "
            f"{widest:g} must rise within mirror.aspect, {aspect[0]:g} to {aspect[-1]:g}"
        )


def _same_keys(found: Any, kind: type, where: str, *, without: str = "") -> None:
    if not isinstance(found, dict):
        raise TechnologyError(f"{where} must be a table")
    wanted = set(kind.__annotations__) - {without}
    if missing := sorted(wanted - set(found)):
        raise TechnologyError(f"{where}: {missing[0]} is missing")
    if unknown := sorted(set(found) - wanted):
        raise TechnologyError(f"{where}: {unknown[0]!r} is unknown")


def _number(value: Any, where: str, *, signed: bool = False) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not (signed or value > 0):
        shown = repr(value)[:40]
        raise TechnologyError(f"{where} is {shown}, must be a {'' if signed else 'positive '}number in SI units")
    return float(value)


def _row(values: Any, where: str, *, signed: bool = False) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or not values:
        raise TechnologyError(f"{where} must be a list of numbers")
    return tuple(_number(value, where, signed=signed) for value in values)
