"""Workers that compute the blocks: this process, several, or the machines of a Dask cluster.

Each is a function of a job and its blocks that yields (block, rows) as they finish, in any order. None of them can
change a row. If a worker is lost, another one computes its block again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.shards import Block
from cmru_hw.analysis.montecarlo.statistics import scores
from cmru_hw.core import records
from cmru_hw.core.errors import InputError, WorkersLost, reason
from cmru_hw.core.process_pool import process_pool

Workers = Callable[[Job, Sequence[Block]], Iterator[tuple[Block, pa.Table]]]
# How often Dask repeats a block whose worker was lost.
_RETRIES = 5


def serial(job: Job, blocks: Sequence[Block]) -> Iterator[tuple[Block, pa.Table]]:
    """This process, one block after the other."""
    try:
        for block in blocks:
            yield block, scores(job, block.dies)
    finally:
        job.engines.close()


@contextmanager
def local(jobs: int) -> Iterator[Workers]:
    """``jobs`` processes on this machine, which are reused for all jobs."""
    with process_pool(jobs) as pool:
        yield partial(pool.run, _rows)


@contextmanager
def opened(jobs: int, scheduler: str | None) -> Iterator[Workers]:
    """The Dask cluster at ``scheduler`` if there is one, else ``jobs`` processes, or this process for one."""
    if scheduler:
        with cluster(scheduler) as workers:
            yield workers
    elif jobs > 1:
        with local(jobs) as workers:
            yield workers
    else:
        yield serial


def _rows(job: Job, block: Block) -> pa.Table:
    return scores(job, block.dies)


@contextmanager
def cluster(address: str, *, patience: float = 60.0) -> Iterator[Workers]:
    """All workers of the Dask scheduler at ``address``: see :func:`cluster_of`."""
    with cluster_of(address, patience=patience) as run:
        yield partial(run, _rows)


@contextmanager
def cluster_of(address: str, *, patience: float = 60.0) -> Iterator[Callable[..., Iterator[tuple[Any, Any]]]]:
    """``run(function, shared, items)`` on the workers of the Dask scheduler at ``address`` (``tcp://host:8786``, or a
    scheduler file), like `cmru_hw.core.process_pool.Pool.run`.

    ``patience`` [s] is how long to wait for the scheduler file, which a newly started scheduler has not written yet.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise InputError("--scheduler needs Dask: pip install 'cmru_hw[cluster]', on every machine") from None
    if "://" not in address:
        address = _address(Path(address), patience)
    try:
        client = Client(address)
    except Exception as error:
        # Dask raises errors of many types here: OSError, ValueError, TypeError, KeyError and others.
        raise InputError(
            f"no Dask scheduler answers at {address} ({reason(error)}): start one with dask scheduler"
        ) from error

    def run(function: Callable[..., Any], job: Any, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        # A task result and not scattered data: scattered data is lost for good with the worker that holds it.
        shared = client.submit(_itself, job, pure=False)
        # pure=False: otherwise Dask hashes the job to distinguish blocks. retries: a lost worker is not a failure.
        futures = {client.submit(function, shared, item, pure=False, retries=_RETRIES): item for item in items}
        try:
            for future in as_completed(list(futures)):
                yield futures[future], _result(future)
        finally:
            client.cancel(list(futures))

    with client:
        yield run


def _result(future: Any) -> Any:
    """The rows of a finished task. Raises WorkersLost if its workers died again and again."""
    from distributed import CancelledError, KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        return future.result()
    except (CancelledError, KilledWorker, CommClosedError) as error:
        raise WorkersLost(
            f"workers of the Dask cluster died at work ({type(error).__name__}): give them more memory and run "
            "the same command again: finished dies are kept"
        ) from error


def _address(file: Path, patience: float) -> str:
    """The address in a scheduler's file. One that was started a moment ago writes it soon."""
    end = time.monotonic() + patience
    while not file.is_file():
        if time.monotonic() >= end:
            raise InputError(
                f"no Dask scheduler has written {file} within {patience:g} s: start one with dask scheduler "
                f"--scheduler-file {file}, or give tcp://HOST:PORT"
            )
        time.sleep(0.1)
    content = records.read(file)
    address = content.get("address") if isinstance(content, dict) else None
    if not isinstance(address, str) or "://" not in address:
        raise InputError(f"{file} names no Dask scheduler: give the file that dask scheduler --scheduler-file wrote")
    return address


def _itself(job: Any) -> Any:
    return job
