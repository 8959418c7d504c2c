"""The protocol of a state memory: all properties and functions that a transistor netlist needs from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.transistor_parts import LineSource, MeteredSupply, Rows
from cmru_hw.circuits.comparison import Reference
from cmru_hw.core.signals import Array
from cmru_hw.process.technology import Technology
from cmru_hw.spice.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One kind of state memory: integrator, counter or power-gated.

    Facts:

    * ``name`` in options and technologies; ``comment`` in the first lines of a netlist
    * ``bits``: value of each line of a unit that stores its level as bits, least significant first; empty for one
      analog line
    * ``power_gated``: whether its comparators and amplifiers are those of the power-gated chip, which has its own
      testbenches (`cmru_hw.characterize.power_gated_chip`)
    * ``small_taps``: whether a tap on the constant 1 may be smaller than the smallest capacitor
    * ``cells``: templates, in the order to include them
    * ``supplies``: every supply of the chip, by the name of its charge meter
    * ``excludes``: parts that the netlist omits, in addition to those of the readout

    From a network to a design:

    * ``adapt(technology)``: the transistor-level technology that its designs are mapped to. Raises TechnologyError
    * ``check_levels(levels, place)`` raises MappingError for a number of levels that it cannot store; ``place`` names
      the unit
    * ``require(design)`` raises MappingError for a design that it has no circuit for
    * ``templates(design)``: templates that depend on the design, by name: cells, or more of them

    Netlist. A group is a layer's number or ``"r"`` for the readout. Rows map a row's node to its capacitors:

    * ``constant``: the source of the line for the constant 1, or None if taps need no line
    * ``layer_wires``, ``readout_wires``: clocks that run past all units of a layer, and past the readout
    * ``pad``: the node below a row's padding capacitor
    * ``decision``: the comparator between two readout rows
    * ``kick`` [V]: kickback of comparators; a decision may have the wrong sign up to this row voltage
    * ``head(design)``, ``layer_head(design, index)``, ``readout_head(design)``: lines of clocks, power-on and V_cm
    * ``taps(bias, threshold, group, minimum, top)``: capacitors [F] on the constant 1 of row ``top``
    * ``line(source, group, node, rising)``: the switch between an analog source and one bottom-plate line;
      ``bit_lines(source, group, pair)``: the driver between a bit and both of its lines
    * ``dummies(index, sources, used, load)``: the bottom-plate lines of ``used`` that need an image below a
      comparator's replica row, each with its image, and the images' netlist lines; ``load`` [F] is the wire of a line
    * ``lowered(design)`` [F]: by how much less a row's constant is than the design says
    * ``rest(design, size)`` [F]: the capacitor of a replica that stands for ``size`` [F] of its row
    * ``packet_rows(design, index)``: the rows whose charge is a packet, {} if packets are constants
    * ``gates(rows)``: width and length [m] of the switch below each row's replica
    * ``unit(design, index, i, sizes)``: one unit; ``sizes`` are the parameters of its replica rows
    * ``replica(row)``: the reference node of the row's comparator
    * ``outputs(here)``: output nodes of unit ``here`` (``"layer_unit"``)
    * ``class_row(design, k, rows)``: readout row k, its capacitors among ``rows``

    Deck:

    * ``schedule(design, lengths)``: start and sampling instants of sequences of ``lengths`` timesteps
    * ``stimulus(design, plan)``: clock, power-on and reference sources; ``drivers``: those that drive inputs
    * ``input_source(j)``: the source of input line j; ``input_voltages(design, inputs)`` [V], and
      ``idle_input(design)`` [V] between sequences
    * ``common_mode(design)`` [V]
    * ``saved(design)``: nodes to save in addition to those of every deck
    * ``codes(design)``: the nodes of the bits of each row's trim code, lowest first, by row
    * ``start(design)``: nodes that start at V_cm, and those that start at VDD
    * ``analysis(design, refine, stop)``: options and ``.tran``; ``refine`` is how often the steps are halved

    Analyses:

    * ``idle_interval``: interval of a timestep without activity, as shares of it; ``awake(design)`` [s]: length of the
      window
    * ``analytic(design, network, cells, expected, inputs, sequence)``: energy by block (timesteps,) [J], estimated
      without a simulation; ``estimate_differences``: why that estimate differs from a simulation, by block
    * ``restores``: the reason why leakage never changes a level, or ""
    * ``asleep(design)``: parameters of the amplifier that restores the virtual ground once per timestep, or {}
    """

    name: str
    comment: str
    bits: tuple[float, ...]
    power_gated: bool
    small_taps: bool
    cells: tuple[str, ...]
    supplies: Mapping[str, MeteredSupply]
    excludes: tuple[str, ...]
    adapt: Callable[[Technology], Technology]
    check_levels: Callable[[int | None, str], None]
    require: Callable[[Design], object]
    templates: Callable[[Design], dict[str, str]]
    constant: LineSource | None
    layer_wires: tuple[str, ...]
    readout_wires: tuple[str, ...]
    pad: str
    decision: str
    kick: float
    head: Callable[[Design], list[str]]
    layer_head: Callable[[Design, int], list[str]]
    readout_head: Callable[[Design], list[str]]
    taps: Callable[[float, float, str, float, str], dict[str, tuple[str, float]]]
    line: Callable[[LineSource, str, str, bool], str]
    bit_lines: Callable[[LineSource, str, tuple[str, str]], str]
    dummies: Callable[[int, Sequence[LineSource], Set[str], float], tuple[dict[str, str], list[str]]]
    packet_rows: Callable[[Design, int], Rows]
    gates: Callable[[Rows], dict[str, tuple[float, float]]]
    lowered: Callable[[Design], float]
    rest: Callable[[Design, float], float]
    unit: Callable[[Design, int, int, str], list[str]]
    replica: Callable[[str], str]
    outputs: Callable[[str], list[LineSource]]
    class_row: Callable[[Design, int, Rows], list[str]]
    schedule: Callable[[Design, Sequence[int]], Schedule]
    stimulus: Callable[[Design, Schedule], list[str]]
    drivers: tuple[str, ...]
    input_source: Callable[[int], LineSource]
    input_voltages: Callable[[Design, Array], Array]
    idle_input: Callable[[Design], float]
    common_mode: Callable[[Design], float]
    saved: Callable[[Design], list[str]]
    codes: Callable[[Design], dict[str, list[str]]]
    start: Callable[[Design], tuple[list[str], list[str]]]
    analysis: Callable[[Design, int, float], list[str]]
    idle_interval: tuple[float, float]
    awake: Callable[[Design], float]
    analytic: Callable[[Design, str, Mapping[str, bytes], Reference, Array, int], dict[str, Array]]
    estimate_differences: Mapping[str, str]
    restores: str
    asleep: Callable[[Design], dict[str, float]]
