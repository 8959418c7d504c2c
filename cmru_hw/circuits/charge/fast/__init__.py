"""The fast engine: the equations of the macromodel, one step per timestep, one die after the other.

It takes the same design and the same draws as SPICE and computes the same result: between two clock phases the circuit
consists of capacitors and ideal switches, whose charges have a closed form. :mod:`.rows` computes decisions,
:mod:`.integrators` states and :mod:`.readout` classes. :mod:`.engine` runs them layer by layer over sequences in the
layout of :mod:`.batching`. Quantities that depend on the die only are computed in numpy for many dies at once; the
loops over timesteps are in :mod:`cmru_hw.core.loops`.

Layout. Timesteps of all sequences are packed along the last axis without padding: timestep-major, longest sequence
first, so that the sequences alive at timestep t are a prefix. Units are the axis before it. Each die reuses the memory
of the previous one, which stays in the processor's cache. The other dies of a run do not change a die's numbers by a
single bit.
"""

from cmru_hw.circuits.charge.fast.batching import Packed, pack
from cmru_hw.circuits.charge.fast.engine import Trajectory, respond, run

__all__ = ["Packed", "Trajectory", "pack", "respond", "run"]
