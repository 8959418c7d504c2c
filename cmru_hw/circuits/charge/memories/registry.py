"""All memories by name. A new memory needs its own module and one entry here."""

from __future__ import annotations

from cmru_hw.circuits.charge import power_gated_trim
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.memories.counter import COUNTER
from cmru_hw.circuits.charge.memories.integrator import INTEGRATOR
from cmru_hw.circuits.charge.memories.memory import Memory
from cmru_hw.circuits.charge.memories.power_gated import POWER_GATED
from cmru_hw.circuits.charge.memories.power_gated_alpha import SAMPLED
from cmru_hw.circuits.charge.memories.power_gated_replaced import REPLACED
from cmru_hw.circuits.charge.memories.power_gated_trimmed import TRIMMED
from cmru_hw.core.errors import MappingError, TechnologyError
from cmru_hw.nn.checkpoint import ModelConfig
from cmru_hw.process.technology import Technology

MEMORIES = {memory.name: memory for memory in (INTEGRATOR, COUNTER, POWER_GATED)}


def named(name: str) -> Memory:
    """The memory ``name``. Raises TechnologyError, which lists the known names."""
    if name not in MEMORIES:
        raise TechnologyError(f"no memory is called {name!r}: choose one of {', '.join(MEMORIES)}")
    return MEMORIES[name]


def of(technology: Technology) -> Memory | None:
    """The memory of a technology at transistor level, or None at macro level. Raises TechnologyError."""
    if technology.level != "transistor" or technology.transistor is None:
        return None
    memory = named(technology.transistor.memory)
    if not technology.trim_bits:
        return memory
    if memory is not POWER_GATED or technology.trim_bits != power_gated_trim.BITS:
        raise TechnologyError(
            f"in transistors only the power-gated chip has an offset trim, of {power_gated_trim.BITS} bits: choose "
            f"--memory {POWER_GATED.name} and --trim {power_gated_trim.BITS}, or --level macro"
        )
    return TRIMMED


def small_taps(technology: Technology) -> bool:
    """True if a tap on the constant 1 may be smaller than the smallest capacitor: by the memory that the technology
    names, which its macromodels stand for as well."""
    return technology.transistor is not None and named(technology.transistor.memory).small_taps


def of_design(design: Design) -> Memory:
    """The memory of a transistor-level design, with the units of its cell.

    Raises TechnologyError for a macro-level design, MappingError for a cell without a circuit in this memory.
    """
    memory, config = of(design.technology), design.config
    if memory is None:
        raise TechnologyError("a macro-level design has no transistor memory: export with --level transistor")
    if config.cell == "acmru" or config.epsilon != 1.0:
        return _of_another_cell(memory, config)
    return memory


def _of_another_cell(memory: Memory, config: ModelConfig) -> Memory:
    """``memory`` with units of another cell than the CMRU. Raises MappingError if it has none."""
    if memory is POWER_GATED and config.cell == "acmru":
        return SAMPLED
    if memory is POWER_GATED and config.epsilon == 0.0:
        return REPLACED
    trim = " with an offset trim" if memory is TRIMMED else ""
    raise MappingError(
        f"{'an αCMRU' if config.cell == 'acmru' else 'a BMRU'} has no circuit in transistors with --memory "
        f"{memory.name}{trim}: export it with --level macro, or with --memory {POWER_GATED.name} and without --trim"
    )
