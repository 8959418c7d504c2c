"""The command line, ``cmru-hw``: one group, with one module for each family of commands.

Commands import their modules when they run, because torch takes seconds to load and ``--help`` should not.
"""

from __future__ import annotations

import sys

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
    montecarlo,
    report,
    retention,
    run,
    train,
    versus,
)
from cmru_hw.core.errors import CmruError, OutputError, one_line

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(cmru_hw.__version__, prog_name="cmru-hw")
def group() -> None:
    """Turn a trained recurrent network with quantized, hysteretic states into a SPICE circuit, and simulate it.

    \b
    cmru-hw export models/vowels-cmru-2x16.safetensors -o out/vowels
    cmru-hw compare out/vowels --input models/vowels-eval.npz --sequences 20

    Exit codes: 0 ok, 1 a stated check failed, 2 wrong input or usage, 3 no simulator, 4 simulations failed,
    130 interrupted.
    """


for command in (
    train.train,
    convert.convert,
    design.inspect,
    design.export,
    run.simulate,
    run.compare,
    certify.certify,
    montecarlo.montecarlo,
    energy.energy,
    corners.corners,
    retention.retention,
    versus.versus,
    report.report,
    characterize.characterize,
    run.demo,
    doctor.doctor,
):
    group.add_command(command)


def main() -> None:
    """Entry point: every expected failure becomes one line on stderr and its exit code, never a traceback."""
    try:
        status = group.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except CmruError as error:
        status = _fail(error)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        status = INTERRUPTED
    except BrokenPipeError:
        # The reader closed the pipe (``| head``). This is not an error, and Python must not report it at exit either.
        sys.stdout = None
        status = 0
    except OSError as error:
        status = _fail(OutputError(f"{error.filename or 'output'}: {error.strerror or error}"))
    except MemoryError:
        status = _fail(OutputError("out of memory: use fewer --sequences at a time"))
    sys.exit(status if isinstance(status, int) else 0)


def _fail(error: CmruError) -> int:
    click.echo(f"error: {one_line(str(error))}", err=True)
    return error.exit_code
