"""A level stored on a capacitor between open switches, on a self-timed chip that is powered down between windows."""

from __future__ import annotations

from dataclasses import replace

from cmru_hw.circuits.charge import power_gated_netlist as chip
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.energy import power_gated as energy
from cmru_hw.circuits.charge.memories.integrator import any_levels, no_bits
from cmru_hw.circuits.charge.memories.memory import Memory
from cmru_hw.circuits.charge.transistor_parts import LineSource
from cmru_hw.core.errors import TechnologyError
from cmru_hw.process.technology import Technology


def adapt(technology: Technology) -> Technology:
    """``technology`` of the chip: V_cm where a single n device is a good switch, the constant 1 a clock of full swing.

    Raises TechnologyError for a technology without sizes of such a chip.
    """
    sizes, supply, devices = technology.power_gated, technology.supply, technology.transistor
    if sizes is None or devices is None:
        raise TechnologyError(f"technology {technology.name!r} has no section [power_gated]: choose another memory")
    return replace(
        technology,
        supply=replace(supply, common_mode=supply.vdd * sizes.common_mode),
        signal=replace(technology.signal, state_swing=sizes.swing, input_swing=sizes.input_swing, bias=supply.vdd),
        capacitor=replace(technology.capacitor, row=sizes.row, integrator=sizes.integrator, sample=sizes.limit),
        transistor=replace(devices, limit=sizes.limit),
    )


def asleep(design: Design) -> dict[str, float]:
    """V_cm [V], and the tail length [m] of the amplifier that wakes once per timestep."""
    return {"common_mode": design.technology.supply.common_mode, "tail": chip.require(design)[1].tail}


POWER_GATED = Memory(
    name="power-gated",
    comment="transistor, power-gated",
    bits=(),
    power_gated=True,
    # A tap is the difference of two capacitors, so it has no minimum.
    small_taps=True,
    cells=chip.CELLS,
    supplies=chip.SUPPLIES,
    excludes=chip.EXCLUDES,
    adapt=adapt,
    check_levels=any_levels,
    require=chip.require,
    templates=lambda design: {},
    constant=None,
    layer_wires=(*chip.LAYER_CLOCKS, "init"),
    readout_wires=chip.READOUT_CLOCKS,
    pad="0",
    decision=chip.DECISION,
    # Dummy lines balance the kick in part: a row 1.4 mV above its reference was 0.5 mV below it 40 ns later, in steps
    # of any length, because the other comparators of its layer had decided.
    kick=4e-3,
    head=chip.head,
    layer_head=chip.no_head,
    readout_head=chip.no_head,
    taps=chip.taps,
    line=chip.line,
    bit_lines=no_bits,
    dummies=chip.dummies,
    packet_rows=lambda design, index: {},
    gates=chip.gates,
    lowered=lambda design: 0.0,
    rest=lambda design, size: size,
    unit=chip.unit,
    replica=chip.replica,
    outputs=lambda here: [LineSource(node=f"o{here}")],
    class_row=chip.class_row,
    schedule=chip.plan,
    stimulus=chip.stimulus,
    drivers=("vzero",),
    input_source=lambda j: LineSource(node=f"x{j}", zero="zero"),
    input_voltages=chip.input_voltages,
    idle_input=chip.idle_input,
    common_mode=chip.common_mode,
    saved=lambda design: [],
    codes=lambda design: {},
    start=chip.start,
    analysis=chip.analysis,
    idle_interval=chip.IDLE_INTERVAL,
    awake=lambda design: chip.require(design)[1].strobe,
    analytic=energy.analytic,
    estimate_differences=energy.ESTIMATE_DIFFERENCES,
    restores="",
    asleep=asleep,
)
