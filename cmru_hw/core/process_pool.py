"""The common pool of worker processes, for Monte-Carlo blocks and corners.

Unlike the standard library's pools, it replaces a worker that dies (the system kills processes that take too much
memory) and gives its item to another worker. Workers are spawned, because torch does not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from cmru_hw.core.errors import InputError, WorkersLost

# Number of lost workers in one call that ends the call: it is no longer an accident.
_LOSSES = 5
_LOST = object()
_NAME = "cmru_hw worker"
# Exit status of a worker that runs the user's script from its beginning, and meets this pool again there.
_NO_GUARD = 71
# [s] for a process to end that has closed its connection
_MOMENT = 5.0

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Pool:
    """At most ``jobs`` processes, started when there is work and reused by later calls of `run`."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._idle: list[_Worker] = []

    def run(
        self, function: Callable[[Shared, Item], Answer], shared: Shared, items: Sequence[Item]
    ) -> Iterator[tuple[Item, Answer]]:
        """Yield ``(item, function(shared, item))`` for all ``items``, in the order in which they finish.

        ``function`` is defined at module level; all arguments and results can be pickled. Each worker gets ``shared``
        once. Raises the error that ``function`` raises, WorkersLost if several workers die, and InputError in a
        script without a main guard. Closing the iterator early ends the busy workers.
        """
        waiting, lost = deque(items), 0
        told: set[_Worker] = set()
        busy: dict[_Worker, Item] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < self._jobs:
                    worker = self._idle.pop() if self._idle else _Worker.start()
                    busy[worker] = waiting.popleft()
                    # A dead worker is noticed below, when its result is read.
                    with suppress(OSError):
                        news = (function, None if worker in told else (shared,), busy[worker])
                        worker.connection.send(news)
                    told.add(worker)
                ready = connection.wait([worker.connection for worker in busy])
                for worker in [worker for worker in busy if worker.connection in ready]:
                    item = busy.pop(worker)
                    try:
                        answer = worker.connection.recv()
                    except (EOFError, OSError):
                        answer = _LOST
                    if answer is _LOST:
                        lost += 1
                        _judge(worker, lost)
                        worker.end()
                        waiting.appendleft(item)
                        continue
                    self._idle.append(worker)
                    if isinstance(answer, _Raised):
                        raise answer.error from answer.origin
                    yield item, answer
        finally:
            # The iterator was closed early: answers of busy workers would be taken for those of a later call.
            for worker in busy:
                worker.end()

    def close(self) -> None:
        """End all workers."""
        while self._idle:
            self._idle.pop().end()


@contextmanager
def process_pool(jobs: int) -> Iterator[Pool]:
    """A pool of ``jobs`` processes, ended with the context."""
    pool = Pool(jobs)
    try:
        yield pool
    finally:
        pool.close()


class _Origin(Exception):
    """The traceback of an error in a worker, as text: shown as the cause of the error in this process."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Raised:
    error: Exception
    origin: _Origin


@dataclass(frozen=True, kw_only=True, eq=False)
class _Worker:
    process: BaseProcess
    connection: connection.Connection[Any, Any]

    @classmethod
    def start(cls) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        if multiprocessing.current_process().name == _NAME:
            # This process was started by a pool, and runs the script that opens one as if it were the first process.
            os._exit(_NO_GUARD)
        process = context.Process(target=_work, args=(theirs,), daemon=True, name=_NAME)
        with _no_missing_script():
            process.start()
        # With this copy closed, each side notices the end of the other.
        theirs.close()
        return cls(process=process, connection=ours)

    def end(self) -> None:
        self.process.terminate()
        self.connection.close()


@contextmanager
def _no_missing_script() -> Iterator[None]:
    """Workers do not run a script that is no file: one from standard input is called ``<stdin>``, and cannot be."""
    main = vars(sys.modules["__main__"])
    path = main.get("__file__")
    if path is None or os.path.exists(path):  # noqa: PTH110 - a name such as <stdin> need not be a path
        yield
        return
    del main["__file__"]
    try:
        yield
    finally:
        main["__file__"] = path


def _judge(worker: _Worker, lost: int) -> None:
    """Raise an error if the death of ``worker``, one of ``lost``, is no accident."""
    worker.process.join(_MOMENT)
    if worker.process.exitcode == _NO_GUARD:
        worker.end()
        raise InputError(
            "a script that uses several processes is run by each of them from its beginning: put its statements under "
            "if __name__ == '__main__':"
        )
    if lost == _LOSSES:
        worker.end()
        raise WorkersLost(f"{lost} workers died at work: give fewer --jobs, or more memory")


def _work(tasks: connection.Connection[Any, Any]) -> None:
    """Body of a worker process: receive items and send answers or errors, until the other side has closed."""
    # Ctrl-C reaches every process of a terminal; the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shared: list[Any] = []
    with suppress(EOFError, OSError):
        while True:
            task = tasks.recv_bytes()
            tasks.send_bytes(_answer(task, shared))


def _answer(task: bytes, shared: list[Any]) -> bytes:
    """The pickled answer to the pickled ``task``, or the pickled error; ``shared`` keeps its argument of that name.

    Only a lack of memory ends the process, because another one may have enough.
    """
    try:
        function, new, item = pickle.loads(task)
        if new is not None:
            shared[:] = new
        return pickle.dumps(function(*shared, item))
    except MemoryError:
        raise
    except Exception as error:
        raised = _Raised(error=error, origin=_Origin(traceback.format_exc()))
        try:
            pickle.loads(found := pickle.dumps(raised))
        except Exception:
            # An exception with arguments of its own may not survive the way to another process.
            text = "".join(traceback.format_exception_only(error)).strip()
            found = pickle.dumps(replace(raised, error=RuntimeError(text)))
        return found
