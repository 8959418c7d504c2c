"""Everything cmru_hw can refuse or fail at, as one tree.

::

    CmruError                 base; its text is one line: the cause, then the remedy
    ├── CheckFailed           exit 1   the work was done and a stated check did not hold
    ├── InputError            exit 2   something the user handed over cannot be used
    │   ├── CheckpointError            weights: unreadable, hostile, incomplete, not finite, wrong shape
    │   ├── DataError                  sequences: missing arrays, wrong shape, not finite
    │   ├── TechnologyError            technology file: unknown, missing or impossible numbers
    │   ├── MappingError               a trained value that no circuit of this technology can have
    │   └── OutputError                a place that cannot be written: exists, no space, no permission
    ├── SimulatorMissing      exit 3   ngspice, or the part of it that is needed, is not installed
    └── SimulationError       exit 4   ngspice was there and did not deliver
        ├── SimulatorCrashed           the process died (signal, killed, out of memory)
        ├── SimulationTimeout          it ran past the time it was given
        ├── NotConverged               ngspice gave up ("timestep too small", "singular matrix", ...)
        └── ResultRejected                it ended without complaint, but the result fails a belief check
            ├── LatchTurned            a decision is not what it was when it was taken
            └── UncausedTransition     a cell changed its state although its candidate crossed no threshold

Ctrl-C ends the command line with exit 130. An exception is for one piece of work that failed alone; in a batch
(Monte-Carlo) a failed die is a value.
"""

from __future__ import annotations


class CmruError(Exception):
    """Base of all errors raised on purpose. ``str(error)`` is one printable line."""

    exit_code = 1

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


def reason(error: Exception) -> str:
    """What went wrong, without the number and the path of an OSError, which whoever tells it says in words."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def one_line(text: str) -> str:
    """``text`` with every control character (newlines included) made visible, so that no name can forge output."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
