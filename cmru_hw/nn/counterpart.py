"""The counterpart of a trained network: the cell of the other architecture, with the same task, data and size.

Weights of a CMRU have no meaning in an FQ-BMRU, so a counterpart is trained, not converted. Both networks then have the
same inputs, layers, units, skip connections, classes, decision and test sequences, and their circuits can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cmru_hw.core.errors import DataError, InputError
from cmru_hw.nn import tasks
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.one_score import require_classes
from cmru_hw.nn.tasks import Task
from cmru_hw.nn.training import accuracy

FQ, WINDOW = "fq-bmru", "cmru"
# The accuracy of a network on its own test sequences may differ from the stored one by rounding alone.
ROUNDING = 0.005


@dataclass(frozen=True, kw_only=True)
class Original:
    """The network whose counterpart is trained. ``test``: its accuracy on the test sequences of ``data``."""

    path: Path
    trained: Trained
    data: Task
    test: float

    @property
    def cell(self) -> str:
        """The cell of the counterpart: FQ-BMRU of a charge-domain network, CMRU of an FQ-BMRU."""
        return WINDOW if self.trained.config.cell == FQ else FQ


def original(path: Path, trained: Trained, own: Task | None) -> Original:
    """``trained`` of the file ``path``, with the data of its task: ``own`` sequences, or those of a named task.

    Raises InputError or DataError, with cause and remedy, where a counterpart could not be compared with it.
    """
    config = trained.config
    require_classes(config, f"the counterpart of {path}")
    stated = str(config.task.get("name", ""))
    if own is None:
        if stated not in tasks.TASKS:
            what = f"was trained on {stated}" if stated else "does not name its task"
            raise InputError(f"{path} {what}: give --data and --test, the sequences that it was trained on")
        data = tasks.get(stated)
    elif stated in tasks.TASKS:
        raise InputError(f"{path} was trained on the task {stated}, not on --data: leave --data and --test out")
    else:
        data = own
    for part in (data.train, data.test):
        try:
            trained.check(part)
        except DataError as error:
            raise DataError(f"{path} cannot be compared on these sequences: {error}") from None
    if data.classes != config.classes:
        # Sequences of one's own have no class names; those of the network hold.
        if len(data.classes) > len(config.classes) or own is None:
            raise InputError(f"{path} has the classes {_names(config.classes)}, the data {_names(data.classes)}")
        data = Task(name=data.name, train=data.train, test=data.test, classes=config.classes, notes=data.notes)
    test = accuracy(trained, data.test)
    kept = config.scores.get("test")
    if isinstance(kept, float) and abs(kept - test) > ROUNDING:
        raise DataError(
            f"{path} has an accuracy of {test:.2%} on these test sequences, but {kept:.2%} in its checkpoint: give the "
            f"sequences that it was trained and tested on"
        )
    return Original(path=path, trained=trained, data=data, test=test)


def _names(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:5])
    return f"{shown}, ..." if len(classes) > 5 else shown
