"""The errors that cmru_hw raises on purpose, as one tree.

::

    CmruError                 base; its text is one line: the cause, then the remedy
    ├── CheckFailed           exit 1   the work was done and a stated check did not hold
    ├── InputError            exit 2   an input from the user cannot be used
    │   ├── CheckpointError            weights: unreadable, hostile, incomplete, not finite, wrong shape
    │   ├── DataError                  sequences: missing arrays, wrong shape, not finite
    │   ├── TechnologyError            technology file: unknown, missing or impossible numbers
    │   ├── MappingError               a trained value that no circuit of this technology can realise
    │   └── OutputError                a place that cannot be written: exists, no space, no permission
    ├── SimulatorMissing      exit 3   ngspice, or a part of it that is needed, is not installed
    ├── DefectError           exit 70  a defect of this program: an exception that nothing expected
    └── SimulationError       exit 4   ngspice ran and gave no valid result
        ├── WorkersLost                several worker processes died, each at work
        ├── SimulatorCrashed           the process died (signal, killed, out of memory)
        ├── SimulationTimeout          it exceeded its time limit
        ├── NotConverged               ngspice gave up ("timestep too small", "singular matrix", ...)
        └── ResultRejected                it ended without an error, but its result fails a check
            ├── LatchTurned            a latch changed its state after its decision
            └── UncausedTransition     a cell changed its state although its candidate crossed no threshold

Ctrl-C ends the command line with exit 130. A single piece of work that fails raises an exception; in a batch
(Monte-Carlo) a failed die is a value.
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path

DEBUG = "CMRU_HW_DEBUG"
"""Environment variable: if it is set, the command line prints the traceback of an unexpected error."""
UNEXPECTED = 70
"""Exit code of a defect of this program, as in BSD's sysexits.h (EX_SOFTWARE). No verdict has it."""


_LONG = re.compile(r"(\S{80})\S{420,}")


class CmruError(Exception):
    """Base of all errors raised on purpose. ``str(error)`` is one printable line."""

    exit_code = UNEXPECTED

    def __init__(self, message: str, *, evidence: str = "") -> None:
        """``message`` names cause and remedy; ``evidence`` is the foreign program's own output, kept for --verbose."""
        super().__init__(one_line(message))
        self.evidence = evidence


class CheckFailed(CmruError):
    exit_code = 1


class InputError(CmruError):
    exit_code = 2


class CheckpointError(InputError):
    pass


class DataError(InputError):
    pass


class TechnologyError(InputError):
    pass


class MappingError(InputError):
    pass


class OutputError(InputError):
    pass


class SimulatorMissing(CmruError):
    exit_code = 3


class SimulationError(CmruError):
    exit_code = 4


class DefectError(CmruError):
    pass


class WorkersLost(SimulationError):
    pass


class SimulatorCrashed(SimulationError):
    pass


class SimulationTimeout(SimulationError):
    pass


class NotConverged(SimulationError):
    pass


class ResultRejected(SimulationError):
    pass


class LatchTurned(ResultRejected):
    pass


class UncausedTransition(ResultRejected):
    pass


def translated(error: BaseException) -> CmruError:
    """``error`` as one of this program's; a DefectError, with the traceback as evidence, if nothing expected it."""
    if isinstance(error, CmruError):
        return error
    if isinstance(error, MemoryError):
        return OutputError("out of memory: use fewer --sequences or --jobs at a time")
    if isinstance(error, OSError):
        what = error.filename if isinstance(error.filename, str) else "a file"
        return OutputError(f"{what} cannot be used ({reason(error)}): check its path, permissions and free space")
    return defect(error)


def defect(error: BaseException) -> DefectError:
    """The report of an exception that nothing expected."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "cmru_hw" in frame.filename]
    place = f" at {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    text = f"{type(error).__name__}: {str(error)[:200]}" if str(error) else type(error).__name__
    return DefectError(
        f"unexpected {text}{place}; this is a defect of cmru_hw: report this line and the command; {DEBUG}=1 prints "
        "the traceback",
        evidence="".join(traceback.format_exception(error)),
    )


def reason(error: Exception) -> str:
    """The error's message, without errno and path of an OSError; the caller adds the path."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def one_line(text: str) -> str:
    """``text`` with every control character (newlines included) made visible, so that no name can forge output.

    Words of more than 500 characters are cut: no file has such a name.
    """
    return _LONG.sub(r"\1…", "".join(c if c.isprintable() else repr(c)[1:-1] for c in text))
