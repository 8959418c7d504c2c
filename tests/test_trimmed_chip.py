"""Offset trim of a power-gated chip in transistors: what its netlist has, and codes that its own comparators find."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cmru_hw import spice
from cmru_hw.circuits.charge import (
    compare,
    fidelity,
    mapping,
    power_gated_netlist,
    power_gated_trim,
    simulate,
    single_unit,
    transistor_netlist,
    trim,
    trim_codes,
)
from cmru_hw.circuits.charge.architecture import CHARGE
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.energy import transistor as energy
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.charge.memories.power_gated import POWER_GATED
from cmru_hw.cli.design import export
from cmru_hw.core import package_data
from cmru_hw.core.errors import MappingError, ResultRejected
from cmru_hw.core.signals import Traces
from cmru_hw.design_folder import folder
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import device_count, pdk, technology
from cmru_hw.spice.schedule import Found
from tests.narrow import charge_design, known, transistors
from tests.networks import Shape, random_network, random_sequences

TINY = Shape(features=2, units=(2, 1), levels=2, skip=False, seed=3)
CHIP = fidelity.at_level(technology.load("gf180"), "transistor", "power-gated")


def made(shape: Shape = TINY, **changes: Any) -> tuple[Trained, Sequences, Design]:
    trained, sequences = random_network(shape), random_sequences(shape, lengths=(1,))
    kind = fidelity.with_trim(CHIP, 5)
    kind = replace(kind, trim=replace(known(kind.trim), **changes))
    return trained, sequences, mapping.map_network(trained, kind, mapping.calibrate(trained, sequences))


def plain() -> Design:
    trained, sequences = random_network(TINY), random_sequences(TINY, lengths=(1,))
    return mapping.map_network(trained, CHIP, mapping.calibrate(trained, sequences))


# ---- netlist


def test_every_row_has_a_bank_and_bits_of_its_own() -> None:
    _, _, design = made()
    rows = 2 * 3 + 2
    text, cells = fidelity.network_text(design), fidelity.cell_files(design)
    found = list(device_count.devices(text, cells))
    fingers = [part for part in found if part.kind == "cmom" and ".xbank." in "".join(part.nodes)]
    assert len(fingers) == 7 * rows
    for name in power_gated_trim.LINES:
        assert sum(part.nodes[1] == name for part in found if part.kind == "nf") == rows, name
    ours, theirs = (
        device_count.of_netlist(fidelity.network_text(one), fidelity.cell_files(one)) for one in (design, plain())
    )
    # 49 transistors a row; three for each tap on a constant; the comparators of two readout rows, their gates, their
    # replicas, and the dummy of their line
    taps = sum(part.kind == "cmom" and any("c_" in node for node in part.nodes) for part in found)
    assert rows <= taps <= 2 * rows
    assert ours.transistors - theirs.transistors - 49 * rows == 3 * taps + 2 * 15 + 2 + 2 * 3 + 1
    assert ours.area > theirs.area + rows * 40e-12
    assert "xunit0_0.xta.b4" in power_gated_trim.codes(design)["a0_0"]


def test_a_chip_without_trim_has_nothing_of_it() -> None:
    design = plain()
    assert registry.of_design(design) is POWER_GATED
    text, _ = fidelity.deck(design, [np.zeros((1, 2))])
    for name in ("trim", "vuse ", "vtry", "vdrop", "meter_trim"):
        assert name not in text.text and name not in fidelity.network_text(design)
    assert not [cell for cell in fidelity.cell_files(design) if "trim" in cell]
    memory = registry.of_design(design)
    assert memory.lowered(design) == 0.0 and memory.rest(design, 1.1e-13) == 1.1e-13 and not memory.saved(design)


def test_every_device_of_a_trimmed_chip_can_be_drawn() -> None:
    _, _, design = made()
    process = pdk.get(transistors(design).process)
    fets = {"nf": process.nf, "pf": process.pf}
    for device in device_count.devices(fidelity.network_text(design), fidelity.cell_files(design)):
        if device.kind in fets:
            assert device.values["l"] >= (1 - 1e-9) * fets[device.kind].length, device
            assert device.values["w"] >= (1 - 1e-9) * fets[device.kind].width, device
        elif device.kind == "cmom":
            assert device.values["c"] >= (1 - 1e-9) * process.cmom.minimum, device


def test_constants_stand_still_in_the_search_and_are_half_a_step_smaller_in_use() -> None:
    _, _, design = made()
    text, untrimmed = fidelity.network_text(design), fidelity.network_text(plain())

    def constant(text: str, row: str, clocks: tuple[str, str]) -> float:
        sizes = dict.fromkeys(clocks, 0.0)
        for node, size in re.findall(rf"^xc{row}_(?:tap|against) {row} (\S+) cmom c=(\S+)$", text, re.MULTILINE):
            sizes[node] += float(size)
        return sizes[clocks[0]] - sizes[clocks[1]]

    half = float(trim.half(design.layers[0].low.taps)[0])
    assert half == pytest.approx(0.07e-15, rel=0.05)
    for row in ("a0_0", "b0_1", "a1_0", "y1"):
        group = row[1] if row[0] != "y" else "r"
        moved = constant(text, row, (f"ec_{row}", f"fc_{row}")) - constant(untrimmed, row, (f"e{group}", f"f{group}"))
        assert moved == pytest.approx(-half, rel=1e-6), row
    assert re.search(r"^xs[ef]_a0_0 [ef]0 use useb [ef]c_a0_0 vw trim_switch$", text, re.MULTILINE)
    assert re.search(r"^xs[ef]_y1 [ef]r use useb [ef]c_y1 vw trim_switch$", text, re.MULTILINE)


def test_states_are_empty_before_any_line_samples_them() -> None:
    """Lines of negative weights sample a state before sm falls, and should find the amplifier's offset in it, too."""
    _, _, design = made()
    text = fidelity.network_text(design)
    assert "xinitb0 kinit pb0 initb0" in text and "xinitb1 kinit pb1 initb1" in text
    assert "xinitb0 kinit sm0 initb0" in fidelity.network_text(plain())


def test_lines_of_the_search_come_in_their_order() -> None:
    """Cleared, then one bit in each frame: set in the frame before, taken back at the end of its own."""
    _, _, design = made()
    plan = power_gated_trim.plan(design, [2])
    assert plan.starts == (7,) and power_gated_netlist.plan(design, [2]).starts == (2,)
    lines = {
        known(re.match(r"v(\S+)", text))[1]: np.array(
            re.sub(r"\n\+", "", text).partition("pwl(")[2][:-1].split(), float
        )
        for text in power_gated_trim.stimulus(design, plan)
        if "pwl(" in text
    }
    step = plan.timestep
    high = {
        name: np.floor(points[0::2][np.flatnonzero(np.diff(points[1::2]) > 0)] / step).astype(int).tolist()
        for name, points in lines.items()
    }
    for bit in range(5):
        assert high[f"try{bit}"] == [4 - bit]
        assert high[f"drop{bit}"] == [0, 5 - bit]
    assert high["use"] == [6] and lines["kinit"][1] == design.supply
    # States are empty in every frame of the search, and the first packet follows.
    fall = lines["kinit"][0::2][-1]
    assert 6 < fall / step < 6.2 and high["first"] == [6]
    # A bit is taken back while the comparators still hold their decisions, and set while there is power.
    strobe = known(design.technology.power_gated).strobe
    for name in power_gated_trim.LINES:
        inside = (lines[name][0::2][-4:] / step) % 1 * step - 0.5 * step
        assert (inside > 0.5 * strobe).all() and (inside < strobe).all(), name


def test_a_row_without_room_keeps_a_replica_that_can_be_drawn() -> None:
    _, _, design = made()
    load = power_gated_trim.LOAD
    assert power_gated_trim.rest(design, 100e-15) == pytest.approx(100e-15 - load)
    assert power_gated_trim.rest(design, 5e-15) == transistors(design).minimum


def test_a_bank_that_cannot_be_drawn_names_the_remedy() -> None:
    _, _, design = made(reach=8e-3)
    with pytest.raises(MappingError, match=r"capacitors below 2 fF: raise trim\.reach"):
        fidelity.network_text(design)
    _, _, larger = made(reach=33.6e-3)
    assert " k=2.0" in fidelity.network_text(larger)


def test_a_trimmed_chip_has_a_block_for_its_bits_and_says_what_is_left_out() -> None:
    trained, sequences, design = made()
    assert "meter_trim" in transistor_netlist.charge_meters(design)
    assert "meter_trim" not in transistor_netlist.charge_meters(plain())
    left = " ".join(CHARGE.energy_model(design).excludes)
    assert "ten lines that search the trim codes" in left and "6 timesteps after power-on" in left
    found, without = (
        energy.analytic(one, compare.reference(one, trained, sequences), sequences.inputs[0].astype(float), 0)
        for one in (design, plain())
    )
    assert found["trim"] == pytest.approx(0.0)
    # Half of the bits are 1, and each passes a few femtofarads.
    extra = (found["clocks"] - without["clocks"]).mean() / 8
    assert 30e-15 < extra < 120e-15
    assert found["readout"].mean() < without["readout"].mean() + 0.2e-12


def test_a_design_folder_keeps_a_trimmed_chip(tmp_path: Path) -> None:
    model = package_data.folder("models") / "flipflop-cmru-1x2.safetensors"
    options = ["--technology", "gf180", "--level", "transistor", "--trim", "5", "--no-verify"]
    done = CliRunner().invoke(export, [str(model), "-o", str(tmp_path / "chip"), *options])
    assert done.exit_code == 0, done.output
    assert "5 bits on each of" in done.output
    loaded = folder.load(tmp_path / "chip")
    assert not loaded.edited and charge_design(loaded.design).technology.trim_bits == 5
    assert loaded.network == fidelity.network_text(charge_design(loaded.design))
    lines = (tmp_path / "chip" / "mapping.csv").read_text().splitlines()
    assert sum("trim code" in line for line in lines) == 3


# ---- codes


def test_codes_at_the_end_of_their_range_are_named() -> None:
    assert trim_codes.remarks([]) == []
    ((name, said),) = trim_codes.remarks([{"a0_0": -3, "b0_0": 14}])
    assert name == "trim codes" and said.startswith("-3 to 14") and "every row is within their range" in said
    ((_, said),) = trim_codes.remarks([{"a0_0": -16, "b0_0": 2, "y1": 15}])
    assert said.startswith("2 at the end of the range, a0_0 (-16), y1 (15): ")
    assert "raise trim.reach" in said
    ((_, said),) = trim_codes.remarks([{f"a0_{i}": 15 for i in range(9)}])
    assert "a0_3 (15) and 5 more" in said


def test_a_bit_between_the_rails_is_no_result() -> None:
    _, _, design = made()
    plan = power_gated_trim.plan(design, [1])
    wanted = {"a0_0": -16, "b0_0": 15, "a0_1": -1, "b0_1": 0, "a1_0": 5, "b1_0": -6, "y0": 1, "y1": -2}
    values = {
        node: np.full(2, design.supply * (wanted[row] >> place & 1))
        for row, nodes in power_gated_trim.codes(design).items()
        for place, node in enumerate(nodes)
    }
    traces = Traces(title="", time=np.array([0.0, 1.0]), values=values)
    assert trim_codes.found(design, traces, plan, 0) == wanted
    values["xty1.b0"] = np.full(2, 0.5 * design.supply)
    with pytest.raises(ResultRejected, match="trim code of row y1 is at neither rail"):
        trim_codes.found(design, traces, plan, 0)
    assert trim_codes.found(plain(), traces, plan, 0) == {}


@pytest.mark.spice
def test_a_unit_takes_away_an_offset_by_its_own_decisions(need: Callable[[str], None]) -> None:
    """8 mV on row a, from a capacitor on a clock; 30 mV on row b, beyond the range of its code."""
    need("gf180")
    trained, sequences, network = made()
    design = single_unit.unit(network, 0, 0)
    inputs, _ = single_unit.recorded(network, trained, sequences, 0)
    total, offset = trim.replica(design.technology), 8e-3
    text = fidelity.network_text(design)
    text += (
        f"cinject_a a0_0 e0 {offset * total / design.supply!r}\ncinject_b b0_0 f0 {30e-3 * total / design.supply!r}\n"
    )
    deck, schedule = fidelity.deck(design, [inputs.inputs[0].astype(float)], network=text)
    with spice.open_engine(timeout=600) as engine:
        traces = engine.run(deck).traces
    piece = simulate.decode(design, traces, schedule, 0)
    # The comparator's input when it fires, in all frames: the first bit is tried with code 0.
    (fired,) = [one for one in schedule.located(traces).comparing if isinstance(one, Found)]
    seen = {row: traces.at(row, fired.instants) - traces.at(f"f{row}", fired.instants) for row in ("a0_0", "b0_0")}
    # The parasitics of a row are smaller than the technology's figure.
    assert seen["a0_0"][1] == pytest.approx(offset, rel=0.15) and seen["b0_0"][1] < -25e-3
    row, step = design.layers[0].low, float(trim.step(design.layers[0].low, design.technology)[0])
    shift = trim.shift(row, design.technology, np.array([piece.codes["a0_0"]]))[0]
    # It ends below the row by less than a step, but for the offset of equal devices: their kick, about a step.
    assert -0.5 * step < seen["a0_0"][1] - shift < 2.5 * step and shift > 5 * step
    assert piece.codes["b0_0"] == -16
    ((_, said),) = trim_codes.remarks([piece.codes])
    assert "1 at the end of the range, b0_0 (-16)" in said
    # The bits stand still in use.
    assert piece.energy[0, list(transistor_netlist.charge_meters(design)).index("meter_trim")] < 0.05e-12
