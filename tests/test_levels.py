"""K of each unit, from the checkpoint to the circuit: one form, round trips, sizes, refusals, and both engines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cmru_hw import cli, spice
from cmru_hw.circuits.charge import fidelity, mapping, single_unit
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.verify import verify
from cmru_hw.core.errors import CheckpointError, InputError, MappingError
from cmru_hw.nn import checkpoint, levels, training
from cmru_hw.nn.cell_config import CellConfig
from cmru_hw.nn.cells import Network, WindowLayer
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.recipes import Recipe
from cmru_hw.nn.sequences import Sequences, save_sequences
from cmru_hw.nn.tasks import Task
from cmru_hw.process import technology
from tests.networks import Shape, random_network, random_sequences

MIXED = ((1, 2, 31), (4, 8))
MACRO = technology.load("macro")


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine(timeout=3600) as opened:
        yield opened


def network(found: levels.Levels, **changes: object) -> Trained:
    return random_network(replace(Shape(levels=found, units=(3, 2), seed=2), **changes))  # type: ignore[arg-type]


def design_of(trained: Trained, memory: str | None = None) -> Design:
    kind = MACRO if memory is None else fidelity.at_level(technology.load("gf180"), "transistor", memory)
    return mapping.map_network(trained, kind, mapping.calibrate(trained, None))


# --- The setting -------------------------------------------------------------------------------------------------


def test_a_layer_may_have_one_number_or_one_for_each_unit() -> None:
    assert levels.checked([7, [1, 2]], (3, 2)) == ((7, 7, 7), (1, 2))
    assert levels.checked([[3, 3, 3], 3], (3, 2)) == 3
    assert levels.checked(None, (3, 2)) is None
    assert levels.plain(MIXED) == [[1, 2, 31], [4, 8]]
    assert levels.described(MIXED) == "layer 0: K = 1 in 1, K = 2 in 1, K = 31 in 1; layer 1: K = 4 in 1, K = 8 in 1"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([7], "levels has 1 entries for 2 layers"),
        ([[1, 2], [1, 2]], "levels of layer 0 has 2 numbers for 3 units"),
        ([[1, 2, 0], 7], "levels of layer 0, unit 2 is 0; it must be a positive whole number"),
        ([[1, 2, 3], [4, None]], "levels of layer 1, unit 1 is None; it must be"),
        ([[1, 2, True], 7], "levels of layer 0, unit 2 is True"),
        ([[1, 2, 2.0], 7], "levels of layer 0, unit 2 is 2.0"),
        ([[1, 2, 10**9], 7], "at most 1000000, and without a limit a large one"),
        ([None, 7], "levels of layer 0 is None"),
        ([[], []], "levels of layer 0 has 0 numbers for 3 units"),
    ],
)
def test_wrong_levels_are_refused_with_the_unit(tmp_path: Path, found: list[object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        levels.checked(found, (3, 2))
    assert message in str(caught.value)
    good = network(7)
    text = {"format": 1, "cell": "cmru", "levels": found, "skip": True, "decision": "mean", "classes": ["a", "b"]}
    path = tmp_path / "net.safetensors"
    path.write_bytes(safetensors.torch.save(dict(good.tensors), {"cmru_hw": json.dumps(text)}))
    with pytest.raises(CheckpointError) as refused:
        checkpoint.load(path)
    assert message in str(refused.value) and str(path) in str(refused.value)


def test_a_network_needs_levels_of_its_shape() -> None:
    with pytest.raises(InputError, match="levels of layer 0 has 3 numbers for 2 units"):
        Network(CellConfig(cell="cmru", levels=MIXED), features=2, units=(2, 2), classes=2)
    with pytest.raises(InputError, match="levels has 2 entries for 1 layers"):
        Network(CellConfig(cell="cmru", levels=MIXED), features=2, units=(3,), classes=2)


@given(units=st.lists(st.integers(1, 40), min_size=1, max_size=3), longest=st.integers(1, 1000))
def test_mixed_levels_are_a_third_each(units: list[int], longest: int) -> None:
    found = levels.mixed(units, longest=longest)
    assert found is not None
    layers = found if isinstance(found, tuple) else tuple((found,) * count for count in units)
    most = max(8, (longest + 1) // 2)
    assert [len(layer) for layer in layers] == units
    for layer in layers:
        assert {*layer} <= {1, 2, 4, 8, most}
        few = sum(k in (1, 2) for k in layer)
        assert abs(few - len(layer) / 3) < 1
    assert levels.resized(found, [sum(units)]) is not None


# --- The file ----------------------------------------------------------------------------------------------------


def test_mixed_levels_survive_a_round_trip(tmp_path: Path) -> None:
    made = network(MIXED)
    path = tmp_path / "net.safetensors"
    checkpoint.save(made, path)
    back = checkpoint.load(path)
    assert back.config == made.config and back.sha256 == made.sha256
    assert back.config.levels == MIXED
    assert not any("highest" in name for name in back.tensors)
    x = torch.randn(2, 40, 3)
    assert torch.equal(back.network()(x).logits, made.network()(x).logits)


def test_one_k_has_one_hash_however_it_is_written() -> None:
    one = network(7)
    assert Trained(config=replace(one.config, levels=((7, 7, 7), (7, 7))), tensors=one.tensors).sha256 == one.sha256
    other = Trained(config=replace(one.config, levels=((7, 7, 7), (7, 6))), tensors=one.tensors)
    assert other.sha256 != one.sha256


def test_every_unit_stops_at_its_own_level() -> None:
    made = network(MIXED, fixed_thresholds=True).network()
    with torch.no_grad():
        for layer in made.layers:
            assert isinstance(layer, WindowLayer)
            layer.candidate.weight.zero_()
            layer.candidate.bias.fill_(1.0)
            layer.threshold.bias.fill_(0.5)
    states = made(torch.zeros(1, 40, 3)).states
    assert [one[0, -1].tolist() for one in states] == [[1.0, 2.0, 31.0], [4.0, 8.0]]


def test_inspect_lists_the_levels(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    checkpoint.save(network(MIXED), path)
    shown = CliRunner().invoke(cli.group, ["inspect", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "1, 2, 31; 4, 8" in shown.output and "K = 31 in 1" in shown.output
    plain = CliRunner().invoke(cli.group, ["inspect", str(path), "--json"])
    assert json.loads(plain.output)["levels"] == [[1, 2, 31], [4, 8]]


# --- The circuit -------------------------------------------------------------------------------------------------


def test_each_unit_divides_the_swing_by_its_own_k() -> None:
    trained = network(MIXED)
    design = design_of(trained)
    for index, (layer, wanted) in enumerate(zip(design.layers, MIXED, strict=True)):
        assert layer.levels is not None and layer.levels.tolist() == list(wanted)
        alpha = trained.tensors[f"layers.{index}.alpha"].double().abs().numpy()
        swing = MACRO.signal.state_swing * alpha / alpha.max()
        assert layer.step * np.array(wanted) == pytest.approx(swing)
        assert layer.limit == pytest.approx((np.array(wanted) - 0.5) * layer.step)
    back = mapping.realised(design)
    for name, tensor in trained.tensors.items():
        assert torch.equal(back.tensors[name], tensor), name


@pytest.mark.parametrize("memory", ["integrator", "power-gated"])
def test_a_limit_is_a_ratio_of_capacitors_of_its_own_unit(memory: str) -> None:
    design = design_of(network(((2, 5, 31), (4, 8))), memory)
    text = fidelity.network_text(design)
    found = [
        tuple(float(part.split(" ")[0]) for part in (line.split("cla=")[1], line.split("clb=")[1]))
        for line in text.splitlines()
        if "clb=" in line
    ]
    layers = [(layer, i) for layer in design.layers for i in range(layer.units)]
    assert len(found) == len(layers)
    for (cla, clb), (layer, i) in zip(found, layers, strict=True):
        assert layer.levels is not None
        assert clb / cla == pytest.approx((layer.levels[i] - 0.5) * layer.packet[i] / layer.integrator[i])


def test_units_with_unlike_k_have_counters_of_their_own() -> None:
    design = design_of(network(((1, 2, 7), (4, 7))), "counter")
    files, text = fidelity.cell_files(design), fidelity.network_text(design)
    assert text.count("unit_counter_7") == 2 and text.count("unit_counter_4") == 1
    for k in (1, 2, 4, 7):
        unit, core, end = (
            files[f"cells/{cell}_{k}.cir"].decode() for cell in ("unit_counter", "counter_core", "counter_end")
        )
        assert f".subckt unit_counter_{k} " in unit and f"counter_core_{k} l=" in unit
        assert f".subckt counter_core_{k} " in core and f"counter_end_{k}\n" in core
        assert f".subckt counter_end_{k} " in end and f"This is K = {k};" in end and ".subckt nand4" not in end
    same = fidelity.cell_files(design_of(network(7), "counter"))
    assert not any("counter_end_" in name for name in same)
    alone = single_unit.unit(design, 0, 1)
    assert b"This is K = 2;" in fidelity.cell_files(alone)["cells/counter_end.cir"]


@pytest.mark.parametrize(
    ("found", "memory", "message"),
    [
        (((1, 8, 7), (1, 2)), "counter", r"layers\.0, unit 1: a counter has 4 bits and counts to 7, not to 8"),
        (((1, 2, 7), (1, 31)), "counter", r"layers\.1, unit 1: a counter .* not to 31"),
        (
            ((1, 2, 7), (1, 900)),
            "power-gated",
            r"layers\.1, unit 1: one packet would need .* but the smallest capacitor",
        ),
        (
            ((1, 2, 900), (1, 2)),
            "integrator",
            r"layers\.0, unit 2: one packet would need .* but the smallest capacitor",
        ),
    ],
)
def test_a_k_that_no_part_can_hold_is_refused_with_the_unit(found: levels.Levels, memory: str, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        design_of(network(found), memory)


@pytest.mark.slow
@pytest.mark.spice
def test_counters_with_unlike_k_count_as_software_does(engine: spice.Engine) -> None:
    """Both ends of both ranges, in transistors."""
    shape = Shape(features=1, units=(2,), levels=((1, 3),), skip=False, seed=3, fixed_thresholds=True)
    trained = random_network(shape)
    tensors = {name: value.clone() for name, value in trained.tensors.items()}
    for name, value in {"candidate.weight": 1.0, "candidate.bias": 0.02, "threshold.bias": 0.3, "alpha": 1.0}.items():
        tensors[f"layers.0.{name}"].fill_(value)
    trained = Trained(config=trained.config, tensors=tensors)
    # From both initial states, +1 or -1, to both ends of both ranges.
    course = [1.0] * 3 + [-1.0] * 7
    data = Sequences(inputs=np.array(course, dtype=np.float32).reshape(1, -1, 1))
    kind = fidelity.at_level(technology.load("generic180"), "transistor", "counter")
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    found = verify(design, trained, data, engine)
    assert found.comparison.differ == 0 and found.comparison.excluded == 0
    states = np.round(found.simulation.response.states[0][0])
    assert np.abs(states).max(axis=0).tolist() == [1, 3]
    assert states.min(axis=0).tolist() == [-1, -3]


# --- From training to dies ---------------------------------------------------------------------------------------


def counting_task() -> Task:
    """Do more pulses come on line 0 or on line 1? A state that stops at a few levels loses count."""
    rng = np.random.default_rng(4)

    def some(count: int) -> Sequences:
        share = rng.uniform(0.15, 0.85, size=(count, 1))
        first = rng.random((count, 40)) < share
        inputs = np.stack([first, ~first], axis=2).astype(np.float32)
        inputs += rng.normal(scale=0.05, size=inputs.shape).astype(np.float32)
        return Sequences(inputs=inputs, labels=(first.mean(axis=1) < 0.5).astype(np.int64))

    return Task(name="own data", train=some(120), test=some(24), classes=("first", "second"), notes={})


@pytest.mark.spice
def test_a_network_with_mixed_k_goes_from_training_to_dies(tmp_path: Path, engine: spice.Engine) -> None:
    """K = 31 among them: every decision and state in ngspice, then dies and the verdict of the fast engine."""
    task = counting_task()
    recipe = Recipe(steps=60, learning_rate=0.03, batch=32)
    trained = training.train(task, units=(3, 3), levels=((1, 4, 31), (2, 31, 8)), recipe=recipe, seed=1)
    data = task.test.first(4)
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, task.train))
    found = verify(design, trained, data, engine)
    assert found.comparison.differ == 0 and found.comparison.classified == found.comparison.classified_alike
    assert found.comparison.level_error < 0.05
    largest = max(float(np.abs(states).max()) for states in found.simulation.response.states)
    assert largest > 8

    model, own = tmp_path / "net.safetensors", tmp_path / "test.npz"
    checkpoint.save(trained, model)
    save_sequences(task.test, own)
    folder, dies = tmp_path / "design", tmp_path / "dies"
    run = CliRunner().invoke
    made = run(cli.group, ["export", str(model), "--input", str(own), "--no-verify", "-o", str(folder)])
    assert made.exit_code == 0, made.output
    scored = run(
        cli.group, ["montecarlo", str(folder), "--input", str(own), "-n", "12", "--seed", "1", "-o", str(dies)]
    )
    assert scored.exit_code == 0, scored.output
    summary = json.loads((dies / "summary.json").read_text())
    assert summary["dies"] == 12 and summary["failed"] == 0
    assert 0.7 < summary["decision_agreement"] <= 1


def test_old_settings_are_those_of_one_k() -> None:
    """A configuration with a number is as it was: the number is in the file, and no list."""
    config = ModelConfig(
        cell="cmru", epsilon=1.0, levels=7, skip=True, decision="mean", classes=("a", "b"), features=3, units=(3, 2)
    )
    assert config.levels == 7 and config.network().layers[0].highest == 7.0


def test_random_networks_have_mixed_levels() -> None:
    found = [random_network(Shape(levels="mixed", units=(4, 4), seed=seed)).config.levels for seed in range(5)]
    assert all(isinstance(one, tuple) for one in found)
    assert any(31 in layer for one in found if isinstance(one, tuple) for layer in one)
    assert random_sequences(Shape()).inputs.shape[2] == 3
