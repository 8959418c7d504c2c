"""ngspice behind one narrow seam: a `Deck` goes in, believed `Traces` or an error come out.

>>> outcome = spice.run(deck)                                   # doctest: +SKIP
>>> with spice.open_engine(backend="batch", jobs=2) as engine:  # doctest: +SKIP
...     for index, result in engine.map(decks):
...         ...

Two backends keep one contract: ``"pyspice"`` (the library, warm) and ``"batch"`` (the program, a process a deck). In
both the simulator lives in a worker process that is thrown away after any failure, so that no deck can spoil the next.
"""

from cmru_hw.spice.deck_safety import complete_text, content_hash, refuse_code, startup_text
from cmru_hw.spice.engine import RETRIES, VARIABLES, Backend, Engine, Outcome
from cmru_hw.spice.session import open_engine, run

__all__ = [
    "RETRIES",
    "VARIABLES",
    "Backend",
    "Engine",
    "Outcome",
    "complete_text",
    "content_hash",
    "open_engine",
    "refuse_code",
    "run",
    "startup_text",
]
