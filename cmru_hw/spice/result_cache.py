"""An engine that stores every result in a folder and looks there first, so that a long run can be resumed.

The content hash of a deck is the file name of its result, so results of different decks cannot be confused. A result of
another version of the simulator is not used: the deck runs again.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmru_hw.core.atomic_write import write_whole
from cmru_hw.core.errors import SimulationError
from cmru_hw.core.signals import Traces
from cmru_hw.spice import deck_safety
from cmru_hw.spice.engine import Engine, Outcome

if TYPE_CHECKING:
    from cmru_hw.spice.deck import Deck


class CachedEngine(Engine):
    """An `Engine` that stores its results in ``folder``. It does not store failures; these decks run again."""

    def __init__(self, folder: Path, **given: Any) -> None:
        super().__init__(**given)
        self.folder = folder

    def map(self, decks: Iterable[Deck]) -> Generator[tuple[int, Outcome | SimulationError], None, None]:
        """As `Engine.map`, stored results first. Raises OutputError if ``folder`` cannot be read or written."""
        ready: list[tuple[int, Outcome]] = []
        asked: list[tuple[int, Deck]] = []

        def missing() -> Iterator[Deck]:
            for index, deck in enumerate(decks):
                found = _load(self.folder, deck)
                if found is not None and found.simulator == self.simulator:
                    ready.append((index, found))
                else:
                    asked.append((index, deck))
                    yield deck

        for number, outcome in super().map(missing()):
            while ready:
                yield ready.pop(0)
            index, deck = asked[number]
            if not isinstance(outcome, SimulationError):
                _save(self.folder, deck, outcome)
            yield index, outcome
        yield from ready


def _save(folder: Path, deck: Deck, outcome: Outcome) -> None:
    """Store ``outcome`` in one atomic write."""
    facts = {
        "title": outcome.traces.title,
        "names": list(outcome.traces.values),
        "attempts": outcome.attempts,
        "cpu_seconds": outcome.cpu_seconds,
        "seconds": outcome.seconds,
        "backend": outcome.backend,
        "simulator": outcome.simulator,
    }
    values = np.stack(list(outcome.traces.values.values()))
    write_whole(
        _path(folder, deck),
        lambda path: np.savez_compressed(
            path, facts=np.array(json.dumps(facts)), time=outcome.traces.time, values=values
        ),
    )


def _load(folder: Path, deck: Deck) -> Outcome | None:
    """The stored result of ``deck``; None if there is none or its file is damaged."""
    try:
        with np.load(_path(folder, deck), allow_pickle=False) as file:
            facts, time, values = json.loads(str(file["facts"])), file["time"], file["values"]
        traces = Traces(title=facts["title"], time=time, values=dict(zip(facts["names"], values, strict=True)))
        return Outcome(
            traces=traces,
            attempts=tuple(facts["attempts"]),
            cpu_seconds=float(facts["cpu_seconds"]),
            seconds=float(facts["seconds"]),
            backend=facts["backend"],
            simulator=facts["simulator"],
            log="",
        )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _path(folder: Path, deck: Deck) -> Path:
    return folder / f"{deck_safety.content_hash(deck)}.npz"
