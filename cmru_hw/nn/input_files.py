"""Read files from users: size limits, and foreign errors as one line with cause and remedy.

Nothing in such a file is executed. The unpacked size of an archive is checked before it is unpacked.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core.errors import CmruError

MAX_NAME = 64
"""Number of characters of a foreign name in a message; tensor names get twice as many."""


def quoted(name: str) -> str:
    """The name of a foreign tensor or array, shortened for a message."""
    return repr(name[: 2 * MAX_NAME])


def check_file(path: Path, kind: type[CmruError], limit: int) -> None:
    """Raise ``kind`` unless ``path`` is a regular file of 1 to ``limit`` bytes."""
    if path.is_dir():
        raise kind("it is a directory; name the file in it")
    if not path.exists():
        raise kind("there is no such file; check the path")
    if not path.is_file():
        raise kind("it is not a regular file; copy it to one")
    if path.stat().st_size > limit:
        raise kind(f"it is larger than {limit >> 20} MiB; files of that size are not read")
    if path.stat().st_size == 0:
        raise kind("it is empty; save it again")


def check_zip(path: Path, kind: type[CmruError], limit: int) -> list[str]:
    """Names in the archive, after a check that unpacking cannot fill the memory. Raises ``kind``."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > limit:
        raise kind(f"it unpacks to more than {limit >> 20} MiB; files of that size are not read")
    names = [entry.filename for entry in entries]
    known = [name.removesuffix(".npy") for name in names]
    if doubled := next((name for name in known if known.count(name) > 1), None):
        raise kind(f"it holds {quoted(doubled)} twice; save it again with one of them")
    return names


def read_npz(path: Path, kind: type[CmruError], limit: int) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` by name, without unpickling. An array of Python objects is returned as a scalar of kind O.

    Raises ``kind`` for an archive whose unpacked size exceeds ``limit`` bytes.
    """
    check_zip(path, kind, limit)
    found: dict[str, NDArray[Any]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            try:
                found[name] = np.asarray(arrays[name])
            except ValueError as error:
                if "Object arrays" not in str(error):
                    raise
                found[name] = np.array(None, dtype=object)
    return found


@contextmanager
def reading(path: Path, kind: type[CmruError], otherwise: str) -> Iterator[None]:
    """Convert errors of foreign readers to ``kind``, with the file's name, and their text as evidence.

    It catches any exception: a hostile file can make a parser raise anything, and the remedy is always the same.
    """
    try:
        yield
    except CmruError as error:
        raise kind(f"{path}: {error}", evidence=error.evidence) from None
    except OSError as error:
        raise kind(
            f"{path}: it cannot be read ({error.strerror or error}); check the file and its permissions"
        ) from error
    except Exception as error:
        raise kind(f"{path}: {otherwise}", evidence=f"{type(error).__name__}: {error}") from error
