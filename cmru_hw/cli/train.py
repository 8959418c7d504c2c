"""``train``: train a network on a named task or on sequences of your own."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmru_hw.cli import common
from cmru_hw.cli.training_options import Given, checked, levels_given
from cmru_hw.cli.training_output import print_improvement

if TYPE_CHECKING:
    from collections.abc import Callable

    from cmru_hw.analysis.training_result import Improvement, SeedScores
    from cmru_hw.nn import levels
    from cmru_hw.nn.checkpoint import Trained
    from cmru_hw.nn.counterpart import Original
    from cmru_hw.nn.recipes import Recipe
    from cmru_hw.nn.tasks import Task
    from cmru_hw.process.technology import Technology


# A counterpart that loses more accuracy than this is not one yet.
COMPARABLE = 0.02


@click.command()
@click.argument("task", required=False, type=click.Choice(["vowels", "detect", "digits", "flipflop", "listops"]))
@click.option(
    "--data",
    "data_path",
    type=common.FILE,
    metavar="TRAIN.npz",
    help="Instead of TASK: your own training sequences, with inputs, labels, and optionally lengths.",
)
@click.option("--test", "test_path", type=common.FILE, metavar="TEST.npz", help="With --data: the test sequences.")
@click.option("--classes", metavar="A,B,...", help="With --data: class names, in the order of the labels.")
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
@click.option(
    "--levels",
    callback=levels_given,
    metavar="K|K,K,...|mixed",
    help="Largest level K of all units; 0: unbounded; several: for equal parts of each layer; mixed: a third of "
    "each layer with 1 or 2, a third with 4 or 8, a third with half of the longest sequence, with --hardware-aware no "
    "more than the technology can tell apart.  [default: 7, for acmru 0; with --normalise mixed]",
)
@click.option(
    "--normalise/--no-normalise",
    default=None,
    help="Normalise candidates over each batch, and fold the normalisation into the weights at the end. "
    "Thresholds are then fixed. [default: for --data and cmru, bmru or eps, without --row-margin]",
)
@click.option(
    "--skip/--no-skip", default=True, show_default=True, help="A layer also reads the inputs of the previous layer."
)
@click.option(
    "--decision",
    type=click.Choice(["mean", "last", "majority"]),
    help="How a sequence is classified.  [default: mean; flipflop and listops last]",
)
@click.option("--steps", type=click.IntRange(1), help="Optimiser steps.  [default: depends on the task]")
@click.option(
    "--noise",
    type=common.Real(0, 10),
    metavar="SD",
    help="Noise added to the training inputs, in standard deviations of each feature.  [default: depends on the task; "
    "0 for --data]",
)
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
    "--from",
    "start",
    type=common.FILE,
    metavar="FILE",
    help="Start from this checkpoint, of this program or imported, instead of a new network.",
)
@click.option(
    "--counterpart",
    "other",
    type=common.FILE,
    metavar="FILE",
    help="Train a network of the other architecture for the task of this checkpoint, with its size: an FQ-BMRU "
    "(current mode) for a CMRU, BMRU or αCMRU, a CMRU for an FQ-BMRU.",
)
@click.option(
    "--technology", default="macro", show_default=True, metavar="NAME|FILE.toml", help="Technology of the dies."
)
@common.percentile_option
@click.option(
    "--trim",
    "trim_bits",
    type=click.IntRange(1, 8),
    metavar="BITS",
    help="With --hardware-aware: dies have a trim code of BITS bits for every row, so training sees the offsets "
    "that remain.  [default: as in the technology]",
)
@click.option("--tune-steps", type=click.IntRange(1), default=800, show_default=True, help="Optimiser steps on dies.")
@click.option(
    "-n", "--dies", type=click.IntRange(1), default=200, show_default=True, help="Number of dies in the evaluation."
)
@common.seed_option
@common.force_option
@common.json_option
@click.pass_context
def train(
    context: click.Context,
    task: str | None,
    data_path: Path | None,
    test_path: Path | None,
    classes: str | None,
    output: Path,
    cell: str,
    shape: str,
    epsilon: float | None,
    levels: Given,
    normalise: bool | None,
    skip: bool,
    decision: str | None,
    steps: int | None,
    noise: float | None,
    row_margin: float,
    best_of: int,
    aware: bool,
    start: Path | None,
    other: Path | None,
    technology: str,
    percentile: float | None,
    trim_bits: int | None,
    tune_steps: int,
    dies: int,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Train a network that can be built, and score it once on the test sequences.

    TASK is a named task, whose data come with pip install 'cmru_hw[train]'. --data and --test are your own sequences.
    --from continues with an existing network. --counterpart trains another cell for the task of an existing network,
    with its size, skip connections, classes and decision, so that their circuits can be compared. --data and --test are
    needed if that network was trained on sequences of your own. With --hardware-aware, training continues with another
    die of the technology in every step. Both networks are then evaluated on the same dies, drawn as in montecarlo.

    \b
    Example: cmru-hw train flipflop --shape 1x2 --levels 2 --seed 1 -o out/flipflop.safetensors
             cmru-hw train --counterpart models/detect-cmru-2x4.safetensors -o out/detect-fq.safetensors
             cmru-hw train --data train.npz --test test.npz --from mine.pt --hardware-aware -o out/mine.safetensors
    """
    units = checked(context)
    common.check_output(output, force)
    from cmru_hw.process import technology as technologies

    process = technologies.load(technology) if aware else None
    if trim_bits is not None:
        from cmru_hw.circuits.charge import trim

        if process is None:
            raise click.UsageError("--trim describes the dies of hardware-aware training: add --hardware-aware")
        process = trim.with_bits(process, trim_bits)
    command = " ".join(["cmru-hw", *sys.argv[1:]])
    named = tuple(name.strip() for name in classes.split(",")) if classes is not None else None
    given = _start(start)
    if other is not None:
        original = _original(other, data_path, test_path)
        settings = original.trained.config
        data, cell, units = original.data, original.cell, settings.units
        skip, decision = settings.skip, settings.decision
    else:
        original = None
        data = _data(task, data_path, test_path, named if given is None else given.config.classes)
    if normalise is None:
        windows = given is None and cell in ("cmru", "bmru", "eps")
        normalise = windows and data_path is not None and not row_margin
    recipe = _recipe(data, steps, row_margin, noise, normalise)
    tried: list[SeedScores] = []
    if given is None:
        from cmru_hw.nn import training

        fit = partial(training.train, cell=cell, units=units, epsilon=epsilon, skip=skip, decision=decision)
        chosen = _levels(levels, cell, units, data, process, normalise)
        fit = partial(fit, levels=chosen, recipe=recipe, command=command)
        trained, tried = _best(data, seed, best_of, fit, recipe)
    else:
        trained = given if process is not None else _continued(given, data, recipe, steps, seed, command)
    improvement: Improvement | None = None
    if process is not None:
        fit_dies = partial(_improved, process=process, recipe=recipe, steps=tune_steps, percentile=percentile)
        trained, improvement = fit_dies(trained, data, dies=dies, seed=seed, command=command)
    _keep(trained, output, data, tried, improvement, original, force=force, as_json=as_json)


def _levels(
    given: Given,
    cell: str,
    units: tuple[int, ...],
    data: Task,
    process: Technology | None,
    normalise: bool,
) -> levels.Levels:
    """K of each unit, as --levels asks. Raises InputError for a K that no network can have."""
    from cmru_hw.circuits.charge.mapping import most_levels
    from cmru_hw.nn import levels

    if given is None:
        # An αCMRU with a level limit can be trained, but not exported; a bit has no levels.
        given = 0 if cell == "acmru" else "mixed" if normalise and cell in ("cmru", "eps") else 7
    if isinstance(given, int):
        return levels.checked(given or None)
    if isinstance(given, tuple):
        return levels.shared(given, units)
    most = levels.MAX_LEVELS if process is None else most_levels(process)
    return levels.mixed(units, longest=data.train.inputs.shape[1], most=most)


def _start(path: Path | None) -> Trained | None:
    from cmru_hw.nn import checkpoint

    return None if path is None else checkpoint.load(path)


def _data(task: str | None, train_path: Path | None, test_path: Path | None, classes: tuple[str, ...] | None) -> Task:
    from cmru_hw.nn import tasks

    if task is not None:
        return tasks.get(task)
    assert train_path is not None and test_path is not None
    return tasks.own(train_path, test_path, classes)


def _original(path: Path, train_path: Path | None, test_path: Path | None) -> Original:
    from cmru_hw.nn import checkpoint, counterpart

    trained = checkpoint.load(path)
    own = None if train_path is None else _data(None, train_path, test_path, None)
    return counterpart.original(path, trained, own)


def _recipe(data: Task, steps: int | None, row_margin: float, noise: float | None, normalise: bool) -> Recipe:
    from dataclasses import replace

    from cmru_hw.nn import recipes

    recipe = replace(recipes.RECIPES.get(data.name, recipes.Recipe()), row_margin=row_margin)
    if normalise:
        recipe = recipes.normalised(recipe)
    recipe = recipe if noise is None else replace(recipe, noise=noise)
    return recipe if steps is None else replace(recipe, steps=steps)


def _keep(
    trained: Trained,
    output: Path,
    data: Task,
    tried: list[SeedScores],
    improvement: Improvement | None,
    original: Original | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Write the checkpoint, and print its scores."""
    from dataclasses import replace

    from cmru_hw.analysis.training_result import CounterpartOf, TrainingResult
    from cmru_hw.nn import checkpoint

    of = None
    if original is not None:
        source = original.trained
        of = CounterpartOf(file=str(original.path), cell=source.config.cell, sha256=source.sha256, test=original.test)
        notes = {**trained.config.training, "counterpart_of": source.sha256}
        trained = replace(trained, config=replace(trained.config, training=notes))

    output.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(trained, output, force=force)
    if as_json:
        result = TrainingResult(
            output=str(output),
            scores=trained.config.scores,
            sha256=trained.sha256,
            tried=tuple(tried) or None,
            hardware_aware=improvement,
            counterpart_of=of,
        )
        common.print_json(result)
        return
    rows = [("checkpoint", str(output)), ("sha256", trained.sha256)]
    rows += [(name, f"{value}") for name, value in trained.config.scores.items()]
    if of is not None:
        rows.append(("counterpart of", f"{of.file} ({of.cell}), test {of.test}"))
        if (test := trained.config.scores["test"]) < of.test - COMPARABLE:
            rows.append(("less accurate", f"by {of.test - test:.1%}: train with more --steps or --best-of to compare"))
    rows += [(f"seed {one.seed}", f"loss {one.loss:.4f}, test {one.scores['test']:.2%}") for one in tried]
    shape = f"{len(trained.config.units)}x{trained.config.units[0]}"
    common.print_table(f"{data.name}, {trained.config.cell} {shape}", rows)
    if improvement is not None:
        print_improvement(improvement)


def _report(report: Callable[[int, int], None], place: int, count: int, step: int, steps: int, loss: float) -> None:
    report(place * steps + step, count * steps)


def _best(
    data: Task, first: int, count: int, fit: Callable[..., Trained], recipe: Recipe
) -> tuple[Trained, list[SeedScores]]:
    """The best of ``count`` networks by training loss (never by test sequences), and a record of all of them."""
    from dataclasses import replace

    from cmru_hw.analysis.training_result import SeedScores
    from cmru_hw.nn import training

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


def _continued(start: Trained, data: Task, recipe: Recipe, steps: int | None, seed: int, command: str) -> Trained:
    """``start`` after more training on ``data``, without dies."""
    from dataclasses import asdict, replace

    from cmru_hw.analysis import hardware_aware
    from cmru_hw.nn import training

    start.check(data.train)
    start.check(data.test)
    going_on = hardware_aware.recipe_of(recipe, steps=recipe.steps if steps is None else steps)
    with common.progress("training, steps") as report:
        trained = training.fit(
            start.config,
            data.train,
            going_on,
            seed=seed,
            start=start,
            progress=lambda step, total, loss: report(step, total),
        )
    notes = {"command": command, "seed": seed, "from_sha256": start.sha256, "recipe": asdict(going_on)}
    scores = {"train": training.accuracy(trained, data.train), "test": training.accuracy(trained, data.test)}
    task = {"name": data.name, **data.notes}
    return replace(trained, config=replace(trained.config, task=task, training=notes, scores=scores))


def _improved(
    trained: Trained,
    data: Task,
    *,
    process: Technology,
    recipe: Recipe,
    steps: int,
    percentile: float | None,
    dies: int,
    seed: int,
    command: str,
) -> tuple[Trained, Improvement]:
    """The network after fine-tuning on dies of ``process``, and the scores before and after."""
    from dataclasses import replace

    from cmru_hw.analysis import hardware_aware
    from cmru_hw.analysis.training_result import Improvement
    from cmru_hw.circuits.input_range import PERCENTILE

    trained.check(data.train)
    trained.check(data.test)
    with common.progress("on dies, steps") as report:
        tuned = hardware_aware.improve(
            trained,
            data.train,
            data.test,
            process,
            hardware_aware.recipe_of(recipe, steps=steps),
            dies=dies,
            seed=seed,
            percentile=PERCENTILE if percentile is None else percentile,
            progress=lambda step, total, loss: report(step, total),
        )
    notes = {**tuned.trained.config.training, "command": command}
    task = dict(trained.config.task) or {"name": data.name, **data.notes}
    config = replace(tuned.trained.config, task=task, training=notes)
    found = Improvement(technology=process.name, steps=steps, seed=seed, before=tuned.before, after=tuned.after)
    return replace(tuned.trained, config=config), found
