"""An engine that runs decks in another engine with a smaller integration error per time step."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from cmru_hw.core.errors import SimulationError
from cmru_hw.spice.engine import Engine, Outcome

if TYPE_CHECKING:
    from cmru_hw.spice.deck import Deck


# ngspice's, for a deck that has none of its own
_TRTOL = 7.0
_OPTION = re.compile(r"^\s*\.options?\b.*?\btrtol\s*=\s*([\d.eE+-]+)", re.IGNORECASE | re.MULTILINE)


def options(deck: str, times: int) -> str:
    """Options that halve the steps of ``deck`` ``times`` times: a step of a second-order method has a third-order
    error."""
    own = [float(number) for number in _OPTION.findall(deck)]
    return f"trtol={(own[-1] if own else _TRTOL) / 8**times!r} bypass=0"


class FinerEngine(Engine):
    """Runs every deck in ``engine`` with :func:`options` after the deck's own, because ngspice uses the last card.

    If ``engine`` is a FinerEngine, the numbers of halvings add up.
    """

    def __init__(self, engine: Engine, times: int) -> None:
        super().__init__(
            backend=engine.backend, jobs=engine.jobs, timeout=engine.timeout, retries=engine.retries, program=None
        )
        self._engine, self._times = engine, times
        if isinstance(engine, FinerEngine):
            self._engine, self._times = engine._engine, engine._times + times

    def map(self, decks: Iterable[Deck]) -> Generator[tuple[int, Outcome | SimulationError], None, None]:
        """As `Engine.map`."""
        return self._engine.map(
            replace(deck, text=f"{deck.text.rstrip()}\n.options {options(deck.text, self._times)}\n") for deck in decks
        )


def finer(engine: Engine, times: int) -> Engine:
    """``engine`` with time steps halved ``times`` times."""
    return FinerEngine(engine, times) if times else engine


def in_words(times: int) -> str:
    """The options of :func:`options` for any deck."""
    return f"trtol of the deck / {8**times}, bypass=0"
