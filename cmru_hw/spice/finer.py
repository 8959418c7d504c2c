"""An engine that runs decks in another engine with a smaller integration error per time step."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from cmru_hw.core.errors import SimulationError
from cmru_hw.spice.engine import Engine, Outcome

if TYPE_CHECKING:
    from cmru_hw.spice.deck import Deck


def options(times: int) -> str:
    """Options that halve the time steps ``times`` times: a step of a second-order method has a third-order error."""
    return f"trtol={7 / 8**times!r} bypass=0"


class FinerEngine(Engine):
    """Runs every deck in ``engine`` with :func:`options` after the deck's own, because ngspice uses the last card."""

    def __init__(self, engine: Engine, times: int) -> None:
        super().__init__(
            backend=engine.backend, jobs=engine.jobs, timeout=engine.timeout, retries=engine.retries, program=None
        )
        self._engine, self._options = engine, options(times)

    def map(self, decks: Iterable[Deck]) -> Generator[tuple[int, Outcome | SimulationError], None, None]:
        """As `Engine.map`."""
        return self._engine.map(
            replace(deck, text=f"{deck.text.rstrip()}\n.options {self._options}\n") for deck in decks
        )
