"""The command line, ``cmru-hw``: one group, with one module for each family of commands.

Commands import their modules when they run, because torch takes seconds to load and ``--help`` should not.
"""

from __future__ import annotations

import os
import sys

# Before NumPy is loaded: on products as small as these, more threads cost more time than they save.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import click

import cmru_hw
from cmru_hw.cli import (
    certify,
    characterize,
    convert,
    corners,
    design,
    doctor,
    energy,
    handover,
    montecarlo,
    report,
    retention,
    run,
    size,
    streams,
    sweep,
    train,
    versus,
)
from cmru_hw.core.errors import DEBUG, CmruError, DefectError, OutputError, defect, one_line, reason, translated

INTERRUPTED = 130


class Unexpected(Exception):
    """An exception of a command that click would take for its own; the exception is the cause of this one."""


class Commands(click.Group):
    """A group whose commands may raise EOFError and BrokenPipeError: click makes them "interrupted" and exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (EOFError, BrokenPipeError) as error:
            raise Unexpected from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(cmru_hw.__version__, prog_name="cmru-hw")
def group() -> None:
    """Turn a trained recurrent network with quantized, hysteretic states into a SPICE circuit, and simulate it.

    \b
    cmru-hw export models/vowels-cmru-2x16.safetensors -o out/vowels
    cmru-hw compare out/vowels --input models/vowels-eval.npz --sequences 20

    Exit codes: 0 ok, 1 a stated check failed, 2 wrong input or usage, 3 no simulator, 4 simulations failed,
    70 a defect of this program, 130 interrupted.
    """


for command in (
    train.train,
    convert.convert,
    design.inspect,
    design.export,
    handover.handover,
    run.simulate,
    run.compare,
    certify.certify,
    montecarlo.montecarlo,
    size.size,
    energy.energy,
    corners.corners,
    retention.retention,
    sweep.sweep,
    versus.versus,
    report.report,
    characterize.characterize,
    run.demo,
    doctor.doctor,
):
    group.add_command(command)


def main() -> None:
    """Entry point: every failure becomes one line on stderr and its exit code, never a traceback."""
    with streams.lenient() as standard:
        status = _status()
        streams.flush()
        if status == 0 and standard.lost is not None:
            status = _fail(OutputError(f"standard output cannot be written ({reason(standard.lost)}): free some space"))
    sys.exit(status)


def _status() -> int:
    """Run the command; returns the exit code."""
    try:
        status = group.main(standalone_mode=False)
    except click.ClickException as error:
        text = one_line(error.format_message())
        told = click.UsageError(text, error.ctx) if isinstance(error, click.UsageError) else click.ClickException(text)
        told.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except Unexpected as error:
        return _fail(defect(error.__cause__ or error))
    except Exception as error:
        return _fail(translated(error))
    return status if isinstance(status, int) else 0


def _fail(error: CmruError) -> int:
    if isinstance(error, DefectError) and os.environ.get(DEBUG):
        click.echo(error.evidence, err=True)
    click.echo(f"error: {one_line(str(error))}", err=True)
    return error.exit_code
