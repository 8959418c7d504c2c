"""Accounts → joules: what every block of a circuit took in every frame, and whether that is all there was.

An account (``netlists/cells/macro/metered``, ``netlists/cells/transistor/supply.cir``) is a capacitor of 1 nF inside
the deck, so that the simulator integrates the charge by the very rule that moved it: a sum over saved currents can be
tens of percent off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cmru_hw.circuits.comparison import Reference
from cmru_hw.core.errors import CheckFailed
from cmru_hw.core.signals import Array, Traces
from cmru_hw.spice.schedule import Schedule

# An account rises by 1 mV for each picocoulomb.
FARAD = 1e-9
# What blocks took and what all supplies gave may differ by this share.
TOLERANCE = 0.01

# Why an analytic estimate and a simulation may differ, where a model has no better reason for a block.
APART = "by hand, leakage and amplifier error are not counted, and rows settle completely"


@dataclass(frozen=True, kw_only=True)
class ChargeMeter:
    """The charge of one supply: that of node ``vector`` less those of ``without``; each coulomb costs ``volts``.

    A ``one_way`` account is of a driver between the rails: charge that it delivers comes from the supply, charge that
    flows back into it goes to ground and pays for nothing. An ``outside`` account is not part of the total's.
    """

    vector: str
    block: str
    volts: float
    one_way: bool = False
    without: tuple[str, ...] = ()
    outside: bool = False


@dataclass(frozen=True, kw_only=True)
class Frames:
    """When to read: ``starts`` (frames,) [s] of frames of length ``period`` [s], and the ``quiet`` span in each.

    ``quiet`` are shares of a frame between which nothing is switched: what flows there is static.
    """

    starts: Array
    period: float
    quiet: tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class EnergyModel:
    """How energy is read off one design.

    ``label`` is "estimate" or "simulated"; ``total`` is the account of all supplies together. ``frames(plan,
    sequence)`` says when to read; ``analytic(expected, inputs, sequence)`` is the calculation beside the simulation,
    block → (timesteps,) [J]. ``unit`` are blocks that are measured elsewhere, block → (static, dynamic) [J per
    timestep]; ``modelled`` are all blocks that a complete ledger of this level has, and ``excludes`` what it leaves
    out; ``duty`` is the share of a timestep in which something is switched. ``apart`` says for a block why simulation
    and hand calculation may differ.
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
    apart: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class EnergyBreakdown:
    """Energy [J] by block, (frames,) each. ``static`` is part of ``blocks``.

    ``supply`` (frames,) is the energy by the account of all supplies together, metered where their charge comes back:
    ``blocks``, and what is on none of their accounts.
    """

    blocks: Mapping[str, Array]
    static: Mapping[str, Array]
    supply: Array

    @property
    def gap(self) -> float:
        """Blocks less supply, as a share of the supply, over all frames."""
        supplied = float(self.supply.sum())
        booked = float(sum(values.sum() for values in self.blocks.values()))
        return (booked - supplied) / supplied if supplied else float("inf" if booked else 0.0)

    def check(self) -> None:
        """Raises CheckFailed if blocks and supply differ by more than TOLERANCE."""
        if not abs(self.gap) <= TOLERANCE:
            raise CheckFailed(
                f"the energy breakdown does not close: blocks add up to {1 + self.gap:.3f} of what all supplies "
                "delivered; a source of the netlist is on no account"
            )


def measure(traces: Traces, meters: Sequence[ChargeMeter], total: str, frames: Frames) -> EnergyBreakdown:
    """Read ``accounts`` and the account ``total`` of all of them together."""
    blocks: dict[str, Array] = {}
    static: dict[str, Array] = {}
    booked = np.zeros(len(traces.time))
    for meter in meters:
        net = traces.values[meter.vector] - sum(traces.values[name] for name in meter.without)
        given = _rises(net) if meter.one_way else net
        volts = np.interp(_instants(frames), traces.time, given) * FARAD * meter.volts
        blocks[meter.block] = blocks.get(meter.block, 0.0) + volts[1] - volts[0]
        quiet = (volts[3] - volts[2]) / (frames.quiet[1] - frames.quiet[0])
        static[meter.block] = static.get(meter.block, 0.0) + quiet
        if not meter.outside:
            booked += net
    # Drivers give and take back within a frame, so what is on no account is looked for step by step.
    apart = traces.values[total] - booked
    missed = np.interp(_instants(frames)[:2], traces.time, _rises(apart) + _rises(-apart))
    price = FARAD * max(meter.volts for meter in meters)
    return EnergyBreakdown(blocks=blocks, static=static, supply=sum(blocks.values()) + price * (missed[1] - missed[0]))


def _instants(frames: Frames) -> Array:
    """(4, frames): begin and end of each frame, and of its quiet span."""
    return np.stack([frames.starts + share * frames.period for share in (0.0, 1.0, *frames.quiet)])


def _rises(values: Array) -> Array:
    """Sum of all that ``values`` rose by up to each point."""
    return np.concatenate(([0.0], np.cumsum(np.maximum(np.diff(values), 0.0))))
