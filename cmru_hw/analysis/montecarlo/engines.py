"""SPICE engines that stay open between the blocks of a job, so that no block waits for a simulator to start."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from cmru_hw import spice


class Engines:
    """Engines of one process, one for each thread at work. They end with `close`, or when nothing refers to this."""

    def __init__(self, *, backend: spice.Backend, timeout: float) -> None:
        self._backend: spice.Backend = backend
        self._timeout = timeout
        self._idle: list[spice.Engine] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._idle)

    @contextmanager
    def borrowed(self) -> Iterator[spice.Engine]:
        """An engine that no other thread uses. An exception ends its workers, because they may still be at work."""
        with self._lock:
            engine = self._idle.pop() if self._idle else None
        if engine is None:
            engine = spice.open_engine(backend=self._backend, timeout=self._timeout)
        try:
            yield engine
        except BaseException:
            engine.close()
            raise
        with self._lock:
            self._idle.append(engine)

    def close(self) -> None:
        """End all idle engines. The next one is opened anew."""
        with self._lock:
            _close(self._idle)


def _close(idle: list[spice.Engine]) -> None:
    while idle:
        idle.pop().close()
