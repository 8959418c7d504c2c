"""The kinds of circuit for a network, behind one protocol: :mod:`cmru_hw.circuits.architecture`."""
