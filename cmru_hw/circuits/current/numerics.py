"""Numerical options for the simulation of a current-mode deck.

ngspice accepts a time step if the estimated error of every charge is below ``trtol`` times the larger of ``chgtol`` and
``reltol`` times the charge. Its default of ``chgtol``, 10 fC, is more than the 5 fC that switch a cell: with it a cell
can jump from one stable state to the other between two time points and no error is seen. So ``chgtol`` has to be far
below that charge. ``python -m benchmarks.convergence current`` compares settings with a reference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Settings of a transient analysis.

    ``reltol``, ``trtol`` and ``chgtol`` [C] bound the error of a step as above. ``bypass`` lets ngspice skip the model
    of a device whose voltages hardly changed. ``steps``: the least number of time steps in a timestep of the network.
    """

    reltol: float
    trtol: float
    chgtol: float
    bypass: bool
    steps: int

    def options(self) -> str:
        """The ``.options`` card. Small currents are not truncated: gmin of 1 pS moves a threshold of 0.1 nA by 5 %."""
        return (
            f".options method=gear gmin=1e-15 abstol=1e-15 reltol={self.reltol!r} trtol={self.trtol!r} "
            f"chgtol={self.chgtol!r} bypass={int(self.bypass)}"
        )

    def largest_step(self, timestep: float) -> float:
        """[s]"""
        return timestep / self.steps

    def refined(self, times: int) -> Numerics:
        """Both tolerances of an error divided by ten, and the largest step halved, ``times`` times.

        The error of a step of second order is of the third power of its length, so steps become half as long.
        """
        return replace(
            self, reltol=self.reltol / 10**times, chgtol=self.chgtol / 10**times, steps=self.steps * 2**times
        )

    def text(self, timestep: float) -> str:
        """Options and largest step on one line."""
        return f"{self.options().removeprefix('.options ')} largest step {self.largest_step(timestep):g} s"


CONVERGED = Numerics(reltol=1e-4, trtol=50.0, chgtol=1e-18, bypass=True, steps=2)
"""States as in the reference; currents and energy within 1 % of it."""
