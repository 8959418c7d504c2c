"""Bad and hostile inputs, made from good ones and a seed, for the campaign in test_faults."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmru_hw.cli import main

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e300, -1e300, 2**70, "", "x", "=1+1", "a\nb", "\x1b[31m", "é" * 2000, [], [1], [None],
    {}, {"a": 1}, [[[]]], 0.5, 1e-300, "1", "NaN",
)  # fmt: skip
"""Values that some field of some file will not bear."""

REMEDY = re.compile(
    r"\b(give|choose|check|make|export|save|name|install|write|remove|correct|train|leave|use|copy|store|pad|start|"
    r"rename|move|set|put|report|convert|free|change|must|needs?|try|add|see|lie|are needed|is needed|hold|holds|drop|"
    r"wanted|reads|one of|known are|missing|is not in the range|expected|such as|cmru-hw|run)\b",
    re.IGNORECASE,
)
"""Words of a message that says what to do, or what is wanted instead."""


@dataclass(frozen=True, kw_only=True)
class Done:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def run(*arguments: object) -> Done:
    """One command through the entry point, in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cmru-hw", *map(str, arguments)])
        patch.delenv("CMRU_HW_DEBUG", raising=False)
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), pytest.raises(SystemExit) as ended:
            main()
    return Done(code=int(ended.value.code or 0), stdout=stdout.getvalue(), stderr=stderr.getvalue())


def sound(done: Done, codes: tuple[int, ...]) -> None:
    """Assert that ``done`` ended with one of ``codes`` and, unless it is 0, with one line of cause and remedy."""
    told = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert done.code in codes, (done.code, done.stdout[-500:], done.stderr[-500:])
    if done.code:
        last = told[-1]
        assert last.isprintable() and len(last) < 2000, last
        if told[0].startswith("Usage:"):
            # a line before names the help option; the lowest click that is allowed names its short form
            assert last.startswith("Error: ") and any("for help" in line for line in told), done.stderr
        else:
            assert len(told) == 1 and last.startswith("error: "), done.stderr
            assert REMEDY.search(last.split(": ", 1)[1]), f"no remedy in: {last}"


# --- Files -------------------------------------------------------------------------------------------------------


def no_file(kind: str, path: Path) -> None:
    """Put something at ``path`` that is no file to read: its ``kind``."""
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "empty":
        path.touch()
    elif kind == "bytes":
        path.write_bytes(bytes(range(255, -1, -1)) * 3)
    elif kind == "text":
        path.write_text("this is none\n")
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as one, contextlib.chdir(path.parent):
            one.bind(path.name)
    else:
        assert kind == "absent", kind


NO_FILES = ("absent", "folder", "fifo", "device", "loop", "empty", "bytes", "text", "socket")


def damaged(content: bytes, seed: int) -> bytes:
    """``content`` cut, overwritten, doubled or shuffled, as ``seed`` has it."""
    draw = random.Random(seed)
    place = draw.randrange(len(content))
    size = draw.choice((1, 2, 8, 64))
    return draw.choice(
        (
            content[:place],
            content[place:],
            content[:place] + draw.randbytes(size) + content[place + size :],
            content[:place] + draw.randbytes(size) + content[place:],
            content + content,
            content[:place] + b"\0" * size + content[place + size :],
        )
    )


def npz(path: Path, members: dict[str, Any]) -> None:
    """An .npz of arrays, or of raw bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in members.items():
            content = value
            if not isinstance(value, bytes):
                out = io.BytesIO()
                np.save(out, value, allow_pickle=True)
                content = out.getvalue()
            archive.writestr(f"{name}.npy", content)


# --- Trees of values ---------------------------------------------------------------------------------------------


def places(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Path of every value in JSON ``content``."""
    inner: Any = ()
    if isinstance(content, dict):
        inner = content.items()
    elif isinstance(content, list):
        inner = enumerate(content)
    for key, value in inner:
        yield (*place, key)
        yield from places(value, (*place, key))


def put(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy of ``content`` with ``value`` at ``place``."""
    made = json.loads(json.dumps(content))
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return made


def at(content: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        content = content[key]
    return content


def mutations(content: Any, *, count: int, seed: int) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """``count`` draws of a place in ``content`` and another value for it."""
    draw, every = random.Random(seed), list(places(content))
    made = 0
    while made < count:
        place, value = draw.choice(every), draw.choice(VALUES)
        if at(content, place) != value:
            made += 1
            yield place, value
