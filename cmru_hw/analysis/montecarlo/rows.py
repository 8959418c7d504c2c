"""Rows of dies in a file: one writer, and one reader that checks everything.

A file of rows names the job that they are of, and a hash over all of them: a file that was damaged, exchanged or edited
is not read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cmru_hw.core.atomic_write import write_atomically
from cmru_hw.core.errors import InputError, reason
from cmru_hw.core.regular_file import read_regular

SCHEMA = pa.schema(
    [
        ("die", pa.int64()),
        ("status", pa.string()),
        ("accuracy", pa.float64()),
        ("classes_alike", pa.int64()),
        ("decisions", pa.int64()),
        ("decisions_agree", pa.int64()),
        ("level_error_max", pa.float64()),
        ("level_error_rms", pa.float64()),
        ("engines_agree", pa.int64()),
        ("engines_close", pa.int64()),
        ("trim_beyond", pa.int64()),
    ]
)
"""One row per die. ``accuracy`` is the share of sequences classified as labelled (without labels: as software does).

``decisions_agree`` of ``decisions`` equal software's. Level errors are relative to software, in levels (αCMRU: shares
of the swing). ``engines_agree`` decisions are equal in both engines; ``engines_close`` differ, but are below the
resolution of a comparison or follow from such a decision. Both are null for a die that SPICE did not simulate.
``trim_beyond`` rows are out of the range of their trim code; null without trim.
"""
JOB, HASH = b"job", b"rows_sha256"


def write(path: Path, table: pa.Table, *, job: str) -> None:
    """Write the rows in ``table``, of the job with the hash ``job``. Raises OutputError."""
    # as one piece: the same rows are the same bytes, however they were put together
    combined = table.cast(SCHEMA).combine_chunks()
    marked = combined.replace_schema_metadata({JOB: job, HASH: _digest(combined)})
    write_atomically(path, lambda scratch: pq.write_table(marked, scratch))


def read(path: Path, *, job: str | None = None) -> pa.Table:
    """The rows in ``path``; with ``job``, only those of the job with this hash. Raises InputError."""
    try:
        found = pq.read_table(pa.BufferReader(read_regular(path)))
        metadata = found.schema.metadata or {}
        table = found.cast(SCHEMA)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({reason(error)}): make it again") from error
    except Exception as error:
        # a damaged file can make its reader raise anything
        raise InputError(f"{path} holds no rows of dies ({type(error).__name__}): make it again") from error
    if job is not None and metadata.get(JOB) != job.encode():
        raise InputError(f"{path} is of another job: make it again")
    if metadata.get(HASH, b"").decode("ascii", "replace") != _digest(table):
        raise InputError(f"{path} was changed after it was written, or is of another version: make it again")
    for place, row in enumerate(table.to_pylist()):
        if problem := _problem(row):
            raise InputError(f"{path}, row {place}: {problem}: make it again")
    return table


def _digest(table: pa.Table) -> str:
    return hashlib.sha256(json.dumps(table.to_pydict(), sort_keys=True).encode()).hexdigest()


def _problem(row: Mapping[str, Any]) -> str:
    """The first impossible value of ``row``, in words; empty if there is none."""
    if row["die"] is None or row["die"] < 0:
        return f"die is {row['die']}"
    if not row["status"]:
        return "status is empty"
    if row["status"] == "ok":
        for name in ("accuracy", "decisions", "decisions_agree"):
            if row[name] is None:
                return f"{name} is missing"
    checks: dict[str, Callable[[float], bool]] = {name: lambda value: value >= 0 for name in SCHEMA.names[3:]}
    checks["accuracy"] = lambda value: 0 <= value <= 1
    for name, holds in checks.items():
        value = row[name]
        if value is not None and (math.isnan(value) or not holds(value)):
            return f"{name} is {value}"
    if (row["decisions_agree"] or 0) > (row["decisions"] or 0):
        return f"{row['decisions_agree']} of {row['decisions']} decisions agree"
    return ""
