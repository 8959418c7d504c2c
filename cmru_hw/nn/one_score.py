"""Networks with a single score: there is no argmax of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmru_hw.core.errors import DataError

if TYPE_CHECKING:
    # it loads torch, and results that are only read need none
    from cmru_hw.nn.checkpoint import ModelConfig

ONE_SCORE = "the network has one score, and one score is no classification"
REMEDY = (
    "give its readout a second row and name two classes; a second row of zeros makes two scores of an output that "
    "went through a sigmoid"
)


def require_classes(config: ModelConfig, needed_for: str) -> None:
    """Raise DataError for a network with one score; ``needed_for`` is the subject of the message."""
    if len(config.classes) == 1:
        raise DataError(f"{needed_for} needs classes, but {ONE_SCORE}: {REMEDY}")
