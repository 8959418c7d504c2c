"""Atomic writes: a file appears complete, or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cmru_hw.core.errors import OutputError, reason


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(path)`` for a temporary file, which gets its final name only when it is completely on the disk.

    Raises OutputError.
    """
    scratch: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        scratch = Path(name)
        write(scratch)
        scratch.chmod(0o644)
        with scratch.open("rb") as written:
            os.fsync(written.fileno())
        scratch.replace(path)
        synchronise(path.parent, deep=False)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {reason(error)}; choose another place") from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, completely or not at all. Raises OutputError."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, completely or not at all. Raises OutputError."""
    write_atomically(path, partial(Path.write_bytes, data=content))


def synchronise(folder: Path, *, deep: bool = True) -> None:
    """Have the entries of ``folder`` on the disk; with ``deep``, all files in it and below as well. Raises OSError."""
    for path in (*(folder.rglob("*") if deep else ()), folder):
        if path.is_symlink():
            continue
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        except OSError as error:
            # some file systems cannot do this for folders
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(handle)
