"""Energy model of current mode: every block has a supply with a charge meter, and one more meter measures their sum.

All energies are simulated at transistor level. No block is ever off, so nearly all energy is static; the rest switches
cells and gate lines. The analytic estimate is the sum of the static currents in the fast engine.
"""

from __future__ import annotations

import functools

import numpy as np

from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.current import fast, variation
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.current.netlist import BLOCKS, TOTAL
from cmru_hw.circuits.energy import ChargeMeter, EnergyModel, Frames
from cmru_hw.core.signals import Array
from cmru_hw.nn.sequences import Sequences
from cmru_hw.spice.schedule import Schedule

EXCLUDES = (
    "converters or sensors that make the input currents (the currents themselves are included)",
    "generators of bias currents and supply (the bias currents themselves are included)",
    "the stage behind the readout, with the node at half the supply (the rows of the readout are included)",
    "wires",
)


def energy_model(design: CurrentDesign) -> EnergyModel:
    """The energy model of a current-mode design."""
    vdd = design.technology.vdd
    return EnergyModel(
        label="simulated",
        meters=tuple(ChargeMeter(vector=f"q_{block}", block=block, volts=vdd) for block in BLOCKS),
        total=f"q_{TOTAL}",
        frames=frames,
        analytic=functools.partial(analytic, design),
        unit={},
        modelled=BLOCKS,
        duty=1.0,
        excludes=EXCLUDES,
    )


def frames(plan: Schedule, sequence: int) -> Frames:
    """The timesteps of ``sequence``. In their last quarter cells have switched and lines have settled."""
    return Frames(starts=plan.edges(sequence)[:-1], period=plan.timestep, idle_interval=(0.75, 1.0))


def analytic(design: CurrentDesign, expected: Reference, inputs: Array, sequence: int) -> dict[str, Array]:
    """Block → (timesteps,) [J]: VDD times the static current of mirrors and cells; ``inputs`` (timesteps, features)."""
    nominal = variation.draw(design, seed=0, dies=[0], varied=frozenset())
    run = fast.run(nominal, Sequences(inputs=inputs[None].astype(np.float32)))
    scale = design.technology.vdd * design.timestep
    return {block: scale * current[0, 0] for block, current in run.supply.items()}
