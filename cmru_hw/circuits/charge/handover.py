"""A charge-domain netlist of transistors for a circuit designer: one top cell with named ports, and a test deck.

The cells, capacitors and stimulus are those of the netlist and deck that the package simulates. The test deck drops
the charge meters, which are no part of the circuit, and measures decisions at the instants at which the package
samples them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from cmru_hw.circuits.charge import deck_builder, transistor_netlist
from cmru_hw.circuits.charge.compare import reference
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.charge.memories.memory import Memory
from cmru_hw.circuits.charge.part import whole
from cmru_hw.circuits.charge.transistor_parts import INPUT_CHANGE, WINDOW, piecewise, require_devices
from cmru_hw.circuits.handover import MODELS, TOP, Expected, Handover, Port
from cmru_hw.core.errors import InputError
from cmru_hw.core.signals import Array
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import device_models, pdk
from cmru_hw.process.device_models import Devices
from cmru_hw.spice import lexer, values
from cmru_hw.spice.deck import num, save_lines
from cmru_hw.spice.elaborate import GROUND, SUBSTRATE, Elaborated, elaborate, with_substrate
from cmru_hw.spice.handover_text import folded
from cmru_hw.spice.schedule import Edge, Moment, Schedule

PININFO = {"supply": "P", "ground": "G", "input": "I", "output": "O"}
# Resistance of a supply in the test deck [ohm], as in the package's decks.
SOURCE_RESISTANCE = 100
NAMES = {
    "vcm": "the generator of V_cm",
    "wake": "the gate that starts the chip, and of the wells; never switched off",
    "trim": "the trim codes; never switched off",
}
MEANING = {
    "strobe": "Rising edge: one timestep begins. Keep it high for {strobe:.3g} us; the chip is awake while it is high",
    "kinit": "Power-on: high in all timesteps before the one with `first`; empties the states",
    "first": "Power-on: high in the last timestep before a sequence; sends each unit's first packet",
    "firstn": "Complement of first. Drive it from a supply that is never switched off",
    "zero": "voltage of an input of 0: {zero:.4g} V",
}


def handover(design: Design, trained: Trained, sequences: Sequences, *, network: str) -> Handover:
    """``design``, whose netlist is ``network``, with a test deck of the first of ``sequences``.

    Raises InputError for a design at macro level, and for a template that has more than transistors and capacitors.
    """
    if design.technology.level != "transistor":
        raise InputError("a design at macro level has no transistors to hand over: export it with --level transistor")
    devices, memory, at = require_devices(design), registry.of_design(design), design.operating
    process = pdk.get(devices.process)
    models = device_models.devices(devices.process, corner=at.corner, temperature=at.temperature)
    (own,) = models.files
    subcircuits = lexer.subcircuits(lexer.logical_lines(lexer.decode(models.files[own])))
    kinds = {name: subcircuits[name] for name in pdk.DEVICE_NAMES}
    cells = {name: text.decode() for name, text in transistor_netlist.cell_files(design).items()}
    # The package's charge meters are sources: no part of the circuit.
    cells.pop("cells/supply.cir", None)
    read = elaborate(network, cells, kinds, TOP)
    inputs = sequences.inputs[0, : sequences.lengths[0]].astype(np.float64)
    plan = memory.schedule(design, [len(inputs)])
    bench = _Bench(design, memory, plan, inputs, read)
    netlist = read.with_top([port.name for port in bench.ports], bench.renamed)
    wrapper, _ = with_substrate(lexer.decode(models.files[own]), sorted(kinds))
    libraries = _libraries(models)
    return Handover(
        netlist=netlist,
        ports=bench.ports,
        directions={port.name: PININFO[port.kind] for port in bench.ports},
        names={name: process.layout.get(name, name) for name in netlist.devices},
        sides=_sides(netlist, kinds["cmim"]),
        deck=bench.text(_relative(models.text, libraries, MODELS)),
        files={own: _relative(wrapper, libraries, f"../{MODELS}").encode()},
        libraries=libraries,
        copied=process.package is not None,
        settings=models.settings,
        expected=tuple(_expected(design, trained, sequences)),
        inputs=inputs,
        vdd=design.supply,
        timing=_timing(design, memory),
        excludes=transistor_netlist.excludes(design),
        versions={"models": models.version, "models sha256": models.sha256, "corner": models.corner},
    )


class _Bench:
    """Ports and test deck of one design and one sequence."""

    def __init__(self, design: Design, memory: Memory, plan: Schedule, inputs: Array, read: Elaborated) -> None:
        self.design, self.memory, self.plan, self.inputs, self.read = design, memory, plan, inputs, read
        self.nodes = {node for element in read.top.elements for node in element.nodes}
        self.stimulus = [line.text for line in lexer.logical_lines("\n".join(memory.stimulus(design, plan)))]
        self.ports = tuple(port for port in self._ports() if port.node in self.nodes or port.node == "0")
        self.renamed = {port.node: port.name for port in self.ports if port.node != "0"}

    def _ports(self) -> Iterator[Port]:
        design, memory = self.design, self.memory
        for name, supply in memory.supplies.items():
            node = f"s_{supply.node}" if supply.header else supply.node
            volts = f"{supply.share * design.supply:.4g} V"
            if supply.share != 1:
                yield Port(name=node, kind="supply", node=node, meaning=f"{volts}, from outside")
            else:
                block = NAMES.get(name, f"the {name}")
                text = f"{volts}: supply of {block}" + (", before its power header" if supply.header else "")
                yield Port(name=f"vdd_{name}", kind="supply", node=node, meaning=text)
        yield Port(name=GROUND, kind="ground", node="0", meaning="0 V: ground of all circuits; node 0 of network.cir")
        text = "0 V: bulk of all NMOS, and the substrate below capacitors and wires; node 0 of network.cir"
        yield Port(name=SUBSTRATE, kind="ground", node="0", meaning=text)
        for j, volts in enumerate(self._range()):
            node = memory.input_source(j).node
            text = f"input {j}: {volts}, still while the chip is awake"
            yield Port(name=node, kind="input", node=node, meaning=text)
        for node in self._driven():
            yield Port(name=node, kind="input", node=node, meaning=self._meaning(node))
        units = [f"{index}_{i}" for index, layer in enumerate(design.layers) for i in range(layer.units)]
        for here in units:
            for row, text in (("a", "candidate - threshold"), ("b", "candidate + threshold")):
                node = f"q{row}{here}"
                yield Port(name=node, kind="output", node=node, meaning=f"1: {text} of unit {here} is above 0")
        for k in range(len(design.readout.bias)):
            text = f"voltage of the row of class {k} while the readout evaluates; connect a high impedance"
            yield Port(name=f"y{k}", kind="output", node=f"y{k}", meaning=text)
        if len(design.readout.bias) == 2:
            text = "1: class {} is ahead in this timestep, valid until the end of the window"
            yield Port(name="qy1", kind="output", node="qy1", meaning=text.format(1))
            yield Port(name="qy0", kind="output", node="qy0", meaning=text.format(0))

    def _range(self) -> list[str]:
        """The voltages of each input, from the lowest to the highest."""
        ends = np.array([[-1.0], [1.0]]) * np.full(self.design.config.features, 1e30)
        found = np.sort(self.memory.input_voltages(self.design, ends), axis=0).T
        return [
            f"{low:.4g} V to {high:.4g} V" if np.isfinite([low, high]).all() and high < 1e3 else "any voltage"
            for low, high in found.tolist()
        ]

    def _driven(self) -> list[str]:
        """Nodes of the netlist that the stimulus drives, and those of sources that were inside it."""
        driven = [text.split()[1] for text in self.stimulus if text.startswith("v")]
        return list(dict.fromkeys([*driven, *(source.nodes[0] for source in self.read.sources)]))

    def _meaning(self, node: str) -> str:
        sizes = self.design.technology.power_gated
        for source in self.read.sources:
            if source.nodes[0] == node:
                return f"{source.nodes[1]} plus {source.volts:.4g} V"
        if node not in MEANING or sizes is None:
            return f"0 V or {self.design.supply:.4g} V, timed as in deck.cir"
        zero = self.memory.idle_input(self.design)
        text = MEANING[node].format(strobe=sizes.strobe * 1e6, zero=zero)
        return text if node == "zero" else f"0 V or {self.design.supply:.4g} V. {text}"

    def at(self, node: str) -> str:
        """``node`` of network.cir in the test deck: a port, or a node inside the chip."""
        if node in self.renamed:
            return self.renamed[node]
        inside = node.split(".")[0] in self.nodes or "." in node
        return f"xchip.{node}" if inside else node

    def text(self, models: str) -> str:
        """The test deck, without its first and last line; ``models`` are the lines that read the device models."""
        design, memory, plan = self.design, self.memory, self.plan
        stop = (plan.frames + INPUT_CHANGE / 2) * design.timestep
        middle, high = memory.start(design)
        start = dict.fromkeys(middle, memory.common_mode(design)) | dict.fromkeys(high, design.supply)
        saved = [*deck_builder.signal_nodes(whole(design)), *(["qy1"] if len(design.readout.bias) == 2 else [])]
        saved += [*plan.clocks, *([plan.common] if plan.common else [])]
        initial = " ".join(f"v({self.at(node)})={num(value)}" for node, value in start.items())
        lines = [
            models.rstrip(),
            ".include top.cir",
            "* ==== the chip: ground and substrate are node 0 here",
            folded(" ".join(["xchip", *("0" if port.node == "0" else port.name for port in self.ports), TOP])),
            "* ==== supplies",
            *self._supplies(),
            "* ==== strobe or clocks, power-on, and capacitors that bound the simulator's steps and cancel in pairs",
            *(folded(self._moved(text)) for text in self.stimulus),
            *(
                f"{one.name} {self.at(one.nodes[0])} {self.at(one.nodes[1])} {num(one.volts)}"
                for one in self.read.sources
            ),
            "* ==== inputs",
            *self._inputs(),
            "* ==== start: dead, with all levels at V_cm",
            folded(f".ic {initial}"),
            *save_lines([self.at(node) for node in dict.fromkeys(saved) if node in self.nodes]),
            *memory.analysis(design, 0, stop),
            "* ==== decisions of each timestep: near VDD for 1, near 0 V for 0",
            *self._measures(),
        ]
        return "\n".join(lines) + "\n"

    def _supplies(self) -> Iterator[str]:
        for name, supply in self.memory.supplies.items():
            node = self.renamed[f"s_{supply.node}" if supply.header else supply.node]
            yield f"v_{name} source_{name} 0 {num(self.design.supply * supply.share)}"
            yield f"r_{name} source_{name} {node} {SOURCE_RESISTANCE}"

    def _moved(self, text: str) -> str:
        name, first, second, rest = text.split(maxsplit=3)
        return f"{name} {self.at(first)} {self.at(second) if second != '0' else '0'} {rest}"

    def _inputs(self) -> Iterator[str]:
        columns = np.full((self.plan.frames, self.inputs.shape[1]), self.memory.idle_input(self.design))
        begin = self.plan.starts[0]
        columns[begin : begin + len(self.inputs)] = self.memory.input_voltages(self.design, self.inputs)
        for j, column in enumerate(columns.T):
            node = self.memory.input_source(j).node
            if node in self.renamed:
                yield f"vx{j} {self.renamed[node]} 0 {piecewise(column, self.design.timestep)}"

    def _measures(self) -> Iterator[str]:
        plan = self.plan
        for timestep in range(len(self.inputs)):
            frame = (plan.starts[0] + timestep) * plan.timestep
            for index, layer in enumerate(self.design.layers):
                instant = self._instant((plan.used or plan.moments)[index], frame)
                for i in range(layer.units):
                    for row in "ab":
                        node = self.at(f"q{row}{index}_{i}")
                        yield f".meas tran {measure(row, index, i, timestep)} find v({node}) {instant}"

    def _instant(self, moment: object, frame: float) -> str:
        if isinstance(moment, Edge):
            return f"when v({self.at(moment.clock)})={num(moment.level)} fall=1 td={num(frame + moment.begin)}"
        assert isinstance(moment, Moment), moment
        return f"at={num(frame + moment.offset)}"


def measure(row: str, layer: int, unit: int, timestep: int) -> str:
    """Name of the measured decision of a row, "a" or "b"."""
    return f"q{row}{layer}_{unit}_t{timestep}"


def _expected(design: Design, trained: Trained, sequences: Sequences) -> Iterator[Expected]:
    first = sequences.first(1)
    found = reference(design, trained, first)
    for timestep in range(int(first.lengths[0])):
        for index, decisions in enumerate(found.response.decisions):
            for i, move in enumerate(decisions[0, timestep].tolist()):
                margin = float(found.margins[index][0, timestep, i])
                for row, value in (("a", move > 0), ("b", move >= 0)):
                    yield Expected(measure=measure(row, index, i, timestep), value=int(value), margin=margin)


def _sides(netlist: Elaborated, cmim: lexer.Subcircuit) -> dict[float, float]:
    """Side [m] of each square MIM capacitor by its size [F], by the device file's parameter ``side``."""
    inside = {
        name: text
        for line in cmim.lines
        if line.card == ".param"
        for name, text in lexer.statement(line).parameters.items()
    }
    sizes = {e.values["c"] for cell in netlist.cells for e in cell.elements if e.of == "cmim"}
    return {c: values.resolve(inside, outer={"c": c})["side"] for c in sizes} if "side" in inside else {}


def _libraries(models: Devices) -> dict[str, str]:
    found = {library: Path(library).name for library in models.libraries}
    if len(set(found.values())) < len(found):
        raise InputError("two model files have the same name: rename one of them")
    return found


def _relative(text: str, libraries: Mapping[str, str], folder: str) -> str:
    for library, name in libraries.items():
        text = text.replace(library, f"{folder}/{name}")
    return text


def _timing(design: Design, memory: Memory) -> tuple[str, ...]:
    sizes, period = design.technology.power_gated, design.timestep
    common = f"A timestep takes {period * 1e3:.4g} ms."
    if sizes is None or memory.name != "power-gated":
        return (common, "The clock edges come from outside: their order and distances are those of deck.cir.")
    begin, change = WINDOW * period * 1e3, INPUT_CHANGE * period * 1e3
    emptied = "timesteps with kinit high, then one" if "init" in memory.layer_wires else "a timestep"
    return (
        common,
        f"In the test deck the inputs change {change:.4g} ms after its beginning, and strobe rises after "
        f"{begin:.4g} ms. Inputs must be still while strobe is high, {sizes.strobe * 1e6:.3g} us.",
        f"Before a sequence: {emptied} with first high and firstn low. The states then have their initial values.",
        "Decisions (qa, qb) are valid when the packet of their layer ends, and qy1, qy0 when the readout has decided; "
        "all are valid until strobe falls. Asleep they are not defined.",
        "All clocks, V_cm and power headers are on the chip.",
    )
