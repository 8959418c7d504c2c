"""The fast engine: the equations of the macro circuit, one step per timestep, for one die after the other.

It computes what SPICE computes, from the same design and the same draws, because between two clock phases the circuit
is capacitors and ideal switches, whose charges have a closed form: :mod:`.rows` decide, :mod:`.states` follow,
:mod:`.readout` says which class. :mod:`.engine` takes them layer by layer through sequences that :mod:`.packed` laid
out. What follows from a die alone is worked out in numpy, for many dies at once; what is done at every place is in
:mod:`cmru_hw.core.kernels`.

Layout. Timesteps of all sequences are packed, without padding, along the last axis: timestep-major, longest sequence
first, so that the sequences alive at timestep t are a prefix. Units come before it. A die has the memory of the one
before it, which stays near the processor, and a die's numbers do not depend, to the last bit, on its company.
"""

from cmru_hw.circuits.charge.fast.batching import Packed, pack
from cmru_hw.circuits.charge.fast.engine import Trajectory, respond, run

__all__ = ["Packed", "Trajectory", "pack", "respond", "run"]
