"""The ledger of a whole chip: one supply with an account for each block, and one for all of them together.

Nothing is estimated: what a supply delivers is what the transistors took, through their headers, leakage included.
"""

from __future__ import annotations

import functools

from cmru_hw import chip
from cmru_hw.compare import Reference
from cmru_hw.energy import macro, transistor
from cmru_hw.energy.ledger import Books
from cmru_hw.mapping import Design
from cmru_hw.signals import Array

# After the inputs have changed, and before the strobe rises.
QUIET = (chip.INPUT_CHANGE + 0.05, chip.WINDOW - 0.02)
APART = {"inputs": "switches and wires have capacitances of their own, which by hand they have not"}


def books(design: Design) -> Books:
    """How the ledger of a chip is kept."""
    return transistor.books_of(
        chip.accounts(design),
        quiet=QUIET,
        by_hand=functools.partial(by_hand, design),
        duty=chip.require(design)[1].strobe / design.timestep,
        excludes=chip.excludes(design),
        apart=APART,
    )


def by_hand(design: Design, expected: Reference, inputs: Array, sequence: int) -> dict[str, Array]:
    """Block → (timesteps,) [J]; ``inputs`` (timesteps, features)."""
    return {"inputs": macro.by_hand(design, expected, inputs, sequence)["inputs"]}
