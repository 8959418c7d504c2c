"""Atomic output folders: all files are written to a scratch folder, and moved to their place when all are complete."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from cmru_hw.core.atomic_write import synchronise
from cmru_hw.core.errors import OutputError, reason
from cmru_hw.core.regular_file import read_regular


@contextmanager
def atomic_folder(path: str | Path, *, last: str = "", earlier: Mapping[str, str] | None = None) -> Iterator[Path]:
    """An empty scratch folder; its files become those of ``path`` when the body ends, and vanish if it raises.

    A new folder appears by one rename. In a folder that exists, files of the same name are replaced one by one,
    ``last`` after all others, and other files stay. Of the files that are not replaced, those go that ``earlier``
    (name → SHA-256) lists and that still have this content: files of other programs are never removed. Raises
    OutputError.
    """
    path = Path(path)
    scratch: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path if path.is_dir() else path.parent))
        scratch.chmod(0o755)
        yield scratch
        synchronise(scratch)
        if path.is_dir():
            _move(scratch, path, last, earlier or {})
        else:
            scratch.replace(path)
        synchronise(path.parent, deep=False)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({reason(error)}): free some space, or choose another -o"
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def require_replaceable(path: Path, manifest: str, other: str, *, force: bool) -> None:
    """Raise OutputError if ``path`` exists, unless ``force`` is given and it has the file ``manifest``: a folder of
    something ``other``, such as "not a report", is never replaced."""
    if not path.exists():
        return
    if not force:
        raise OutputError(f"{path} exists: choose another -o, or give --force to replace it")
    if not (path / manifest).is_file():
        raise OutputError(f"{path} exists and is {other}, so --force does not replace it: remove it yourself")


def digests(folder: Path) -> dict[str, str]:
    """Name → SHA-256 of every file in ``folder`` and below, for ``earlier`` of the next time. Raises OSError."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _names(folder)}


def _names(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir())


def _move(scratch: Path, path: Path, last: str, earlier: Mapping[str, str]) -> None:
    names = sorted(_names(scratch), key=lambda name: name == last)
    for name in names:
        # before anything is moved
        if (path / name).is_dir() and not (path / name).is_symlink():
            raise OutputError(f"{path / name} is a folder and has the name of a result: move it away")
        (path / name).parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        (scratch / name).replace(path / name)
    for name in sorted(earlier.keys() - set(names)):
        _remove(path, name, earlier[name])


def _remove(folder: Path, name: str, digest: str) -> None:
    """Remove the file ``name`` if its content has the hash ``digest``, and the folders that this leaves empty."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        return
    file = folder / name
    with suppress(OSError):
        inside = file.parent.resolve().is_relative_to(folder.resolve())
        if not inside or file.is_symlink() or hashlib.sha256(read_regular(file)).hexdigest() != digest:
            return
        file.unlink()
        for above in file.parents:
            if above == folder:
                return
            # fails, as it should, where something is left
            above.rmdir()
