"""Who computes the blocks: this process, several, or the machines of a Dask cluster.

Each of these is a function of a job and its blocks that yields (block, rows) as they are done, in any order. None of
them can change a row; a worker that dies costs its block, which is then given to another.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pyarrow as pa

from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.shards import Block
from cmru_hw.analysis.montecarlo.statistics import scores
from cmru_hw.core.errors import CmruError, InputError, reason

Workers = Callable[[Job, Sequence[Block]], Iterator[tuple[Block, pa.Table]]]
# So many workers lost over one call are no accident.
_LOSSES = 5


def serial(job: Job, blocks: Sequence[Block]) -> Iterator[tuple[Block, pa.Table]]:
    """This process, one block after the other."""
    for block in blocks:
        yield block, scores(job, block.dies)


@contextmanager
def local(jobs: int) -> Iterator[Workers]:
    """``jobs`` processes of this machine, which stay for all jobs that are given to them."""
    idle: list[_Worker] = []

    def run(job: Job, blocks: Sequence[Block]) -> Iterator[tuple[Block, pa.Table]]:
        waiting, lost = deque(blocks), 0
        told: set[_Worker] = set()
        busy: dict[_Worker, Block] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < jobs:
                    worker = idle.pop() if idle else _Worker.start()
                    busy[worker] = waiting.popleft()
                    # One that is already dead is noticed below, where its answer should come from.
                    with suppress(OSError):
                        # a job is large and its blocks are many
                        worker.connection.send((None if worker in told else job, busy[worker].dies))
                    told.add(worker)
                ready = connection.wait([worker.connection for worker in busy])
                for worker in [worker for worker in busy if worker.connection in ready]:
                    block = busy.pop(worker)
                    try:
                        answer = worker.connection.recv()
                    except (EOFError, OSError):
                        worker.end()
                        lost += 1
                        if lost == _LOSSES:
                            raise CmruError(f"{lost} workers died at work: give fewer --jobs, or more memory") from None
                        waiting.appendleft(block)
                        continue
                    idle.append(worker)
                    if isinstance(answer, CmruError):
                        raise answer
                    yield block, answer
        finally:
            # Left early: what these are at is of no use, and their answers would be taken for others.
            for worker in busy:
                worker.end()

    try:
        yield run
    finally:
        for worker in idle:
            worker.end()


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
        futures = {client.submit(scores, shared, block.dies, pure=False, retries=_LOSSES): block for block in blocks}
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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Worker:
    process: BaseProcess
    connection: connection.Connection[Any, Any]

    @classmethod
    def start(cls) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        # with our copy closed, either side hears of the other's end
        theirs.close()
        return cls(process=process, connection=ours)

    def end(self) -> None:
        self.process.terminate()
        self.connection.close()


def _work(tasks: connection.Connection[Any, Any]) -> None:
    """Body of a worker process: a job and dies in, rows or an error out, until the other side is gone."""
    # Ctrl-C reaches every process of a terminal; the first one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job: Job | None = None
    with suppress(EOFError, OSError):
        while True:
            new, dies = tasks.recv()
            job = new or job
            assert job is not None
            try:
                answer: Any = scores(job, dies)
            except CmruError as error:
                answer = error
            tasks.send(answer)
