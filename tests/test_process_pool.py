"""The pool of worker processes: a programming error in a worker is raised here, as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cmru_hw.core.errors import CmruError, DataError
from cmru_hw.core.process_pool import process_pool


class Awkward(Exception):
    """An exception that pickles, but does not unpickle."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


def work(folder: Path, item: str) -> Any:
    with (folder / "asked").open("a") as file:
        file.write(f"{item}\n")
    if item == "data":
        raise DataError("the data are bad: give others")
    if item == "file":
        return (folder / "absent").read_text()
    if item == "awkward":
        raise Awkward("hard to", " pickle")
    if item == "answer":
        return lambda: None
    if item == "memory":
        raise MemoryError
    if item == "dies":
        os._exit(1)
    return {"a": 1}[item]


def test_an_error_in_a_worker_is_raised_here_once(tmp_path: Path) -> None:
    expected: dict[str, tuple[type[Exception], str]] = {
        "b": (KeyError, "'b'"),
        "data": (DataError, "the data are bad"),
        "file": (FileNotFoundError, "absent"),
        "awkward": (RuntimeError, "Awkward: hard to pickle"),
        "answer": (Exception, "pickle|local object"),  # the words depend on the version of Python
    }
    # One process for all, because each takes seconds to start: an error does not end it.
    with process_pool(1) as pool:
        for item, (kind, text) in expected.items():
            with pytest.raises(kind, match=text) as raised:
                list(pool.run(work, tmp_path, [item]))
            assert "Traceback" in str(raised.value.__cause__)
        assert list(pool.run(work, tmp_path, ["a"])) == [("a", 1)]
        assert (tmp_path / "asked").read_text().split() == [*expected, "a"]
        # A worker without enough memory is lost, and so is one that dies.
        for item in ("memory", "dies"):
            with pytest.raises(CmruError, match="workers died at work: give fewer --jobs, or more memory"):
                list(pool.run(work, tmp_path, [item]))
