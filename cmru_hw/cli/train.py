"""``train``: a checkpoint from a named task."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from cmru_hw.cli import common
from cmru_hw.errors import OutputError


@click.command()
@click.argument("task", type=click.Choice(["vowels", "detect", "digits", "flipflop"]))
@click.option("-o", "--output", required=True, type=common.FILE, metavar="FILE.safetensors", help="The checkpoint.")
@click.option(
    "--cell", type=click.Choice(["cmru", "bmru", "eps", "acmru", "fq-bmru"]), default="cmru", show_default=True
)
@click.option("--shape", default="2x16", show_default=True, metavar="LxN", help="L layers of N units.")
@click.option("--epsilon", type=click.FloatRange(0, 1), help="Of the eps cell; annealed from 1.")
@click.option("--levels", type=click.IntRange(0), help="Ladder limit K; 0: unbounded.  [default: 7, for acmru 0]")
@click.option("--skip/--no-skip", default=True, show_default=True, help="Layers see the previous layer's input too.")
@click.option("--steps", type=click.IntRange(1), help="Optimiser steps; by default what suits the task.")
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
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Train a network that can be built, and score it once on the task's test split.

    Needs the data packages: pip install 'cmru_hw[train]'.

    \b
    Example: cmru-hw train flipflop --shape 1x2 --levels 2 --seed 1 -o out/flipflop.safetensors
    """
    sized = re.fullmatch(r"([1-9]\d?)x([1-9]\d{0,2})", shape)
    if sized is None:
        raise click.BadParameter(f"{shape!r} is not LxN, such as 2x16", param_hint="--shape")
    if output.suffix != ".safetensors":
        raise OutputError(f"{output}: a checkpoint is written as .safetensors; change the name")
    common.check_output(output, force)
    from dataclasses import replace

    from cmru_hw import checkpoint, training

    if levels is None:
        # an αCMRU with a limit trains, but has no circuit
        levels = 0 if cell == "acmru" else 7
    recipe = training.RECIPES.get(task, training.Recipe())
    if steps is not None:
        recipe = replace(recipe, steps=steps)
    with common.progress("training, steps") as report:
        trained = training.train(
            task,
            cell=cell,
            units=(int(sized[2]),) * int(sized[1]),
            epsilon=epsilon,
            levels=levels or None,
            skip=skip,
            recipe=recipe,
            seed=seed,
            command=" ".join(["cmru-hw", *sys.argv[1:]]),
            progress=lambda step, total, loss: report(step, total),
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(trained, output, force=force)
    found = {"output": str(output), "scores": dict(trained.config.scores), "sha256": trained.sha256}
    if as_json:
        common.print_json(found)
    else:
        rows = [("checkpoint", str(output)), ("sha256", trained.sha256)]
        common.print_table(f"{task}, {cell} {shape}", rows + [(k, f"{v}") for k, v in trained.config.scores.items()])
