"""What several commands share: options, tables, progress, JSON."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cmru_hw.errors import DataError, OutputError, one_line
from cmru_hw.quantity import json_text

if TYPE_CHECKING:
    from cmru_hw.checkpoint import Sequences

FILE = click.Path(path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
force_option = click.option("--force", is_flag=True, help="Replace what is already there.")
seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of every draw.")
input_option = click.option(
    "--input", "input_path", type=FILE, metavar="FILE.npz", help="Sequences: inputs, and optionally lengths and labels."
)
sequences_option = click.option("--sequences", type=click.IntRange(1), metavar="N", help="Only the first N sequences.")
backend_option = click.option(
    "--backend",
    type=click.Choice(["pyspice", "batch"]),
    default="pyspice",
    show_default=True,
    help="ngspice as a library through PySpice, or as a program.",
)
jobs_option = click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Simulators that run at the same time."
)
timeout_option = click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=600.0, show_default=True, help="Seconds for one deck."
)
edited_option = click.option(
    "--allow-edited", is_flag=True, help="Simulate a network.cir that was changed after export."
)


def load_sequences(path: Path | None, count: int | None) -> Sequences:
    """The sequences of ``--input``, which these commands cannot do without."""
    from cmru_hw import checkpoint

    if path is None:
        raise click.UsageError("Missing option '--input': give sequences as an .npz file.")
    found = checkpoint.load_sequences(path)
    if count is not None and count > len(found):
        raise DataError(f"{path} holds {len(found)} sequences, fewer than --sequences {count}")
    return found if count is None else found.first(count)


def check_output(path: Path, force: bool) -> None:
    """Refuse a place that is taken before any work is done for it."""
    if path.exists() and not force:
        raise OutputError(f"{path} exists: choose another -o, or give --force to replace it")


def print_json(value: Any) -> None:
    click.echo(json_text(value))


def print_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Names and values side by side."""
    table = Table(
        title=one_line(title), title_justify="left", show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, one_line(value))
    Console(highlight=False, markup=False).print(table)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with ETA on stderr where there is a terminal; yields ``report(done, total)``."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield report


def command_line() -> str:
    """What was typed: kept beside its results, for whoever wants them again."""
    return shlex.join(["cmru-hw", *sys.argv[1:]])
