"""The parameters of a process and of its circuit family, read from TOML and immutable afterwards."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from cmru_hw.core import toml_file
from cmru_hw.core.errors import TechnologyError, reason
from cmru_hw.core.regular_file import read_text
from cmru_hw.process import pdk, ranges

LEVELS = ("macro", "transistor")


@dataclass(frozen=True, kw_only=True)
class Supply:
    """``vdd`` [V]; ``common_mode`` [V]: the voltage that represents zero."""

    vdd: float
    common_mode: float


@dataclass(frozen=True, kw_only=True)
class Signal:
    """Voltages [V], all measured from the common mode."""

    state_swing: float
    input_swing: float
    bias: float
    reference: float

    def times(self, ratio: float) -> Signal:
        """The voltages at a supply that is ``ratio`` times as high: each is a ratio of the supply."""
        return Signal(**{name: ratio * value for name, value in asdict(self).items()})


@dataclass(frozen=True, kw_only=True)
class Timing:
    """``timestep`` [s]; ``phase``: delay between clock phases, and length of each clock's edges, as shares of it."""

    timestep: float
    phase: float


@dataclass(frozen=True, kw_only=True)
class Capacitor:
    """Sizes [F]. ``step`` 0 allows any size."""

    row: float
    integrator: float
    sample: float
    minimum: float
    step: float
    parasitic: float


@dataclass(frozen=True, kw_only=True)
class Amplifier:
    """``gain`` [V/V] at low frequency; ``time_constant`` [s] of its settling, 0 if it settles completely."""

    gain: float
    time_constant: float


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """``integrator`` [A]: current out of the virtual ground while the state is held."""

    integrator: float


@dataclass(frozen=True, kw_only=True)
class Switch:
    """Charge [C] that opening switches leave on a row's top plate, and on the packet capacitor's right plate."""

    row_injection: float
    packet_injection: float


@dataclass(frozen=True, kw_only=True)
class Noise:
    """``temperature`` [K] of all kT/C; ``comparator`` [V rms] of each decision, referred to the row.

    ``wander`` [V rms] is the comparator's 1/f noise in one octave of frequency.
    """

    temperature: float
    comparator: float
    wander: float


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """Standard deviations of variations between elements and, with ``global_``, between dies.

    A capacitor of ``density`` [F/m²] has σ(ΔC/C) = ``capacitor`` [m] / √area. A comparator's offset is the root of the
    summed squares of that of its input pair, σ = ``threshold`` [V·m] / √(``pair_width`` ``pair_length``), and of
    ``comparator_rest`` [V]. ``limit`` [V] is the offset of the level limit, ``amplifier`` [V] that of an amplifier. All
    others are relative.
    """

    capacitor: float
    density: float
    threshold: float
    pair_width: float
    pair_length: float
    comparator_rest: float
    limit: float
    amplifier: float
    gain: float
    leakage: float
    injection: float
    global_capacitor: float
    global_gain: float
    global_leakage: float
    global_injection: float
    global_reference: float
    global_bias: float


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energies of one simulated unit that ideal parts cannot give: [J] per timestep by block, and ``*_leakage`` [W].

    ``comparators`` are the three comparators of a unit: two for its rows and one for its level limit.
    """

    comparators: float
    amplifier: float
    logic: float
    clocks: float
    comparators_leakage: float
    amplifier_leakage: float
    logic_leakage: float
    clocks_leakage: float


@dataclass(frozen=True, kw_only=True)
class Trim:
    """Offset trim: a bank of binary taps on the replica of every row, searched at power-on by the row's comparator.

    ``bits`` of a code in two's complement; 0 for no bank. The lowest code moves a row of the size `Capacitor.row` by
    ``reach`` [V], so that one step is reach / 2^(bits - 1). The three highest taps have these sizes; the others hang
    behind a bridge capacitor and are ``bridge`` times as large. ``repeats``: number of decisions for each bit, whose
    majority counts; odd. Figures of one row's bank and bits, measured at a row of ``row`` [F]: ``energy_least`` (code
    0), ``energy`` (mean of normally distributed codes) and ``energy_most`` [J per timestep], ``leakage`` [W] in the
    hold, ``area`` [m²]. Standard deviations of the drift after calibration [V]: ``drift_temperature`` from 27 to 85 °C;
    ``drift_supply`` at 0.9 VDD of rows that read inputs, and ``drift_supply_states`` of rows that read states.
    """

    bits: int
    reach: float
    bridge: float
    repeats: int
    row: float
    energy_least: float
    energy: float
    energy_most: float
    leakage: float
    area: float
    drift_temperature: float
    drift_supply: float
    drift_supply_states: float


@dataclass(frozen=True, kw_only=True)
class Transistor:
    """Parameters that only a transistor-level netlist needs.

    ``process`` names the device models (see `cmru_hw.process.device_models`), ``memory`` the state storage
    ("power-gated", "integrator" or "counter"). Windows [s]: ``evaluate`` for rows on inputs to settle, ``read`` for
    rows on states, whose amplifiers have to charge the lines, ``decide`` for a comparator (and a counter), ``settle``
    for a packet, ``gap`` for the spacing of two clock edges whose order matters, ``edge`` for a clock's rise. Sizes [F]
    of finger capacitors: ``row``, ``integrator`` and ``limit`` in total, ``minimum`` of any capacitor, ``piece`` of one
    that a single bit switches. ``parasitic`` [F]: a row's comparator and switch; ``wire`` [F]: the wire of a line per
    unit.
    """

    process: str
    memory: str
    evaluate: float
    read: float
    decide: float
    settle: float
    gap: float
    edge: float
    row: float
    integrator: float
    limit: float
    minimum: float
    piece: float
    parasitic: float
    wire: float


@dataclass(frozen=True, kw_only=True)
class PowerGated:
    """Parameters of a power-gated chip in addition to the devices: see `cmru_hw.circuits.charge.power_gated_netlist`.

    ``strobe`` [s]: high time of the external frame clock, during which the chip is powered. ``swing`` [V]: largest
    distance of a state from V_cm; ``input_swing`` [V]: of an input from its own ``zero`` [V]. Lengths [m] of the
    transistors that make the delays: ``evaluate_fall`` and ``evaluate_rise`` of rows on inputs, ``read_fall`` and
    ``read_rise`` of rows on states, whose amplifiers have to charge the lines, ``settle`` of a packet and ``rest`` of
    the states after it; ``tail`` of an amplifier. Sizes [F]: ``row``, ``integrator`` and ``limit`` in total,
    ``flying``, ``holding`` and ``load`` of the V_cm generator (see ``netlists/cells/transistor/common_mode.cir``).
    """

    strobe: float
    swing: float
    input_swing: float
    zero: float
    evaluate_fall: float
    evaluate_rise: float
    read_fall: float
    read_rise: float
    settle: float
    rest: float
    tail: float
    row: float
    integrator: float
    limit: float
    flying: float
    holding: float
    load: float

    @property
    def common_mode(self) -> float:
        """V_cm as a share of VDD."""
        return 1 / 3 / (1 + self.load / (4.5 * self.flying))


@dataclass(frozen=True, kw_only=True)
class LongChannel:
    """Long-channel parameters of the FETs, for analytic estimates next to a simulation.

    A gate has ``oxide`` [F/m2], and per width ``overlap`` [F/m] on each side. A source or drain has ``junction`` [F/m]
    per width. ``slope_n`` and ``slope_p`` [A/V2] are mobility times oxide, ``threshold`` [V] is that of both types.
    """

    oxide: float
    overlap: float
    junction: float
    slope_n: float
    slope_p: float
    threshold: float


@dataclass(frozen=True, kw_only=True)
class Technology:
    """One process and circuit family. ``level`` is the level of its netlists: "macro" or "transistor".

    ``energy`` is None if no transistor circuit was measured, ``transistor`` is None if there are no device models. At
    transistor level ``transistor`` applies. ``trim`` is None if no bank was designed.
    """

    name: str
    level: str
    source: str
    supply: Supply
    signal: Signal
    timing: Timing
    capacitor: Capacitor
    amplifier: Amplifier
    leakage: Leakage
    switch: Switch
    noise: Noise
    mismatch: Mismatch
    energy: Energy | None = None
    trim: Trim | None = None
    transistor: Transistor | None = None
    power_gated: PowerGated | None = None
    long_channel: LongChannel | None = None

    @property
    def sha256(self) -> str:
        """Content hash of all values: technologies with the same values have the same hash.

        The values of a trim bank count only if there is one.
        """
        values = asdict(self)
        if not self.trim_bits:
            del values["trim"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def trim_bits(self) -> int:
        """Bits of every row's trim code; 0 without trim."""
        return 0 if self.trim is None else self.trim.bits


SECTIONS: dict[str, type] = {
    "supply": Supply,
    "signal": Signal,
    "timing": Timing,
    "capacitor": Capacitor,
    "amplifier": Amplifier,
    "leakage": Leakage,
    "switch": Switch,
    "noise": Noise,
    "mismatch": Mismatch,
    "energy": Energy,
    "trim": Trim,
    "transistor": Transistor,
    "power_gated": PowerGated,
    "long_channel": LongChannel,
}
_OPTIONAL = {"energy", "trim", "transistor", "power_gated", "long_channel"}


def available() -> tuple[str, ...]:
    """Names of the shipped technologies."""
    folder = resources.files("cmru_hw.process") / "technologies"
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml")))


def text(name: str) -> str:
    """The file of one of :func:`available`."""
    return (resources.files("cmru_hw.process") / "technologies" / f"{name}.toml").read_text(encoding="utf-8")


def default_memory(process: str) -> str:
    """The memory of the shipped technology of ``process``; "integrator" if there is no such technology."""
    devices = load(process).transistor if process in available() else None
    return devices.memory if devices is not None else "integrator"


def load(name_or_path: str | Path) -> Technology:
    """Read a technology: one of :func:`available` by name, or a TOML file by path.

    Raises TechnologyError, with file and key, if the file is missing or not TOML, or if a value is missing, unknown or
    impossible.
    """
    given = str(name_or_path)
    if given in available():
        return parse(text(given), where=f"technology {given!r}")
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise TechnologyError(
            f"no technology is called {given!r}: choose one of {', '.join(available())}, or give a TOML file"
        )
    try:
        content = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise TechnologyError(f"technology file {given!r} cannot be read ({reason(error)}): check the path") from error
    found = parse(content, where=f"technology file {given!r}")
    devices = found.transistor
    if devices is None or not pdk.is_path(devices.process):
        return found
    # The path of a user's process is relative to the technology file.
    process = str((path.parent / devices.process).resolve())
    return replace(found, transistor=replace(devices, process=process))


def parse(content: str, *, where: str) -> Technology:
    """The technology in the TOML text ``content``; ``where`` names it in errors."""
    try:
        data = toml_file.parse(content)
    except ValueError as error:
        raise TechnologyError(f"{where} is not valid TOML ({error}): correct it") from error
    return from_dict(data, where=where)


def from_dict(data: dict[str, Any], *, where: str) -> Technology:
    """Inverse of ``dataclasses.asdict``. Raises TechnologyError, with the key."""
    if not isinstance(data, dict):
        raise TechnologyError(f"{where}: it must be a table of sections")
    absent = {name for name in _OPTIONAL if data.get(name) is None}
    _same_keys(set(data) - absent, {"name", "level", "source", *SECTIONS} - absent, where)
    for key in ("name", "level", "source"):
        if not isinstance(data[key], str) or not data[key].isprintable():
            raise TechnologyError(f"{where}: {key} must be one line of text")
    if data["level"] not in LEVELS:
        raise TechnologyError(f"{where}: level is {data['level']!r}, must be one of {', '.join(LEVELS)}")
    sections = {name: _section(data[name], name, kind, where) for name, kind in SECTIONS.items() if name not in absent}
    technology = Technology(name=data["name"], level=data["level"], source=data["source"], **sections)
    if technology.level == "transistor" and technology.transistor is None:
        raise TechnologyError(f"{where}: level is transistor, but there is no section [transistor]")
    _possible(technology, where)
    return technology


def _section(values: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(values, dict):
        raise TechnologyError(f"{where}: [{name}] must be a table of numbers")
    _same_keys(set(values), set(kind.__annotations__), f"{where}, [{name}]")
    words = {key: value for key, value in values.items() if kind.__annotations__[key] == "str"}
    for key, value in words.items():
        if not isinstance(value, str) or not value.isprintable():
            raise TechnologyError(f"{where}: {name}.{key} must be one line of text")
        if key == "process" and value not in pdk.names() and not pdk.is_path(value):
            raise TechnologyError(f"{where}: {name}.{key} is {value!r}, must be one of {', '.join(pdk.names())}")
    numbers = {key: value for key, value in values.items() if key not in words}
    for key, value in numbers.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise TechnologyError(f"{where}: {name}.{key} is {repr(value)[:40]}, must be a number in SI units")
        if problem := ranges.CHARGE[f"{name}.{key}"].problem(value):
            raise TechnologyError(f"{where}: {name}.{key} {problem}")
    integers = {key for key, of in kind.__annotations__.items() if of == "int"}
    for key in integers:
        if numbers[key] != int(numbers[key]):
            raise TechnologyError(f"{where}: {name}.{key} is {numbers[key]!r}, must be a whole number")
    return kind(**words, **{key: int(value) if key in integers else float(value) for key, value in numbers.items()})


def _same_keys(found: set[str], wanted: set[str], where: str) -> None:
    if missing := sorted(wanted - found):
        raise TechnologyError(f"{where}: missing {', '.join(missing)}")
    if unknown := sorted(found - wanted):
        raise TechnologyError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(wanted))}")


def _possible(technology: Technology, where: str) -> None:
    supply, signal = technology.supply, technology.signal
    room = min(supply.common_mode, supply.vdd - supply.common_mode)
    rooms = {"state_swing": room, "input_swing": room, "bias": room}
    # A reference that is a logic node swings from rail to rail, and so does a constant that is a clock.
    if technology.transistor is not None:
        rooms |= {"reference": supply.vdd, "bias": supply.vdd}
    trim = technology.trim
    if trim is not None and trim.repeats % 2 == 0:
        raise TechnologyError(f"{where}: trim.repeats is {trim.repeats}, must be odd: a majority decides")
    for name, room in rooms.items():
        if getattr(signal, name) > room:
            raise TechnologyError(
                f"{where}: signal.{name} of {getattr(signal, name):g} V does not fit between the common mode and the "
                f"rails ({room:g} V)"
            )
