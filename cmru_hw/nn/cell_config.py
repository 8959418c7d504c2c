"""The cells that a network may have, and the settings of a cell. See :mod:`cmru_hw.nn.cells` for their equations."""

from __future__ import annotations

from dataclasses import dataclass

from cmru_hw.core.errors import InputError
from cmru_hw.nn import levels
from cmru_hw.nn.levels import Levels

CELLS = ("bmru", "cmru", "eps", "acmru", "fq-bmru")
DECISIONS = ("mean", "last", "majority")


@dataclass(frozen=True, kw_only=True)
class CellConfig:
    """The recurrence: ``cell`` of :data:`CELLS`, its ``epsilon``, and the saturation ``levels`` K.

    With K the state of every timestep stays within −K … K; None is no limit. K may differ from unit to unit, see
    :mod:`cmru_hw.nn.levels`. Raises InputError for a combination without a meaning.
    """

    cell: str
    epsilon: float = 1.0
    levels: Levels = None

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise InputError(f"cell {self.cell!r} is unknown; it must be one of {', '.join(CELLS)}")
        if not 0.0 <= self.epsilon <= 1.0:
            raise InputError(f"epsilon is {self.epsilon}; it must lie between 0 and 1")
        fixed = {"bmru": 0.0, "cmru": 1.0, "acmru": 1.0}.get(self.cell)
        if fixed is not None and self.epsilon != fixed:
            raise InputError(f"epsilon is {self.epsilon}, but it is {fixed} for cell {self.cell!r}; use cell 'eps'")
        object.__setattr__(self, "levels", levels.checked(self.levels))
