"""Read regular files only: a FIFO or a device would block or never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(path: str | Path) -> bytes:
    """Content of the regular file ``path``. Raises OSError, also for a folder, a FIFO, a socket or a device."""
    # Without O_NONBLOCK, opening a FIFO waits for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read()


def read_text(path: str | Path) -> str:
    """Text of a UTF-8 file, without the byte order mark that some editors write. Raises OSError, UnicodeDecodeError."""
    return read_regular(path).decode("utf-8-sig")
