"""Workers that compute the blocks: this process, several, or the machines of a Dask cluster.

Each of these is a function of a job and its blocks that yields (block, rows) as they are done, in any order. None of
them can change a row; a worker that dies costs its block, which is then given to another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa

from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.shards import Block
from cmru_hw.analysis.montecarlo.statistics import scores
from cmru_hw.core.errors import InputError, reason
from cmru_hw.core.process_pool import process_pool

Workers = Callable[[Job, Sequence[Block]], Iterator[tuple[Block, pa.Table]]]
# How often Dask starts a block again whose worker was lost.
_RETRIES = 5


def serial(job: Job, blocks: Sequence[Block]) -> Iterator[tuple[Block, pa.Table]]:
    """This process, one block after the other."""
    for block in blocks:
        yield block, scores(job, block.dies)


@contextmanager
def local(jobs: int) -> Iterator[Workers]:
    """``jobs`` processes of this machine, which stay for all jobs that are given to them."""
    with process_pool(jobs) as pool:
        yield partial(pool.run, _rows)


def _rows(job: Job, block: Block) -> pa.Table:
    return scores(job, block.dies)


@contextmanager
def cluster(address: str, *, patience: float = 60.0) -> Iterator[Workers]:
    """All workers of the Dask scheduler at ``address`` (``tcp://host:8786``), or of the one that a file describes.

    A scheduler that was started a moment ago has not written its file yet: ``patience`` [s] is how long to wait for it.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise InputError("--scheduler needs Dask: pip install 'cmru_hw[cluster]', on every machine") from None
    if "://" not in address:
        _await(Path(address), patience)
    try:
        client = Client(address) if "://" in address else Client(scheduler_file=address)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address} ({reason(error)}): start one with dask scheduler"
        ) from error

    def run(job: Job, blocks: Sequence[Block]) -> Iterator[tuple[Block, pa.Table]]:
        # As the result of a task and not scattered: what only a worker holds is gone with that worker, for good.
        shared = client.submit(_itself, job, pure=False)
        # Not pure: Dask would tell blocks apart by hashing the job. Retried: a lost worker is no failure.
        futures = {client.submit(scores, shared, block.dies, pure=False, retries=_RETRIES): block for block in blocks}
        try:
            for future in as_completed(list(futures)):
                yield futures[future], future.result()
        finally:
            client.cancel(list(futures))

    with client:
        yield run


def _await(file: Path, patience: float) -> None:
    """A scheduler that was started a moment ago writes its file soon; Dask's client would wait for one for ever."""
    end = time.monotonic() + patience
    while not file.is_file():
        if time.monotonic() >= end:
            raise InputError(
                f"no Dask scheduler has written {file} within {patience:g} s: start one with dask scheduler "
                f"--scheduler-file {file}, or give tcp://HOST:PORT"
            )
        time.sleep(0.1)


def _itself(job: Job) -> Job:
    return job
