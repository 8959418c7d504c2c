"""(seed, die, path of a device) → the deviations of that device, for a die in transistors.

The devices are those of the process, and so are the laws: every transistor and capacitor draws by the mismatch of its
model files. A draw is a pure function of the seed, the die and the path of the device in the netlist, so a device that
two designs share has the same deviations in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmru_hw.circuits.variation import select
from cmru_hw.core import counter_rng
from cmru_hw.core.errors import InputError

# The devices that every template uses.
DEVICES = ("nf", "pf", "cmim", "cmom")
LEAVES = tuple(f"devices/{name}" for name in DEVICES)


@dataclass(frozen=True, kw_only=True)
class DeviceDraws:
    """Die ``die`` of ``seed``; ``varied`` are the leaves of LEAVES that vary."""

    seed: int
    die: int
    varied: frozenset[str] = frozenset(LEAVES)

    def normal(self, path: str, within: tuple[str, ...], index: int) -> float:
        """A standard normal number: see `cmru_hw.spice.individual.Draw`."""
        kind = next((name for name in within if name in DEVICES), None)
        if f"devices/{kind}" not in self.varied:
            return 0.0
        key = counter_rng.keys(self.seed, f"devices/{path}", [self.die])
        return float(counter_rng.normals(key, np.array([index], dtype=np.uint64))[0])


def select_variations(
    *, only: Sequence[str] = (), without: Sequence[str] = (), drift: Sequence[str] = ()
) -> frozenset[str]:
    """Sources of variation of a design in transistors: see :func:`cmru_hw.circuits.variation.select`.

    Raises InputError for a ``drift``, which is that of macromodels.
    """
    if drift:
        raise InputError("a drift is that of macromodels: export with --level macro, or leave out --drift")
    return select(LEAVES, only=only, without=without)
