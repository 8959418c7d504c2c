"""Design × inputs → Deck at transistor level, for any memory: supplies with charge meters, stimulus, network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cmru_hw.circuits.charge import deck_builder, transistor_netlist
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.charge.memories.memory import Memory
from cmru_hw.circuits.charge.part import whole
from cmru_hw.circuits.charge.transistor_parts import INPUT_CHANGE, piecewise, require_devices, wrapped
from cmru_hw.core.errors import InputError
from cmru_hw.core.signals import Array
from cmru_hw.process import device_models
from cmru_hw.spice.deck import Deck, num
from cmru_hw.spice.individual import individual
from cmru_hw.spice.schedule import Schedule

# The vector of the total charge, metered at the common return.
TOTAL = "meter_total"


def deck(
    design: Design,
    inputs: Sequence[Array],
    *,
    network: str | None = None,
    noise: Sequence[Mapping[str, Array]] | None = None,
    save: Sequence[str] = (),
    refine: int = 0,
    metered: bool = True,
) -> tuple[Deck, Schedule]:
    """A deck that runs ``inputs``, sequences of shape (timesteps, features), one after the other.

    Arguments are those of `cmru_hw.circuits.charge.macro_netlist.deck`. The charge meters are always present, whatever
    ``metered``. ``refine`` is how often the steps are halved. At another supply V_cm and inputs scale with it. A die of
    the operating point draws the deviations of every device. Raises
    InputError for noise, which this level does not support, and MappingError for a design that has no circuit in
    transistors.
    """
    if noise:
        raise InputError("noise is simulated at macro level only: export with --level macro")
    devices, memory, at = require_devices(design), registry.of_design(design), design.operating
    # Deviations follow from the paths of devices: the simulator's own seed sets none of them.
    mismatch = None if at.die is None else 1
    models = device_models.devices(devices.process, corner=at.corner, temperature=at.temperature, mismatch=mismatch)
    plan = memory.schedule(design, [len(x) for x in inputs])
    stop = (plan.frames + INPUT_CHANGE / 2) * design.timestep
    text = network if network is not None else transistor_netlist.network_text(design)
    cells = transistor_netlist.cell_files(design)
    saved = _saved(memory, design, plan, save)
    built = deck_builder.build(
        network=text,
        cells=cells,
        files=models.files,
        head=[models.text.rstrip()],
        sources=[
            *_supply_lines(memory, design),
            *memory.stimulus(design, plan),
            *_input_lines(memory, design, inputs, plan),
        ],
        start=[_start_line(memory, design)],
        saved=saved,
        analysis=memory.analysis(design, refine, stop),
        stop=stop,
        libraries=models.libraries,
        settings=models.settings,
    )
    return (built if at.die is None else individual(built, at.die.normal)), plan


def _saved(memory: Memory, design: Design, plan: Schedule, more: Sequence[str]) -> list[str]:
    saved = deck_builder.signal_nodes(whole(design))
    saved += ["qy1"] if len(design.readout.bias) == 2 else []
    saved += [plan.common] if plan.common else []
    saved += [*plan.clocks, *transistor_netlist.charge_meters(design), TOTAL]
    saved += [node for pair in transistor_netlist.comparator_inputs(design) for node in pair]
    saved += memory.saved(design)
    return saved + [name for name in more if name not in saved]


def _supply_lines(memory: Memory, design: Design) -> list[str]:
    return [
        "vret ret 0 0",
        *[
            f"xs_{name} {'s_' if supply.header else ''}{supply.node} meter_{name} ret returned "
            f"volts={num(design.supply * supply.share)}"
            for name, supply in memory.supplies.items()
        ],
        f"fret {TOTAL} 0 vret 1",
        f"cret {TOTAL} 0 1e-9 ic=0",
    ]


def _input_lines(memory: Memory, design: Design, inputs: Sequence[Array], plan: Schedule) -> list[str]:
    columns = np.full((plan.frames, design.config.features), memory.idle_input(design))
    for begin, sequence in zip(plan.starts, inputs, strict=True):
        columns[begin : begin + len(sequence)] = memory.input_voltages(design, np.asarray(sequence))
    drivers = [*(f"vx{j}" for j in range(columns.shape[1])), *memory.drivers]
    return [
        *[f"vx{j} x{j} 0 {piecewise(values, design.timestep)}" for j, values in enumerate(columns.T)],
        # An input driver takes the charge that it delivers from the supply, and returns no charge to the supply.
        "binputs 0 meter_inputs i=" + "+".join(f"max(0,-i({name}))" for name in drivers),
        "cinputs meter_inputs 0 1e-9 ic=0",
    ]


def _start_line(memory: Memory, design: Design) -> str:
    middle, high = memory.start(design)
    values = dict.fromkeys(middle, memory.common_mode(design)) | dict.fromkeys(high, design.supply)
    return ".ic " + wrapped(f"v({node})={num(value)}" for node, value in values.items())
