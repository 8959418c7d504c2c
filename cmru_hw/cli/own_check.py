"""``--check``: is the imported network the user's own? Shared by convert, inspect and export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmru_hw.cli import common
from cmru_hw.core.errors import CheckFailed

if TYPE_CHECKING:
    from cmru_hw.nn.checkpoint import Trained
    from cmru_hw.nn.own_outputs import Agreement

check_option = click.option(
    "--check",
    "check_path",
    type=common.FILE,
    metavar="FILE.npz",
    help="Compare the imported network with the outputs of the original: inputs, and logits, states_N or outputs_N.",
)


def compared(trained: Trained, path: Path | None) -> Agreement | None:
    """The software model of ``trained`` compared with the outputs in ``path``; None without a path."""
    if path is None:
        return None
    from cmru_hw.nn import own_outputs

    return own_outputs.compare(trained, own_outputs.load(path))


def required(trained: Trained, checkpoint: Path, path: Path | None) -> Agreement | None:
    """As :func:`compared`. Raises CheckFailed unless the network is the user's own."""
    agreement = compared(trained, path)
    require(agreement, checkpoint, path)
    return agreement


def facts(agreement: Agreement | None) -> dict[str, object]:
    """Entries for --json; empty without an agreement."""
    if agreement is None:
        return {}
    first = None if agreement.first is None else str(agreement.first)
    counts = {"sequences": agreement.sequences, "agree": agreement.agree, "differ": agreement.differ}
    found = {**counts, "too_close_to_call": agreement.too_close, "compared": list(agreement.compared), "first": first}
    return {"check": {"holds": agreement.holds(), **found}}


def rows(agreement: Agreement | None) -> list[tuple[str, str]]:
    """Rows for a table; empty without an agreement."""
    if agreement is None:
        return []
    counts = f"{agreement.agree} of {agreement.sequences} sequences agree, {agreement.differ} differ"
    return [("own outputs", f"{counts}, {agreement.too_close} too close to call ({', '.join(agreement.compared)})")]


def require(agreement: Agreement | None, checkpoint: Path, path: Path | None) -> None:
    """Raise CheckFailed with the first difference, unless the network is the user's own."""
    if agreement is None or agreement.holds():
        return
    if agreement.first is None:
        raise CheckFailed(
            f"{checkpoint} cannot be compared with {path}: in every sequence that differs, a decision is too close to "
            "call; give other inputs, or outputs computed in float32"
        )
    raise CheckFailed(
        f"{checkpoint} is not the network of {path}: {agreement.differ} of {agreement.sequences} sequences differ, "
        f"first at {agreement.first}; compare the cell, its settings and the map of names with docs/bring-your-own.md"
    )
