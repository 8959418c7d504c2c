"""Simulate decks in worker processes that are reused, with deadlines, retries and recovery from crashes."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Literal

from cmru_hw.core.errors import CmruError, NotConverged, SimulationError
from cmru_hw.core.signals import Traces
from cmru_hw.spice import deck_safety
from cmru_hw.spice.checks import judge
from cmru_hw.spice.process import NotBegun, WorkerProcess

if TYPE_CHECKING:
    from cmru_hw.spice.deck import Deck

Backend = Literal["pyspice", "batch"]

# Options to try, one after the other, when a deck does not converge unchanged. None of them loosens a tolerance.
RETRIES = ("itl4=50", "method=gear maxord=2 itl4=200")
# Environment variables that select another ngspice than the installed one, by backend.
VARIABLES = {"pyspice": "CMRU_HW_LIBNGSPICE", "batch": "CMRU_HW_NGSPICE"}

# The library leaks a little memory in every run; at this rate a new process costs little.
_RUNS_PER_WORKER = 500


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """A finished simulation and its record.

    ``attempts`` describes the earlier attempts that failed, in order; it is empty if the deck ran without a change.
    ``cpu_seconds`` is the processor time of loading and simulating, measured in the simulator's process (for
    ``"batch"`` including the start of the program); ``seconds`` is the wall time of the same. ``simulator`` is a name
    and version, ``"ngspice 39"``; ``log`` is its output. The title of ``traces`` is the content hash of the deck that
    ran, including the options of a retry.
    """

    traces: Traces
    attempts: tuple[str, ...]
    cpu_seconds: float
    seconds: float
    backend: str
    simulator: str
    log: str = field(repr=False)


class Engine:
    """Runs decks in worker processes that are reused between decks. Not thread-safe."""

    def __init__(
        self, *, backend: Backend, jobs: int, timeout: float, retries: tuple[str, ...], program: str | None
    ) -> None:
        if backend not in VARIABLES:
            raise ValueError(f"there is no backend {backend!r}: one of {', '.join(VARIABLES)}")
        if jobs < 1 or not timeout > 0:
            raise ValueError(f"jobs={jobs} and timeout={timeout} must be positive")
        self.backend: Backend = backend
        self.jobs = jobs
        self.timeout = timeout
        self.retries = tuple(retries)
        program = program or os.environ.get(VARIABLES[backend])
        # A relative path starts at this process's folder, and workers have another; a bare name is searched in PATH.
        self._program = os.path.abspath(program) if program and os.sep in program else program  # noqa: PTH100
        self._idle: list[WorkerProcess] = []
        self._busy: dict[WorkerProcess, _Task] = {}
        self._mapping = False
        self._simulator = ""

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every worker at once, even during a simulation. The engine stays usable and starts new workers."""
        for worker in (*self._busy, *self._idle):
            worker.kill()
        self._busy.clear()
        self._idle.clear()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers, busy workers first."""
        return tuple(worker.process.pid for worker in (*self._busy, *self._idle))

    @property
    def simulator(self) -> str:
        """Name and version of the simulator, such as ``"ngspice 44"``. Starts a worker if none has told it yet.

        Raises SimulatorMissing, SimulationError, OutputError.
        """
        if not self._simulator:
            worker = WorkerProcess(backend=self.backend, program=self._program, settings=())
            try:
                while not worker.simulator:
                    wait([worker.connection], timeout=max(0.0, worker.deadline - time.monotonic()))
                    worker.hear(self.timeout)
            except CmruError:
                worker.kill()
                raise
            self._idle.append(worker)
            self._simulator = worker.simulator
        return self._simulator

    def run(self, deck: Deck) -> Outcome:
        """Simulate one deck.

        Raises NotConverged, SimulationTimeout, SimulatorCrashed or ResultRejected (all SimulationError) if the deck
        failed, SimulatorMissing, InputError for a deck that is not only a circuit, OutputError if the scratch
        directory (in TMPDIR) cannot be written. The engine stays usable after each of them.
        """
        ((_, outcome),) = self.map((deck,))
        if isinstance(outcome, SimulationError):
            raise outcome
        return outcome

    def map(self, decks: Iterable[Deck]) -> Generator[tuple[int, Outcome | SimulationError], None, None]:
        """Simulate all decks and yield (index, result) as each ends; a deck that failed is a SimulationError.

        The engine takes the next of ``decks`` when a worker becomes free. Leaving the loop early ends all running
        simulations. Raises SimulatorMissing, OutputError, and InputError for a deck that is not only a circuit: the
        user must act on these, so they are not returned as data.
        """
        if self._mapping:
            raise RuntimeError("this engine is at work on other decks: open a second one")
        self._mapping = True
        queue = enumerate(decks)
        again: deque[_Task] = deque()
        try:
            while True:
                while len(self._busy) < self.jobs:
                    task = again.popleft() if again else _next_task(queue)
                    if task is None:
                        break
                    self._submit(task)
                if not self._busy:
                    return
                for worker in self._attend():
                    yield from self._answer(worker, again)
        finally:
            self._mapping = False
            for worker in self._busy:
                worker.kill()
            self._busy.clear()

    def _submit(self, task: _Task) -> None:
        """Give ``task`` to an idle worker with the deck's settings, or to a new one."""
        settings = deck_safety.settings(task.deck)
        fit = [worker for worker in self._idle if worker.settings == settings]
        if fit:
            worker = fit[0]
            self._idle.remove(worker)
        else:
            # Settings take effect only when ngspice starts, so a worker with other settings must end.
            while self._idle and len(self._idle) + len(self._busy) >= self.jobs:
                self._idle.pop().kill()
            worker = WorkerProcess(backend=self.backend, program=self._program, settings=settings)
        self._busy[worker] = task
        worker.submit(task.deck)

    def _attend(self) -> list[WorkerProcess]:
        """Wait until workers have sent a message or have passed their deadline."""
        by_connection = {worker.connection: worker for worker in self._busy}
        deadline = min(worker.deadline for worker in self._busy)
        heard: list[Any] = wait(list(by_connection), timeout=max(0.0, deadline - time.monotonic()))
        now = time.monotonic()
        return [worker for c, worker in by_connection.items() if c in heard or worker.deadline <= now]

    def _answer(self, worker: WorkerProcess, again: deque[_Task]) -> Iterator[tuple[int, Outcome | SimulationError]]:
        """Handle one message of ``worker``, its timeout or its end, and yield the task's result if there is one."""
        task = self._busy[worker]
        try:
            event = worker.hear(self.timeout)
            if event is None:
                return
            traces = judge(task.deck, worker.title, event)
        except NotBegun:
            # The worker died between two decks while it cleaned up after the earlier one: this deck is not the cause.
            self._discard(worker)
            again.append(task)
        except NotConverged as error:
            self._discard(worker)
            attempts = (*task.attempts, f"{task.options or 'unchanged options'}: {error}")
            if len(task.attempts) < len(self.retries):
                again.append(task.retry(self.retries[len(task.attempts)], attempts))
            else:
                yield task.index, task.failure(error)
        except SimulationError as error:
            self._discard(worker)
            yield task.index, task.failure(error)
        except CmruError:
            self._discard(worker)
            raise
        else:
            del self._busy[worker]
            worker.forget()
            if worker.runs < _RUNS_PER_WORKER:
                self._idle.append(worker)
            else:
                worker.kill()
            yield (
                task.index,
                Outcome(
                    traces=traces,
                    attempts=task.attempts,
                    cpu_seconds=event.cpu_seconds,
                    seconds=event.seconds,
                    backend=self.backend,
                    simulator=worker.simulator,
                    log=event.log,
                ),
            )

    def _discard(self, worker: WorkerProcess) -> None:
        """End ``worker`` after a failure: the failed deck may have damaged the state of its simulator."""
        del self._busy[worker]
        worker.kill()


@dataclass(frozen=True, kw_only=True)
class _Task:
    index: int
    original: Deck
    deck: Deck
    options: str = ""
    attempts: tuple[str, ...] = ()

    def retry(self, options: str, attempts: tuple[str, ...]) -> _Task:
        # Among several .options lines ngspice uses the last one (within one line, the first key).
        text = f"{self.original.text.rstrip()}\n.options {options}\n"
        deck = dataclasses.replace(self.original, text=text)
        return dataclasses.replace(self, deck=deck, options=options, attempts=attempts)

    def failure(self, error: SimulationError) -> SimulationError:
        """``error``, with the attempts before it."""
        if not self.attempts:
            return error
        tried = "; ".join(self.attempts)
        return type(error)(f"{error} (with {self.options}; before that: {tried})", evidence=error.evidence)


def _next_task(queue: Iterator[tuple[int, Deck]]) -> _Task | None:
    for index, deck in queue:
        return _Task(index=index, original=deck, deck=deck)
    return None
