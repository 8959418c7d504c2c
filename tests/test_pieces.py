"""A large macromodel in pieces is the same simulation as in one deck: voltages, decisions and energy."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmru_hw import load_design, spice
from cmru_hw.circuits.charge import macro_netlist, mapping, noise, pieces, simulate, trim, variation
from cmru_hw.circuits.charge.compare import compare, reference
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.energy import macro
from cmru_hw.circuits.charge.simulate import ChargeSimulation
from cmru_hw.circuits.comparison import software
from cmru_hw.circuits.energy import EnergyBreakdown, measure
from cmru_hw.cli import group
from cmru_hw.core.errors import CheckFailed
from cmru_hw.core.signals import Traces
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences, save_sequences
from cmru_hw.process import technology
from cmru_hw.spice.schedule import Schedule
from tests.networks import Shape, random_network, random_sequences

LENGTHS = (20, 9)
LARGE = Shape(features=16, units=(128, 128), levels=7, seed=6)


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine() as opened:
        yield opened


def mapped(shape: Shape, *, kind: str = "gf180", bits: int = 0) -> tuple[Design, Trained, Sequences]:
    trained, data = random_network(shape), random_sequences(shape, LENGTHS)
    chosen = technology.load(kind)
    chosen = trim.with_bits(chosen, bits) if bits else chosen
    return mapping.map_network(trained, chosen, mapping.calibrate(trained, data)), trained, data


def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, networks of any size are simulated in pieces of up to three units."""
    monkeypatch.setattr(pieces, "MOST_UNITS", 1)
    monkeypatch.setattr(pieces, "PIECE", 3)


def require_same(one: ChargeSimulation, other: ChargeSimulation, design: Design) -> None:
    for this, that in zip(one.response.decisions, other.response.decisions, strict=True):
        np.testing.assert_array_equal(this, that)
    for a, b in zip(one.rows, other.rows, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-7)
    for layer, a, b in zip(design.layers, one.response.states, other.response.states, strict=True):
        np.testing.assert_allclose(a * layer.step, b * layer.step, rtol=0, atol=1e-7)
    scale = np.abs(one.response.logits).max()
    np.testing.assert_allclose(one.response.logits, other.response.logits, rtol=0, atol=1e-6 * scale)


SHAPES = [
    Shape(features=4, units=(6, 5), levels=7),
    Shape(features=4, units=(7, 4), levels=None, skip=False, seed=2),
    Shape(cell="bmru", features=4, units=(4, 5, 4), seed=3),
    Shape(cell="acmru", features=4, units=(6, 5), seed=4),
]


@pytest.mark.spice
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.cell}-{'x'.join(map(str, shape.units))}")
def test_pieces_give_the_voltages_and_the_energy_of_one_deck(
    shape: Shape, engine: spice.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The technology has finite gain, leakage and injected charge, so that states move between their packets."""
    design, _, data = mapped(shape)
    model = macro.energy_model(design)
    blocks: list[EnergyBreakdown] = []

    def observe(traces: Traces, plan: Schedule, sequences: Sequence[int]) -> None:
        blocks.extend(measure(traces, model.meters, model.total, model.frames(plan, place)) for place in sequences)

    whole = simulate.simulate(design, data, engine, rows=True)
    simulate.simulate(design, data, engine, observe=observe)
    cut_small(monkeypatch)
    stages = pieces.cut(design, macro_netlist.network_text(design))
    assert [len(stage) for stage in stages] == [*(-(-units // 3) for units in shape.units), 1]
    require_same(whole, simulate.simulate(design, data, engine, rows=True), design)
    simulate.simulate(design, data, engine, observe=observe)
    for one, other in zip(blocks[: len(LENGTHS)], blocks[len(LENGTHS) :], strict=True):
        assert abs(other.closure_error) < 1e-9
        for name, joules in one.blocks.items():
            assert other.blocks[name].sum() == pytest.approx(joules.sum(), rel=2e-3), name


@pytest.mark.spice
@pytest.mark.parametrize("bits", [0, 4])
def test_pieces_of_a_die_with_noise_give_its_voltages(
    bits: int, engine: spice.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    design, _, data = mapped(SHAPES[0], bits=bits)
    drawn = variation.draw(design, seed=1, dies=[3], varied=variation.select_variations(design))
    assert noise.columns(drawn, 0, 0, 1)

    def run() -> ChargeSimulation:
        return simulate.simulate(
            drawn.one(0),
            data,
            engine,
            rows=True,
            reader=design,
            noise=lambda sequence: noise.columns(drawn, 0, sequence, LENGTHS[sequence]),
        )

    whole = run()
    cut_small(monkeypatch)
    require_same(whole, run(), design)


@pytest.mark.spice
def test_the_waveforms_of_a_unit_are_those_of_its_piece(engine: spice.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    design, _, data = mapped(SHAPES[0])
    whole = simulate.waveforms(design, data, engine, unit=(1, 4))
    cut_small(monkeypatch)
    found = simulate.waveforms(design, data, engine, unit=(1, 4))
    assert "o1_4" in found.traces.values and "o0_0" not in found.traces.values
    instants = found.plan.instants(0)
    for name in ("a1_4", "b1_4", "o1_4", "qa1_4"):
        np.testing.assert_allclose(found.traces.at(name, instants), whole.traces.at(name, instants), atol=1e-7)


def flipped(text: str, element: str) -> str:
    """``text`` with the sign of one weight flipped: its capacitor on the other line of the pair."""
    changed, count = re.subn(
        rf"(?m)^({element} \S+ )([pn])(\S+)", lambda m: m[1] + {"p": "n", "n": "p"}[m[2]] + m[3], text
    )
    assert count == 1
    return changed


@pytest.mark.spice
def test_a_weight_of_the_wrong_sign_is_found_in_a_network_of_pieces(engine: spice.Engine) -> None:
    shape = Shape(features=4, units=(20, 20), levels=7, seed=5)
    design, trained, data = mapped(shape, kind="macro")
    text = macro_netlist.network_text(design)
    assert pieces.cut(design, text)
    expected = reference(design, trained, data)
    right = simulate.simulate(design, data, engine, network=text, rows=True)
    assert compare(design, expected, right.response).holds()
    unit, line = most_turned(design, data, right)
    wrong = simulate.simulate(design, data, engine, network=flipped(text, f"ca0_{unit}_{line}"))
    found = compare(design, expected, wrong.response)
    assert {(one.layer, one.unit) for one in found.divergences if not one.inherited} == {(0, unit)}
    assert any(f"layer 0, unit {unit}:" in failure for failure in found.failures())
    # its state went to the next layer through the recorded lines
    assert any(one.layer == 1 for one in found.divergences)


def most_turned(design: Design, data: Sequences, right: ChargeSimulation) -> tuple[int, int]:
    """(unit, line) of layer 0 whose weight in row a would turn most decisions over if its sign were flipped."""
    row = design.layers[0].low
    volts = design.voltages(data.inputs[data.valid]) - design.technology.supply.common_mode
    total = row.total + design.technology.capacitor.parasitic
    before = right.rows[0][data.valid][:, :, None, 0]
    after = before - 2 * volts[:, None, :] * row.weights / total[:, None]
    turned = ((before > 0) != (after > 0)).sum(axis=0)
    unit, line = np.unravel_index(int(turned.argmax()), turned.shape)
    assert turned[unit, line]
    return int(unit), int(line)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.safetensors of 2x128, data.npz, and the design that `export` makes of them."""
    folder = tmp_path_factory.mktemp("large")
    checkpoint.save(random_network(LARGE), folder / "net.safetensors")
    save_sequences(replace(random_sequences(LARGE, (8,)), labels=None), folder / "data.npz")
    run(folder, "export", "net.safetensors", "--input", "data.npz", "-o", "design")
    return folder


def run(folder: Path, command: str, *arguments: str) -> str:
    """What the command prints; arguments with a dot or without a hyphen are paths in ``folder``."""
    given = [one if one.startswith("-") or one.isdigit() else str(folder / one) for one in arguments]
    done = CliRunner().invoke(group, [command, *given])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.spice
def test_the_gate_of_a_large_network_names_a_weight_of_the_wrong_sign(large: Path, tmp_path: Path) -> None:
    """2x128, by the commands of a user: the export passes, and the netlist with one weight flipped does not."""
    folder = shutil.copytree(large / "design", tmp_path / "design")
    design = load_design(folder).design
    assert isinstance(design, Design)
    unit, line = most_moved(design, random_network(LARGE), random_sequences(LARGE, (8,)))
    netlist = folder / "network.cir"
    netlist.write_text(flipped(netlist.read_text(), f"ca1_{unit}_{line}"))
    assert pieces.cut(design, netlist.read_text())
    given = ("--input", str(large / "data.npz"))
    done = CliRunner().invoke(group, ["compare", str(folder), *given, "--allow-edited", "--json"])
    assert isinstance(done.exception, CheckFailed)
    assert re.search(rf"decisions differ from software, first .*layer 1, unit {unit}: software", str(done.exception))
    # no other unit decides differently: the readout alone reads the second layer
    differences = json.loads(done.stdout)["differences"]
    assert differences and {(one["layer"], one["unit"]) for one in differences} == {(1, unit)}


@pytest.mark.spice
def test_energy_dies_and_report_of_a_large_network_need_no_special_options(large: Path) -> None:
    energy = json.loads(run(large, "energy", "design", "--input", "data.npz", "-o", "energy", "--json"))
    blocks = sum(block["static_J"] + block["dynamic_J"] for block in energy["blocks"].values() if block["dynamic_J"])
    assert blocks == pytest.approx(energy["supply_total_J"], rel=0.01) and blocks > 0
    dies = json.loads(run(large, "montecarlo", "design", "--input", "data.npz", "--dies", "20", "-o", "dies", "--json"))
    assert (dies["dies"], dies["failed"]) == (20, 0) and 0.5 < dies["decision_agreement"] < 1
    run(large, "report", "design", "energy", "dies", "-o", "report")
    page = " ".join(re.sub("<[^>]*>", " ", (large / "report" / "index.html").read_text()).split())
    assert energy["netlist_sha256"][:12] in page and "20 dies (seed 0 ) were computed" in page


def most_moved(design: Design, trained: Trained, data: Sequences) -> tuple[int, int]:
    """(unit, line) of layer 1 whose weight in row a would turn most decisions over if its sign were flipped."""
    out = software(design.input_range, trained, data)
    first, layer = design.layers[0], design.layers[1]
    inputs = design.voltages(data.inputs) - design.technology.supply.common_mode
    volts = np.concatenate((out.outputs[0] * first.unit * first.sign, inputs), axis=2)[data.valid]
    total = layer.low.total + design.technology.capacitor.parasitic
    before = ((out.candidates[1] - out.thresholds[1])[data.valid] * layer.low.scale / total)[:, :, None]
    after = before - 2 * volts[:, None, :] * layer.low.weights / total[:, None]
    high = (out.candidates[1] + out.thresholds[1])[data.valid][:, :, None]
    # a decision changes only where the other row does not hold the state by itself
    turned = (((before > 0) != (after > 0)) & (abs(high) > 1e-3)).sum(axis=0)
    unit, line = np.unravel_index(int(turned.argmax()), turned.shape)
    assert turned[unit, line]
    return int(unit), int(line)


def test_pieces_contain_every_element_and_only_the_states_that_they_read(monkeypatch: pytest.MonkeyPatch) -> None:
    design, _, _ = mapped(SHAPES[0], bits=4)
    cut_small(monkeypatch)
    text = macro_netlist.network_text(design)
    stages = pieces.cut(design, text)
    found = [line for stage in stages for piece in stage for line in piece.network.splitlines()]
    joined = re.sub(r"\n\+", " ", text)
    wanted = [line for line in joined.splitlines() if line and not line.startswith("*")]
    assert {" ".join(line.split()) for line in found} == {" ".join(line.split()) for line in wanted}
    assert {piece.reads for piece in stages[0]} == {()}
    assert {piece.reads for piece in stages[1]} == {tuple(f"o0_{i}" for i in range(6))}
    assert {piece.reads for piece in stages[2]} == {tuple(f"o1_{i}" for i in range(5))}


@pytest.mark.parametrize(
    "edit",
    [
        "rextra a0_0 vcm 1k",  # an element that no netlist of this program has
        "ca0_0_extra a0_0 a0_1 1e-15",  # couples two rows
        "ca0_0_extra a0_0 p1_0 1e-15",  # a line of another layer
        "ca0_0_extra a0_0 x1 1e-15",  # an input without its line
        "ca0_0_extra a0_0 e1 1e-15",  # the clock of another layer
        "xline0_extra o1_0 p0_extra n0_extra e0 vcm ret0 line",  # feedback from a later layer
        "xunit9_0 a9_0 b9_0 o9_0 qa qb vcm vcm vcm ref_up ref_up e0 u0 init vcm vrp vrn vdd unit_accumulate",
        ".param x=1",
    ],
)
def test_a_netlist_with_other_connections_stays_whole(edit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    design, _, _ = mapped(SHAPES[0])
    cut_small(monkeypatch)
    text = macro_netlist.network_text(design)
    assert pieces.cut(design, text)
    assert pieces.cut(design, f"{text}{edit}\n") == ()


def test_cells_of_the_user_and_small_networks_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    design, _, _ = mapped(SHAPES[0])
    text = macro_netlist.network_text(design)
    assert pieces.cut(design, text) == ()
    cut_small(monkeypatch)
    assert pieces.cut(design, text)
    assert pieces.cut(replace(design, templates=(("line", ""),)), text) == ()


def test_a_unit_without_its_state_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    design, _, _ = mapped(SHAPES[0])
    cut_small(monkeypatch)
    text = macro_netlist.network_text(design)
    without = "\n".join(line for line in re.sub(r"\n\+", " ", text).splitlines() if not line.startswith("xunit0_2 "))
    assert pieces.cut(design, without) == ()
