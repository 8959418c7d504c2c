"""The comparison of cells: recurrences against the equations of their papers, fair shapes, records, verdicts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import recipe
from benchmarks.claims import __main__ as program
from benchmarks.claims import checkpoints, fitting, intervals, page, probes, problems, retrained, study, verdicts
from benchmarks.claims.cells import CELLS, RECURRENCES, Draw, part
from benchmarks.claims.fitting import Budget, fit, score
from benchmarks.claims.networks import Models, shape_of
from benchmarks.claims.study import FULL, QUICK, Job, Store
from benchmarks.claims.verdicts import Records
from cmru_hw.nn import checkpoint, tasks, training
from cmru_hw.nn.checkpoint import ModelConfig
from cmru_hw.nn.recipes import Recipe
from cmru_hw.nn.sequences import Sequences

NUMBER = re.compile(r"\d+\.\d+(?:e-?\d+)?")
RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def layer(cell: str, *, models: int = 3, time: int = 70) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Parameters of ``models`` layers of 5 units, and inputs (models, 4, time, 2)."""
    draws = [Draw(torch.Generator().manual_seed(seed), 1.0) for seed in range(models)]
    starts = [CELLS[cell].start(4, 5, draw) for draw in draws]
    parameters = {name: torch.stack([start[name] for start in starts]) for name in starts[0]}
    return parameters, torch.randn(models, 4, time, 2, generator=torch.Generator().manual_seed(9))


# --- Cells -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_scan_is_loop(cell: str) -> None:
    parameters, u = layer(cell)
    one, other = (CELLS[cell].run(parameters, u, RECURRENCES[mode], CELLS[cell].epsilon) for mode in ("scan", "loop"))
    assert one.shape == (3, CELLS[cell].outputs(5), 70, 2)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    if CELLS[cell].quantised:
        assert torch.equal(one, other)


def test_linear_recurrent_unit_is_that_of_its_paper() -> None:
    parameters, u = layer("lru", time=300)
    found = CELLS["lru"].run(parameters, u, RECURRENCES["scan"], 1.0)
    for model in range(3):
        nu, theta, gamma, weight = (parameters[name][model].double() for name in ("nu", "theta", "gamma", "weight"))
        eigenvalue = torch.exp(torch.complex(-nu.exp(), theta.exp()))
        matrix = torch.complex(*weight.chunk(2)) * gamma.exp()[:, None]
        state = torch.zeros(5, 2, dtype=torch.complex128)
        for step in range(300):
            state = eigenvalue[:, None] * state + matrix @ u[model, :, step].to(torch.complex128)
            expected = torch.cat((state.real, state.imag))
            torch.testing.assert_close(found[model, :, step].double(), expected, rtol=1e-3, atol=1e-4)


def test_minimal_gated_unit_is_that_of_its_paper() -> None:
    parameters, u = layer("mingru")
    found = CELLS["mingru"].run(parameters, u, RECURRENCES["scan"], 1.0)
    for model in range(3):
        weight, bias = parameters["weight"][model], parameters["bias"][model][:, None]
        state = torch.zeros(5, 2)
        for step in range(70):
            opening, candidate = (weight @ u[model, :, step] + bias).chunk(2)
            z = torch.sigmoid(opening)
            state = (1 - z) * state + z * candidate
            torch.testing.assert_close(found[model, :, step], state, rtol=1e-4, atol=1e-5)


def test_a_hybrid_is_its_halves() -> None:
    parameters, u = layer("hybrid")
    found = CELLS["hybrid"].run(parameters, u, RECURRENCES["scan"], 0.0)
    memory = CELLS["bmru"].run(part(parameters, "memory"), u, RECURRENCES["scan"], 0.0)
    linear = CELLS["lru"].run(part(parameters, "linear"), u, RECURRENCES["scan"], 0.0)
    assert torch.equal(found, torch.cat((memory, linear), dim=1))
    assert set(memory.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("plan", [FULL, QUICK], ids=lambda plan: plan.name)
def test_every_cell_has_as_many_parameters(plan: study.Plan) -> None:
    for name, size in plan.settings:
        problem = problems.get(name)
        for cell in CELLS:
            shape = shape_of(cell, features=problem.features, outputs=problem.outputs, parameters=size)
            assert shape.parameters == pytest.approx(size, rel=0.05), (name, cell)
            assert Models.drawn(shape, [0], 1.0).values.shape == (1, shape.parameters)


# --- Training many at once ---------------------------------------------------------------------------------------


def test_company_changes_nothing() -> None:
    """A model trained together with others equals the model trained by itself, noise and order of the data included."""
    problem = problems.get("vowels")
    shape = shape_of("cmru", features=problem.features, outputs=problem.outputs, parameters=200)
    together = fit(shape, problem, Budget(steps=4, rates=(0.01, 0.03)), seeds=[3, 5])
    alone = fit(shape, problem, Budget(steps=4, rates=(0.03,)), seeds=[5])
    torch.testing.assert_close(together.values[3], alone.values[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together.values[1], alone.values[0], rtol=1e-4, atol=1e-5), "the rate matters"
    assert not torch.allclose(together.values[2], alone.values[0], rtol=1e-4, atol=1e-5), "the seed matters"


def test_models_learn() -> None:
    problem = problems.get("leaky")
    shape = shape_of("lru", features=1, outputs=2, parameters=200)
    untrained = score(Models.drawn(shape, [0, 1], 1.0), problem.test, "course")
    trained = score(fit(shape, problem, Budget(steps=60, rates=(0.03,)), seeds=[0, 1]), problem.test, "course")
    assert min(trained) > 0.5 > max(untrained)


def test_scores_do_not_depend_on_how_many_are_scored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problems.get("flipflop")
    shape = shape_of("bmru", features=1, outputs=2, parameters=200)
    models = Models.drawn(shape, range(3), 1.0)
    whole = score(models, problem.validation, "last")
    monkeypatch.setattr(fitting, "AT_ONCE", 20_000)
    assert score(models, problem.validation, "last") == whole


# --- Questions ---------------------------------------------------------------------------------------------------


def test_quantised_states_are_restored_and_others_are_not() -> None:
    for cell, restored in (("cmru", True), ("bmru", True), ("acmru", False), ("lru", False), ("mingru", False)):
        parameters, u = layer(cell)
        clean = CELLS[cell].run(parameters, u, RECURRENCES["scan"], CELLS[cell].epsilon)
        recur = probes.noisy_states(0.02, torch.Generator().manual_seed(0))
        noisy = CELLS[cell].run(parameters, u, recur, CELLS[cell].epsilon)
        assert torch.equal(clean, noisy) == restored, cell


def test_gradient_passes_at_one_and_is_blocked_at_zero() -> None:
    found = {name: np.median(rows, axis=0) for name, rows in probes.gradients(range(4), time_=40).items()}
    assert found["epsilon 0"][-1] < 1e-6
    assert 1e-9 < found["epsilon 0.5"][20] < 0.1
    assert found["epsilon 1"][-1] == pytest.approx(1, rel=0.3)


def test_the_flipflop_holds_ten_thousand_timesteps_exactly() -> None:
    trained = checkpoint.load(RESULTS.parent.parent / "models" / "flipflop-cmru-1x2.safetensors")
    data = tasks.pulses(np.random.default_rng(1), np.full(10, 10_000))
    assert training.accuracy(trained, data) == 1.0
    with torch.no_grad():
        states = trained.network()(torch.from_numpy(data.inputs)).states[0]
    for sequence, length in zip(states, data.lengths, strict=True):
        held = sequence[length - 9_990 : length]
        assert torch.equal(held, held[:1].expand_as(held))


# --- Records and verdicts ----------------------------------------------------------------------------------------


TINY = replace(
    QUICK,
    name="tiny",
    settings=(("recall-30", 200),),
    scaled=(("recall-30", 200),),
    scales=(0.3,),
    noisy=(),
    long=(),
    budgets={"recall-30": Budget(steps=2)},
    seeds=2,
    throughput=(),
    checkpoints=(),
)


def without_times(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in record.items() if name != "cpu_s"} for record in records]


def test_an_interrupted_study_goes_on_to_the_same_records(tmp_path: Path) -> None:
    jobs = TINY.jobs()
    whole = list(study.run(jobs, Store(tmp_path / "whole")))
    running = study.run(jobs, Store(tmp_path / "parts"))
    started = [next(running) for _ in range(3)]
    running.close()
    # A file whose writing was interrupted by a power failure is not a record.
    (tmp_path / "parts" / f"{jobs[3].key}.json").write_text('{"job": {')
    resumed = list(study.run(jobs, Store(tmp_path / "parts")))
    assert without_times(resumed) == without_times(whole)
    assert resumed[:3] == started, "what was done is not done again"
    scaled = [record for record in resumed if record["job"]["scale"] == 0.3]
    assert len(scaled) == len(CELLS)
    assert all(len(record["result"]["test"]) == 1 for record in scaled), "the rate is not tuned again"


def test_another_budget_is_another_job() -> None:
    job = next(job for job in TINY.jobs() if job.kind == "score")
    assert job.key != replace(job, budget=Budget(steps=3)).key


def made_up(cell: str, scores: list[float], problem: str = "recall-30") -> dict[str, Any]:
    job = Job(kind="score", problem=problem, cell=cell, size=200, seeds=len(scores))
    result = {"score": scores, "test": [scores], "scan_error": [0.0] * len(scores), "rate": 0.01}
    return {"job": json.loads(json.dumps(vars(job))), "result": result, "cpu_s": 0.0}


@pytest.mark.parametrize(
    ("cumulative", "reset", "verdict"),
    [(1.0, 0.5, "holds"), (0.5, 1.0, "does not hold"), (1.0, 1.0, "undecided")],
)
def test_a_verdict_follows_from_the_records(cumulative: float, reset: float, verdict: str) -> None:
    records = Records(
        [made_up("cmru", [cumulative] * 10), made_up("acmru", [cumulative] * 10), made_up("bmru", [reset] * 10)]
    )
    convergence = next(found for found in verdicts.judge(records) if "convergence" in found.claim)
    assert convergence.holds == verdict
    assert any(f"{10 if cumulative == 1 else 0} of 10" in line for line in convergence.evidence)


def test_a_claim_that_holds_here_and_not_there_holds_in_part() -> None:
    records = Records([made_up("cmru", [0.9] * 10), made_up("lru", [0.5] * 10), made_up("mingru", [1.0] * 10)])
    found = {verdict.claim: verdict for verdict in verdicts.judge(records)}
    against = found["At small sizes the CMRU matches or outperforms LRU and minGRU."]
    assert against.holds == "in part"
    assert "outperforms lru" in against.evidence[0]
    assert "is behind mingru" in against.evidence[1]


def test_a_baseline_may_start_where_it_likes() -> None:
    """If a cell wins at one starting scale, the verdict also states that the other learns at another scale."""

    def made(cell: str, scale: float, scores: list[float]) -> dict[str, Any]:
        record = made_up(cell, scores)
        record["job"]["scale"] = scale
        record["result"]["validation"] = [scores]
        return record

    found = [made("cmru", 1.0, [0.9] * 10), made("cmru", 3.0, [0.4] * 10)]
    found += [made("mingru", 1.0, [0.5] * 10), made("mingru", 3.0, [1.0] * 10)]
    verdict = next(one for one in verdicts.judge(Records(found)) if "CMRU matches" in one.claim)
    assert "outperforms mingru" in verdict.evidence[0]
    assert "at its best starting scale, 1 and 3: cmru is behind mingru" in verdict.evidence[1]
    assert verdict.holds == "in part"
    assert "in 1 of 2 comparisons and is behind in 1" in verdict.number


def test_memory_that_is_lost_is_not_persistent() -> None:
    def verdict(far: float) -> verdicts.Verdict:
        record = made_up("cmru", [1.0] * 10, "flipflop")
        record["job"]["kind"] = "hold"
        record["result"]["quiet"] = {"100": [1.0] * 10, "10000": [far] * 10}
        return next(
            one for one in verdicts.judge(Records([made_up("cmru", [1.0] * 10), record])) if "silence" in one.claim
        )

    assert verdict(1.0).holds == "holds"
    assert verdict(0.5).holds == "does not hold"
    assert "0 of 10 runs" in verdict(0.5).number


def test_mean_difference_counts_every_comparison_alike() -> None:
    found = intervals.mean_difference([([1.0] * 3, [0.5] * 3), ([0.2] * 9, [0.4] * 9)])
    assert (found.value, found.low, found.high) == pytest.approx((0.15, 0.15, 0.15))
    rng = np.random.default_rng(0)
    found = intervals.mean_difference([(rng.normal(1, 0.1, 10).tolist(), rng.normal(0, 0.1, 10).tolist())] * 2)
    assert found.low < 1 < found.high


# --- Checkpoints -------------------------------------------------------------------------------------------------


def study_of(gain: tuple[float, float, float], best: int, made: tuple[str, ...] = ("ours", "other")) -> Records:
    """A checkpoint "ours", the results of seeds 0, 1, ..., and the loss difference between it and seed ``best``."""

    def record(kind: str, size: int, result: dict[str, Any]) -> dict[str, Any]:
        return {"job": vars(Job(kind=kind, problem="name", size=size)), "result": result, "cpu_s": 0.0}

    found = [record("again", seed, {"sha256": one, "loss": 0.2, "test": 0.9}) for seed, one in enumerate(made)]
    chosen = {"seed": best, "gain": dict(zip(("value", "low", "high"), gain, strict=True))}
    return Records([*found, record("kept", 0, {"sha256": "ours", "loss": 0.2, "test": 0.9, "best": chosen})])


@pytest.mark.parametrize(
    ("gain", "best", "made", "said"),
    [
        ((0.0, 0.0, 0.0), 0, ("ours", "other"), "is identical to seed 0, .* None of the 2 seeds has a lower loss"),
        ((0.1, -0.1, 0.3), 1, ("ours", "other"), "is identical to seed 0, .* Seed 1 has .*: not significant, .* stays"),
        ((0.1, 0.05, 0.2), 1, ("ours", "other"), "[^t] significant: .*to be replaced"),
        (
            (0.1, -0.1, 0.3),
            0,
            ("one", "other"),
            "is not identical to any seed. Seed 0 has .*: not significant, .* stays",
        ),
    ],
)
def test_a_checkpoint_stays_unless_a_seed_is_better_by_more_than_chance(
    gain: tuple[float, float, float], best: int, made: tuple[str, str], said: str
) -> None:
    (section,) = [part for part in page.checkpoint_section(study_of(gain, best, made)) if part.startswith("- ")]
    assert re.search(said, section)


def test_the_study_judged_the_very_checkpoints_that_are_there() -> None:
    found = Records(json.loads((RESULTS / "records.json").read_text(encoding="utf-8")))
    judged = {record["job"]["problem"]: record["result"] for record in found.of("kept")}
    assert judged
    for name, result in judged.items():
        path = RESULTS.parent.parent / "models" / f"{name}.safetensors"
        assert checkpoint.load(path).sha256 == result["sha256"]
        again = {record["job"]["size"]: record["result"] for record in found.of("again", problem=name)}
        best = result["best"]
        assert best["seed"] == min(again, key=lambda seed: again[seed]["loss"])
        assert best["sha256"] == again[best["seed"]]["sha256"], "a seed makes the same network each time"
        assert "results/README.md#checkpoints-of-models" in path.with_suffix(".md").read_text(encoding="utf-8")


def test_a_checkpoint_is_tuned_on_its_training_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other rate is chosen only if it is significantly better."""
    task = tasks.get("flipflop")
    right: dict[float, float] = {}

    def validated(config: ModelConfig, sequences: Sequences, recipe: Recipe, *, folds: int) -> tuple[float, ...]:
        assert sequences is task.train or np.array_equal(sequences.inputs, task.train.inputs)
        return (right[recipe.learning_rate],) * folds

    monkeypatch.setattr(training, "cross_validate", validated)
    for other, taken in ((0.91, 0.03), (0.99, 0.01)):
        right.update({0.03: 0.9, 0.01: other})
        assert checkpoints.tune("flipflop-cmru-1x2", (0.01, 0.03))["rate"] == taken


def test_paired_differences() -> None:
    found = intervals.paired([1.0, 2.0, 3.0])
    assert (found.value, found.high - found.value) == pytest.approx((2, 4.3027 / 3**0.5), rel=1e-4)
    assert intervals.paired([1.0, 2.0, 3.0], tries=10).low < found.low


def test_intervals() -> None:
    found = intervals.share(9, 10)
    assert (found.low, found.high) == pytest.approx((0.55498, 0.99747), abs=1e-5)
    gap = intervals.share_difference((56, 70), (48, 80))
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4), (
        "Newcombe 1998, example (a)"
    )
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        estimate = intervals.median(rng.normal(size=10).tolist())
        covered += estimate.low <= 0 <= estimate.high
    assert covered >= 50


def test_the_page_says_what_its_records_say(tmp_path: Path) -> None:
    found = json.loads((RESULTS / "records.json").read_text(encoding="utf-8"))
    planned = {json.dumps(json.loads(json.dumps(record["job"])), sort_keys=True) for record in found}
    assert len(planned) == len(found)
    program.write(FULL, Records(found), tmp_path)
    for name in ("README.md", "claims.json", "scores.csv"):
        made, kept = ((folder / name).read_text(encoding="utf-8") for folder in (tmp_path, RESULTS))
        # The last digits of a sum depend on the version of numpy.
        assert NUMBER.sub("#", made) == NUMBER.sub("#", kept), "run python -m benchmarks.claims --report"
        found, wanted = ([float(number) for number in NUMBER.findall(text)] for text in (made, kept))
        assert np.allclose(found, wanted, rtol=1e-9, atol=0.0)
    assert page.CAPTIONS.keys() == {path.stem for path in RESULTS.glob("*.svg")}


def test_cells_are_trained_for_longer_with_a_normalisation_that_is_folded(tmp_path: Path) -> None:
    """The stored moments are those of all valid training timesteps, and the page names what they change."""
    problem = problems.get("vowels")
    shape = shape_of("cmru-mixed", features=problem.features, outputs=problem.outputs, parameters=600)
    models = fit(shape, problem, Budget(steps=3, rates=(0.01,)), seeds=range(2), average=0.9)
    inputs, lengths = problem.train.inputs, problem.train.lengths
    valid = (torch.arange(inputs.shape[1])[:, None] < lengths[None])[None, None].float()
    x = inputs.permute(2, 1, 0)[None]
    torch.testing.assert_close(models(x), models(x, valid=valid), rtol=1e-4, atol=1e-4)
    assert shape.parameters == pytest.approx(600, rel=0.025)
    found = recipe.run("vowels", 600, "cmru-mixed", replace(recipe.BUDGET, steps=2), seeds=2)
    text = json.dumps([{**found, "median": 0.99, "ci95": [0.98, 0.99], "cpu_s": 1.0}])
    (tmp_path / "recipe.json").write_text(text)
    records = Records(json.loads((RESULTS / "records.json").read_text(encoding="utf-8")))
    said = "\n".join(retrained.section(records, tmp_path / "recipe.json"))
    assert "0.947 there, 0.990 here" in said and "| vowels, 600 | cmru-mixed | 603 |" in said
    assert retrained.section(records, tmp_path / "absent.json") == []
