"""An engine that stores every result in a folder and looks there first, so that a long run can be resumed.

The content hash of a deck is the file name of its result. The file also contains this hash and a hash over its own
content. A file that is of another deck, damaged or edited is removed. A result of another version of the simulator is
not used. In both cases the deck runs again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.core.atomic_write import write_bytes
from cmru_hw.core.errors import OutputError, SimulationError, reason
from cmru_hw.core.regular_file import read_regular
from cmru_hw.core.signals import Traces
from cmru_hw.spice import deck_safety
from cmru_hw.spice.checks import doubt
from cmru_hw.spice.engine import Engine, Outcome
from cmru_hw.spice.rawfile import Plot

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
    """Store ``outcome`` in one atomic write. Raises OutputError."""
    traces = outcome.traces
    values = np.stack(list(traces.values.values()))
    facts = {
        "deck": deck_safety.content_hash(deck),
        "title": traces.title,
        "names": list(traces.values),
        "attempts": outcome.attempts,
        "cpu_seconds": outcome.cpu_seconds,
        "seconds": outcome.seconds,
        "backend": outcome.backend,
        "simulator": outcome.simulator,
    }
    text = json.dumps(facts)
    out = io.BytesIO()
    np.savez_compressed(
        out,
        facts=np.array(text),
        sha256=np.array(_digest(text, traces.time, values)),
        time=traces.time,
        values=values,
    )
    write_bytes(_path(folder, deck), out.getvalue())


def _load(folder: Path, deck: Deck) -> Outcome | None:
    """The stored result of ``deck``; None if there is none that fits. Raises OutputError."""
    path = _path(folder, deck)
    try:
        content = read_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({reason(error)}): remove it, or choose another --cache") from error
    try:
        return _read(content, deck)
    except Exception:
        # A damaged file can make its reader raise anything. It is worth nothing, and the deck runs again.
        path.unlink(missing_ok=True)
        return None


def _read(content: bytes, deck: Deck) -> Outcome:
    """The result in ``content``. Raises an exception of any kind for one that is not of ``deck``, whole and sound."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        text, digest, time, values = str(file["facts"]), str(file["sha256"]), file["time"], file["values"]
    facts = json.loads(text)
    if digest != _digest(text, time, values) or facts["deck"] != deck_safety.content_hash(deck):
        raise ValueError("of another deck, or changed")
    traces = Traces(title=facts["title"], time=time, values=dict(zip(facts["names"], values, strict=True)))
    if problem := doubt(deck, Plot(title=traces.title, names=("time", *traces.values), data=np.vstack([time, values]))):
        raise ValueError(problem)
    return Outcome(
        traces=traces,
        attempts=tuple(facts["attempts"]),
        cpu_seconds=float(facts["cpu_seconds"]),
        seconds=float(facts["seconds"]),
        backend=facts["backend"],
        simulator=facts["simulator"],
        log="",
    )


def _digest(facts: str, *arrays: NDArray[Any]) -> str:
    hashed = hashlib.sha256(facts.encode())
    for array in arrays:
        hashed.update(f"{array.dtype.str} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()


def _path(folder: Path, deck: Deck) -> Path:
    return folder / f"{deck_safety.content_hash(deck)}.npz"
