"""Options of ``train`` that depend on each other."""

from __future__ import annotations

import re

import click

from cmru_hw.core.errors import OutputError

Given = int | str | tuple[int, ...] | None
"""--levels as it was given."""


def levels_given(context: click.Context, parameter: click.Parameter, value: str | None) -> Given:
    """K: a number for all units (0: unbounded), numbers for equal parts of each layer, or "mixed"."""
    if value is None or value == "mixed":
        return value
    parts = value.split(",")
    if not all(re.fullmatch(r"\d{1,7}", part) for part in parts):
        raise click.BadParameter(f"{value[:20]!r} is not a whole number, a list of them such as 1,2,8, or mixed")
    numbers = tuple(map(int, parts))
    if len(numbers) > 1 and 0 in numbers:
        raise click.BadParameter("0 (no limit) cannot be combined with limits: give a large K instead")
    return numbers[0] if len(numbers) == 1 else numbers


# Options that describe a new network.
_OF_A_NEW_NETWORK = ("cell", "shape", "epsilon", "levels", "normalise", "skip", "decision", "best_of", "classes")

_NOT_OF_A_COUNTERPART = (
    "task", "classes", "cell", "shape", "epsilon", "skip", "decision", "row_margin", "aware", "start",
)  # fmt: skip
_TYPED = {"task": "TASK", "aware": "--hardware-aware", "start": "--from"}


def checked(context: click.Context) -> tuple[int, ...]:
    """The units of --shape, after a check of the combination of options. Raises a usage error."""
    given = context.params
    if given["other"] is not None:
        _refuse(context, _NOT_OF_A_COUNTERPART, "--counterpart takes task and size from its checkpoint: leave {} out")
    elif (given["task"] is None) == (given["data_path"] is None):
        raise click.UsageError("give either a TASK or --data, for your own sequences")
    if (given["data_path"] is None) != (given["test_path"] is None):
        raise click.UsageError("--data and --test go together: a network is scored on sequences it was not trained on")
    if given["percentile"] is not None and not given["aware"]:
        raise click.UsageError("--input-percentile sets the range of inputs of a circuit: add --hardware-aware")
    if given["classes"] is not None and given["data_path"] is None:
        raise click.UsageError("--classes names the classes of --data: leave it out for a TASK")
    if given["start"] is not None:
        _refuse(context, _OF_A_NEW_NETWORK, "{} describes a new network: leave it out with --from")
    sized = re.fullmatch(r"([1-9]\d?)x([1-9]\d{0,2})", given["shape"])
    if sized is None:
        raise click.BadParameter(f"{given['shape']!r} is not LxN, such as 2x16", param_hint="--shape")
    if given["output"].suffix != ".safetensors":
        raise OutputError(f"{given['output']}: a checkpoint must be named .safetensors; change the name")
    return (int(sized[2]),) * int(sized[1])


def _refuse(context: click.Context, names: tuple[str, ...], message: str) -> None:
    """Raise a usage error for the first of the options ``names`` that was typed."""
    for name in names:
        if context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(message.format(_TYPED.get(name, f"--{name.replace('_', '-')}")))
