"""Shared by several commands: options, tables, progress bars, JSON."""

from __future__ import annotations

import functools
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmru_hw.core.errors import DataError, InputError, OutputError, one_line
from cmru_hw.core.records import Record
from cmru_hw.core.units import MOST_SEED, json_text

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from cmru_hw.analysis.montecarlo.api import Follow
    from cmru_hw.analysis.montecarlo.result import Interval
    from cmru_hw.design_folder.folder import Exported
    from cmru_hw.nn.sequences import Sequences
    from cmru_hw.spice import Engine

MOST_JOBS = 4096


class FileName(click.Path):
    """The path of a file or folder. An empty one, as of a shell variable that is not set, is none."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip() or "\0" in str(value):
            self.fail("it is empty: name a file or folder", param, ctx)
        return super().convert(value, param, ctx)


FILE = FileName()


class Real(click.FloatRange):
    """A range that excludes NaN and infinity. Click accepts them, because every comparison with NaN is false."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number: give one.", param, ctx)
        return number


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
force_option = click.option("--force", is_flag=True, help="Replace existing output.")
seed_option = click.option(
    "--seed", type=click.IntRange(0, MOST_SEED), default=0, show_default=True, help="Seed of all random draws."
)
input_option = click.option(
    "--input",
    "input_path",
    type=FILE,
    metavar="FILE.npz",
    help="Sequences: arrays inputs and, optionally, lengths and labels.",
)
percentile_option = click.option(
    "--input-percentile",
    "percentile",
    type=Real(50, 100),
    metavar="P",
    help="Percentage of the given timesteps that the range of each feature holds; inputs beyond it are clamped. "
    "100: the range ends at the largest input.  [default: 99.9]",
)
sequences_option = click.option(
    "--sequences", type=click.IntRange(1), metavar="N", help="Use only the first N sequences."
)
spread_option = click.option(
    "--spread",
    is_flag=True,
    help="With --sequences: take N sequences at equal distances, because a file may be ordered by class.",
)
keep_option = click.option(
    "--cache",
    type=FILE,
    metavar="DIR",
    help="Store the result of every finished deck here. The same command then resumes.",
)
backend_option = click.option(
    "--backend",
    type=click.Choice(["pyspice", "batch"]),
    default="pyspice",
    show_default=True,
    help="Run ngspice as a library through PySpice, or as a program.",
)
_jobs = functools.partial(click.option, "--jobs", type=click.IntRange(1, MOST_JOBS), default=1, show_default=True)
jobs_option = _jobs(help="Number of simulators that run in parallel.")
workers_option = _jobs(help="Number of worker processes.")
scheduler_option = click.option(
    "--scheduler", metavar="ADDRESS", help="Dask scheduler instead of --jobs: tcp://host:8786, or its file."
)
drop_option = click.option(
    "--drop",
    type=Real(0, 1),
    default=0.01,
    show_default=True,
    help="A die is good if its accuracy is at most this much below that of software.",
)
timeout_option = click.option(
    "--timeout", type=Real(0, min_open=True), default=600.0, show_default=True, help="Time limit for one deck [s]."
)
refine_option = click.option(
    "--refine",
    type=click.IntRange(0, 4),
    default=0,
    show_default=True,
    metavar="N",
    help="Halve the simulator's time steps N times.",
)
vdd_option = click.option(
    "--vdd",
    type=Real(0.8, 3.6),
    metavar="VOLT",
    help="Supply voltage [V]. At macro level, the transistors are measured at this supply first (half a minute, kept "
    "in ~/.cache/cmru_hw); nothing is scaled.  [default: the technology's]",
)
edited_option = click.option(
    "--allow-edited", is_flag=True, help="Simulate a network.cir that was edited after export."
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The arguments of every command that simulates a design; see :func:`simulates`."""

    design_path: Path
    input_path: Path | None
    sequences: int | None
    spread: bool
    cache: Path | None
    backend: Any
    jobs: int
    timeout: float
    refine: int
    allow_edited: bool
    force: bool
    as_json: bool

    def load(self) -> tuple[Exported, Sequences]:
        """The design, and its sequences, checked against it. Raises InputError."""
        from cmru_hw.design_folder import folder as design_folder

        exported = design_folder.load(self.design_path, allow_edited=self.allow_edited)
        data = load_sequences(self.input_path, self.sequences, spread=self.spread)
        exported.trained.check(data)
        return exported, data

    def engine(self) -> AbstractContextManager[Engine]:
        from cmru_hw import spice

        return spice.open_engine(backend=self.backend, jobs=self.jobs, timeout=self.timeout, cache=self.cache)


def edited_rows(exported: Exported) -> list[tuple[str, str]]:
    """A row of a table that says what was changed after export; none if nothing was."""
    return [("edited after export", ", ".join(exported.edited))] if exported.edited else []


def simulates(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument DESIGN and the options of a simulation to ``command``, which receives them as ``asked``."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        names = {field.name for field in fields(Asked)}
        asked = Asked(**{name: given.pop(name) for name in names})
        command(asked=asked, **given)

    before = (click.argument("design_path", metavar="DESIGN", type=FILE), input_option, sequences_option, spread_option)
    after = (
        *(keep_option, backend_option, jobs_option, timeout_option, refine_option, edited_option),
        *(force_option, json_option),
    )
    # click lists options in the order of their decorators. The command's own options go between these two groups.
    own = getattr(run, "__click_params__", [])
    run.__click_params__ = []  # type: ignore[attr-defined]  # click sets it before this decorator runs
    for option in reversed(after):
        option(run)
    run.__click_params__ += own  # type: ignore[attr-defined]  # click sets it before this decorator runs
    for option in reversed(before):
        option(run)
    return run


def load_sequences(path: Path | None, count: int | None, *, spread: bool = False) -> Sequences:
    """The sequences of ``--input``, which is required here; ``count`` and ``spread`` as in :func:`some`."""
    from cmru_hw.nn import sequences

    if path is None:
        raise click.UsageError("Missing option '--input': give sequences as an .npz file.")
    found = sequences.load_sequences(path)
    if count is not None and count > len(found):
        raise DataError(f"{path} holds {len(found)} sequences, fewer than --sequences {count}")
    return found if count is None else some(found, count, spread=spread)


def some(sequences: Sequences, count: int, *, spread: bool) -> Sequences:
    """The first ``count`` sequences or, with ``spread``, ``count`` sequences at equal distances."""
    import numpy as np

    if not spread:
        return sequences.first(count)
    return sequences.take(np.linspace(0, len(sequences) - 1, count).round().astype(np.int64))


def check_output(path: Path, force: bool) -> None:
    """Raise OutputError if ``path`` exists (unless ``force``) or cannot be written, before any work is done."""
    if path.exists() and not force:
        raise OutputError(f"{path} exists: choose another -o, or give --force to replace it")
    check_place(path)


def check_folder(path: Path) -> None:
    """As :func:`check_output`, for a folder that may exist, because the command resumes in it."""
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file: choose another -o")
    check_place(path / "something")


def claim(path: Path, job_sha256: str, load: Callable[[Path], Any], *, force: bool) -> None:
    """Raise OutputError if the result in ``path`` is of another job, or is none; ``force`` replaces it."""
    if force or not path.exists():
        return
    try:
        found = load(path).provenance.job_sha256
    except InputError:
        found = None
    if found != job_sha256:
        raise OutputError(f"{path} belongs to another job: choose another -o, or give --force to replace it")


def check_place(path: Path) -> None:
    """Raise OutputError if the folder of ``path`` is a file or cannot be written."""
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise OutputError(f"{path} cannot be written: {above} is a file; choose another -o")
    if not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: no permission for {above}; choose another -o")


def print_json(value: Record | Mapping[str, object]) -> None:
    click.echo(json_text(value.to_plain() if isinstance(value, Record) else value))


def print_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """A table of names and values."""
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, one_line(value))
    _print(title, table)


def print_columns(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of several columns: the first is left-aligned, the others are right-aligned."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left", style=None if place else "dim", header_style="dim")
    for row in rows:
        table.add_row(*map(one_line, row))
    _print(title, table)


# Columns of a table that is not shown on a terminal: more than any row has.
PIPED_WIDTH = 4096


def _print(title: str, table: Table) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    # not a title of the table: that would wrap at the width of its rows
    parts = [one_line(title), table] if title else [table]
    if console.is_terminal:
        console.print(*parts, sep="\n")
        return
    # If output is piped or redirected, a row is one line: nothing wraps at the width of a terminal.
    if "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with ETA on stderr, if that is a terminal; yields ``report(done, total)``."""
    with _bar(terminal_only=True) as bar:
        task = bar.add_task(what, total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield report


@contextmanager
def die_progress(what: str) -> Iterator[Follow]:
    """A progress bar with the yield's current interval on stderr."""
    from cmru_hw.analysis.montecarlo.api import Follow

    with _bar("{task.fields[interval]}") as bar:
        task = bar.add_task(what, total=None, interval="")

        def dies(done: int, total: int, interval: Interval) -> None:
            shown = f"yield {100 * interval.low:.1f} to {100 * interval.high:.1f} %"
            bar.update(task, completed=done, total=total, interval=shown)

        yield Follow(dies=dies, element=lambda name: bar.update(task, description=f"{what}: {name}"))


def _bar(*more: str, terminal_only: bool = False) -> Progress:
    """A bar on stderr with ETA, and with columns of the texts ``more``."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *map(TextColumn, more),
        console=console,
        transient=True,
        disable=terminal_only and not console.is_terminal,
    )


def command_line() -> str:
    """The command as typed, stored with its results so that they can be reproduced."""
    typed = shlex.join(["cmru-hw", *sys.argv[1:]])
    # a file's name may be bytes that are no UTF-8
    return typed.encode("utf-8", "replace").decode()
