"""The range of the inputs: how it is chosen, that everything clamps alike, and that every result counts it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cmru_hw import spice
from cmru_hw.analysis import hardware_aware
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.statistics import scores
from cmru_hw.circuits import input_range, registry
from cmru_hw.circuits.charge import fast, fidelity, mapping, variation
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.verify import verify
from cmru_hw.circuits.current import fast as current_fast
from cmru_hw.circuits.current import mapping as current_mapping
from cmru_hw.circuits.current import netlist as current_netlist
from cmru_hw.circuits.current import technology as current_technology
from cmru_hw.circuits.current import variation as current_variation
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.core.errors import MappingError
from cmru_hw.nn import checkpoint
from cmru_hw.nn.sequences import Sequences, load_sequences, save_sequences
from cmru_hw.process import technology
from tests import test_current
from tests.networks import Shape, random_network, random_sequences
from tests.test_import import command

MACRO = technology.load("macro")
WIDER = 4.0
CELLS = ["cmru", "bmru", "acmru"]


def plain(trained: checkpoint.Trained) -> checkpoint.Trained:
    """``trained`` on inputs that are not scaled, so that a clamped input is one in the data's own units."""
    features = trained.config.features
    own = {"input.scale": torch.ones(features), "input.offset": torch.zeros(features)}
    return replace(trained, tensors={**trained.tensors, **own})


def wider(data: Sequences) -> Sequences:
    return replace(data, inputs=WIDER * data.inputs)


def inside(design: Design | CurrentDesign, data: Sequences) -> Sequences:
    """``data`` of a network without scaling, clamped before anything sees it."""
    limits = design.input_range
    return replace(data, inputs=np.clip(data.inputs, limits.low, limits.high).astype(np.float32))


# --- Choosing it -------------------------------------------------------------------------------------------------


def test_one_outlier_sets_no_range_and_shrinks_no_other_feature() -> None:
    values = np.random.default_rng(0).normal(size=(100, 20, 3))
    calm, largest = input_range.magnitudes(values, np.full(100, 20), 99.9)
    values[7, 3, 1] = 36.0
    found, seen = input_range.magnitudes(values, np.full(100, 20), 99.9)
    assert seen.tolist() == [largest[0], 36.0, largest[2]]
    np.testing.assert_allclose(found, calm, rtol=0.1)
    assert found[[0, 2]].tolist() == calm[[0, 2]].tolist()
    everything, _ = input_range.magnitudes(values, np.full(100, 20), 100)
    assert everything.tolist() == seen.tolist()


@pytest.mark.parametrize("percentile", [90, 99, 99.9])
def test_the_stated_percentage_of_timesteps_is_inside(percentile: float) -> None:
    values = np.abs(np.random.default_rng(1).normal(size=(400, 25, 2)))
    found, _ = input_range.magnitudes(values, np.full(400, 25), percentile)
    share = (values <= found).mean(axis=(0, 1))
    # nine sequences of ten are inside as a whole, which may take more
    assert (share >= percentile / 100 - 1e-9).all()
    assert ((values <= found).all(axis=1).mean(axis=0) >= 0.9).all()
    if percentile == 99.9:
        assert (share <= 0.99901).all()


def test_a_pulse_in_each_sequence_is_no_outlier() -> None:
    values = np.random.default_rng(2).normal(scale=0.1, size=(40, 3000, 2))
    values[np.arange(40), np.arange(40), 0] = 1.0
    found, _ = input_range.magnitudes(values, np.full(40, 3000), 99.9)
    assert found[0] == 1.0 and found[1] < 0.5


def test_padding_is_no_input_and_a_constant_feature_keeps_some_range() -> None:
    values = np.random.default_rng(3).uniform(-1, 1, size=(10, 30, 3))
    values[:, :, 2] = 0.0
    lengths = np.full(10, 20)
    values[:, 20:] = 1e6
    found, largest = input_range.magnitudes(values, lengths, 99.9)
    assert (found[:2] <= 1).all() and largest[2] == 0
    assert found[2] == pytest.approx(0.25 * np.median(found[:2]))
    with pytest.raises(MappingError, match="every calibration input is zero"):
        input_range.magnitudes(np.zeros((2, 3, 1)), np.array([3, 3]), 99.9)


def test_each_feature_fills_the_swing() -> None:
    trained, data = random_network(Shape(features=3)), random_sequences(Shape(features=3))
    data = replace(data, inputs=data.inputs * np.array([1, 10, 0.9], dtype=np.float32))
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    volts = design.voltages(data.inputs)[data.inputs[:, :, 0] != 0] - MACRO.supply.common_mode
    np.testing.assert_allclose(np.abs(volts).max(axis=0), MACRO.signal.input_swing, rtol=1e-9)


# --- Everything clamps alike -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_software_clamps_as_if_the_data_had_been_clamped(cell: str) -> None:
    trained, data = plain(random_network(Shape(cell=cell))), random_sequences(Shape())
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    kind = registry.of(design)
    one, other = (
        kind.reference(design, trained, wider(data)),
        kind.reference(design, trained, inside(design, wider(data))),
    )
    assert one.clamped.clamped > 10 and other.clamped.clamped == 0
    for mine, theirs in zip(one.response.states, other.response.states, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    own = trained.network().double()(torch.from_numpy(wider(data).inputs).double(), torch.from_numpy(data.lengths))
    assert any(
        (layer.numpy() != clamped).any() for layer, clamped in zip(own.decisions, one.response.decisions, strict=True)
    )


@pytest.mark.spice
@pytest.mark.parametrize("cell", CELLS)
def test_ngspice_and_the_fast_engine_clamp_as_software(cell: str) -> None:
    shape = Shape(cell=cell, seed=3)
    trained, data = random_network(shape), random_sequences(shape)
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    with spice.open_engine() as engine:
        found = verify(design, trained, wider(data), engine)
    assert found.expected.clamped.clamped > 10
    assert found.comparison.holds(), found.comparison
    (response,) = fast.respond(variation.draw(design, seed=0, dies=[0], varied=frozenset()), wider(data))
    for mine, theirs in zip(response.decisions, found.simulation.response.decisions, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("memory", ["integrator", "counter", "power-gated"])
def test_sources_of_a_transistor_deck_end_at_the_range(memory: str) -> None:
    shape = Shape(units=(2,), skip=False, levels=3)
    trained, data = plain(random_network(shape)), random_sequences(shape)
    kind = fidelity.at_level(technology.load("gf180"), "transistor", memory)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    beyond = wider(data).inputs[0, :7].astype(np.float64)
    limits = design.input_range
    decks = [fidelity.deck(design, [x])[0] for x in (beyond, np.clip(beyond, limits.low, limits.high), beyond / WIDER)]
    texts = [(deck.text, deck.files) for deck in decks]
    assert texts[0] == texts[1] != texts[2]


def test_current_mode_clamps_alike() -> None:
    trained, data = plain(test_current.network()), test_current.sequences()
    data = replace(data, inputs=np.concatenate([np.abs(data.inputs[:, :, :1]), data.inputs[:, :, 1:]], axis=2))
    design = current_mapping.map_network(
        trained, current_technology.load("gf180"), current_mapping.calibrate(trained, data)
    )
    beyond = wider(replace(data, inputs=data.inputs - 0.2))
    kept = inside(design, beyond)
    # a feature that was never negative has no line for negative values, and software knows it
    assert (
        not design.calibration.negative[0] and (kept.inputs[:, :, 0] >= 0).all() and (beyond.inputs[:, :, 0] < 0).any()
    )
    kind = registry.of(design)
    one, other = kind.reference(design, trained, beyond), kind.reference(design, trained, kept)
    assert one.clamped.clamped > 10 and other.clamped.clamped == 0
    np.testing.assert_array_equal(one.response.logits, other.response.logits)
    inputs = [[data.inputs[0, :7].astype(np.float64)] for data in (beyond, kept)]
    assert current_netlist.deck(design, inputs[0])[0].text == current_netlist.deck(design, inputs[1])[0].text
    die = current_variation.draw(design, seed=0, dies=[0], varied=frozenset())
    runs = [current_fast.run(die, some).response(0) for some in (beyond, kept)]
    np.testing.assert_array_equal(runs[0].logits, runs[1].logits)
    for currents in design.currents(beyond.inputs[0]).values():
        assert (currents <= design.technology.full_scale * (1 + 1e-12)).all()


def test_training_on_dies_clamps_as_the_circuit() -> None:
    shape = Shape(skip=False)
    trained, data = plain(random_network(shape)), random_sequences(shape)
    network = trained.network()
    dies = [hardware_aware._Dies(trained, data, MACRO, 0, 99.9) for _ in range(2)]
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    beyond = wider(data)
    one, other = (
        die.forward(network, torch.from_numpy(some.inputs))
        for die, some in zip(dies, (beyond, inside(design, beyond)), strict=True)
    )
    assert torch.equal(one.logits, other.logits)


# --- Counting it -------------------------------------------------------------------------------------------------


def test_clamped_samples_are_counted() -> None:
    shape = Shape(features=2, seed=1)
    trained, data = plain(random_network(shape)), random_sequences(shape, (20, 30, 10))
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data, percentile=100))
    inputs = data.inputs.copy()
    inputs[1, 4, 1], inputs[2, 25, 0] = -50.0, 1e3
    found = registry.of(design).reference(design, trained, replace(data, inputs=inputs)).clamped
    # what comes after the end of a sequence is no input
    assert (found.samples, found.clamped, found.sequences_clamped, found.feature) == (120, 1, 1, 1)
    assert found.largest == -50 and found.limit == pytest.approx(-design.calibration.inputs[1])
    assert "1 of 120 samples, in 1 of 3 sequences; the largest is -50 of feature 1" in found.sentence()
    assert "beyond the" in found.sentence()


def test_a_die_is_judged_by_the_model_of_the_user_and_not_by_the_clamped_one() -> None:
    """Clamping that costs accuracy costs yield."""
    trained, data = plain(random_network(Shape(seed=9, skip=False))), random_sequences(Shape(seed=9), (30,) * 40)
    beyond = replace(wider(data), labels=None)
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    job = Job(design=design, trained=trained, sequences=beyond, seed=0, varied=frozenset())
    clamped = job.goal.clamped
    assert clamped.classes_changed > 0 and job.goal.accuracy == 1.0
    (row,) = scores(job, [0]).to_pylist()
    assert row["classes_alike"] == 40
    assert row["accuracy"] == pytest.approx(1 - clamped.classes_changed / 40)


# --- By command --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A design folder, its calibration data, and data that go beyond."""
    folder = tmp_path_factory.mktemp("range")
    trained, data = random_network(Shape(units=(3,), skip=False, seed=2)), random_sequences(Shape(), (20, 30, 25))
    checkpoint.save(trained, folder / "model.safetensors")
    save_sequences(data, folder / "data.npz")
    save_sequences(wider(data), folder / "wide.npz")
    words = ("export", folder / "model.safetensors", "-o", folder / "design", "--input", folder / "data.npz")
    command(*words, "--input-percentile", 98, "--no-verify")
    return folder / "design", folder / "data.npz", folder / "wide.npz"


def test_the_range_is_stored_and_read_back(exported: tuple[Path, Path, Path]) -> None:
    from cmru_hw.design_folder import folder

    design, data, _ = exported
    loaded = folder.load(design)
    assert not loaded.edited and loaded.design.calibration.percentile == 98
    assert loaded.design.calibration == mapping.calibrate(loaded.trained, load_sequences(data), percentile=98)
    stored = json.loads((design / "design.json").read_text())["calibration"]
    assert tuple(stored["inputs"]) == loaded.design.calibration.inputs
    assert all(limit < largest for limit, largest in zip(stored["inputs"], stored["largest"], strict=True))


def test_export_says_what_it_clamps_and_takes_a_percentile(exported: tuple[Path, Path, Path], tmp_path: Path) -> None:
    design, data, _ = exported
    model = design.parent / "model.safetensors"
    words = ("export", model, "-o", tmp_path / "design", "--input", data, "--no-verify")
    said = command(*words, "--input-percentile", 98).output
    assert "input range" in said and "(98 % of timesteps)" in said and "inputs clamped" in said
    found = json.loads(command(*words, "--input-percentile", 100, "--json", "--force").output)
    assert found["calibration_clamped"]["clamped"] == 0
    without = command("export", model, "-o", tmp_path / "none", "--input-percentile", 99, "--no-verify", code=2)
    assert "--input-percentile is a percentage of the timesteps of --input" in without.output


@pytest.mark.spice
def test_every_run_beyond_the_calibration_says_so(exported: tuple[Path, Path, Path], tmp_path: Path) -> None:
    design, data, wide = exported
    said = command("compare", design, "--input", wide, "-o", tmp_path / "compare").output
    assert "inputs clamped" in said and "of calibration" in said and "classes change in software" in said
    counts = json.loads((tmp_path / "compare" / "summary.json").read_text())["inputs_clamped"]
    assert f"{counts['clamped']} of {counts['samples']} samples" in " ".join(said.split())
    for words, name in (
        (("energy", design, "--input", wide, "-o", tmp_path / "energy", "--sequences", 1), "energy/energy.json"),
        (("montecarlo", design, "--input", wide, "-n", 4, "-o", tmp_path / "dies"), "dies/summary.json"),
    ):
        assert "inputs clamped" in command(*words).output
        assert json.loads((tmp_path / name).read_text())["inputs_clamped"]["clamped"] > 0
    assert "inputs clamped" in command("simulate", design, "--input", wide).output
    command("report", tmp_path / "compare", design, "-o", tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "inputs clamped" in page and "input range" in page
    assert "inputs clamped" not in command("montecarlo", design, "--input", _calm(data, tmp_path), "-n", 2).output


def test_a_good_die_is_stated_by_its_accuracy(exported: tuple[Path, Path, Path], tmp_path: Path) -> None:
    design, data, _ = exported
    words = ("montecarlo", design, "--input", data, "-n", 4, "-o", tmp_path / "dies", "--json")
    found = json.loads(command(*words, "--accuracy", 0.5).output)
    assert found["accuracy"]["software"] - found["drop"] == pytest.approx(0.5)
    assert json.loads(command(*words, "--accuracy", 0).output)["yield"]["k"] == 4
    best = found["accuracy"]["median"]
    assert best is not None
    said = command(*words[:-1], "--accuracy", 1).output
    assert "accuracy of at least 100 %" in said


def _calm(data: Path, folder: Path) -> Path:
    """The same sequences at half the amplitude."""
    found = load_sequences(data)
    save_sequences(replace(found, inputs=found.inputs / np.float32(2)), folder / "calm.npz")
    return folder / "calm.npz"
