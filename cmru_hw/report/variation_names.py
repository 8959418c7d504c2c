"""Explanations of the names of elements that vary from die to die.

Their laws are in :mod:`cmru_hw.circuits.charge.variation`, :mod:`cmru_hw.circuits.charge.noise` and
:mod:`cmru_hw.circuits.current.variation`.
"""

from __future__ import annotations

# keys are leaves of the tree of varying elements; the layers share their leaves
MEANINGS = {
    # charge domain
    "weights": "weight capacitors",
    "offset": "offset voltage of each comparator",
    "limit": "voltage of the level limit",
    "packet": "capacitor that moves a state by one level",
    "integrator": "capacitor that holds the state",
    "amplifier": "gain of each amplifier",
    "leak": "leakage of each held state",
    "injection": "charge injected by opening switches",
    "readout/weights": "capacitors of the readout",
    "readout/offset": "offsets of the readout comparators",
    "readout/injection": "charge injected into rows of the readout",
    "global/capacitor": "all capacitors of a die together",
    "global/amplifier": "gain of all amplifiers of a die",
    "global/leak": "leakage of a whole die",
    "global/injection": "charge of all switches of a die",
    "global/reference": "reference voltages of packets",
    "global/bias": "voltage of the constant 1",
    "noise/row": "thermal noise of weighted sums (kT/C)",
    "noise/decision": "comparator noise, new at each decision",
    "noise/wander": "1/f noise of comparators",
    "noise/charge": "thermal noise of packets (kT/C)",
    "noise/class": "noise of the readout comparators",
    # current mode
    "inputs/diodes": "diodes of the inputs",
    "entry": "transistors at the entry of a layer",
    "candidate": "mirrors of the candidates' weights",
    "cells": "the nine transistors of each cell",
    "references": "sources of thresholds and levels",
    "output": "mirrors of the weights behind cells",
}


def meaning(name: str) -> str:
    """Explanation of the class of elements ``name``; empty if it is unknown."""
    return MEANINGS.get(name, "")
