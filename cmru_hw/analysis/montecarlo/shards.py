"""Storage of die rows until all are computed: one parquet file for each block, complete or absent.

::

    OUT/shards/<job>/000012.parquet    rows of the dies of block 12, of the job with that identity
    OUT/dies.parquet  OUT/summary.json and figures, written when all dies are there

A block is a fixed range of die numbers, so the same command finds its shards again, and so does a command with more
dies. Another design, seed, input or version is another job with its own shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.result import SUMMARY, MonteCarloResult
from cmru_hw.analysis.montecarlo.statistics import BLOCK, SCHEMA
from cmru_hw.core.atomic_write import write_whole

DIES = "dies.parquet"


@dataclass(frozen=True, kw_only=True)
class Block:
    """The requested dies of one block, in rising order."""

    number: int
    dies: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Store:
    """The shards of one job under ``folder``."""

    folder: Path
    identity: str

    @classmethod
    def of(cls, folder: Path, job: Job) -> Store:
        return cls(folder=folder / "shards" / job.sha256[:20], identity=job.sha256)

    def read(self, block: Block) -> pa.Table | None:
        """The rows of ``block``, if its shard exists and is complete."""
        path = self._path(block)
        if not path.is_file():
            return None
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError):
            # A foreign or damaged file: the block is computed again.
            return None
        if (table.schema.metadata or {}).get(b"job") != self.identity.encode() or table.schema.names != SCHEMA.names:
            return None
        table = table.cast(SCHEMA)
        rows = {die: place for place, die in enumerate(table["die"].to_pylist())}
        if not all(die in rows for die in block.dies):
            return None
        return table.take([rows[die] for die in block.dies])

    def write(self, block: Block, table: pa.Table) -> None:
        """Store the rows of ``block``. Raises OutputError."""
        marked = table.replace_schema_metadata({"job": self.identity})
        write_whole(self._path(block), lambda path: pq.write_table(marked, path))

    def _path(self, block: Block) -> Path:
        return self.folder / f"{block.number:06d}.parquet"


def blocks(job: Job, dies: Sequence[int]) -> list[Block]:
    """``dies`` (rising) divided into blocks, in order."""
    found: dict[int, list[int]] = {}
    for die in dies:
        found.setdefault(die // BLOCK[job.engine], []).append(die)
    return [Block(number=number, dies=tuple(members)) for number, members in found.items()]


def write_results(folder: Path, table: pa.Table, summary: MonteCarloResult) -> None:
    """``dies.parquet`` and ``summary.json``. Raises OutputError."""
    write_whole(folder / DIES, lambda path: pq.write_table(table, path))
    summary.save(folder / SUMMARY)
