"""The transistor level's ledger: one supply with an account for each block of the whole network, and one for all.

Nothing is estimated: what a supply delivers is what the transistors took. Beside it stands one measured unit times the
number of units, where the technology has one, and for the inputs what their capacitors take.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np

from cmru_hw.circuits.charge import clocked_netlist
from cmru_hw.circuits.charge.energy import macro
from cmru_hw.circuits.charge.mapping import Design, has_ladders
from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.energy import ChargeMeter, EnergyModel, Frames
from cmru_hw.core.signals import Array
from cmru_hw.spice.schedule import Schedule

TOTAL = "account_total"
PREFIX = "account_"
# After the inputs have changed, and before the window opens.
QUIET = (clocked_netlist.INPUT_CHANGE + 0.05, clocked_netlist.WINDOW - 0.02)
APART = {
    "clocks": "the measured unit has clock drivers and two input lines of its own; a layer shares its drivers among "
    "all units, and drives all lines and wires",
    "amplifiers": "an amplifier of the network stays on until all that read it have decided",
    "logic": "how often units move differs between the testbench and these sequences",
    "comparators": "the limit's comparator fires only for a unit that moves",
    "inputs": "by hand rows settle completely and switches have no capacitance of their own",
}


def energy_model(design: Design) -> EnergyModel:
    """The energy model of a design in transistors."""
    return metered_model(
        clocked_netlist.accounts(design),
        quiet=QUIET,
        analytic=functools.partial(analytic, design),
        duty=clocked_netlist.window(design).length / design.timestep,
        excludes=clocked_netlist.excludes(design),
        apart=APART,
    )


def metered_model(
    accounts: Mapping[str, float],
    *,
    quiet: tuple[float, float],
    analytic: Callable[[Reference, Array, int], dict[str, Array]],
    duty: float,
    excludes: tuple[str, ...],
    apart: Mapping[str, str],
) -> EnergyModel:
    """The energy model of a netlist with ``accounts`` (vector → price [V]) and one for all of them."""
    return EnergyModel(
        label="simulated",
        meters=tuple(
            # the drivers of the inputs are outside of the chip: their charge does not come back with its supplies'
            ChargeMeter(
                vector=vector,
                block=vector.removeprefix(PREFIX),
                volts=volts,
                outside=vector == f"{PREFIX}inputs",
            )
            for vector, volts in accounts.items()
        ),
        total=TOTAL,
        frames=functools.partial(frames, quiet),
        analytic=analytic,
        unit={},
        modelled=tuple(vector.removeprefix(PREFIX) for vector in accounts),
        duty=duty,
        excludes=excludes,
        apart=apart,
    )


def frames(quiet: tuple[float, float], plan: Schedule, sequence: int) -> Frames:
    """The timesteps of ``sequence``."""
    return Frames(starts=plan.edges(sequence)[:-1], period=plan.timestep, quiet=quiet)


def analytic(design: Design, expected: Reference, inputs: Array, sequence: int) -> dict[str, Array]:
    """Block → (timesteps,) [J]; ``inputs`` (timesteps, features). Empty for ladders: the measured unit is another."""
    if has_ladders(design.technology):
        return {}
    unit = {name: np.full(len(inputs), sum(parts)) for name, parts in macro.measured_unit(design).items()}
    return unit | {"inputs": macro.analytic(design, expected, inputs, sequence)["inputs"]}
