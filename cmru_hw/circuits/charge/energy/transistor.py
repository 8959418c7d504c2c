"""Energy model at transistor level: a charge meter on the supply of each block, and one on the common return.

All energies are simulated: each is the charge that a supply delivers times its voltage. The memory provides the
analytic estimate next to it.
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

PREFIX = "meter_"


def energy_model(design: Design) -> EnergyModel:
    """The energy model of a transistor-level design."""
    memory, meters = registry.of_design(design), transistor_netlist.charge_meters(design)
    return EnergyModel(
        label="simulated",
        meters=tuple(
            # Input drivers are outside of the chip: their charge does not return with that of the supplies.
            ChargeMeter(
                vector=vector,
                block=vector.removeprefix(PREFIX),
                volts=volts,
                outside=vector == f"{PREFIX}inputs",
            )
            for vector, volts in meters.items()
        ),
        total=TOTAL,
        frames=functools.partial(frames, memory.idle_interval),
        analytic=functools.partial(analytic, design),
        unit={},
        modelled=tuple(vector.removeprefix(PREFIX) for vector in meters),
        duty=memory.awake(design) / design.timestep,
        excludes=transistor_netlist.excludes(design),
        estimate_differences=memory.estimate_differences,
    )


def frames(idle_interval: tuple[float, float], plan: Schedule, sequence: int) -> Frames:
    """The timesteps of ``sequence``."""
    return Frames(starts=plan.edges(sequence)[:-1], period=plan.timestep, idle_interval=idle_interval)


def analytic(design: Design, expected: Reference, inputs: Array, sequence: int) -> dict[str, Array]:
    """Block → (timesteps,) [J], estimated without a simulation; ``inputs`` (timesteps, features)."""
    network, cells = transistor_netlist.network_text(design), transistor_netlist.cell_files(design)
    return registry.of_design(design).analytic(design, network, cells, expected, inputs, sequence)
