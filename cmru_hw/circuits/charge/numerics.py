"""Numerical options for the simulation of a transistor-level charge-domain deck.

ngspice accepts a time step if the estimated error of every charge is below ``trtol * reltol`` times that charge or
``trtol * reltol`` times ``chgtol``, whichever is larger. A state is 3e-13 C on its capacitor and a gate 1e-16 C. A
relative bound that suits the gates therefore lets a state drift by millivolts, and one that suits the states follows
every gate in picoseconds. Here ``chgtol`` exceeds every charge of the circuit, so that one absolute bound applies
everywhere: `Numerics.charge`, which is 0.1 mV on 200 fF. ``reltol`` is then free for Newton's iteration and for
``bypass``, which skips a device whose voltages moved by less than ``reltol`` of themselves and a microvolt.

The bound holds for each capacitor by itself. Where a node consists of small ones, a deck adds a large one and its
negative (`cmru_hw.circuits.charge.power_gated_netlist.STEP_CONTROL`).

``python -m benchmarks.convergence charge`` compares settings with a reference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# How often the steps of a result that does not hold are halved.
MOST_REFINEMENTS = 2


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Settings of a transient analysis.

    ``reltol``, ``trtol`` and ``chgtol`` [C] bound the error of a step as described above. ``bypass`` lets ngspice skip
    the model of a device whose voltages hardly moved.
    """

    reltol: float
    trtol: float
    chgtol: float
    bypass: bool

    @property
    def charge(self) -> float:
        """Largest estimated error of a charge in one step [C], for charges below ``chgtol``."""
        return self.reltol * self.trtol * self.chgtol

    def options(self) -> str:
        """The ``.options`` card. gmin and abstol are far below the leakage of femtoamperes that limits retention."""
        return (
            f".options method=gear maxord=2 gmin=1e-17 abstol=1e-16 reltol={self.reltol!r} trtol={self.trtol!r} "
            f"chgtol={self.chgtol!r} bypass={int(self.bypass)}"
        )

    def refined(self, times: int) -> Numerics:
        """Halve the steps ``times`` times, and evaluate every device in each step.

        The error of a second-order step is proportional to the third power of its length.
        """
        return replace(self, trtol=self.trtol / 8**times, bypass=self.bypass and times == 0)

    def text(self) -> str:
        """The options on one line."""
        return self.options().removeprefix(".options ")


CONVERGED = Numerics(reltol=1e-6, trtol=20.0, chgtol=1e-12, bypass=True)
"""Rows and states within 0.3 mV of the reference, energy within 1 % of it, all decisions the same."""
