"""The parts that the decks of both levels share: their order, and the nodes that are always saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmru_hw.circuits.charge.part import Part
from cmru_hw.spice.deck import Deck, save_lines


def build(
    *,
    network: str,
    cells: Mapping[str, bytes],
    files: Mapping[str, bytes],
    head: Sequence[str],
    sources: Sequence[str],
    saved: Sequence[str],
    analysis: Sequence[str],
    stop: float,
    start: Sequence[str] = (),
    libraries: tuple[str, ...] = (),
    settings: tuple[str, ...] = (),
) -> Deck:
    """A deck of ``head``, ``cells``, ``sources``, ``network``, ``start``, saves and ``analysis``, in this order.

    ``network`` is the text of network.cir; ``files`` are those that the lines read. ``stop`` is the end [s].
    """
    lines = [
        *head,
        *[f".include {path}" for path in cells],
        *sources,
        ".include network.cir",
        *start,
        *save_lines(saved),
        *analysis,
    ]
    return Deck(
        text="\n".join(lines) + "\n",
        stop=stop,
        saved=tuple(saved),
        files={"network.cir": network.encode(), **cells, **files},
        libraries=libraries,
        settings=settings,
    )


def signal_nodes(part: Part) -> list[str]:
    """State and decisions of every unit of ``part``, ``o0_3 qa0_3 qb0_3``, and its readout rows, ``y2``."""
    units = [
        f"{node}{index}_{i}" for index, units in enumerate(part.units) for i in units for node in ("o", "qa", "qb")
    ]
    return units + [f"y{k}" for k in part.classes]
