"""What varies from die to die, in words: the names that a ranking uses, for who has never seen them.

The laws behind them are in :mod:`cmru_hw.circuits.charge.variation`, :mod:`cmru_hw.circuits.charge.noise` and
:mod:`cmru_hw.circuits.current.variation`.
"""

from __future__ import annotations

# keys are leaves of the tree of what varies, those of all layers as one
MEANINGS = {
    # charge domain
    "weights": "capacitors that hold the weights",
    "offset": "each comparator's own switching point",
    "limit": "where the ladder of levels ends",
    "packet": "capacitor that moves a state by one level",
    "integrator": "capacitor that holds the state",
    "amplifier": "gain of each amplifier",
    "leak": "leakage of each held state",
    "injection": "charge that opening switches leave behind",
    "readout/weights": "capacitors of the readout",
    "readout/offset": "offsets in the choice of a class",
    "readout/injection": "the same charge on rows of the readout",
    "global/capacitor": "all capacitors of a die together",
    "global/amplifier": "gain of all amplifiers of a die",
    "global/leak": "leakage of a whole die",
    "global/injection": "charge of all switches of a die",
    "global/reference": "voltages that packets are made of",
    "global/bias": "voltage of the constant 1",
    "noise/row": "thermal noise of weighted sums (kT/C)",
    "noise/decision": "comparator noise, new at each decision",
    "noise/wander": "comparator noise that is slow (1/f)",
    "noise/charge": "thermal noise of packets (kT/C)",
    "noise/class": "noise in the choice of a class",
    # current mode
    "inputs/diodes": "diodes that take the inputs",
    "entry": "transistors at the entry of a layer",
    "candidate": "mirrors that hold the weights of candidates",
    "cells": "the nine transistors of each cell",
    "references": "sources of thresholds and levels",
    "output": "mirrors that hold the weights behind cells",
}


def meaning(name: str) -> str:
    """What the class of elements ``name`` is; empty for one that is not known here."""
    return MEANINGS.get(name, "")
