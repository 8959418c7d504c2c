"""Fit the sizing laws of a process (`cmru_hw.process.sizing_laws`) to testbenches at several sizes of their devices.

All sizes see the same draws of mismatch: the simulator's generator starts from the same seed and meets the same devices
in the same order. Ratios of spreads between sizes are therefore more precise than the spreads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import tomlkit
from scipy.optimize import nnls

from cmru_hw.characterize import blocks
from cmru_hw.characterize.power_gated_chip import ROW
from cmru_hw.characterize.testbench import Conditions, MeasurementSource, Testbench, drawn, run_testbench
from cmru_hw.core.errors import SimulationError
from cmru_hw.core.signals import Array, Traces
from cmru_hw.process.sizing_laws import LAWS, LOAD, Amplifier, Law, Term, comparator_variables
from cmru_hw.spice import Engine

# Input pairs of the comparator (width, length) [m].
PAIRS = (
    (6e-6, 1e-6), (3e-6, 1e-6), (12e-6, 1e-6), (6e-6, 0.5e-6), (1.5e-6, 0.5e-6), (3e-6, 2e-6), (1e-6, 0.35e-6),
)  # fmt: skip
AMPLIFIER = Amplifier(width=4e-6, length=1e-6, mirror=2e-6, tail=9.3e-6)
AMPLIFIERS = (
    AMPLIFIER,
    Amplifier(width=2e-6, length=1e-6, mirror=2e-6, tail=9.3e-6),
    Amplifier(width=8e-6, length=1e-6, mirror=2e-6, tail=9.3e-6),
    Amplifier(width=4e-6, length=0.5e-6, mirror=2e-6, tail=9.3e-6),
    Amplifier(width=4e-6, length=2e-6, mirror=2e-6, tail=9.3e-6),
    Amplifier(width=4e-6, length=1e-6, mirror=1e-6, tail=9.3e-6),
    Amplifier(width=4e-6, length=1e-6, mirror=4e-6, tail=9.3e-6),
    Amplifier(width=4e-6, length=1e-6, mirror=8e-6, tail=9.3e-6),
    Amplifier(width=4e-6, length=1e-6, mirror=2e-6, tail=5e-6),
    Amplifier(width=4e-6, length=1e-6, mirror=2e-6, tail=20e-6),
    Amplifier(width=8e-6, length=1e-6, mirror=4e-6, tail=20e-6),
    Amplifier(width=8e-6, length=2e-6, mirror=6e-6, tail=12e-6),
    Amplifier(width=16e-6, length=4e-6, mirror=16e-6, tail=9.3e-6),
    Amplifier(width=16e-6, length=2e-6, mirror=12e-6, tail=20e-6),
    Amplifier(width=4e-6, length=1e-6, mirror=2e-6, tail=9.3e-6, load=150e-15),
    Amplifier(width=4e-6, length=1e-6, mirror=2e-6, tail=9.3e-6, load=600e-15),
)
SUPPLIES = (1.62, 1.71, 1.8, 1.98)
_LIMIT = (3e-6, 0.6e-6)
# Fewest draws of mismatch for a spread.
FEWEST = 20
# Exponents of the terms of each law; a law of one term without exponents here is a product whose exponents are fitted.
TERMS: dict[str, tuple[dict[str, float], ...]] = {
    # the pair's own mismatch; that of the latch, over the pair's transconductance; that of switches
    "comparator_offset_variance": ({"area": -1}, {"length": 1, "width": -1}, {}),
    "comparator_parasitic": ({}, {"width": 1}, {"width": 1, "length": 1}),
    "comparator_energy": ({}, {"width": 1}, {"width": 1, "length": 1}),
    "comparator_delay": ({}, {"width": 1}, {"width": 1, "length": 1}, {"length": 1, "width": -1}),
    "comparator_kick": ({}, {"width": 1}, {"width": 1, "length": 1}),
    # the pair's own mismatch; that of the mirror, over the transconductance of a pair below and above threshold
    "amplifier_offset_variance": (
        {"area": -1}, {"mirror": -2, "tail": 1}, {"mirror": -2, "length": 1, "width": -1},
    ),
    "amplifier_current": ({"tail": -1}, {}),
    "amplifier_time": (
        {"load": 1, "tail": 1}, {"load": 1, "tail": 0.5, "length": 0.5, "width": -0.5}, {"tail": 1},
        {"tail": 1, "width": 1, "length": 1}, {"tail": 1, "mirror": 1},
    ),
    "amplifier_gain": (),
    "supply_energy": (),
}  # fmt: skip
UNITS = {
    "comparator_offset_variance": "V2", "comparator_parasitic": "F", "comparator_energy": "J",
    "comparator_delay": "s", "comparator_kick": "C", "amplifier_offset_variance": "V2", "amplifier_current": "A",
    "amplifier_time": "s", "amplifier_gain": "V/V", "supply_energy": "J",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Point:
    """A simulated ``value`` at the sizes ``variables``; ``error``: its relative standard error by sampling."""

    variables: Mapping[str, float]
    value: float
    error: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Points of each law, and the sources of the numbers."""

    points: Mapping[str, tuple[Point, ...]]
    sources: tuple[MeasurementSource, ...]


def comparator_offset(
    engine: Engine, conditions: Conditions, *, width: float, length: float, dies: int, seed: int = 1
) -> tuple[float, float]:
    """Standard deviation [V] of the chip's comparator at its row, and its relative standard error."""
    testbench = Testbench(
        name="transistor_power_gated_comparator",
        saved=("trim", "a", "f"),
        stop=20e-6,
        parameters={"wi": width, "li": length},
    )
    found = [
        float(one.values["trim"][-1]) for one in drawn(engine, testbench, conditions, range(seed, seed + dies)).values()
    ]
    traces, _ = run_testbench(engine, testbench, conditions)
    before = 2e-6 * (np.arange(10, dtype=np.float64) + 0.59)
    share = np.polyfit(traces.at("trim", before), traces.at("a", before) - traces.at("f", before), 1)[0]
    return float(share * np.std(found, ddof=1)), 1 / math.sqrt(2 * (len(found) - 1))


def comparator(engine: Engine, conditions: Conditions, *, width: float, length: float) -> dict[str, float]:
    """Parasitic [F], kick [C], delay at 1 mV [s] and energy of a decision [J] of the clocked comparator."""
    found = blocks.comparator(engine, conditions, parameters={"wi": width, "li": length})
    at = [place for place, volts in enumerate(found.overdrive) if abs(volts) == 1e-3]
    return {
        "parasitic": found.parasitic,
        "kick": found.kick * (2 * ROW + found.parasitic),
        "delay": float(np.mean([found.delay[place] for place in at])),
        "energy": found.energy,
    }


def amplifier(engine: Engine, conditions: Conditions, sizes: Amplifier) -> tuple[dict[str, float], MeasurementSource]:
    """Gain, supply current [A] and time constant [s] of the amplifier without mismatch."""
    traces, source = run_testbench(engine, _amplifier_testbench(sizes), conditions)
    output, ground = (np.diff(traces.at(node, np.array([9.9e-6, 19.9e-6])))[0] for node in "ox")
    current = -float(traces.at("i(va)", np.array([4.9e-6]))[0])
    return {"gain": float(abs(output / ground)), "current": current, "time": _return_time(traces)}, source


def amplifier_offset(
    engine: Engine, conditions: Conditions, sizes: Amplifier, *, dies: int, seed: int = 1
) -> tuple[float, float]:
    """Standard deviation [V] of the amplifier's offset, and its relative standard error."""
    found = drawn(engine, _amplifier_testbench(sizes), conditions, range(seed, seed + dies))
    values = [float(traces.at("x", np.array([4.9e-6]))[0]) for traces in found.values()]
    return float(np.std(values, ddof=1)), 1 / math.sqrt(2 * (len(values) - 1))


def supply_energy(engine: Engine, *, process: str, vdd: float) -> float:
    """Energy [J per timestep] of the clocks and logic of a unit at a supply."""
    found = blocks.unit(engine, Conditions(process=process, vdd=vdd))
    return float(sum(np.mean(found.dynamic[block][1:]) for block in ("logic", "clocks")))


def measure(
    engine: Engine,
    conditions: Conditions,
    *,
    dies: int,
    seed: int = 1,
    report: Callable[[int, int], None] = lambda *_: None,
) -> Measured:
    """All points of all laws. ``report(done, all)`` counts simulated sizes."""
    found: dict[str, list[Point]] = {name: [] for name in LAWS}
    sources = []
    done, all_ = itertools.count(1), len(PAIRS) + len(AMPLIFIERS) + len(SUPPLIES)
    for width, length in PAIRS:
        variables = comparator_variables(width, length)
        sigma, error = comparator_offset(engine, conditions, width=width, length=length, dies=dies, seed=seed)
        found["comparator_offset_variance"].append(Point(variables=variables, value=sigma**2, error=2 * error))
        for name, value in comparator(engine, conditions, width=width, length=length).items():
            found[f"comparator_{name}"].append(Point(variables=variables, value=value))
        report(next(done), all_)
    for sizes in AMPLIFIERS:
        values, source = amplifier(engine, conditions, sizes)
        sources.append(source)
        for name, value in values.items():
            found[f"amplifier_{name}"].append(Point(variables=sizes.variables(), value=value))
        if sizes.load == LOAD:
            sigma, error = amplifier_offset(engine, conditions, sizes, dies=dies, seed=seed)
            found["amplifier_offset_variance"].append(
                Point(variables=sizes.variables(), value=sigma**2, error=2 * error)
            )
        report(next(done), all_)
    for vdd in SUPPLIES:
        value = supply_energy(engine, process=conditions.process, vdd=vdd)
        found["supply_energy"].append(Point(variables={"vdd": vdd}, value=value))
        report(next(done), all_)
    return Measured(points={name: tuple(points) for name, points in found.items()}, sources=tuple(sources[:1]))


def fit(name: str, points: Sequence[Point]) -> Law:
    """The law ``name`` from its points, by least squares of relative errors.

    Coefficients of a sum are not negative (Lawson and Hanson's algorithm). A product is fitted in its logarithm.
    """
    values = np.array([point.value for point in points])
    exponents = TERMS[name]
    if exponents:
        columns = [
            [math.prod(point.variables[key] ** power for key, power in term.items()) / point.value for point in points]
            for term in exponents
        ]
        matrix = np.array(columns).T
        scale = matrix.max(axis=0)
        coefficients = nnls(matrix / scale, np.ones(len(values)))[0] / scale
        terms = tuple(
            Term(coefficient=float(coefficient), exponents=tuple(term.items()))
            for coefficient, term in zip(coefficients, exponents, strict=True)
            if coefficient > 0
        )
    else:
        names = [key for key in points[0].variables if len({point.variables[key] for point in points}) > 1]
        names = [key for key in names if key not in ("area", "load")]
        logs = np.log([[point.variables[key] for key in names] for point in points])
        matrix = np.column_stack([np.ones(len(values)), logs])
        solved = np.linalg.lstsq(matrix, np.log(values), rcond=None)[0]
        powers = tuple((key, float(power)) for key, power in zip(names, solved[1:], strict=True))
        terms = (Term(coefficient=float(np.exp(solved[0])), exponents=powers),)
    law = Law(unit=UNITS[name], terms=terms, residual=0.0, points=len(points))
    errors = np.array([law.at(point.variables) / point.value - 1 for point in points])
    return Law(unit=law.unit, terms=terms, residual=float(np.sqrt((errors**2).mean())), points=len(points))


def laws_toml(measured: Measured, conditions: Conditions, *, command: str) -> str:
    """A file of laws: terms, points and residuals, with the sources of the numbers."""
    document = tomlkit.document()
    document.add(tomlkit.comment("Sizing laws: sums of terms, each a coefficient times powers of sizes in SI units."))
    for source in measured.sources:
        document.add(tomlkit.comment(str(source)))
    document["process"] = conditions.process
    document["fitted"] = command
    base = tomlkit.table()
    base["limit_width"], base["limit_length"] = _LIMIT
    base["vdd"] = conditions.vdd
    base["amplifier"] = asdict(AMPLIFIER)
    document["base"] = base
    for name in LAWS:
        points = measured.points[name]
        law = fit(name, points)
        section = tomlkit.table()
        section["unit"] = law.unit
        section["residual"] = float(f"{law.residual:.3g}")
        section["terms"] = _inline(
            [{"coefficient": term.coefficient, **dict(term.exponents)} for term in law.terms], digits=8
        )
        section["points"] = _inline(
            [
                {"value": point.value, **({"error": point.error} if point.error else {}), **point.variables}
                for point in points
            ],
            digits=5,
        )
        document[name] = section
    return tomlkit.dumps(document)


def _inline(rows: Sequence[Mapping[str, float]], *, digits: int) -> tomlkit.items.Array:
    found = tomlkit.array().multiline(True)
    for row in rows:
        table = tomlkit.inline_table()
        table.update({name: float(f"{value:.{digits}g}") for name, value in row.items()})
        found.append(table)
    return found


def _amplifier_testbench(sizes: Amplifier) -> Testbench:
    return Testbench(
        name="transistor_power_gated_amplifier_sizes",
        saved=("x", "o", "i(va)"),
        stop=30e-6,
        parameters={
            "wi": sizes.width, "li": sizes.length, "lm": sizes.mirror, "lt": sizes.tail, "cload": sizes.load,
        },
    )  # fmt: skip


def _return_time(traces: Traces) -> float:
    """Time constant [s] of the return of the virtual ground after the step: from half of it to a tenth of that."""
    after = (traces.time > 25.002e-6) & (traces.time < 29.9e-6)
    time: Array = traces.time[after]
    left = np.abs(traces.values["x"][after] - traces.values["x"][after][-1])
    found = []
    for share in (0.5, 0.05):
        below = np.flatnonzero(left < share * left[0])
        if not below.size or not below[0]:
            raise SimulationError("the amplifier does not return from a step in its testbench: choose a shorter tail")
        i = int(below[0])
        found.append(float(np.interp(-share * left[0], [-left[i - 1], -left[i]], [time[i - 1], time[i]])))
    return (found[1] - found[0]) / math.log(10)
