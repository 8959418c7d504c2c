"""The kinds of circuit that a network can become, behind one protocol: :mod:`cmru_hw.circuits.architecture`."""
