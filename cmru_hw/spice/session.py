"""Open an engine, or run one deck."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from cmru_hw.spice.deck import Deck
from cmru_hw.spice.engine import RETRIES, VARIABLES, Backend, Engine, Outcome
from cmru_hw.spice.result_cache import CachedEngine


def run(
    deck: Deck,
    *,
    backend: Backend = "pyspice",
    timeout: float = 600.0,
    retries: tuple[str, ...] = RETRIES,
    program: str | None = None,
) -> Outcome:
    """Simulate one deck; see `open_engine` for the parameters and `Engine.run` for the errors."""
    with open_engine(backend=backend, timeout=timeout, retries=retries, program=program) as engine:
        return engine.run(deck)


def open_engine(
    *,
    backend: Backend = "pyspice",
    jobs: int = 1,
    timeout: float = 600.0,
    retries: tuple[str, ...] = RETRIES,
    program: str | None = None,
    cache: Path | None = None,
) -> Engine:
    """An `Engine` for many decks; use it in a ``with`` statement.

    ``jobs`` decks run at the same time. ``timeout`` [s] is for each attempt at a deck. ``retries`` are option lines
    (``"itl4=50"``), each tried separately when the deck did not converge without. ``program`` is the ngspice library
    (``"pyspice"``) or executable (``"batch"``); without it CMRU_HW_LIBNGSPICE or CMRU_HW_NGSPICE, and without that the
    installed one. ``cache`` is a folder of results: the engine searches it first and stores new results in it
    (`cmru_hw.spice.result_cache`). Nothing is started before the first deck.
    """
    if cache is None:
        return Engine(backend=backend, jobs=jobs, timeout=timeout, retries=retries, program=program)
    return CachedEngine(cache, backend=backend, jobs=jobs, timeout=timeout, retries=retries, program=program)


def installed(backend: Backend) -> str:
    """Name and version of the simulator that ``backend`` uses, such as ``"ngspice 44"``.

    The first call in a process starts the simulator. Raises SimulatorMissing, SimulationError, OutputError.
    """
    return _installed(backend, os.environ.get(VARIABLES[backend]))


@functools.cache
def _installed(backend: Backend, program: str | None) -> str:
    with open_engine(backend=backend, program=program) as engine:
        return engine.simulator
