"""Interface to ngspice: it takes a `Deck` and returns checked `Traces` or raises an error.

>>> outcome = spice.run(deck)                                   # doctest: +SKIP
>>> with spice.open_engine(backend="batch", jobs=2) as engine:  # doctest: +SKIP
...     for index, result in engine.map(decks):
...         ...

Two backends have the same contract: ``"pyspice"`` loads the library once (`cmru_hw.spice.pyspice.Library`), ``"batch"``
starts the program for each deck (`cmru_hw.spice.batch.Executable`). Both run the simulator in a worker process. The
engine ends this process after any failure, so that no deck can affect the next one.
"""

from cmru_hw.spice.deck_safety import complete_text, content_hash, refuse_code, startup_text
from cmru_hw.spice.engine import RETRIES, VARIABLES, Backend, Engine, Outcome
from cmru_hw.spice.session import installed, open_engine, run

__all__ = [
    "RETRIES",
    "VARIABLES",
    "Backend",
    "Engine",
    "Outcome",
    "complete_text",
    "content_hash",
    "installed",
    "open_engine",
    "refuse_code",
    "run",
    "startup_text",
]
