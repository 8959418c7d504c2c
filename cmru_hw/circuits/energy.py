"""Charge meters → energy: the energy of every block in every frame, and a check that the blocks add up to the supply.

A charge meter (``netlists/cells/macro/metered``, ``netlists/cells/transistor/supply.cir``) is a capacitor of 1 nF in
the deck that integrates a supply current. The simulator thus integrates the charge by the same rule as the circuit; a
sum over saved currents can be wrong by tens of percent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cmru_hw.circuits.comparison import Reference
from cmru_hw.core.errors import CheckFailed
from cmru_hw.core.signals import Array, Traces
from cmru_hw.spice.schedule import Schedule

# A charge meter rises by 1 mV for each picocoulomb.
FARAD = 1e-9
# Largest accepted difference between the energy of all blocks and of all supplies, as a share.
TOLERANCE = 0.01

# Default reason for a difference between analytic estimate and simulation.
DIFFERENCE = "the analytic estimate leaves out leakage and amplifier error, and its rows settle completely"


@dataclass(frozen=True, kw_only=True)
class ChargeMeter:
    """The charge of one supply: that of node ``vector`` less those of ``without``; each coulomb costs ``volts``.

    A ``one_way`` meter measures a driver between the rails: charge that the driver delivers comes from the supply, and
    charge that flows back goes to ground and saves no energy. An ``outside`` meter is not part of the total's.
    """

    vector: str
    block: str
    volts: float
    one_way: bool = False
    without: tuple[str, ...] = ()
    outside: bool = False


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Times to read the meters: ``starts`` (frames,) [s] of frames of length ``period`` [s], and an ``idle_interval``.

    ``idle_interval`` is the begin and the end, as shares of a frame, of an interval without switching: its current is
    static.
    """

    starts: Array
    period: float
    idle_interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class EnergyModel:
    """The energy model of one design.

    ``label`` is "estimate" or "simulated"; ``total`` is the meter of all supplies together. ``frames(plan, sequence)``
    gives the times to read the meters; ``analytic(expected, inputs, sequence)`` is the analytic estimate, block →
    (timesteps,) [J]. ``unit`` are blocks that are measured elsewhere, block → (static, dynamic) [J per timestep];
    ``modelled`` are all blocks of a complete energy breakdown at this level, and ``excludes`` the omitted ones.
    ``duty`` is the share of a timestep with switching. ``estimate_differences`` gives, by block, the reason for a
    difference between simulation and analytic estimate.
    """

    label: str
    meters: tuple[ChargeMeter, ...]
    total: str
    frames: Callable[[Schedule, int], Frames]
    analytic: Callable[[Reference, Array, int], dict[str, Array]]
    unit: Mapping[str, tuple[float, float]]
    modelled: tuple[str, ...]
    duty: float
    excludes: tuple[str, ...]
    estimate_differences: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class EnergyBreakdown:
    """Energy [J] by block, (frames,) each. ``static`` is part of ``blocks``.

    ``supply`` (frames,) is the energy of all supplies together, measured in their common return path. It includes
    energy that no block's meter measures.
    """

    blocks: Mapping[str, Array]
    static: Mapping[str, Array]
    supply: Array

    @property
    def closure_error(self) -> float:
        """Closure error: (blocks − supply) / supply, over all frames."""
        supplied = float(self.supply.sum())
        attributed = float(sum(values.sum() for values in self.blocks.values()))
        return (attributed - supplied) / supplied if supplied else float("inf" if attributed else 0.0)

    def check(self) -> None:
        """Raises CheckFailed if blocks and supply differ by more than TOLERANCE."""
        if not abs(self.closure_error) <= TOLERANCE:
            raise CheckFailed(
                f"the energy breakdown does not close: blocks add up to {1 + self.closure_error:.1%} of the charge "
                "that all supplies delivered; check that every source of the netlist has a charge meter"
            )


def measure(traces: Traces, meters: Sequence[ChargeMeter], total: str, frames: Frames) -> EnergyBreakdown:
    """Read all ``meters`` and the meter ``total`` of all supplies together."""
    blocks: dict[str, Array] = {}
    static: dict[str, Array] = {}
    attributed = np.zeros(len(traces.time))
    for meter in meters:
        net = traces.values[meter.vector] - sum(traces.values[name] for name in meter.without)
        given = _rises(net) if meter.one_way else net
        volts = np.interp(_instants(frames), traces.time, given) * FARAD * meter.volts
        blocks[meter.block] = blocks.get(meter.block, 0.0) + volts[1] - volts[0]
        idle = (volts[3] - volts[2]) / (frames.idle_interval[1] - frames.idle_interval[0])
        static[meter.block] = static.get(meter.block, 0.0) + idle
        if not meter.outside:
            attributed += net
    # Drivers deliver and take back charge within a frame, so unmetered energy is computed step by step.
    unmetered = traces.values[total] - attributed
    missed = np.interp(_instants(frames)[:2], traces.time, _rises(unmetered) + _rises(-unmetered))
    price = FARAD * max(meter.volts for meter in meters)
    return EnergyBreakdown(blocks=blocks, static=static, supply=sum(blocks.values()) + price * (missed[1] - missed[0]))


def _instants(frames: Frames) -> Array:
    """(4, frames): begin and end of each frame, and of its idle interval."""
    return np.stack([frames.starts + share * frames.period for share in (0.0, 1.0, *frames.idle_interval)])


def _rises(values: Array) -> Array:
    """Sum of all rises of ``values`` up to each point."""
    return np.concatenate(([0.0], np.cumsum(np.maximum(np.diff(values), 0.0))))
