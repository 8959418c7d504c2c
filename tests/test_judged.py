"""A comparison passes only where something was proved: tolerances, undecided decisions, ties, and single scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from cmru_hw import spice
from cmru_hw.circuits.charge import continuation, mapping, tolerance
from cmru_hw.circuits.charge.compare import compare, reference
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.simulate import simulate
from cmru_hw.circuits.charge.verify import verify
from cmru_hw.circuits.class_verdict import judge
from cmru_hw.circuits.comparison import Reference
from cmru_hw.cli import group
from cmru_hw.core.errors import DataError
from cmru_hw.core.signals import Array, Response
from cmru_hw.nn import training
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import technology
from tests.networks import Shape, random_network, random_sequences

MODELS = Path(__file__).parent.parent / "models"
MACRO = technology.load("macro")


def made(
    shape: Shape, lengths: tuple[int, ...] = (30, 30), name: str = "macro"
) -> tuple[Design, Trained, Sequences, Reference]:
    trained, data = random_network(shape), random_sequences(shape, lengths)
    design = mapping.map_network(trained, technology.load(name), mapping.calibrate(trained, data))
    return design, trained, data, reference(design, trained, data)


def with_decision(
    design: Design, trained: Trained, data: Sequences, at: tuple[int, int, int, int], decision: int
) -> Response:
    """The response of a circuit that equals software except for one decision (layer, sequence, timestep, unit)."""
    where, sequence, timestep, unit = at

    def override(layer: int, _c: Array, _beta: Array, own: NDArray[np.int8]) -> NDArray[np.int8]:
        changed = own.copy()
        if layer == where:
            changed[sequence, timestep, unit] = decision
        return changed

    out = design.input_range.model(trained).run(data.inputs, data.lengths, override=override)
    return Response(
        lengths=data.lengths,
        decisions=out.decisions,
        states=tuple(s for s in out.states),
        logits=out.logits,
    )


def closest(expected: Reference, layer: int) -> tuple[tuple[int, int, int, int], float, int]:
    """Place and margin of the decision of ``layer`` that is closest to another one, and a hold or a step."""
    margin = expected.margins[layer]
    sequence, timestep, unit = (int(i) for i in np.unravel_index(margin.argmin(), margin.shape))
    own = int(expected.response.decisions[layer][sequence, timestep, unit])
    return (layer, sequence, timestep, unit), float(margin.min()), own


def within(expected: Reference, resolution: float) -> int:
    """Decisions of all layers with a smaller margin."""
    return sum(int((margin < resolution).sum()) for margin in expected.margins)


def other_side(
    design: Design, trained: Trained, data: Sequences, at: tuple[int, int, int, int], resolution: float, own: int
) -> Response:
    """The circuit that decides ``at`` as the row allows which is closer than ``resolution``."""
    expected = reference(design, trained, data)
    for decision in {-1, 0, 1} - {own}:
        response = with_decision(design, trained, data, at, decision)
        if not compare(design, expected, response, resolution=resolution).differ:
            return response
    raise AssertionError("no other decision is allowed")


# --- decisions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["cmru", "bmru", "acmru"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_software_is_continued_from_a_decision_that_is_too_close(cell: str, seed: int) -> None:
    design, trained, data, expected = made(Shape(cell=cell, units=(4, 3, 2), seed=seed))
    at, margin, own = closest(expected, 0)
    resolution = 1.001 * margin
    # either answer is right, and neither is counted
    same = compare(design, expected, expected.response, resolution=resolution)
    assert same.excluded == within(expected, resolution) >= 1
    assert same.holds() and not same.undecided and not same.followed
    turned = compare(design, expected, other_side(design, trained, data, at, resolution, own), resolution=resolution)
    assert turned.differ == 0 and turned.holds(), turned.failures()
    assert turned.level_error == 0 and turned.logit_error == 0
    (found,) = (f for f in turned.undecided if (f.layer, f.sequence, f.timestep, f.unit) == at)
    assert found.software == own
    assert found.margin == pytest.approx(margin) and found.tolerance >= margin
    # one below the resolution is a difference
    strict = compare(
        design, expected, other_side(design, trained, data, at, resolution, own), resolution=0.999 * margin
    )
    assert strict.divergences[0] == strict.first_divergence and not strict.holds()
    assert any((one.layer, one.sequence, one.timestep, one.unit) == at for one in strict.divergences)


def test_an_undecided_decision_hides_no_other_error() -> None:
    """A wrong decision, a wrong state and a wrong readout in the same sequence, after a decision that is too close."""
    design, trained, data, expected = made(Shape(units=(4, 3), levels=None, seed=1))
    at, margin, own = closest(expected, 0)
    resolution = 1.001 * margin
    right = other_side(design, trained, data, at, resolution, own)
    assert compare(design, expected, right, resolution=resolution).followed > 0
    sequence, last = at[1], data.inputs.shape[1] - 1
    decisions = [d.copy() for d in right.decisions]
    place = (sequence, last, 1)
    decisions[1][place] = 1 - abs(decisions[1][place])
    states = [s.copy() for s in right.states]
    states[1][place] += 0.1
    logits = right.logits.copy()
    logits[sequence, last, 0] += 0.16 * np.abs(logits).max()
    for broken, said in (
        (replace(right, decisions=tuple(decisions)), "1 decisions differ from software, first sequence"),
        (replace(right, states=tuple(states)), "states differ from software by up to 0.1 levels, more than 0.05"),
        (replace(right, logits=logits), "readouts differ by up to 1"),
    ):
        found = compare(design, expected, broken, resolution=resolution)
        assert any(said in clause for clause in found.failures()), found.failures()


def test_a_step_two_rows_away_is_no_close_call() -> None:
    """One row too close allows two decisions, not all three."""
    design, trained, data, expected = made(Shape(units=(4, 3), seed=0))
    at, margin, own = closest(expected, 0)
    resolution = 1.001 * margin
    verdicts = {
        d: compare(design, expected, with_decision(design, trained, data, at, d), resolution=resolution)
        for d in (-1, 0, 1)
    }
    assert verdicts[own].holds()
    assert sum(found.holds() for found in verdicts.values()) == 2
    (wrong,) = (found for found in verdicts.values() if not found.holds())
    assert wrong.first_divergence is not None and wrong.first_divergence.margin == pytest.approx(margin)


def test_rows_that_read_states_tolerate_what_the_states_are_off() -> None:
    """Up to the accepted error of a state: a circuit that is further off does not excuse its own decisions."""
    design, _, _, expected = made(Shape(units=(4, 3), skip=False, seed=3))
    layer = design.layers[0]
    for share, holds in ((0.6, True), (3.0, False)):
        off = share * tolerance.accepted(design, layer) / layer.step
        states = (expected.response.states[0] + off, *expected.response.states[1:])
        moved = replace(expected.response, states=states)
        found = compare(design, expected, moved, resolution=1e-6)
        most = max(
            float(np.abs(tolerance.shift(design, row, tolerance.accepted(design, layer)[None])).max())
            for row in (design.layers[1].low, design.layers[1].high)
        )
        assert 1e-6 < found.largest_tolerance <= 1e-6 + min(share, 1.0) * most * (1 + 1e-9)
        assert found.holds() is holds
    exact = compare(design, expected, expected.response, resolution=1e-6)
    assert exact.largest_tolerance == pytest.approx(1e-6, rel=1e-6)


@pytest.mark.spice
def test_rows_are_where_errors_of_states_put_them() -> None:
    """The sign of an error counts: it moves a row towards its threshold, or away from it."""
    design, trained, data, _ = made(Shape(units=(4, 3), skip=False, seed=3), (30,), "gf180")
    with spice.open_engine() as engine:
        found = simulate(design, data, engine, rows=True)
    response = found.response
    volts = response.states[0] * design.layers[0].step
    out = design.input_range.model(trained).run(data.inputs, data.lengths)
    wanted = out.outputs[0] * design.layers[0].unit * design.layers[0].sign
    errors = [tolerance.state_errors(design, design.layers[0], volts, wanted)]
    lines = tolerance.line_errors(design, 1, errors)
    c, beta = out.candidates[1], out.thresholds[1]
    for place, (row, value) in enumerate(((design.layers[1].low, c - beta), (design.layers[1].high, c + beta))):
        ideal = value * continuation.row_gain(design, row)
        moved = tolerance.shift(design, row, lines)
        assert np.abs(moved).max() > 50e-6
        rest = found.rows[1][..., place] - ideal - moved
        assert np.abs(rest).max() < 0.1 * np.abs(moved).max() + 5e-6


def test_an_error_away_from_the_threshold_makes_no_decision_doubtful() -> None:
    design, _, _, expected = made(Shape(units=(4, 3), seed=3), (400,))
    layer = design.layers[0]
    counts = []
    for sign in (1.0, -1.0):
        off = sign * tolerance.accepted(design, layer) / layer.step
        states = (expected.response.states[0] + off, *expected.response.states[1:])
        found = continuation.continued(design, expected, replace(expected.response, states=states), resolution=1e-6)
        counts.append(found.undecided[1])
    toward, away = counts
    # the same size of error, either way: no row is doubtful in both
    assert toward.any() and away.any() and not (toward & away).any()


def test_nothing_judged_is_no_pass() -> None:
    design, _, _, expected = made(Shape(seed=1))
    found = compare(design, expected, expected.response, resolution=1e30)
    assert found.judged == 0 and not found.holds()
    assert "nothing was judged: all" in found.failures()[0] and "smaller --resolution" in found.failures()[0]


# --- classes -------------------------------------------------------------------------------------------------------

LENGTHS = np.array([2, 2])


def scores(*rows: tuple[float, ...]) -> np.ndarray:
    """Both sequences have these logits."""
    return np.array([rows, rows])


def test_a_class_is_judged_where_scores_decide_it() -> None:
    zero = np.zeros(2, dtype=np.int64)
    clear = scores((1.0, 0.0, -1.0), (1.0, 0.5, -1.0))
    for rule in ("mean", "last", "majority"):
        assert str(judge(zero, zero, clear, LENGTHS, rule)) == "2 of 2 agree"
        assert judge(zero + 1, zero, clear, LENGTHS, rule).differ == 2
        # nor is it right where another one could have been
        tie = scores((1.0, 1.0, -1.0), (1.0, 1.0, -1.0))
        for got in (0, 1):
            found = judge(zero + got, zero, tie, LENGTHS, rule)
            assert (found.agree, found.differ, found.close) == (0, 0, 2), rule
        assert judge(zero + 2, zero, tie, LENGTHS, rule).differ == 2
    votes = judge(zero, zero, scores((1.0, 0.0), (0.0, 1.0)), LENGTHS, "majority")
    assert (votes.close, votes.differ) == (2, 0)


def test_scores_closer_than_the_error_of_the_readout_are_not_judged() -> None:
    zero = np.zeros(2, dtype=np.int64)
    logits = scores((1.0, 0.9), (1.0, 0.9))
    assert judge(zero + 1, zero, logits, LENGTHS, "mean", fixed=0.04).differ == 2
    assert judge(zero + 1, zero, logits, LENGTHS, "mean", fixed=0.06).close == 2
    # state errors count with their signs: what moves both scores alike changes no class
    alike, apart = scores((0.2, 0.2), (0.2, 0.2)), scores((0.2, 0.0), (0.2, 0.0))
    assert judge(zero + 1, zero, logits, LENGTHS, "mean", moved=alike).differ == 2
    assert judge(zero + 1, zero, logits, LENGTHS, "last", moved=apart).close == 2
    after = judge(zero, zero + 1, logits, LENGTHS, "mean")
    assert (after.followed, after.agree, after.differ) == (2, 0, 0)
    assert "0 of 2 agree, 0 differ, 2 not judged (2 after a decision too close to call)" in str(after)


@pytest.mark.spice
def test_tied_scores_are_ties_in_the_circuit() -> None:
    """Two rows of the readout are the same: the circuit's choice between them means nothing, and is no difference."""
    shape = Shape(classes=3, seed=2)
    plain = random_network(shape)
    tensors = dict(plain.tensors)
    weight, bias = tensors["readout.weight"].clone(), tensors["readout.bias"].clone()
    weight[1], bias[1] = weight[0], bias[0]
    trained = Trained(config=plain.config, tensors={**tensors, "readout.weight": weight, "readout.bias": bias})
    data = random_sequences(shape, (9, 9, 9, 9, 9, 9))
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    expected = reference(design, trained, data)
    tied = int((expected.classes < 2).sum())
    assert 0 < tied < 6
    with spice.open_engine() as engine:
        found = verify(design, trained, data, engine).comparison
    assert found.holds() and found.classes.close == tied and found.classes.agree == 6 - tied


def one_score(tmp_path: Path) -> tuple[Path, Path, Trained, Sequences]:
    shape = Shape(classes=1, seed=5)
    trained, data = random_network(shape), random_sequences(shape)
    torch.save({name: value.clone() for name, value in trained.tensors.items()}, tmp_path / "m.pt")
    config = trained.config
    (tmp_path / "m.json").write_text(
        json.dumps({"format": 1, "cell": config.cell, "epsilon": config.epsilon, "levels": config.levels,
                    "skip": config.skip, "decision": config.decision, "classes": list(config.classes)})
    )  # fmt: skip
    np.savez(tmp_path / "x.npz", inputs=data.inputs, lengths=data.lengths, labels=np.zeros(len(data), dtype=int))
    return tmp_path / "m.pt", tmp_path / "x.npz", trained, data


@pytest.mark.spice
def test_one_score_is_no_classification(tmp_path: Path) -> None:
    """Its argmax is always 0: no class agrees, no label is right, and there is no yield."""
    model, data, trained, sequences = one_score(tmp_path)
    runner, out = CliRunner(), str(tmp_path / "d")
    told = runner.invoke(group, ["inspect", str(model)])
    assert told.exit_code == 0 and "one score is no classification: give its readout a second row" in told.output
    assert runner.invoke(group, ["export", str(model), "-o", out, "--no-verify"]).exit_code == 0
    found = runner.invoke(group, ["compare", out, "--input", str(data), "-o", str(tmp_path / "c")])
    assert found.exit_code == 0, found.output
    assert "not judged: the network has one score, and one score is no classification" in found.output
    assert "correct" not in found.output
    result = json.loads((tmp_path / "c" / "summary.json").read_text())["classification"]
    assert (result["agree"], result["one_score"], result["correct_circuit"]) == (0, True, None)
    assert runner.invoke(group, ["report", str(tmp_path / "c"), "-o", str(tmp_path / "r")]).exit_code == 0
    assert "which is no classification" in (tmp_path / "r" / "index.html").read_text(encoding="utf-8")
    refused = runner.invoke(group, ["montecarlo", out, "--input", str(data), "-n", "5", "-o", str(tmp_path / "k")])
    assert isinstance(refused.exception, DataError)
    assert "a yield needs classes, but the network has one score" in str(refused.exception)
    with pytest.raises(DataError, match="accuracy needs classes, but the network has one score"):
        training.accuracy(trained, sequences)


# --- in the simulator ----------------------------------------------------------------------------------------------


@pytest.mark.spice
def test_a_comparison_that_excludes_everything_ends_with_1(tmp_path: Path) -> None:
    runner, out = CliRunner(), str(tmp_path / "d")
    model, data = str(MODELS / "detect-cmru-2x4.safetensors"), str(MODELS / "detect-eval.npz")
    assert runner.invoke(group, ["export", model, "-o", out, "--no-verify"]).exit_code == 0
    found = runner.invoke(
        group, ["compare", out, "--input", data, "--sequences", "2", "--resolution", "1e30", "-o", str(tmp_path / "c")]
    )
    assert found.exit_code == 1
    assert "nothing was judged: all 288 decisions" in str(found.exception)
    assert "none judged (resolution 10^30 V" in found.output
    # what is written can be read
    assert runner.invoke(group, ["report", str(tmp_path / "c"), "-o", str(tmp_path / "r")]).exit_code == 0


@pytest.mark.spice
@pytest.mark.parametrize(("name", "some"), [("vowels-bmru-2x16", True), ("vowels-acmru-2x16", False)])
def test_a_technology_that_is_not_exact_passes_within_its_tolerance(name: str, some: bool, tmp_path: Path) -> None:
    """Finite gain moves states by up to 0.03 levels: ``some`` decisions that are too close to call differ, and no
    other one does."""
    ran = CliRunner().invoke(
        group, ["export", str(MODELS / f"{name}.safetensors"), "--technology", "gf180", "-o", str(tmp_path / "d"),
                "--json"]
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert found["verified"] is True
    assert bool(found["undecided"]) == some and found["decisions"]["excluded"] >= len(found["undecided"])
    assert all(one["margin"] < one["tolerance"] < 1e-3 for one in found["undecided"])


@pytest.mark.spice
def test_a_wrong_weight_is_no_tolerance() -> None:
    """One weight with the other sign, in a technology that is not exact."""
    design, trained, data, _ = made(Shape(units=(4, 3), seed=6), (40, 40), "gf180")
    tensors = {name: value.clone() for name, value in trained.tensors.items()}
    weight = tensors["layers.1.candidate.weight"]
    weight[0, 0] = -weight[0, 0]
    wrong = mapping.map_network(Trained(config=trained.config, tensors=tensors), design.technology, design.calibration)
    with spice.open_engine() as engine:
        assert verify(design, trained, data, engine).comparison.holds()
        found = verify(wrong, trained, data, engine).comparison
    assert not found.holds() and found.first_divergence is not None and found.first_divergence.layer == 1


@pytest.mark.spice
def test_a_right_network_passes_over_a_thousand_timesteps() -> None:
    """States are off by microvolts, so that a row that reads them may fall either way; nothing else differs."""
    shape = Shape(features=16, units=(16, 16), levels=7, skip=False, seed=0)
    trained, data = random_network(shape), random_sequences(shape, (1000,) * 4).take(np.array([1]))
    design = mapping.map_network(trained, MACRO, mapping.calibrate(trained, data))
    with spice.open_engine() as engine:
        found = verify(design, trained, data, engine).comparison
    assert found.holds() and found.total == 32_000
    assert found.excluded <= 1e-3 * found.total
    assert all(one.margin < one.tolerance < 50e-6 for one in found.undecided)
