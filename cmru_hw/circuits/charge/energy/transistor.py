"""The transistor level's energy model: one supply with an account for each block of the network, and one for all.

All energies are simulated: the charge that each supply delivers. The memory brings the analytic estimate that
stands next to it.
"""

from __future__ import annotations

import functools

from cmru_hw.circuits.charge import transistor_netlist
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.charge.transistor_deck import TOTAL
from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.energy import ChargeMeter, EnergyModel, Frames
from cmru_hw.core.signals import Array
from cmru_hw.spice.schedule import Schedule

PREFIX = "account_"


def energy_model(design: Design) -> EnergyModel:
    """The energy model of a design in transistors."""
    memory, accounts = registry.of_design(design), transistor_netlist.accounts(design)
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
        frames=functools.partial(frames, memory.quiet),
        analytic=functools.partial(analytic, design),
        unit={},
        modelled=tuple(vector.removeprefix(PREFIX) for vector in accounts),
        duty=memory.awake(design) / design.timestep,
        excludes=transistor_netlist.excludes(design),
        apart=memory.apart,
    )


def frames(quiet: tuple[float, float], plan: Schedule, sequence: int) -> Frames:
    """The timesteps of ``sequence``."""
    return Frames(starts=plan.edges(sequence)[:-1], period=plan.timestep, quiet=quiet)


def analytic(design: Design, expected: Reference, inputs: Array, sequence: int) -> dict[str, Array]:
    """Block → (timesteps,) [J], estimated without a simulation; ``inputs`` (timesteps, features)."""
    network, cells = transistor_netlist.network_text(design), transistor_netlist.cell_files(design)
    return registry.of_design(design).analytic(design, network, cells, expected, inputs, sequence)
