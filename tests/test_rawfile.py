"""The raw file parser: what ngspice writes is read exactly, everything else is refused by name."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmru_hw.core.errors import ResultRejected
from cmru_hw.spice import rawfile

VALUES = np.array([[0.0, 1e-9, 2e-9], [0.0, 0.5, -0.25]])


def raw(
    values: np.ndarray = VALUES,
    *,
    names: tuple[str, ...] = ("time", "v(out)"),
    flags: str = "real",
    points: str | None = None,
    title: str = "a title: with a colon",
) -> bytes:
    variables, length = values.shape
    points = f"{length:<8d}" if points is None else points
    lines = [
        f"Title: {title}",
        "Date: Sun Nov 22 08:13:12  2026",
        "Plotname: Transient Analysis",
        f"Flags: {flags}",
        f"No. Variables: {variables}",
        f"No. Points: {points}",
        "Variables:",
        *(f"\t{i}\t{name}\tvoltage" for i, name in enumerate(names)),
        "Binary:",
    ]
    return "\n".join(lines).encode() + b"\n" + values.T.astype("<f8").tobytes()


@pytest.mark.parametrize("flags", ["real", "real padded"])
@pytest.mark.parametrize("points", ["3", "3       "])
def test_reads_what_ngspice_writes(flags: str, points: str) -> None:
    plot = rawfile.parse(raw(flags=flags, points=points))
    assert plot.title == "a title: with a colon"
    assert plot.names == ("time", "v(out)")
    np.testing.assert_array_equal(plot.data, VALUES)


def test_values_that_look_like_the_header_do_no_harm() -> None:
    values = np.frombuffer(b"Binary:\nTitle: \n" * 3, dtype="<f8").reshape(2, 3)
    np.testing.assert_array_equal(rawfile.parse(raw(values)).data, values)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no binary part"),
        (raw().replace(b"Binary:", b"Values:"), "no binary part"),
        (raw(flags="complex"), "complex data"),
        (raw(flags="real unpadded"), "unpadded"),
        (raw().replace(b"Flags: real\n", b""), "unknown data"),
        (raw(VALUES[:, :0]), "no points"),
        (raw(points="0       "), "no points"),
        (raw(points="many"), "its number of points"),
        (raw(points="-3"), "no points"),
        (raw()[:-1], "47 bytes where 48 belong"),
        (raw() + raw(), "bytes where 48 belong"),
        (raw(names=("time",)), "names 1 vectors where it promises 2"),
        (raw().replace(b"\t1\tv", b"\t7\tv"), "damaged"),
    ],
)
def test_refuses(content: bytes, words: str) -> None:
    with pytest.raises(ResultRejected, match=words):
        rawfile.parse(content)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ResultRejected, match="no result"):
        rawfile.read(tmp_path / "out.raw")


@given(st.integers(0, len(raw()) - 1))
def test_no_part_of_a_file_is_taken_for_the_whole(length: int) -> None:
    with pytest.raises(ResultRejected):
        rawfile.parse(raw()[:length])


@given(st.binary(max_size=200))
def test_garbage_after_the_header_never_raises_anything_else(garbage: bytes) -> None:
    with contextlib.suppress(ResultRejected):
        rawfile.parse(b"Title: x\n" + garbage)
