"""The netlist and the deck of a design, of macros or of transistors as its technology's level says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmru_hw import netlist, transistor
from cmru_hw.mapping import Design
from cmru_hw.netlist import Deck, Schedule
from cmru_hw.signals import Array


def network_text(design: Design) -> str:
    """``network.cir`` of ``design``. Raises MappingError for a cell that its level does not have."""
    return transistor.network_text(design) if in_transistors(design) else netlist.network_text(design)


def deck(
    design: Design,
    inputs: Sequence[Array],
    *,
    network: str | None = None,
    noise: Sequence[Mapping[str, Array]] | None = None,
    save: Sequence[str] = (),
    refine: int = 0,
    metered: bool = False,
) -> tuple[Deck, Schedule]:
    """A deck that runs ``inputs``: see `cmru_hw.netlist.deck` and `cmru_hw.transistor.deck`."""
    build = transistor.deck if in_transistors(design) else netlist.deck
    return build(design, inputs, network=network, noise=noise, save=save, refine=refine, metered=metered)


def cell_files(design: Design) -> dict[str, bytes]:
    """The templates that ``design`` instantiates: path in the deck → content."""
    return transistor.cell_files(design) if in_transistors(design) else netlist.cell_files(design)


def in_transistors(design: Design) -> bool:
    return design.technology.level == "transistor"
