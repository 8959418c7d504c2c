"""The verdict of ``inspect`` and ``export``: does the network work as a circuit?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmru_hw.cli import common
from cmru_hw.core.errors import InputError
from cmru_hw.core.units import percent, si

if TYPE_CHECKING:
    from cmru_hw.analysis.verdict.result import Verdict
    from cmru_hw.circuits.design import AnyDesign
    from cmru_hw.circuits.row_errors import SmallestPart
    from cmru_hw.nn.checkpoint import Trained
    from cmru_hw.nn.sequences import Sequences

NO_DATA = "there are no sequences: give --input FILE.npz"


def judged(
    design: AnyDesign, trained: Trained, sequences: Sequences | None, *, checkpoint: Path, technology: str | None
) -> Verdict | str:
    """The verdict, or the reason why there is none. ``technology`` is the one that the user named."""
    from cmru_hw.analysis.verdict import api

    if sequences is None:
        return NO_DATA
    try:
        return api.judge(design, trained, sequences, checkpoint=str(checkpoint), technology=technology)
    except InputError as error:
        return str(error)


def facts(found: Verdict | str) -> dict[str, object]:
    """For --json."""
    if isinstance(found, str):
        return {"verdict": {"verdict": None, "reason": found}}
    return {"verdict": found.to_plain()}


def show(found: Verdict | str) -> None:
    """Print the verdict as tables."""
    if isinstance(found, str):
        common.print_table("before any simulation", [("verdict", f"none: {found}")])
        return
    accuracy, far = found.accuracy, found.largest_input
    rows = [
        ("verdict", found.sentence()),
        ("a good die has", f"accuracy at most {percent(found.drop)} below software's {percent(accuracy.software)}, "
         f"with respect to {found.accuracy_of}"),
        ("accuracy", f"median {_share(accuracy.median)}, 5th percentile {_share(accuracy.p05)}"),
        ("largest input", f"{far.value:.4g} of feature {far.feature}, {far.deviations:.3g} standard deviations from "
         "its mean"),
        (f"smallest {found.smallest_part.part}", _smallest(found.smallest_part)),
        ("estimated from", f"{found.yield_.n} dies of the software model, {found.sequences} sequences"),
        *[("assumed" if not place else "", text) for place, text in enumerate(found.assumptions)],
    ]  # fmt: skip
    common.print_table("before any simulation", rows)
    click.echo()
    common.print_columns(
        "",
        ("rows of layer", "moved by", "5 % are nearer than", "median", "wrong", "with errors in front"),
        [
            (str(one.layer), f"σ = {si(one.sigma, one.unit)}", f"{one.p05:.2f} σ", f"{one.median:.1f} σ",
             percent(one.wrong_own), percent(one.wrong))
            for one in found.layers
        ],
    )  # fmt: skip
    if not found.causes:
        return
    click.echo()
    common.print_columns(
        "",
        ("cause of errors", "accuracy lost", "yield without"),
        [(one.cause, f"{100 * one.accuracy:.2f} %", _share(one.yield_)) for one in found.causes],
    )
    for remedy, command in dict.fromkeys((one.remedy, one.command) for one in found.causes):
        against = " and ".join(one.cause for one in found.causes if one.command == command)
        # a command stands on a line of its own, to be copied
        click.echo(f"\nagainst {against}: {remedy}\n  {command}")
    if (offer := found.trim) is not None:
        click.echo(f"\nagainst offsets: {offer.remedy}, estimated yield {percent(offer.yield_)}\n  {offer.command}")


def _smallest(part: SmallestPart) -> str:
    size, limit = (si(value, part.unit) if part.unit else f"{value:.3g}" for value in (part.size, part.limit))
    if not part.limit:
        return f"{size}; the technology states no limit"
    return f"{size}; {part.below} of {part.count} weights are below {limit}, the smallest that can be drawn"


def _share(value: float | None) -> str:
    return "not estimated" if value is None else percent(value)
