"""The netlist and the deck of a design, of macros or of transistors as its technology's level says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType

from cmru_hw.circuits.charge import clocked_netlist, macro_netlist, power_gated_netlist
from cmru_hw.circuits.charge.mapping import Design, is_gated
from cmru_hw.core.signals import Array
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.schedule import Schedule


def network_text(design: Design) -> str:
    """``network.cir`` of ``design``. Raises MappingError for a cell that its level does not have."""
    text: str = _level(design).network_text(design)
    return text


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
    """A deck that runs ``inputs``: see `cmru_hw.circuits.charge.macro_netlist.deck` and
    `cmru_hw.circuits.charge.clocked_netlist.deck`."""
    level = _level(design)
    made: tuple[Deck, Schedule] = level.deck(
        design, inputs, network=network, noise=noise, save=save, refine=refine, metered=metered
    )
    return made


def cell_files(design: Design) -> dict[str, bytes]:
    """The templates that ``design`` instantiates: path in the deck → content."""
    files: dict[str, bytes] = _level(design).cell_files(design)
    return files


def excludes(design: Design) -> tuple[str, ...]:
    """What a netlist of transistors leaves to the outside; nothing for macros, which are no circuit to be complete."""
    return tuple(_level(design).excludes(design)) if in_transistors(design) else ()


def in_transistors(design: Design) -> bool:
    return design.technology.level == "transistor"


def _level(design: Design) -> ModuleType:
    if is_gated(design.technology):
        return power_gated_netlist
    return clocked_netlist if in_transistors(design) else macro_netlist
