"""The protocol of a state memory: all properties and functions of it that a transistor netlist uses."""

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
    """One kind of state memory: integrator, counter, or that of a power-gated chip.

    Facts:

    * ``name``, as options and technologies give it, and ``comment``, as the head of a netlist gives it
    * ``bits``: value of each line of a unit that stores its level as bits, least first; empty for one analog line
    * ``small_taps``: whether a tap on the constant 1 may be smaller than the smallest capacitor
    * ``cells``: templates, in the order to include them
    * ``supplies``: every supply of the chip, by the name of its account
    * ``excludes``: parts that the netlist omits, apart from the readout's decision

    From a network to a design:

    * ``adapt(technology)``: the technology that its designs are mapped to, at transistor level. Raises TechnologyError
    * ``check_levels(levels)`` raises MappingError for a number of levels that it cannot count to
    * ``require(design)`` raises MappingError for a design that it has no circuit for
    * ``templates(design)``: templates that depend on the design, by name

    Netlist. A group is a layer's number or ``"r"`` for the readout; rows are maps from a row's node to its capacitors:

    * ``constant``: the source of the line for the constant 1, or None if taps need no line
    * ``layer_wires``, ``readout_wires``: clocks that run past all units of a layer, and past the readout
    * ``pad``: the node below a row's padding capacitor
    * ``decision``: the comparator between two readout rows
    * ``kick`` [V]: how far a decision may lie on the wrong side of its row, which comparators move as they decide
    * ``head(design)``, ``layer_head(design, index)``, ``readout_head(design)``: lines of clocks, power-on and V_cm
    * ``taps(bias, threshold, group, minimum)``: capacitors [F] on the constant 1 of a row
    * ``line(source, group, node, rising)``: the switch of one bottom-plate line on an analog source;
      ``bit_lines(source, group, pair)``: the driver of both lines on a bit
    * ``dummies(index, sources, used, load)``: bottom-plate lines in ``used`` that a comparator's replica row needs an
      image of, each with that image, and the images' netlist lines; ``load`` [F] is that of a line's wire
    * ``gates(rows)``: width and length [m] of the switch below each row's replica
    * ``unit(design, index, i, sizes)``: one unit; ``sizes`` are the parameters of its replica rows
    * ``replica(row)``: the node that a comparator compares the row with
    * ``outputs(here)``: output nodes of unit ``here`` (``"layer_unit"``)
    * ``class_row(design, k, rows)``: readout row k, its capacitors among ``rows``

    Deck:

    * ``schedule(design, lengths)``: when sequences of ``lengths`` timesteps start and are sampled
    * ``stimulus(design, plan)``: clock, power-on and reference sources; ``drivers``: those that drive inputs
    * ``input_source(j)``: what line j of the network's inputs carries; ``input_voltages(design, inputs)`` [V],
      and ``idle_input(design)`` [V] between sequences
    * ``common_mode(design)`` [V]
    * ``start(design)``: nodes that start at V_cm, and those that start at VDD
    * ``analysis(design, refine, stop)``: options and ``.tran``; ``refine`` asks for smaller steps

    Analyses:

    * ``quiet``: where in a timestep nothing moves, as shares of it; ``awake(design)`` [s]: how long something does
    * ``analytic(design, network, cells, expected, inputs, sequence)``: energy by block (timesteps,) [J], estimated
      without a simulation; ``apart``: why that estimate differs from a simulation, by block
    * ``restores``: why a level is never lost to leakage, or ""
    * ``asleep(design)``: parameters of the amplifier that restores the virtual ground once a timestep, or none
    """

    name: str
    comment: str
    bits: tuple[float, ...]
    small_taps: bool
    cells: tuple[str, ...]
    supplies: Mapping[str, MeteredSupply]
    excludes: tuple[str, ...]
    adapt: Callable[[Technology], Technology]
    check_levels: Callable[[int | None], None]
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
    taps: Callable[[float, float, str, float], dict[str, tuple[str, float]]]
    line: Callable[[LineSource, str, str, bool], str]
    bit_lines: Callable[[LineSource, str, tuple[str, str]], str]
    dummies: Callable[[int, Sequence[LineSource], Set[str], float], tuple[dict[str, str], list[str]]]
    gates: Callable[[Rows], dict[str, tuple[float, float]]]
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
    start: Callable[[Design], tuple[list[str], list[str]]]
    analysis: Callable[[Design, int, float], list[str]]
    quiet: tuple[float, float]
    awake: Callable[[Design], float]
    analytic: Callable[[Design, str, Mapping[str, bytes], Reference, Array, int], dict[str, Array]]
    apart: Mapping[str, str]
    restores: str
    asleep: Callable[[Design], dict[str, float]]
