"""``train``: train a network on a named task."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmru_hw.cli import common
from cmru_hw.core.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cmru_hw.analysis.training_result import Improvement, SeedScores
    from cmru_hw.nn.checkpoint import Trained
    from cmru_hw.nn.training import Recipe
    from cmru_hw.process.technology import Technology


@click.command()
@click.argument("task", type=click.Choice(["vowels", "detect", "digits", "flipflop"]))
@click.option(
    "-o", "--output", required=True, type=common.FILE, metavar="FILE.safetensors", help="The checkpoint to write."
)
@click.option(
    "--cell",
    type=click.Choice(["cmru", "bmru", "eps", "acmru", "fq-bmru"]),
    default="cmru",
    show_default=True,
    help="The recurrent cell.",
)
@click.option("--shape", default="2x16", show_default=True, metavar="LxN", help="L layers of N units.")
@click.option("--epsilon", type=common.Real(0, 1), help="ε of the eps cell, annealed from 1.")
@click.option("--levels", type=click.IntRange(0), help="Largest level K; 0: unbounded.  [default: 7, for acmru 0]")
@click.option(
    "--skip/--no-skip", default=True, show_default=True, help="A layer also reads the inputs of the previous layer."
)
@click.option("--steps", type=click.IntRange(1), help="Optimiser steps.  [default: depends on the task]")
@click.option(
    "--row-margin",
    type=click.FloatRange(0, 0.5),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Train rows that stay this share of the swing away from their thresholds.",
)
@click.option(
    "--best-of",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    metavar="N",
    help="Train N seeds, from --seed on, and keep the one with the lowest loss on variations of the training data.",
)
@click.option(
    "--hardware-aware",
    "aware",
    is_flag=True,
    help="Continue training with the mismatch, quantisation and noise of another die in every step, and evaluate dies "
    "before and after.",
)
@click.option(
    "--from", "start", type=common.FILE, metavar="FILE", help="With --hardware-aware: start from this checkpoint."
)
@click.option(
    "--technology", default="macro", show_default=True, metavar="NAME|FILE.toml", help="Technology of the dies."
)
@click.option("--tune-steps", type=click.IntRange(1), default=800, show_default=True, help="Optimiser steps on dies.")
@click.option(
    "-n", "--dies", type=click.IntRange(1), default=200, show_default=True, help="Number of dies in the evaluation."
)
@common.seed_option
@common.force_option
@common.json_option
def train(
    task: str,
    output: Path,
    cell: str,
    shape: str,
    epsilon: float | None,
    levels: int | None,
    skip: bool,
    steps: int | None,
    row_margin: float,
    best_of: int,
    aware: bool,
    start: Path | None,
    technology: str,
    tune_steps: int,
    dies: int,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Train a network that can be built, and score it once on the task's test split.

    Needs the data packages: pip install 'cmru_hw[train]'. With --hardware-aware, training continues with another die of
    the technology in every step. Both networks are then evaluated on the same dies, drawn as in montecarlo.

    \b
    Example: cmru-hw train flipflop --shape 1x2 --levels 2 --seed 1 -o out/flipflop.safetensors
    """
    sized = re.fullmatch(r"([1-9]\d?)x([1-9]\d{0,2})", shape)
    if sized is None:
        raise click.BadParameter(f"{shape!r} is not LxN, such as 2x16", param_hint="--shape")
    if output.suffix != ".safetensors":
        raise OutputError(f"{output}: a checkpoint must be named .safetensors; change the name")
    if start is not None and not aware:
        raise click.UsageError("--from needs --hardware-aware")
    common.check_output(output, force)
    from dataclasses import replace

    from cmru_hw.analysis.training_result import TrainingResult
    from cmru_hw.nn import checkpoint, training
    from cmru_hw.process import technology as technologies

    process = technologies.load(technology) if aware else None
    if levels is None:
        # an αCMRU with a limit trains, but has no circuit
        levels = 0 if cell == "acmru" else 7
    recipe = replace(training.RECIPES.get(task, training.Recipe()), row_margin=row_margin)
    if steps is not None:
        recipe = replace(recipe, steps=steps)
    command = " ".join(["cmru-hw", *sys.argv[1:]])
    tried: list[SeedScores] = []
    if start is not None:
        trained = checkpoint.load(start)
    else:
        fit = partial(
            training.train,
            cell=cell,
            units=(int(sized[2]),) * int(sized[1]),
            epsilon=epsilon,
            levels=levels or None,
            skip=skip,
            recipe=recipe,
            command=command,
        )
        trained, tried = _best(task, seed, best_of, fit, recipe)
    improvement: Improvement | None = None
    if process is not None:
        trained, improvement = _improved(trained, task, process, recipe, tune_steps, dies, seed, command)
    output.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(trained, output, force=force)
    shape = f"{len(trained.config.units)}x{trained.config.units[0]}"
    if as_json:
        result = TrainingResult(
            output=str(output),
            scores=trained.config.scores,
            sha256=trained.sha256,
            tried=tuple(tried) or None,
            hardware_aware=improvement,
        )
        common.print_json(result)
        return
    rows = [("checkpoint", str(output)), ("sha256", trained.sha256)]
    rows += [(name, f"{value}") for name, value in trained.config.scores.items()]
    rows += [(f"seed {one.seed}", f"loss {one.loss:.4f}, test {one.scores['test']:.2%}") for one in tried]
    common.print_table(f"{task}, {trained.config.cell} {shape}", rows)
    if improvement is not None:
        _print_improved(improvement)


def _report(report: Callable[[int, int], None], place: int, count: int, step: int, steps: int, loss: float) -> None:
    report(place * steps + step, count * steps)


def _best(
    task: str, first: int, count: int, fit: Callable[..., Trained], recipe: Recipe
) -> tuple[Trained, list[SeedScores]]:
    """The best of ``count`` networks by training loss (never by test sequences), and a record of all of them."""
    from dataclasses import replace

    from cmru_hw.analysis.training_result import SeedScores
    from cmru_hw.nn import tasks, training

    data = tasks.get(task)
    tried: list[SeedScores] = []
    best: Trained | None = None
    with common.progress("training, steps") as report:
        for place in range(count):
            made = fit(data, seed=first + place, progress=partial(_report, report, place, count))
            if count == 1:
                return made, []
            loss = training.objective(made, data.train, recipe)
            if best is None or loss < min(one.loss for one in tried):
                best = made
            tried.append(SeedScores(seed=first + place, loss=loss, scores=made.config.scores))
    assert best is not None
    notes = {**best.config.training, "best_of": {one.seed: one.loss for one in tried}}
    return replace(best, config=replace(best.config, training=notes)), tried


def _improved(
    trained: Trained, task: str, process: Technology, recipe: Recipe, steps: int, dies: int, seed: int, command: str
) -> tuple[Trained, Improvement]:
    """The network after fine-tuning on dies of ``process``, and the summaries before and after."""
    from dataclasses import replace

    from cmru_hw.analysis import hardware_aware
    from cmru_hw.analysis.training_result import Improvement
    from cmru_hw.nn import tasks

    data = tasks.get(task)
    trained.check(data.train)
    with common.progress("on dies, steps") as report:
        tuned = hardware_aware.improve(
            trained,
            data.train,
            data.test,
            process,
            hardware_aware.recipe_of(recipe, steps=steps),
            dies=dies,
            seed=seed,
            progress=lambda step, total, loss: report(step, total),
        )
    notes = {**tuned.trained.config.training, "command": command}
    config = replace(tuned.trained.config, training=notes)
    found = Improvement(technology=process.name, steps=steps, seed=seed, before=tuned.before, after=tuned.after)
    return replace(tuned.trained, config=config), found


def _print_improved(found: Improvement) -> None:
    before, after = found.before, found.after
    rows = [
        (name, f"{_share(one)} before, {_share(other)} after")
        for name, one, other in (
            ("software", before.accuracy.software, after.accuracy.software),
            ("median die", before.accuracy.median, after.accuracy.median),
            ("5th percentile", before.accuracy.p05, after.accuracy.p05),
            ("worst die", before.accuracy.min, after.accuracy.min),
        )
    ]
    yielded = (
        f"{one.value:.1%} [{one.low:.1%}, {one.high:.1%}] {when}"
        for one, when in ((before.yield_, "before"), (after.yield_, "after"))
    )
    rows.append(("yield", ", ".join(yielded)))
    agree = f"{_share(before.decision_agreement)} before, {_share(after.decision_agreement)} after"
    rows.append(("decisions as in software", agree))
    goal = before.accuracy.software - before.drop
    rows.append(("a good die has", f"accuracy of at least {goal:.2%}, before and after"))
    common.print_table(f"test accuracy of {before.dies} dies of {found.technology}, fast engine", rows)


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.2%}"
