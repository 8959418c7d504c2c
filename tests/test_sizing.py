"""Sizing: the goal is proven on fresh dies, the search is reproducible and goes on, and a failure names its law."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cmru_hw.analysis.montecarlo import workers as pools
from cmru_hw.analysis.montecarlo.api import Follow as DieFollow
from cmru_hw.analysis.montecarlo.interval import clopper_pearson
from cmru_hw.analysis.sizing import api
from cmru_hw.analysis.sizing.problem import ATTEMPTS, Goal, Problem
from cmru_hw.analysis.sizing.result import RESULT, SizingResult
from cmru_hw.analysis.sizing.search import Search, front, job_of, outcomes
from cmru_hw.analysis.sizing.study import STUDY, Study, Trial
from cmru_hw.cli import group
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, OutputError
from cmru_hw.design_folder import folder as design_folder
from cmru_hw.nn import checkpoint
from cmru_hw.nn.sequences import load_sequences
from cmru_hw.process import sizes, sizing_laws, technology

MODELS = package_data.folder("models")
GOAL = Goal(yield_=0.85, search=32, proof=200, drop=0.02)


def problem(network: str = "detect-cmru-2x4", *, goal: Goal = GOAL, seed: int = 3, **fixed: float) -> Problem:
    data = load_sequences(MODELS / f"{network.split('-')[0]}-eval.npz")
    return Problem(
        trained=checkpoint.load(MODELS / f"{network}.safetensors"),
        sequences=data.first(min(60, len(data))),
        technology=technology.load("gf180"),
        laws=sizing_laws.load("gf180"),
        goal=goal,
        seed=seed,
        fixed=fixed,
    )


@contextmanager
def phases(_: str) -> Iterator[DieFollow]:
    yield DieFollow(dies=lambda done, count, interval: None, element=lambda name: None)


def sized(of: Problem, folder: Path, **options: Any) -> SizingResult:
    follow = api.Follow(search=lambda found: None, phases=phases)
    return api.run_sizing(of, folder, follow=follow, **{"most": 16, **options})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[SizingResult, Path]:
    folder = tmp_path_factory.mktemp("sizing") / "sized"
    return sized(problem(), folder), folder


def test_the_goal_is_reached_at_a_lower_cost_and_proven(done: tuple[SizingResult, Path]) -> None:
    found, folder = done
    assert found.reached and found.chosen is not None and found.figures is not None
    assert found.figures.energy_J < found.own.energy_J
    proof = found.proofs[-1]
    assert proof.passed and proof.bound >= GOAL.yield_
    # the bound is stricter than that of one design: several may be tried
    assert proof.bound < clopper_pearson(proof.good, proof.dies, confidence=2 * 0.95 - 1).low
    # the proof is an ordinary Monte-Carlo of the exported design, on draws that the search did not use
    assert proof.seed != problem().seed
    exported = design_folder.load(folder / api.DESIGN)
    job = replace(job_of(problem(), exported.design), seed=proof.seed)
    again = outcomes(job, range(proof.dies), pools.serial, GOAL.drop)
    assert sum(again.values()) == proof.good


def test_the_chosen_technology_is_that_of_the_design(done: tuple[SizingResult, Path]) -> None:
    found, folder = done
    assert found.chosen is not None
    chosen = technology.load(folder / api.TECHNOLOGY)
    assert chosen == design_folder.load(folder / api.DESIGN).design.technology
    assert chosen.trim is not None and chosen.trim.bits == found.chosen.sizes["trim_bits"]
    assert chosen.mismatch.pair_width == found.chosen.sizes["pair_width"]


def test_results_are_read_back(done: tuple[SizingResult, Path]) -> None:
    found, folder = done
    assert SizingResult.load(folder / RESULT) == found
    assert {path.name for path in folder.iterdir()} >= {
        "trials.csv", "front.csv", "front.svg", "front.pdf", "study.jsonl", "proof-1", "design", "technology.toml",
    }  # fmt: skip
    rows = (folder / api.TRIALS).read_text().splitlines()
    assert len(rows) == 1 + found.trials
    # nothing on the front is cheaper, smaller and better than another
    for one in found.front:
        for other in found.front:
            assert not (
                other.energy_J < one.energy_J and other.area_m2 < one.area_m2 and other.yield_ > one.yield_  # type: ignore[operator]
            )


def test_hopeless_trials_see_few_dies_and_dearer_ones_none(done: tuple[SizingResult, Path]) -> None:
    _, folder = done
    tried = [Trial.from_plain(json.loads(line), where="") for line in (folder / STUDY).read_text().splitlines()[1:]]
    assert all(one.dies == 0 for one in tried if one.state == "dearer")
    assert all(one.dies == GOAL.search_dies for one in tried if one.state == "good")
    allowed = GOAL.allowed(GOAL.search_dies)
    for one in tried:
        if one.state == "fails":
            assert one.failed > allowed
            assert one.dies <= GOAL.search_dies


def test_the_verdict_on_a_trial_is_that_of_all_dies(done: tuple[SizingResult, Path]) -> None:
    of, (_, folder) = problem(), done
    tried = [Trial.from_plain(json.loads(line), where="") for line in (folder / STUDY).read_text().splitlines()[1:]]
    simulated = [one for one in tried if one.dies][:4]
    assert {one.state for one in simulated} <= {"good", "fails"}
    for one in simulated:
        every = outcomes(job_of(of, of.design(one.typed())), range(GOAL.search_dies), pools.serial, GOAL.drop)
        failed = [die for die, good in every.items() if not good]
        assert (len(failed) > GOAL.allowed(GOAL.search_dies)) == (one.state == "fails")
        assert set(one.failed_dies) <= set(failed)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_search_is_a_function_of_its_seed(done: tuple[SizingResult, Path], tmp_path: Path, jobs: int) -> None:
    found, _ = done
    with pools.local(jobs) as workers:
        again = sized(problem(), tmp_path / "again", workers=workers)
    assert again.chosen == found.chosen
    assert again.front == found.front
    assert [(one.good, one.dies) for one in again.proofs] == [(one.good, one.dies) for one in found.proofs]


def test_another_seed_gives_another_search(done: tuple[SizingResult, Path], tmp_path: Path) -> None:
    search = Search(study=Study.open(problem(seed=4), tmp_path), most=10)
    search.run()
    first = [json.loads(line)["sizes"] for line in (done[1] / STUDY).read_text().splitlines()[1:11]]
    assert first != [dict(one.sizes) for one in search.study.trials]


def test_an_interrupted_search_goes_on_and_ends_the_same(done: tuple[SizingResult, Path], tmp_path: Path) -> None:
    found, folder = done
    lines = (folder / STUDY).read_text().splitlines(keepends=True)
    again = tmp_path / "again"
    again.mkdir()
    # the last line was cut off
    (again / STUDY).write_text("".join(lines[:8]) + lines[8][:30])
    seen: list[int] = []
    follow = api.Follow(search=lambda progress: seen.append(progress.dies), phases=phases)
    resumed = api.run_sizing(problem(), again, follow=follow, most=16)
    assert resumed.chosen == found.chosen
    assert (again / STUDY).read_text() == "".join(lines)
    with pytest.raises(OutputError, match="another search"):
        sized(problem(seed=9), again)


def test_a_trial_that_is_not_proven_is_not_chosen_again(tmp_path: Path) -> None:
    found = []
    # the second time, both parts are read from the study
    for _ in range(2):
        search = Search(study=Study.open(problem(), tmp_path), most=12)
        first = search.run()
        assert first is not None
        # as if its proof had found 150 good dies of 200
        second = search.refuted(first, dies=200, good=150)
        assert first.typed() not in [one.typed() for one in search.study.good()]
        assert second == search.study.best()
        # what is good now was judged by more dies
        assert second is None or second.dies == 2 * GOAL.search_dies
        assert search.dies == 2 * GOAL.search_dies
        again = next(one for one in search.study.trials if one.state == "not proven")
        assert again.sizes == first.sizes and again.yield_ == 0.75
        assert len(search.study.trials) > 12 + 1
        found.append((first, second, search.study.trials))
    assert found[0] == found[1]


def test_fixed_sizes_stay(tmp_path: Path) -> None:
    search = Search(study=Study.open(problem(trim_bits=4, row=3e-13), None), most=12)
    search.run()
    assert {one.sizes["trim_bits"] for one in search.study.trials} == {4}
    assert {one.sizes["row"] for one in search.study.trials} == {3e-13}
    assert {one.sizes["supply"] for one in search.study.trials} == {1.8}
    assert len({one.sizes["pair_width"] for one in search.study.trials}) > 3


def test_area_is_minimised_if_asked() -> None:
    goal = replace(GOAL, minimise="area")
    search = Search(study=Study.open(problem(goal=goal), None), most=16)
    best = search.run()
    good = [one for one in search.study.trials if one.state == "good"]
    assert best is not None and best.area_m2 == min(one.area_m2 for one in good if one.area_m2 is not None)
    assert len(good) > 1


def test_goals_that_no_number_of_dies_proves_are_refused() -> None:
    with pytest.raises(InputError, match="cannot prove"):
        Goal(yield_=0.99, proof=100)
    with pytest.raises(InputError, match="no number of dies proves 1"):
        Goal(yield_=1.0)


@pytest.mark.parametrize("goal", [Goal(yield_=0.99), Goal(yield_=0.9), Goal(yield_=0.999)])
def test_a_proof_passes_exactly_up_to_its_failures(goal: Goal) -> None:
    dies = goal.proof_dies
    assert goal.bound(dies - goal.most_failures, dies) >= goal.yield_
    assert goal.bound(dies - goal.most_failures - 1, dies) < goal.yield_
    # a proof of a yield just at the goal passes seldom, for all designs tried
    rng = np.random.default_rng(0)
    bad = rng.binomial(dies, 1 - goal.yield_, size=20_000)
    assert (bad <= goal.most_failures).mean() < 1.3 * (1 - goal.confidence) / ATTEMPTS


def test_front_has_no_dominated_trial() -> None:
    of = problem()

    def values(place: int) -> dict[str, float]:
        return {**asdict(of.base), "row": 1e-13 * (place + 2)}

    some = [
        Trial(sizes=values(k), state="good", energy_J=e, area_m2=a, sample=200, good_of_sample=good, dies=200, failed=0)
        for k, (e, a, good) in enumerate(
            ((1.0, 1.0, 100), (2.0, 2.0, 100), (2.0, 1.0, 150), (3.0, 0.5, 100), (3.0, 3.0, 200))
        )
    ]
    assert front(of, some, pools.serial) == [some[0], some[2], some[3], some[4]]


def test_command_says_which_laws_limit_the_yield(tmp_path: Path) -> None:
    # no trim, and the smallest pair: comparators' offsets of a dozen millivolts
    arguments = [
        "size", str(MODELS / "vowels-cmru-2x16.safetensors"), "--input", str(MODELS / "vowels-eval.npz"),
        "--sequences", "40", "--spread", "-o", str(tmp_path / "sized"), "--trials", "10", "--dies", "16",
        "--paired", "0", "--fix", "trim_bits=0", "--fix", "pair_width=1e-6", "--fix", "pair_length=0.35e-6", "--json",
    ]  # fmt: skip
    from cmru_hw.core.errors import CheckFailed

    done = CliRunner().invoke(group, arguments)
    assert isinstance(done.exception, CheckFailed), done.output
    assert "no trial reaches a yield of 99 %" in str(done.exception)
    result = SizingResult.load(tmp_path / "sized" / RESULT)
    assert not result.reached
    # Offsets of rows and those of readout rows each ruin every die: the message names both.
    assert {law.partition(":")[0] for law in result.limited_by} >= {
        "comparator offset, A_VT / root of W L",
        "offset of readout rows",
    }
    assert all(law in str(done.exception) for law in result.limited_by)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fix", "rows=1"], "no size is called 'rows'"),
        (["--fix", "row"], "write it in SI units"),
        (["--fix", "row=large"], "is not NAME=VALUE"),
        (["--technology", "macro"], "no sizing laws"),
        (["--memory", "counter"], "counter"),
        (["--proof-dies", "20"], "cannot prove"),
    ],
)
def test_impossible_requests_are_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(
        group,
        ["size", str(MODELS / "detect-cmru-2x4.safetensors"), "--input", str(MODELS / "detect-eval.npz"), "-o",
         str(tmp_path / "sized"), *arguments],
    )  # fmt: skip
    assert done.exit_code != 0
    assert message in f"{done.exception} {done.output}"
    assert not (tmp_path / "sized").exists()


def test_current_mode_has_another_problem() -> None:
    with pytest.raises(InputError, match="fq-bmru has no circuit in charge domain"):
        problem("detect-fq-bmru-2x4")


@pytest.mark.spice
def test_dies_of_a_proof_are_simulated_in_spice_too(tmp_path: Path) -> None:
    of = replace(problem("flipflop-cmru-1x2"), sequences=load_sequences(MODELS / "flipflop-eval.npz").first(10))
    found = sized(of, tmp_path / "sized", most=10, paired=1)
    (proof,) = found.proofs
    assert proof.spice_dies == 1 and proof.spice_decisions and proof.spice_unexplained == 0
    assert sizes.RESIZED in technology.load(tmp_path / "sized" / api.TECHNOLOGY).source
