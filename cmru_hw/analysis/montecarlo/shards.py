"""Storage of die rows until all are computed: one parquet file for each block, complete or absent.

::

    OUT/shards/<job>/000012.parquet    rows of the dies of block 12, of the job with that identity
    OUT/dies.parquet  OUT/summary.json and figures, written when all dies are there

A block is a fixed range of die numbers, so the same command finds its shards again, and so does a command with more
dies. Another design, seed, input or version is another job with its own shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from cmru_hw.analysis.montecarlo import rows
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.result import SUMMARY, MonteCarloResult
from cmru_hw.analysis.montecarlo.rows import SCHEMA
from cmru_hw.analysis.montecarlo.statistics import TRANSIENT, block_size
from cmru_hw.core.errors import InputError

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
    block: int

    @classmethod
    def of(cls, folder: Path, job: Job) -> Store:
        return cls(folder=folder / "shards" / job.sha256[:20], identity=job.sha256, block=block_size(job))

    def read(self, block: Block) -> pa.Table:
        """The rows of those dies of ``block`` that its shard has, in rising order."""
        stored = self._stored(block)
        places = {die: place for place, die in enumerate(stored["die"].to_pylist())}
        return stored.take(pa.array([places[die] for die in block.dies if die in places], pa.int64()))

    def missing(self, block: Block) -> Block:
        """``block`` with those of its dies that its shard lacks."""
        have = set(self.read(block)["die"].to_pylist())
        return replace(block, dies=tuple(die for die in block.dies if die not in have))

    def add(self, block: Block, table: pa.Table) -> pa.Table:
        """Keep the rows in ``table`` next to those that the shard has; returns those of ``block``. Raises OutputError.

        A die that failed in passing is among them, but is not read again: the next run tries it once more.
        """
        new = set(table["die"].to_pylist())
        stored = self._stored(block)
        others = stored.filter(pa.array([die not in new for die in stored["die"].to_pylist()], pa.bool_()))
        both = pa.concat_tables([others, table.cast(SCHEMA)]).sort_by("die")
        rows.write(self._path(block), both, job=self.identity)
        wanted = set(block.dies)
        return both.filter(pa.array([die in wanted for die in both["die"].to_pylist()], pa.bool_()))

    def _stored(self, block: Block) -> pa.Table:
        """All rows of the shard, without those of dies that failed in passing."""
        path = self._path(block)
        if not path.exists():
            return SCHEMA.empty_table()
        try:
            table = rows.read(path, job=self.identity)
        except InputError:
            # Not ours, damaged on the disk or edited: it is made again.
            return SCHEMA.empty_table()
        own = [
            die // self.block == block.number and status not in TRANSIENT
            for die, status in zip(table["die"].to_pylist(), table["status"].to_pylist(), strict=True)
        ]
        return table.filter(pa.array(own, pa.bool_()))

    def _path(self, block: Block) -> Path:
        return self.folder / f"{block.number:06d}.parquet"


def blocks(job: Job, dies: Sequence[int]) -> list[Block]:
    """``dies`` (rising) divided into blocks, in order."""
    found: dict[int, list[int]] = {}
    size = block_size(job)
    for die in dies:
        found.setdefault(die // size, []).append(die)
    return [Block(number=number, dies=tuple(members)) for number, members in found.items()]


def write_results(folder: Path, table: pa.Table, summary: MonteCarloResult) -> None:
    """``dies.parquet`` and ``summary.json``. Raises OutputError."""
    rows.write(folder / DIES, table, job=summary.provenance.job_sha256 or "")
    summary.save(folder / SUMMARY)
