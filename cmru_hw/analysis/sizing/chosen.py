"""Figures of chosen sizes, and the file of their technology."""

from __future__ import annotations

import math
from dataclasses import asdict

import tomlkit

from cmru_hw.analysis.sizing.current_problem import Counts, CurrentProblem
from cmru_hw.analysis.sizing.problem import AnyProblem, Problem
from cmru_hw.analysis.sizing.result import Figures
from cmru_hw.circuits.current import characterize
from cmru_hw.circuits.current.technology import CurrentTechnology
from cmru_hw.process import sizes as sizing
from cmru_hw.process.sizes import Sizes
from cmru_hw.process.technology import Technology


def figures(problem: AnyProblem, sizes: Sizes | Counts) -> Figures:
    """Figures of the technology with ``sizes``, and the costs of its design."""
    if isinstance(problem, CurrentProblem):
        assert isinstance(sizes, Counts)
        return _current(problem, sizes)
    assert isinstance(problem, Problem) and isinstance(sizes, Sizes)
    technology, laws, base = problem.technology_at(sizes), problem.laws, problem.base
    costs = problem.costs(problem.design(sizes), sizes)
    amplifier = sizes.amplifier(base.row)
    charge = laws.comparator("kick", sizes.pair_width, sizes.pair_length)
    trim = technology.trim
    return Figures(
        energy_J=costs.energy,
        area_m2=costs.area,
        comparator_offset=sizing.offset(technology),
        amplifier_offset=technology.mismatch.amplifier,
        limit_offset=technology.mismatch.limit,
        trim_step=None if trim is None or not trim.bits else trim.reach / 2 ** (trim.bits - 1),
        kick=charge / (technology.capacitor.row + technology.capacitor.parasitic),
        decision=laws.comparator("delay", sizes.pair_width, sizes.pair_length),
        amplifier_gain=technology.amplifier.gain,
        amplifier_time=laws.of_amplifier("time", amplifier),
        blocks_J=costs.blocks,
    )


def _current(problem: CurrentProblem, sizes: Counts) -> Figures:
    costs = problem.costs(problem.design(sizes), sizes)
    technology = problem.technology
    sunk = technology.mismatch_n**2 / (technology.width * technology.sink_length)
    fed = technology.mismatch_p**2 / (technology.width * technology.length)
    several = min(count for name, count in sizes.counts if name.endswith("/thresholds"))
    return Figures(
        energy_J=costs.energy,
        area_m2=costs.area,
        threshold_spread=math.sqrt(2 * (sunk + fed) / several),
        blocks_J=costs.blocks,
    )


def technology_toml(technology: Technology | CurrentTechnology, *, command: str) -> str:
    """``technology`` as a technology file."""
    if isinstance(technology, CurrentTechnology):
        head = f"# Written by: {command}\n" if command else ""
        return head + characterize.toml(technology)
    document = tomlkit.document()
    if command:
        document.add(tomlkit.comment(f"Written by: {command}"))
    document.add(
        tomlkit.comment("Sized by laws: figures are those of the technology that was sized, times ratios of laws.")
    )
    for name, value in asdict(technology).items():
        if isinstance(value, dict):
            section = tomlkit.table()
            section.update(value)
            document[name] = section
        elif value is not None:
            document[name] = value
    return tomlkit.dumps(document)
