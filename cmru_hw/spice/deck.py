"""A deck: one complete input of ngspice, and how numbers are written in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cmru_hw.core.signals import Array


@dataclass(frozen=True, kw_only=True)
class Deck:
    """A complete ngspice input: one transient analysis and the files that it reads.

    ``text`` is the deck after its title line. The title is the content hash of the rest, so a plot with this title can
    only come from this deck. ``files`` maps a relative path, as the deck names it, to its bytes.
    ``stop`` [s] is the end of the transient; ``saved`` are the vectors that must come back, in ngspice's spelling.
    ``settings`` apply before ngspice reads the deck (``"ngbehavior=hsa"``). ``libraries`` are the absolute paths of
    model files that the deck may include.
    """

    text: str
    stop: float
    saved: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()


def save_lines(saved: Sequence[str]) -> list[str]:
    """``.save`` cards for the vectors ``saved``, in lines short enough for ngspice."""
    return [".save " + " ".join(saved[first : first + 20]) for first in range(0, len(saved), 20)]


def num(value: float | Array) -> str:
    """``value`` with all its digits and no SI suffix: SPICE reads ``1M`` as a thousandth."""
    return repr(float(value))
