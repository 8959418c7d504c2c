"""Energies of a digital datapath's gates, simulated in transistors of a process at any supply.

One deck holds an adder of eight bits, two register bits, a node of a memory's tree, a partial product, a stored bit and
a power header. Every group has a supply with a charge meter. The gates are those of the package's library, in the sizes
of its logic; no standard-cell library is involved. Inputs are driven by sources, so that a group pays for all nodes but
its inputs, which the gate before it drives in a real datapath; the energies are therefore lower bounds, before layout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cmru_hw.characterize.testbench import Conditions
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, SimulationError
from cmru_hw.core.records import NotNegative, Positive, Record
from cmru_hw.core.signals import Traces
from cmru_hw.process import device_models
from cmru_hw.spice import Engine, lexer
from cmru_hw.spice.deck import Deck, num

BITS = 8
GROUPS = ("adder", "moving", "still", "select", "product", "stored", "header")
CELLS = (
    *("transistor/logic", "transistor/tgate", "transistor/supply", "transistor/header"),
    *("digital/full_adder", "digital/flip_flop", "digital/select"),
)
OPTIONS = "method=gear maxord=2 chgtol=1e-18 trtol=7 gmin=1e-18 abstol=1e-16 reltol=1e-4"
# The charge meter of a supply (cells/transistor/supply.cir) is a capacitor of 1 nF.
_METER = 1e-9
_ADDITIONS, _SEED = 16, 1
# Share of a period between two changes of an input that its edge takes.
_EDGE = 0.005


@dataclass(frozen=True, kw_only=True)
class GateEnergies(Record):
    """Energies [J] and leakages [W] of gates at ``vdd`` [V]; ``delay`` [s]: a carry through all bits of the adder.

    ``addition``: mean of one addition of eight random bits. ``register_data`` and ``register_clock``: one register bit
    in a clock cycle in which its data changes, or not. ``select``: one node of a memory's tree changes its output.
    ``product``: one partial product changes. Leakages are of one bit of the adder, one register bit, node, partial
    product and stored bit; ``header_leakage`` is that of a power header that is off.
    """

    kind: Literal["digital_gates"] = "digital_gates"
    process: str
    corner: str
    temperature_C: float
    vdd: Positive
    addition: Positive
    register_data: Positive
    register_clock: Positive
    select: Positive
    product: Positive
    adder_leakage: NotNegative
    register_leakage: NotNegative
    select_leakage: NotNegative
    product_leakage: NotNegative
    stored_leakage: NotNegative
    header_leakage: NotNegative
    delay: Positive
    source: str


def period(vdd: float) -> float:
    """Time between two operations [s], far longer than a carry: 1 µs, and ten times more for each 0.2 V below 1.2 V."""
    return float(1e-6 * 10 ** (max(0.0, 1.2 - vdd) / 0.2))


def gates(engine: Engine, conditions: Conditions) -> GateEnergies:
    """Simulate the gates. Raises SimulationError if any of them gives a wrong result at this supply."""
    rng = np.random.default_rng(_SEED)
    operands = [(0, 0), (2**BITS - 1, 1), *((int(a), int(b)) for a, b in rng.integers(0, 2**BITS, (_ADDITIONS, 2)))]
    bench = deck(conditions, operands)
    outcome = engine.run(bench)
    return _figures(outcome.traces, conditions, operands, outcome.simulator)


def cached(engine: Engine, conditions: Conditions, folder: Path) -> GateEnergies:
    """:func:`gates`: the measurement that the package ships for these netlists and models, or the one in ``folder``.

    Without either, the gates are simulated (one to two minutes) and stored in ``folder``.
    """
    name = _file_name(conditions)
    for place in (_shipped(), folder):
        if (place / name).is_file():
            with suppress(InputError):
                return GateEnergies.load(place / name)
    found = gates(engine, conditions)
    folder.mkdir(parents=True, exist_ok=True)
    found.save(folder / name)
    return found


def is_shipped(conditions: Conditions) -> bool:
    """Whether the package has a measurement of these gates, netlists and models."""
    return (_shipped() / _file_name(conditions)).is_file()


def _shipped() -> Path:
    return package_data.folder("netlists") / "measured"


def _file_name(conditions: Conditions) -> str:
    return f"gates_{conditions.process}_{conditions.vdd:g}_{fingerprint(conditions)[:16]}.json"


def fingerprint(conditions: Conditions) -> str:
    """Hash of models, templates, operands and times, which determine a measurement. Comments do not enter it."""
    models = device_models.devices(conditions.process, corner=conditions.corner)
    digest = hashlib.sha256(f"{models.sha256} {conditions} {OPTIONS} {_ADDITIONS} {_SEED} {_EDGE}".encode())
    digest.update(f"{period(conditions.vdd)} {hold(conditions.vdd)}".encode())
    for path in _files():
        lines = lexer.logical_lines(lexer.decode(path.read_bytes()), where=path.name)
        digest.update("\n".join([path.name, *(line.text for line in lines)]).encode() + b"\0")
    return digest.hexdigest()


def deck(conditions: Conditions, operands: Sequence[tuple[int, int]]) -> Deck:
    """All groups, and ``operands`` of the adder, one pair per period; then a hold in which only leakage flows."""
    devices = device_models.devices(conditions.process, corner=conditions.corner, temperature=conditions.temperature)
    vdd, step = conditions.vdd, period(conditions.vdd)
    stop = (len(operands) + 1) * step + hold(vdd)
    names = {f"cells/{name}.cir": path.read_bytes() for name, path in zip(CELLS, _files(), strict=True)}
    lines = [*devices.text.splitlines(), *(f".include {name}" for name in names)]
    lines += [f"x{group} v_{group} m_{group} supply volts={num(vdd)}" for group in GROUPS]
    lines += _sources(operands, vdd, step)
    lines += [
        f"xadd{bit} a{bit} b{bit} {f'c{bit - 1}' if bit else '0'} s{bit} c{bit} v_adder full_adder"
        for bit in range(BITS)
    ]
    lines += [
        "xmoving d q ck v_moving flip_flop",
        "xstill 0 qstill ck v_still flip_flop",
        "xselect 0 one t y v_select select",
        "xproduct t one p v_product product",
        "xstored w wb v_stored stored",
        "xheader v_header 0 v_header header",
        f"vone one 0 {num(vdd)}",
        f".ic v(w)={num(vdd)} v(wb)=0",
        f".options {OPTIONS}",
        f".tran {num(step / 50)} {num(stop)} 0 {num(hold(vdd) / 50)} uic",
    ]
    saved = (
        *(f"s{bit}" for bit in range(BITS)), f"c{BITS - 1}", "q", "qstill", "y", "p", "w", "a0",
        *(f"m_{group}" for group in GROUPS),
    )  # fmt: skip
    lines += [".save " + " ".join(saved)]
    return Deck(
        text="\n".join(lines) + "\n",
        stop=stop,
        saved=saved,
        files={**devices.files, **names},
        libraries=devices.libraries,
        settings=devices.settings,
    )


def hold(vdd: float) -> float:
    """Length [s] of the hold at the end of a deck. Only its second half counts, after inner nodes have settled."""
    return max(0.2, 20 * period(vdd))


def _files() -> list[Path]:
    folder = package_data.folder("netlists") / "cells"
    return [folder / f"{name}.cir" for name in CELLS]


def _sources(operands: Sequence[tuple[int, int]], vdd: float, step: float) -> list[str]:
    """Operands change at a quarter of each period; data and address change there too; the clock rises at its half."""
    count = len(operands)
    bits = {
        **{f"a{bit}": [a >> bit & 1 for a, _ in operands] for bit in range(BITS)},
        **{f"b{bit}": [b >> bit & 1 for _, b in operands] for bit in range(BITS)},
        "d": [place % 2 for place in range(count)],
        "t": [place % 2 for place in range(count)],
    }
    lines = [f"v{name} {name} 0 pwl({_steps(values, 0.25, vdd, step)})" for name, values in bits.items()]
    clock = [level for _ in range(count) for level in (1, 0)]
    return [*lines, f"vck ck 0 pwl({_steps(clock, 1.0, vdd, step / 2)})"]


def _steps(values: Sequence[int], first: float, vdd: float, step: float) -> str:
    """PWL points: 0, then ``values`` [of ``vdd``], the first of them ``first`` steps after the start."""
    points, before = ["0 0"], 0
    for place, value in enumerate(values):
        at = (place + first) * step
        if value != before:
            points += [f"{num(at)} {num(before * vdd)}", f"{num(at + _EDGE * step)} {num(value * vdd)}"]
        before = value
    return " ".join(points)


def _figures(
    traces: Traces, conditions: Conditions, operands: Sequence[tuple[int, int]], simulator: str
) -> GateEnergies:
    vdd, step, count = conditions.vdd, period(conditions.vdd), len(operands)
    end = (count + 1) * step
    _require_right(traces, operands, vdd, step)
    quiet = {
        group: _charge(traces, group, [end + hold(vdd) / 2, end + hold(vdd)]) / (hold(vdd) / 2) for group in GROUPS
    }
    # From the third operation on: the first two find the delay of the longest carry.
    begin, last = 2 * step, count * step
    moved = {
        group: vdd * max(_charge(traces, group, [begin, last]) - quiet[group] * (last - begin), 0.0) for group in GROUPS
    }
    operations = count - 2
    leaks = {group: vdd * max(float(value), 0.0) for group, value in quiet.items()}
    models = device_models.devices(conditions.process, corner=conditions.corner)
    return GateEnergies(
        process=conditions.process,
        corner=conditions.corner,
        temperature_C=conditions.temperature,
        vdd=vdd,
        addition=moved["adder"] / operations,
        register_data=moved["moving"] / operations,
        register_clock=moved["still"] / operations,
        select=moved["select"] / operations,
        product=moved["product"] / operations,
        adder_leakage=leaks["adder"] / BITS,
        register_leakage=(leaks["moving"] + leaks["still"]) / 2,
        select_leakage=leaks["select"],
        product_leakage=leaks["product"],
        stored_leakage=leaks["stored"],
        header_leakage=leaks["header"],
        delay=_delay(traces, vdd, step),
        source=f"digital gates, {models.version} sha256 {models.sha256[:12]}, {conditions.corner}, "
        f"{conditions.temperature:g} C, {vdd:g} V, {simulator}",
    )


def _require_right(traces: Traces, operands: Sequence[tuple[int, int]], vdd: float, step: float) -> None:
    """Raise SimulationError unless every sum, register and output is right and at a rail at the end of its period."""
    late = (np.arange(len(operands)) + 1.2) * step
    expected = {f"s{bit}": [(a + b) >> bit & 1 for a, b in operands] for bit in range(BITS)}
    expected[f"c{BITS - 1}"] = [(a + b) >> BITS & 1 for a, b in operands]
    expected |= {name: [place % 2 for place in range(len(operands))] for name in ("q", "y", "p")}
    expected |= {"qstill": [0] * len(operands), "w": [1] * len(operands)}
    for name, bits in expected.items():
        levels = traces.at(name, late) / vdd
        if np.any(np.abs(levels - np.array(bits)) > 0.1):
            raise SimulationError(f"digital gates do not work at {vdd:g} V ({name} is wrong): choose a higher supply")


def _delay(traces: Traces, vdd: float, step: float) -> float:
    """From the change of the operands 0 + 0 to 255 + 1 to the carry out of the last bit [s]."""
    during = (traces.time > 1.25 * step) & (traces.time < 2.25 * step)
    time, carry, first = (
        values[during] for values in (traces.time, traces.values[f"c{BITS - 1}"], traces.values["a0"])
    )
    rises = [float(time[np.flatnonzero(values > vdd / 2)[0]]) for values in (carry, first)]
    return rises[0] - rises[1]


def _charge(traces: Traces, group: str, instants: Sequence[float]) -> float:
    before, after = traces.at(f"m_{group}", np.array(instants))
    return float(after - before) * _METER
