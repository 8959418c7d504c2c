"""Design × Stimulus × die → Deck."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Deck:
    """A complete ngspice input: one transient analysis and the files beside it.

    ``text`` is the deck after its title line; the title is the content hash of all the rest, so a plot that bears it
    can only have come from this deck. ``files`` maps a relative path, as the deck names it, to its bytes.
    ``stop`` [s] is the end of the transient; ``saved`` are the vectors that must come back, in ngspice's spelling.
    """

    text: str
    stop: float
    saved: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
