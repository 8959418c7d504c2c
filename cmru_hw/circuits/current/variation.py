"""(seed, die) → the strength of every transistor of a current-mode network.

Below threshold a shift ΔV_T of a device multiplies its current by exp(−ΔV_T / n V_t) at any current, and so does a gain
error. One number per device therefore describes the effect of mismatch on a network of mirrors: its strength, lognormal
with σ = coefficient / √(w l), where w counts devices in parallel together. SPICE gets it as a device's multiplicity and
the fast engine as a factor, for the same die. A strength is a pure function of (seed, die, name of the device in the
netlist).

The sources of variation form a tree of names, one leaf for each class of devices (:func:`leaves`)::

    inputs/diodes                                  layer0/entry candidate cells references output
    readout/weights                                (the same for every layer; entry only where there is one)

A weighted sum consists of its arms, its diodes and the folds of its lines. There is no variation that all devices of a
die share: in a network of ratios these are supply, temperature and process, which corners cover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.current import netlist
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.variation import select
from cmru_hw.core import counter_rng
from cmru_hw.core.errors import InputError
from cmru_hw.core.signals import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class CurrentDies:
    """Dies ``numbers`` (dies,) of one nominal ``design``. ``strengths`` has (dies,) for every device by name."""

    design: CurrentDesign
    numbers: NDArray[np.int64]
    seed: int
    strengths: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.numbers)

    def one(self, place: int) -> dict[str, float]:
        """Strengths of the die at index ``place``, as `netlist.network_text` takes them."""
        return {name: float(values[place]) for name, values in self.strengths.items()}


def leaves(design: CurrentDesign) -> tuple[str, ...]:
    """Names of all sources of variation of ``design``."""
    return tuple(dict.fromkeys(device.leaf for device in netlist.devices(design).values()))


def select_variations(
    design: CurrentDesign, *, only: Sequence[str] = (), without: Sequence[str] = (), drift: Sequence[str] = ()
) -> frozenset[str]:
    """Sources of variation of ``design``: see `cmru_hw.circuits.variation.select`.

    Raises InputError for a ``drift``: it is that of trim codes, which a circuit in current mode does not have.
    """
    if drift:
        raise InputError("a drift is that of trim codes, which current mode does not have: leave out --drift")
    return select(leaves(design), only=only, without=without)


def draw(
    design: CurrentDesign, *, seed: int, dies: Sequence[int] | NDArray[np.int64], varied: frozenset[str] | None = None
) -> CurrentDies:
    """The dies with numbers ``dies`` (each >= 0). ``varied`` are the leaves that vary; all of them if None."""
    numbers = np.asarray(dies, dtype=np.int64)
    technology = design.technology
    coefficient = {"n": technology.mismatch_n, "p": technology.mismatch_p}
    strengths = {}
    first = np.zeros(1, dtype=np.uint64)
    for name, device in netlist.devices(design).items():
        if varied is not None and device.leaf not in varied:
            strengths[name] = np.ones(len(numbers))
            continue
        sigma = coefficient[device.polarity] / np.sqrt(device.count * device.width * device.length)
        normal = counter_rng.normals(counter_rng.keys(seed, name, numbers), first)
        strengths[name] = np.exp(sigma * normal)
    return CurrentDies(design=design, numbers=numbers, seed=seed, strengths=strengths)
