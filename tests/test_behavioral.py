"""The fast engine computes the same circuit as SPICE, decision by decision, die by die."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.analysis.montecarlo import statistics
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.circuits.charge import compare, mapping, noise, simulate, variation
from cmru_hw.circuits.charge import fast as fast_engine
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.circuits.comparison import classes_of
from cmru_hw.core import counter_rng, kernels, package_data
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.process import technology
from cmru_hw.process.technology import Technology
from tests.networks import Shape, random_network, random_sequences

CELLS = ("cmru", "bmru", "acmru")


def lossy() -> Technology:
    """Every systematic non-ideality at once, each larger than in a good circuit."""
    macro = technology.load("macro")
    return replace(
        macro,
        amplifier=technology.Amplifier(gain=1000.0, time_constant=macro.timing.phase * macro.timing.timestep / 5),
        leakage=technology.Leakage(integrator=3e-16),
        switch=technology.Switch(row_injection=2e-16, packet_injection=5e-17),
        capacitor=replace(macro.capacitor, parasitic=20e-15),
    )


def make(shape: Shape, of: Technology, lengths: tuple[int, ...] = (20, 28, 11)) -> tuple[Trained, Sequences, Design]:
    trained, sequences = random_network(shape), random_sequences(shape, lengths)
    return trained, sequences, mapping.map_network(trained, of, mapping.calibrate(trained, sequences))


def drawn(design: Design, dies: int, *, seed: int = 0, varied: frozenset[str] | None = None) -> Dies:
    return variation.draw(
        design, seed=seed, dies=range(dies), varied=variation.select_variations(design) if varied is None else varied
    )


def kept(dies: Dies, packed: fast_engine.Packed) -> list[list[np.ndarray]]:
    """Decisions, states and classes of each die."""
    return [
        [np.array(values) for values in (*found.decisions, *found.states, found.classes())]
        for found in fast_engine.run(dies, packed)
    ]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("skip", [False, True])
def test_without_variation_it_is_software(cell: str, skip: bool) -> None:
    trained, sequences, design = make(Shape(cell=cell, skip=skip, units=(4, 3, 2)), technology.load("macro"))
    (response,) = fast_engine.respond(drawn(design, 1, varied=frozenset()), sequences)
    verdict = compare.compare(design, compare.reference(design, trained, sequences), response)
    assert verdict.differ == 0 and verdict.classified == verdict.classified_alike
    assert verdict.level_error < 1e-3


@pytest.mark.spice
@pytest.mark.parametrize("cell", CELLS)
def test_nominal_comparison_is_the_same_as_that_of_spice(cell: str) -> None:
    trained, sequences, design = make(Shape(cell=cell), technology.load("macro"))
    expected = compare.reference(design, trained, sequences)
    (fast,) = fast_engine.respond(drawn(design, 1, varied=frozenset()), sequences)
    with spice.open_engine() as engine:
        circuit = simulate.simulate(design, sequences, engine).response
    verdicts = [compare.compare(design, expected, response) for response in (fast, circuit)]
    for name in ("total", "agree", "excluded", "classified_alike", "first_divergence"):
        assert len({getattr(verdict, name) for verdict in verdicts}) == 1, name
    assert verdicts[0].level_error == pytest.approx(verdicts[1].level_error, abs=1e-4)


@pytest.mark.spice
@pytest.mark.parametrize("cell", [*CELLS, "mixed cmru"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_die_is_the_same_in_both_engines(cell: str, seed: int) -> None:
    """All non-idealities on: systematic ones, mismatch and noise."""
    shape = Shape(cell=cell.split()[-1], seed=seed, units=(5, 4), levels="mixed" if " " in cell else 2 + seed)
    _, sequences, design = make(shape, lossy())
    dies = drawn(design, 1, seed=seed)
    (fast,) = fast_engine.respond(dies, sequences)
    with spice.open_engine() as engine:
        circuit = simulate.simulate(
            dies.one(0),
            sequences,
            engine,
            noise=lambda sequence: noise.columns(dies, 0, sequence, int(sequences.lengths[sequence])),
            reader=design,
        ).response
    for one, other in zip(fast.decisions, circuit.decisions, strict=True):
        assert np.array_equal(one, other)
    swing = design.technology.signal.state_swing
    for layer, here, there in zip(design.layers, fast.states, circuit.states, strict=True):
        # In an αCMRU leakage between the evaluation of a row and its packet also affects the packet.
        assert np.abs((here - there) * layer.step).max() < (3e-5 if cell == "acmru" else 5e-6) * swing


@pytest.mark.parametrize("cell", CELLS)
def test_dies_do_not_depend_on_how_many_run_together(cell: str) -> None:
    _, sequences, design = make(Shape(cell=cell), lossy())
    packed = fast_engine.pack(design, sequences)
    together = kept(drawn(design, 6), packed)
    for numbers in ([0], [3, 1, 2], [5, 4]):
        alone = kept(variation.draw(design, seed=0, dies=numbers, varied=variation.select_variations(design)), packed)
        for number, arrays in zip(numbers, alone, strict=True):
            for one, other in zip(arrays, together[number], strict=True):
                assert np.array_equal(one, other)


def test_skipping_noise_that_cannot_decide_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _, sequences, design = make(Shape(units=(8, 6)), lossy(), lengths=(30, 15, 50))
    packed = fast_engine.pack(design, sequences)
    sparse = kept(drawn(design, 4), packed)
    # With a bound that excludes nothing, every row gets all of its noise.
    monkeypatch.setattr("cmru_hw.core.counter_rng.BOUND", 1e9)
    dense = kept(drawn(design, 4), packed)
    for one, other in zip(sparse, dense, strict=True):
        assert all(np.array_equal(*both) for both in zip(one, other, strict=True))


def agreed(dies: Dies, packed: fast_engine.Packed) -> tuple[int, int]:
    """Decisions that single and double precision make alike, and all."""
    double = [[moves.copy() for moves in found.decisions] for found in fast_engine.run(dies, packed, margins=True)]
    alike = total = 0
    for found, expected in zip(fast_engine.run(dies, packed), double, strict=True):
        for moves, others in zip(found.decisions, expected, strict=True):
            alike, total = alike + int(np.count_nonzero(moves == others)), total + moves.size
    return alike, total


def test_rows_in_single_precision_decide_as_in_double_on_ten_thousand_dies() -> None:
    models = package_data.folder("models")
    trained = checkpoint.load(models / "vowels-cmru-2x16.safetensors")
    data = load_sequences(models / "vowels-eval.npz").first(8)
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
    packed = fast_engine.pack(design, data)
    found = [agreed(drawn(design, 500, seed=seed), packed) for seed in range(20)]
    assert all(alike == total for alike, total in found)
    assert sum(total for _, total in found) == 10_000 * 32 * int(data.lengths.sum())


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e-40, 1e35])
@pytest.mark.parametrize("noisy", [False, True])
def test_rows_that_single_precision_cannot_decide_are_computed_in_double(scale: float, noisy: bool) -> None:
    """Row sums that cancel to a few bits, or to zero, and lines that are not finite."""
    rng = np.random.default_rng(0)
    units, lines, places = 5, 11, 300
    weights = rng.normal(size=(2 * units, lines))
    values = rng.normal(size=(lines, places)) * scale
    level = rng.normal(size=2 * units) * scale
    # The last line cancels the others at every third place, but for a few units in the last place of a double.
    residue = rng.integers(-3, 4, size=places) * 2.0**-50 * scale
    values[-1] = np.where(
        np.arange(places) % 3 == 0, (residue - level[0] - weights[0, :-1] @ values[:-1]) / weights[0, -1], values[-1]
    )
    values[:, 7], values[3, 8], values[2, 9], values[4, 270] = 0.0, np.nan, np.inf, -np.inf
    parts = 3 if noisy else 0
    sigma = np.full((parts, 2 * units), 0.1 * scale)
    left = np.concatenate([sigma[part:].sum(0, keepdims=True) for part in range(parts + 1)]) * counter_rng.BOUND
    key = rng.integers(0, 2**63, size=(parts, 2 * units), dtype=np.uint64)
    row = (weights, level, values, key, sigma, np.arange(parts, dtype=np.uint64), left)
    moments = np.arange(places, dtype=np.uint64)
    double, single = np.empty((units, places), np.int8), np.empty((units, places), np.int8)
    kernels.decide(*row, moments, double, np.empty((0, 0)))
    kernels.decide_singly(*row, moments, single)
    np.testing.assert_array_equal(single, double)
    assert len(np.unique(double[0, ::3])) > 1


@pytest.mark.parametrize("decision", checkpoint.DECISIONS)
def test_classes_are_those_of_the_full_response(decision: str) -> None:
    trained, sequences, _ = make(Shape(classes=4), lossy())
    trained = Trained(config=replace(trained.config, decision=decision), tensors=trained.tensors)
    design = mapping.map_network(trained, lossy(), mapping.calibrate(trained, sequences))
    dies = drawn(design, 20)
    packed = fast_engine.pack(design, sequences)
    fast = np.stack([found.classes() for found in fast_engine.run(dies, packed)])
    full = [classes_of(response, decision) for response in fast_engine.respond(dies, sequences)]
    assert np.array_equal(fast, np.stack(full))


@pytest.mark.slow
@pytest.mark.spice
def test_vowels_die_by_die() -> None:
    """50 dies of the shipped network, 5 utterances each, all effects on: at least 99.9 % of decisions agree."""
    trained = checkpoint.load(package_data.folder("models") / "vowels-cmru-2x16.safetensors")
    sequences = load_sequences(package_data.folder("models") / "vowels-eval.npz")
    design = mapping.map_network(trained, lossy(), mapping.calibrate(trained, sequences))
    job = Job(
        design=design,
        trained=trained,
        sequences=sequences.first(5),
        seed=0,
        varied=variation.select_variations(design),
        engine="spice",
    )
    table = statistics.scores(job, range(50))
    found = statistics.engine_agreement(table)
    print(found)
    assert found is not None and found.dies == 50
    assert found.value >= 0.999 and found.unexplained == 0
