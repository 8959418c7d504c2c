"""Numerical options for the simulation of a current-mode deck.

ngspice accepts a time step if the estimated error of every charge is below ``trtol`` times the larger of ``chgtol`` and
``reltol`` times the charge. Its default ``chgtol``, 10 fC, exceeds the 5 fC that switch a cell. With that default a
cell can jump from one stable state to the other between two time points without a visible error. ``chgtol`` must
therefore be far below that charge. ``python -m benchmarks.convergence current`` compares settings with a reference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Settings of a transient analysis.

    ``reltol``, ``trtol`` and ``chgtol`` [C] bound the error of a step as described above. ``bypass`` lets ngspice skip
    the model of a device whose voltages hardly changed. ``steps``: least number of time steps per network timestep.
    """

    reltol: float
    trtol: float
    chgtol: float
    bypass: bool
    steps: int

    def options(self) -> str:
        """The ``.options`` card. Its gmin leaves small currents unchanged: 1 pS moves a threshold of 0.1 nA by 5 %."""
        return (
            f".options method=gear gmin=1e-15 abstol=1e-15 reltol={self.reltol!r} trtol={self.trtol!r} "
            f"chgtol={self.chgtol!r} bypass={int(self.bypass)}"
        )

    def largest_step(self, timestep: float) -> float:
        """[s]"""
        return timestep / self.steps

    def refined(self, times: int) -> Numerics:
        """Divide both error tolerances by ten and halve the largest step, ``times`` times.

        The error of a second-order step is proportional to the third power of its length, so steps become half as long.
        """
        return replace(
            self, reltol=self.reltol / 10**times, chgtol=self.chgtol / 10**times, steps=self.steps * 2**times
        )

    def text(self, timestep: float) -> str:
        """Options and largest step on one line."""
        return f"{self.options().removeprefix('.options ')} largest step {self.largest_step(timestep):g} s"


CONVERGED = Numerics(reltol=1e-4, trtol=50.0, chgtol=1e-18, bypass=True, steps=2)
"""States as in the reference; currents and energy within 1 % of it."""
