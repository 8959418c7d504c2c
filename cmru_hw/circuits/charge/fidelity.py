"""The two levels of detail of a netlist, macro and transistor, and the technology of a design at each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cmru_hw.circuits.charge import macro_netlist, numerics, transistor_deck, transistor_netlist, trim, variation
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.energy import macro, transistor
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.energy import EnergyModel
from cmru_hw.core.errors import TechnologyError
from cmru_hw.core.signals import Array
from cmru_hw.process import technology as technologies
from cmru_hw.process.technology import Technology
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.schedule import Schedule

# Below this row voltage [V] the numerical error of a step may decide.
NUMERICAL = 1e-3
# Largest offset of a die's comparators, in standard deviations.
OFFSETS = 5


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """One level: its netlists, and how they are simulated.

    * ``network_text(design)``: ``network.cir``. Raises MappingError for a cell that has no circuit at this level
    * ``cell_files(design)``: the templates that ``design`` instantiates: path in the deck → content
    * ``deck(design, inputs, …)``: see `cmru_hw.circuits.charge.macro_netlist.deck`
    * ``excludes(design)``: parts that the netlist omits; empty for macromodels, which do not claim to be complete
    * ``charge_meters(design)``: vectors of the charge meters that every deck has → supply voltage [V]
    * ``comparator_inputs(design)``: both inputs of each comparator, rows a and b of every unit in order, "" for V_cm;
      a decision is 1 if the first is higher
    * ``codes(design)``: the nodes of the bits of each row's trim code, by row, where a circuit searches its own codes
    * ``kick(design)`` [V]: kickback, which may give a decision the wrong sign up to this row voltage
    * ``energy_model(design)``
    * ``frames``: timesteps per deck, if several sequences share a deck; 0 if each sequence has its own
    * ``divisible``: whether a large network is simulated in pieces (`cmru_hw.circuits.charge.pieces`)
    * ``refinements``: how often a deck whose latches flip without a cause is simulated again, with smaller steps
    * ``options(refine)``: the numerical options of a deck, for people
    """

    network_text: Callable[[Design], str]
    cell_files: Callable[[Design], dict[str, bytes]]
    deck: Callable[..., tuple[Deck, Schedule]]
    excludes: Callable[[Design], tuple[str, ...]]
    charge_meters: Callable[[Design], dict[str, float]]
    comparator_inputs: Callable[[Design], list[tuple[str, str]]]
    codes: Callable[[Design], dict[str, list[str]]]
    kick: Callable[[Design], float]
    energy_model: Callable[[Design], EnergyModel]
    frames: int
    divisible: bool
    refinements: int
    options: Callable[[int], str]


MACRO = Fidelity(
    network_text=macro_netlist.network_text,
    cell_files=macro_netlist.cell_files,
    deck=macro_netlist.deck,
    excludes=lambda design: (),
    charge_meters=lambda design: {},
    comparator_inputs=macro_netlist.comparator_inputs,
    codes=lambda design: {},
    kick=lambda design: 0.0,
    energy_model=macro.energy_model,
    # Enough timesteps to outweigh the start-up of a deck, few enough to share the decks between workers.
    frames=400,
    divisible=True,
    # Ideal parts decide exactly, so smaller steps would not help.
    refinements=0,
    options=lambda refine: f"exact parts, refine {refine}",
)
TRANSISTOR = Fidelity(
    network_text=transistor_netlist.network_text,
    cell_files=transistor_netlist.cell_files,
    deck=transistor_deck.deck,
    excludes=transistor_netlist.excludes,
    charge_meters=transistor_netlist.charge_meters,
    comparator_inputs=transistor_netlist.comparator_inputs,
    codes=lambda design: registry.of_design(design).codes(design),
    kick=lambda design: registry.of_design(design).kick,
    energy_model=transistor.energy_model,
    # A timestep takes seconds.
    frames=0,
    divisible=False,
    refinements=numerics.MOST_REFINEMENTS,
    options=lambda refine: numerics.CONVERGED.refined(refine).text(),
)
FIDELITIES = {"macro": MACRO, "transistor": TRANSISTOR}


def of(design: Design) -> Fidelity:
    """The level of ``design``."""
    return FIDELITIES[design.technology.level]


def in_transistors(design: Design) -> bool:
    """True if the design is at transistor level."""
    return of(design) is TRANSISTOR


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
    """See :class:`Fidelity`, as for the functions below."""
    return of(design).network_text(design)


def cell_files(design: Design) -> dict[str, bytes]:
    return of(design).cell_files(design)


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
    return of(design).deck(design, inputs, network=network, noise=noise, save=save, refine=refine, metered=metered)


def least_drive(design: Design) -> float:
    """Row voltage [V] from which a decision must have the sign of its row.

    A die's comparators have offsets, which their rows do not show.
    """
    drawn = design.operating.die is not None
    offset = OFFSETS * variation.offset_sigma(design.technology.mismatch) if drawn else 0.0
    return max(NUMERICAL, of(design).kick(design)) + offset


def _known(technology: Technology, *, where: str) -> Technology:
    devices = technology.transistor
    if devices is not None and devices.memory not in registry.MEMORIES:
        raise TechnologyError(
            f"{where}: transistor.memory is {devices.memory!r}, must be one of {', '.join(registry.MEMORIES)}"
        )
    return technology
