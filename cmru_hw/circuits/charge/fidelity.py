"""Dispatch by level, macro or transistor: a design's technology, netlist and deck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cmru_hw.circuits.charge import macro_netlist, transistor_deck, transistor_netlist, trim
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.core.errors import TechnologyError
from cmru_hw.core.signals import Array
from cmru_hw.process import technology as technologies
from cmru_hw.process.technology import Technology
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.schedule import Schedule

# Macromodels have no kickback. Below this row voltage [V] the numerical error of a step may decide.
IDEAL_KICK = 1e-3


def load_technology(name_or_path: str | Path) -> Technology:
    """Load a technology and check its memory. Raises TechnologyError: see `cmru_hw.process.technology.load`."""
    return _known(technologies.load(name_or_path), where=f"technology {str(name_or_path)!r}")


def technology_from(data: dict[str, Any], *, where: str) -> Technology:
    """Inverse of ``dataclasses.asdict``. Raises TechnologyError."""
    return _known(technologies.from_dict(data, where=where), where=where)


def at_level(technology: Technology, level: str | None, memory: str | None = None) -> Technology:
    """``technology`` as used for netlists of ``level``; None is its own level.

    At transistor level every capacitor is made of fingers, the line of the constant 1 is the supply itself, and so is
    the reference of a packet, whose plate goes from rail to rail. There ``memory`` selects the state storage, one of
    `cmru_hw.circuits.charge.memories.registry.MEMORIES`; None takes the technology's own. Level "macro" with a memory
    gives macromodels at the sizes of that network. Raises TechnologyError if the technology has no devices, or if a
    memory is chosen at macro level without naming the level.
    """
    devices = technology.transistor
    if level == technology.level == "macro" and memory is not None:
        return _twin(technology, memory)
    if level is None or level == technology.level:
        level = technology.level
        if memory is not None and (level != "transistor" or devices is None or memory != devices.memory):
            raise TechnologyError(
                f"--memory ({', '.join(registry.MEMORIES)}) needs a level: add --level transistor, or --level macro "
                "for macromodels of its sizes"
            )
        return technology
    if devices is None or level != "transistor":
        names = ", ".join(name for name in technologies.available() if technologies.load(name).transistor is not None)
        raise TechnologyError(f"technology {technology.name!r} has no {level} level; transistors are in {names}")
    chosen, supply = registry.named(memory or devices.memory), technology.supply
    moved = replace(
        technology,
        level=level,
        signal=replace(technology.signal, bias=supply.vdd - supply.common_mode, reference=supply.vdd),
        capacitor=replace(
            technology.capacitor,
            row=devices.row,
            integrator=devices.integrator,
            sample=devices.limit,
            minimum=devices.minimum,
            parasitic=devices.parasitic,
        ),
        transistor=replace(devices, memory=chosen.name),
    )
    return chosen.adapt(moved)


def _twin(technology: Technology, memory: str) -> Technology:
    """``technology`` with the sizes of a network in transistors, for its macromodels. Raises TechnologyError."""
    if registry.named(memory).bits:
        raise TechnologyError(f"a {memory} has no macromodel: choose another --memory, or --level transistor")
    return replace(at_level(technology, "transistor", memory), level="macro")


def with_trim(technology: Technology, bits: int) -> Technology:
    """``technology`` with a trim bank of ``bits`` on every row.

    Raises TechnologyError if it has none, or if its netlists have no bank of so many bits.
    """
    found = trim.with_bits(technology, bits)
    registry.of(found)
    return found


def network_text(design: Design) -> str:
    """``network.cir`` of ``design``. Raises MappingError for a cell that has no circuit at its level."""
    if in_transistors(design):
        return transistor_netlist.network_text(design)
    return macro_netlist.network_text(design)


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
    """A deck that simulates ``inputs``: see `cmru_hw.circuits.charge.macro_netlist.deck` and
    `cmru_hw.circuits.charge.transistor_deck.deck`."""
    build = transistor_deck.deck if in_transistors(design) else macro_netlist.deck
    return build(design, inputs, network=network, noise=noise, save=save, refine=refine, metered=metered)


def cell_files(design: Design) -> dict[str, bytes]:
    """The templates that ``design`` instantiates: path in the deck → content."""
    if in_transistors(design):
        return transistor_netlist.cell_files(design)
    return macro_netlist.cell_files(design)


def excludes(design: Design) -> tuple[str, ...]:
    """Parts that a transistor-level netlist omits. Empty for macromodels, which do not claim to be complete."""
    return transistor_netlist.excludes(design) if in_transistors(design) else ()


def charge_meters(design: Design) -> dict[str, float]:
    """Charge meters of a transistor-level deck: vector → supply voltage [V]. Empty for macromodels."""
    return transistor_netlist.charge_meters(design) if in_transistors(design) else {}


def comparator_inputs(design: Design) -> list[tuple[str, str]]:
    """Both inputs of each comparator, rows a and b of every unit in order; a decision is 1 if the first is higher.

    Transistor-level decks save these nodes. Empty for macromodels.
    """
    return transistor_netlist.comparator_inputs(design) if in_transistors(design) else []


def kick(design: Design) -> float:
    """Kickback [V]: a decision may have the wrong sign up to this row voltage, because comparators move rows."""
    return registry.of_design(design).kick if in_transistors(design) else IDEAL_KICK


def in_transistors(design: Design) -> bool:
    """True if the design is at transistor level."""
    return design.technology.level == "transistor"


def _known(technology: Technology, *, where: str) -> Technology:
    devices = technology.transistor
    if devices is not None and devices.memory not in registry.MEMORIES:
        raise TechnologyError(
            f"{where}: transistor.memory is {devices.memory!r}, must be one of {', '.join(registry.MEMORIES)}"
        )
    return technology
