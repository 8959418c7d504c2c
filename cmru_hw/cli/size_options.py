"""Options for sizes of current mode, and for thresholds in the middle of their gaps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmru_hw.cli import common

if TYPE_CHECKING:
    from cmru_hw.nn.checkpoint import Trained


def _number(given: str) -> tuple[str, int]:
    name, equals, value = given.partition("=")
    if not (name and equals and value.isascii() and value.isdigit()):
        raise click.BadParameter(f"{given!r} is not CLASS=N, such as levels=4")
    return name, int(value)


parallel_option = click.option(
    "--parallel",
    "in_parallel",
    multiple=True,
    metavar="CLASS=N",
    callback=lambda _context, _option, given: dict(_number(one) for one in given),
    help="Make the mirrors of a size class of N devices in parallel, such as layer1/thresholds=4, levels=2 or all=2. "
    "Mismatch falls as 1/√N, and area grows as N. Current mode only. Repeatable.  [default: one device]",
)

centre_option = click.option(
    "--centre",
    "centre_path",
    type=common.FILE,
    metavar="TRAIN.npz",
    help="Move every threshold to the middle between the candidates of these sequences on either side of it. No "
    "decision on them changes. Take the training sequences. FQ-BMRU only.",
)


def centred(trained: Trained, path: Path | None) -> tuple[Trained, dict[str, object]]:
    """``trained`` with its thresholds centred on the sequences of ``path``, and facts about it."""
    from cmru_hw.nn import centring

    if path is None:
        return trained, {}
    found, moved = centring.centred(trained, common.load_sequences(path, None))
    return found, {"centred units": f"{len(moved)} of {sum(trained.config.units)}"}
