"""(seed, die) → how strong every single transistor of a current-mode network is.

Below threshold a shift ΔV_T of a device multiplies its current by exp(−ΔV_T / n V_t), whatever the current, and an
error of its gain multiplies it too. So one number per device says all that mismatch does to a network of mirrors:
its strength, lognormal with σ = coefficient / √(w l). SPICE gets it as a width, the fast engine as a factor, and both
are the same die. A strength is a pure function of (seed, die, name of the device), and the name is the netlist's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cmru_hw import streams
from cmru_hw.current import netlist
from cmru_hw.current.mapping import CurrentDesign
from cmru_hw.signals import Array


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
        """Strengths of the die at ``place``, as `netlist.network_text` takes them."""
        return {name: float(values[place]) for name, values in self.strengths.items()}


def draw(
    design: CurrentDesign, *, seed: int, dies: Sequence[int] | NDArray[np.int64], scale: float = 1.0
) -> CurrentDies:
    """The dies with numbers ``dies`` (each >= 0). ``scale`` multiplies every σ; with 0 they are all nominal."""
    numbers = np.asarray(dies, dtype=np.int64)
    technology = design.technology
    coefficient = {"n": technology.mismatch_n, "p": technology.mismatch_p}
    strengths = {}
    first = torch.zeros(1, dtype=torch.int64)
    for name, device in netlist.devices(design).items():
        sigma = scale * coefficient[device.polarity] / np.sqrt(device.width * device.length)
        normal = streams.normals(streams.keys(seed, name, numbers), first).numpy()
        strengths[name] = np.exp(sigma * normal)
    return CurrentDies(design=design, numbers=numbers, seed=seed, strengths=strengths)
