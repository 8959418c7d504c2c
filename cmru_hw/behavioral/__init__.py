"""The fast engine: the equations of the macro circuit, one step per timestep, for many dies at once.

It computes what SPICE computes, from the same design and the same draws, because between two clock phases the circuit
is capacitors and ideal switches, whose charges have a closed form: :mod:`.rows` decide, :mod:`.states` follow,
:mod:`.readout` says which class. :mod:`.engine` takes them layer by layer through sequences that :mod:`.packed` laid
out.

Layout. Timesteps of all sequences are packed, without padding, along the last axis: timestep-major, longest sequence
first, so that the sequences alive at timestep t are a prefix. Units come before it, dies first of all. Matrix products
are made die by die: then a die's numbers do not depend, to the last bit, on which dies are computed with it. That also
keeps what a step works on near the processor, which this is about: it does little with each of many numbers. For the
same reason memory is written over where it can be, rather than asked for anew.
"""

from cmru_hw.behavioral.engine import Trajectories, respond, run, run_in_parts
from cmru_hw.behavioral.packed import Lines, Packed, pack
from cmru_hw.behavioral.readout import classes

__all__ = ["Lines", "Packed", "Trajectories", "classes", "pack", "respond", "run", "run_in_parts"]
