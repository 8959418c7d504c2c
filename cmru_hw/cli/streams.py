"""Standard streams that never end a finished job.

A terminal that lacks a character gets the nearest plain one. A stream that is closed, or whose reader is gone, takes
what is written to it and drops it, so that the exit code stays that of the work. A full disk behind standard output is
remembered, for the end.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

_PLAIN = {"µ": "u", "±": "+-", "σ": "sigma", "°": " deg", "…": "...", "²": "2", "·": ".", "≤": "<=", "≥": ">="}
_PLAIN |= dict.fromkeys("\u202f\u2009\u00a0", " ") | dict.fromkeys("–—−", "-") | dict.fromkeys("“”", '"')
_HANDLER = "cmru_hw.plain"


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # ASCII, which every terminal has
    return "".join(_PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end


codecs.register_error(_HANDLER, _plain)


class _Lenient(io.RawIOBase):
    """A descriptor that takes everything; ``problem`` is the first error in writing to it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.problem: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: object) -> int:
        given = memoryview(data)  # type: ignore[arg-type]
        while self.problem is None:
            try:
                return os.write(self._descriptor, given)
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.problem = error
        return given.nbytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Streams:
    """The program's standard streams; ``output`` is None where standard output has no descriptor, as in a test."""

    output: _Lenient | None

    @property
    def lost(self) -> OSError | None:
        """The error of standard output. That its reader has gone, or that it was closed, is none."""
        problem = self.output.problem if self.output is not None else None
        return None if problem is None or problem.errno in (errno.EPIPE, errno.EBADF) else problem


@contextmanager
def lenient() -> Iterator[Streams]:
    """Within it, ``sys.stdout`` and ``sys.stderr`` never raise. What has no descriptor stays as it is."""
    _open_missing()
    before = sys.stdout, sys.stderr
    output, errors = (_wrapped(stream) for stream in before)
    if output is not None:
        sys.stdout = output[0]
    if errors is not None:
        sys.stderr = errors[0]
    try:
        yield Streams(output=None if output is None else output[1])
    finally:
        sys.stdout, sys.stderr = before


def flush() -> None:
    """Flush the buffers of the standard streams."""
    sys.stdout.flush()
    sys.stderr.flush()


def _open_missing() -> None:
    """Descriptors 0 to 2 exist from here on: a file that is opened later must not become standard output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def _wrapped(stream: TextIO) -> tuple[TextIO, _Lenient] | None:
    """``stream`` with other error handling; None for one without a descriptor."""
    try:
        raw = _Lenient(stream.fileno())
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return None
    lines = raw.isatty() or stream is sys.stderr
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, _HANDLER, line_buffering=lines), raw
