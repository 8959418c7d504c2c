"""Decks in, results out: warm worker processes, their deadlines, and what happens when one dies."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
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

# Options to try, one after the other, when a deck does not converge as it stands. None of them loosens a tolerance.
RETRIES = ("itl4=50", "method=gear maxord=2 itl4=200")
# What names another ngspice than the installed one, for each backend.
VARIABLES = {"pyspice": "CMRU_HW_LIBNGSPICE", "batch": "CMRU_HW_NGSPICE"}

# A library in use for long grows by a little whatever one does; a new process is cheap at this rate.
_RUNS_PER_WORKER = 500


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """A finished simulation and how it was come by.

    ``attempts`` describes what was tried before and failed, in order; it is empty for a deck that ran as it stands.
    ``cpu_seconds`` is the processor time of loading and simulating, measured in the process that did it (for
    ``"batch"`` with the start of the program); ``seconds`` is the wall time of the same. ``simulator`` is a name and
    version, ``"ngspice 39"``; ``log`` is what it printed. The title of ``traces`` is the content hash of the deck that
    ran: that of the deck with the options of the retry, where it took one.
    """

    traces: Traces
    attempts: tuple[str, ...]
    cpu_seconds: float
    seconds: float
    backend: str
    simulator: str
    log: str = field(repr=False)


class Engine:
    """Runs decks in worker processes that stay warm between them. Not for use from several threads at a time."""

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
        # A path is meant from here, and the workers live elsewhere; a bare name is to be searched for.
        self._program = os.path.abspath(program) if program and os.sep in program else program  # noqa: PTH100
        self._idle: list[WorkerProcess] = []
        self._busy: dict[WorkerProcess, _Task] = {}
        self._mapping = False

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every worker at once, whatever it is doing. The engine can be used again: it starts new ones."""
        for worker in (*self._busy, *self._idle):
            worker.kill()
        self._busy.clear()
        self._idle.clear()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers, those at work first."""
        return tuple(worker.process.pid for worker in (*self._busy, *self._idle))

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

    def map(self, decks: Iterable[Deck]) -> Iterator[tuple[int, Outcome | SimulationError]]:
        """Simulate all decks and yield (index, result) as each ends; a deck that failed is a SimulationError.

        ``decks`` is drawn from as workers become free. Leaving the loop early ends what is still running. Raised, and
        not given as data, is what calls for a hand: SimulatorMissing, OutputError, and InputError for a deck that is
        not only a circuit.
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
            # Settings count only when ngspice starts, so another worker must make room.
            while self._idle and len(self._idle) + len(self._busy) >= self.jobs:
                self._idle.pop().kill()
            worker = WorkerProcess(backend=self.backend, program=self._program, settings=settings)
        self._busy[worker] = task
        worker.submit(task.deck)

    def _attend(self) -> list[WorkerProcess]:
        """Wait until workers have something to say or are past their deadline."""
        by_connection = {worker.connection: worker for worker in self._busy}
        deadline = min(worker.deadline for worker in self._busy)
        heard: list[Any] = wait(list(by_connection), timeout=max(0.0, deadline - time.monotonic()))
        now = time.monotonic()
        return [worker for c, worker in by_connection.items() if c in heard or worker.deadline <= now]

    def _answer(self, worker: WorkerProcess, again: deque[_Task]) -> Iterator[tuple[int, Outcome | SimulationError]]:
        """Take one message of ``worker`` (or its silence, or its end) for what it means to its task."""
        task = self._busy[worker]
        try:
            event = worker.hear(self.timeout)
            if event is None:
                return
            traces = judge(task.deck, worker.title, event)
        except NotBegun:
            # It died between two decks, over the garbage of the one before: this one is not to blame.
            self._discard(worker)
            again.append(task)
        except NotConverged as error:
            self._discard(worker)
            attempts = (*task.attempts, f"{task.options or 'as it stands'}: {error}")
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
        """After any failure: a process that has seen one is not to be trusted with another deck."""
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
        # Among several .options lines ngspice lets the last one win (within one line, the first key).
        text = f"{self.original.text.rstrip()}\n.options {options}\n"
        deck = dataclasses.replace(self.original, text=text)
        return dataclasses.replace(self, deck=deck, options=options, attempts=attempts)

    def failure(self, error: SimulationError) -> SimulationError:
        """``error``, with what had been tried before it."""
        if not self.attempts:
            return error
        tried = "; ".join(self.attempts)
        return type(error)(f"{error} (with {self.options}; before that: {tried})", evidence=error.evidence)


def _next_task(queue: Iterator[tuple[int, Deck]]) -> _Task | None:
    for index, deck in queue:
        return _Task(index=index, original=deck, deck=deck)
    return None
