"""The checkpoints of models/: train them again with their own recipes, and test whether another would be better.

Each is tuned and chosen without test sequences:

- *Learning rate*: the recipe's, unless the other rate has a significantly higher accuracy in cross-validation on the
  training sequences.
- *Seed*: the lowest validation loss, the criterion of ``cmru-hw train --best-of``: the training loss on new variations
  of the training sequences. Seeds hardly differ, so a checkpoint stays unless the best seed's loss is significantly
  lower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.claims import intervals
from cmru_hw.core import package_data
from cmru_hw.nn import checkpoint, tasks, training
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.recipes import Recipe
from cmru_hw.nn.tasks import Task

FOLDS = 3


def tune(name: str, rates: Sequence[float]) -> dict[str, Any]:
    """Number of correct held-out training sequences at each rate, and the resulting choice of rate."""
    trained, task, recipe = _known(name)
    count, own = len(task.train), recipe.learning_rate
    right = {}
    for rate in rates:
        at_rate = replace(recipe, learning_rate=rate)
        parts = training.cross_validate(trained.config, task.train, at_rate, folds=FOLDS)
        right[rate] = round(count * sum(parts) / FOLDS)
    better = [rate for rate in rates if intervals.share_difference((right[rate], count), (right[own], count)).low > 0]
    taken = max(better, key=lambda rate: right[rate], default=own)
    return {"right": {str(rate): right[rate] for rate in rates}, "sequences": count, "own": own, "rate": taken}


def again(name: str, seed: int) -> dict[str, Any]:
    """The network that its recipe gives with ``seed``."""
    ours, task, recipe = _known(name)
    made = training.fit(ours.config, task.train, recipe, seed=seed)
    return _described(made, task, training.objective(made, task.train, recipe))


def kept(name: str, best: int, tries: int) -> dict[str, Any]:
    """The checkpoint itself, and the difference between its loss and that of ``best``, the best of ``tries`` seeds."""
    ours, task, recipe = _known(name)
    made = training.fit(ours.config, task.train, recipe, seed=best)
    one, other = (training.objectives(network, task.train, recipe) for network in (ours, made))
    gain = asdict(intervals.paired((one - other).tolist(), tries))
    return {**_described(ours, task, float(one.mean())), "best": {"seed": best, "sha256": made.sha256, "gain": gain}}


def _known(name: str) -> tuple[Trained, Task, Recipe]:
    trained = checkpoint.load(package_data.folder("models") / f"{name}.safetensors")
    return trained, tasks.get(trained.config.task["name"]), Recipe(**trained.config.training["recipe"])


def _described(trained: Trained, task: Task, loss: float) -> dict[str, Any]:
    return {"sha256": trained.sha256, "loss": round(loss, 6), "test": training.accuracy(trained, task.test)}
