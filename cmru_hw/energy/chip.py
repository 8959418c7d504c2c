"""The ledger of a whole chip: one supply with an account for each block, and one for all of them together.

Nothing is estimated: what a supply delivers is what the transistors took, through their headers, leakage included.
"""

from __future__ import annotations

import functools

import numpy as np

from cmru_hw import chip
from cmru_hw.compare import Reference
from cmru_hw.energy import macro, transistor
from cmru_hw.energy.ledger import Account, Books
from cmru_hw.mapping import Design
from cmru_hw.signals import Array

# After the inputs have changed, and before the strobe rises.
QUIET = (chip.INPUT_CHANGE + 0.05, chip.WINDOW - 0.02)
