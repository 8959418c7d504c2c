"""Sizing and training in turns: sizes for a network, then the network on dies of these sizes, then sizes again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from cmru_hw.analysis import hardware_aware
from cmru_hw.analysis.sizing.problem import Problem
from cmru_hw.analysis.sizing.result import ROUNDS, Round, Rounds, SizingResult
from cmru_hw.analysis.sizing.search import job_of
from cmru_hw.core.errors import DataError
from cmru_hw.core.units import percent
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.recipes import Recipe
from cmru_hw.nn.sequences import Sequences
from cmru_hw.nn.training import Progress

NETWORK = "network.safetensors"


@dataclass(frozen=True, kw_only=True)
class Training:
    """Labelled sequences to train on between two rounds, the number of steps, and a callback for progress."""

    sequences: Sequences
    steps: int = hardware_aware.STEPS
    progress: Progress | None = None


def run_rounds(
    problem: Problem,
    folder: str | Path,
    *,
    rounds: int,
    training: Training,
    size: Callable[[Problem, Path], SizingResult],
) -> Rounds:
    """``rounds`` searches in ``folder/round-1``, ``round-2``, …, with training in between.

    The first search is for the network of ``problem``. Each other one is for the network of the round before, trained
    further on dies of the sizes that were chosen there, by the recipe that its checkpoint records. Dies of all rounds
    are judged by the software accuracy of the first network, so a network that has lost accuracy does not make a yield
    easier. The rounds end early if no size reaches the yield, or if training loses more accuracy than a good die may.
    ``size`` runs one search in a folder (`run_sizing`). The result is written to ``folder`` too. Raises DataError if
    the training sequences have no labels or do not fit.
    """
    if training.sequences.labels is None:
        raise DataError("training between rounds needs labels; add an array 'labels' to the training sequences")
    problem.trained.check(training.sequences)
    folder, accuracy = Path(folder), _accuracy(problem)
    wanted = accuracy - problem.goal.drop
    found, ended = list[Round](), ""
    for number in range(1, rounds + 1):
        place = folder / f"round-{number}"
        result = size(problem, place)
        checkpoint.save(problem.trained, place / NETWORK, force=True)
        found.append(Round(number=number, accuracy=accuracy, folder=str(place), sizing=result))
        if number == rounds:
            break
        if result.chosen is None:
            ended = f"no size of round {number} reaches the yield"
            break
        following = _trained(problem, result, training)
        accuracy = _accuracy(following)
        drop = accuracy - wanted
        if drop < 0:
            ended = f"training after round {number} leaves {percent(accuracy)} in software, less than a good die needs"
            break
        problem = replace(following, goal=replace(problem.goal, drop=drop))
    reached = [one for one in found if one.sizing.reached]
    best = min(reached, key=lambda one: one.cost) if reached else found[0]
    made = Rounds(best=best.number, rounds=tuple(found), ended=ended)
    made.save(folder / ROUNDS)
    return made


def _trained(problem: Problem, result: SizingResult, training: Training) -> Problem:
    """``problem`` with its network trained further on dies of the sizes that ``result`` chose."""
    assert result.chosen is not None
    recipe = hardware_aware.recipe_of(_recipe(problem.trained), steps=training.steps)
    technology = problem.technology_at(result.chosen.typed())
    tuned = hardware_aware.fine_tune(
        problem.trained, training.sequences, technology, recipe, seed=problem.seed, progress=training.progress
    )
    return replace(problem, trained=tuned)


def _recipe(trained: Trained) -> Recipe:
    """The recipe that the network was trained with, if its checkpoint records one."""
    recorded = trained.config.training.get("recipe")
    if not isinstance(recorded, Mapping):
        return Recipe()
    known = {one.name: type(one.default) for one in fields(Recipe)}
    settings: Mapping[str, Any] = {name: value for name, value in recorded.items() if type(value) is known.get(name)}
    return Recipe(**settings)


def _accuracy(problem: Problem) -> float:
    """Accuracy of the software model that dies are compared with."""
    return float(job_of(problem, problem.design(problem.base)).goal.accuracy)
