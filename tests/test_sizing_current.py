"""Sizes of a current-mode circuit for a yield: devices in parallel at the least area."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmru_hw.analysis.sizing import api
from cmru_hw.analysis.sizing.current_problem import MOST, CurrentProblem
from cmru_hw.analysis.sizing.problem import Goal
from cmru_hw.analysis.sizing.result import SizingResult
from cmru_hw.circuits.current import architecture, technology
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.core.errors import InputError
from cmru_hw.design_folder import folder as design_folder
from cmru_hw.nn import centring, checkpoint
from cmru_hw.nn.sequences import load_sequences
from tests.test_cli import DATA, MODELS, refused, run
from tests.test_sizing import problem as charge_problem
from tests.test_sizing import sized as sized_charge

FQ = MODELS / "detect-fq-bmru-2x4.safetensors"
GOAL = Goal(yield_=0.6, search=32, proof=60, minimise="area", drop=0.03)
STAY: Mapping[str, float] = {
    "inputs": 1,
    "constant": 2,
    "layer0/entry": 1,
    "layer0/thresholds": 1,
    "layer1/levels": 1,
    "layer1/output": 1,
}


def problem(fixed: Mapping[str, float] = STAY, goal: Goal = GOAL, seed: int = 3) -> CurrentProblem:
    data = load_sequences(DATA)
    return CurrentProblem(
        trained=centring.centred(checkpoint.load(FQ), data)[0],
        sequences=data.take(np.arange(0, len(data), 9)),
        technology=technology.load("gf180"),
        goal=goal,
        seed=seed,
        fixed=fixed,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[SizingResult, Path]:
    folder = tmp_path_factory.mktemp("sizing") / "sized"
    sized: Any = sized_charge
    return sized(problem(), folder, most=10), folder


def test_the_yield_is_reached_at_less_area_than_with_equal_sizes(done: tuple[SizingResult, Path]) -> None:
    found, folder = done
    assert found.reached and found.chosen is not None and found.figures is not None
    assert found.proofs[-1].passed and found.proofs[-1].bound >= GOAL.yield_
    # Power hardly depends on sizes; area and the spread of thresholds do.
    assert found.figures.energy_J == pytest.approx(found.own.energy_J, rel=0.03)
    counts = {name: int(value) for name, value in found.chosen.sizes.items()}
    assert {name: counts[name] for name in STAY} == STAY
    equal = problem().of({**STAY, "layer0/levels": 16, "layer0/output": 16, "layer1/thresholds": 16})
    assert found.figures.area_m2 < problem().costs(problem().design(equal), equal).area
    assert found.figures.comparator_offset is None and found.figures.threshold_spread
    design = design_folder.load(folder / api.DESIGN).design
    assert isinstance(design, CurrentDesign)
    assert architecture.parts(design).area == pytest.approx(found.figures.area_m2)
    assert technology.load(folder / api.TECHNOLOGY).parallel == design.technology.parallel == counts
    assert {path.name for path in folder.glob("front.*")} == {"front.csv", "front.svg", "front.pdf"}


def test_a_search_is_a_function_of_its_seed_and_goes_on(done: tuple[SizingResult, Path], tmp_path: Path) -> None:
    found, folder = done
    sized: Any = sized_charge
    kept = (folder / "study.jsonl").read_text().splitlines()
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "study.jsonl").write_text("\n".join(kept[:4]) + "\n")
    again = sized(problem(), tmp_path / "again", most=10)
    assert (tmp_path / "again" / "study.jsonl").read_text().splitlines() == kept
    assert again.chosen == found.chosen


def test_every_start_is_within_bounds_and_keeps_what_is_fixed() -> None:
    starts = list(problem({**STAY, "layer1/levels": 3}).starts())
    assert len(starts) == len(set(starts)) >= 3
    assert all(dict(one.counts)["layer1/levels"] == 3 for one in starts)
    of = problem()
    small = of.of({"layer0/levels": 1})
    assert dict(of.moved(small, "layer0/levels", 0.5).counts)["layer0/levels"] == 1
    assert dict(of.moved(small, "layer0/levels", 1.04).counts)["layer0/levels"] == 2
    large = of.of({"layer0/levels": MOST})
    assert dict(of.moved(large, "layer0/levels", 2).counts)["layer0/levels"] == MOST


@pytest.mark.parametrize(
    ("fixed", "message"),
    [({"layer5/levels": 2}, "layer5/levels"), ({"inputs": 0}, "from 1 to 32"), ({"inputs": 1.5}, "whole number")],
)
def test_sizes_that_there_are_not_are_refused(fixed: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        problem(fixed)


def test_other_circuits_and_costs_are_refused() -> None:
    with pytest.raises(InputError, match="--minimise area"):
        problem(goal=Goal(yield_=0.8, minimise="energy"))
    charge = charge_problem()
    with pytest.raises(InputError, match="cmru has no circuit in current mode"):
        CurrentProblem(
            trained=charge.trained,
            sequences=charge.sequences,
            technology=technology.load("gf180"),
            goal=GOAL,
            seed=0,
        )


def test_the_command_sizes_current_mode(tmp_path: Path) -> None:
    fixed = [word for name, count in STAY.items() for word in ("--fix", f"{name}={count:g}")]
    goal = ("--yield", 0.5, "--dies", 16, "--proof-dies", 40, "--trials", 10, "--paired", 0)
    arguments = ("--input", DATA, "--sequences", 30, "--spread", "--centre", DATA, *goal, *fixed)
    done = run("size", FQ, *arguments, "-o", tmp_path / "s")
    assert done.returncode == 0, done.stderr
    assert "least area" in done.stdout and "threshold of a cell" in done.stdout
    assert "offset of comparators" not in done.stdout
    assert json.loads((tmp_path / "s" / "sizing.json").read_text())["minimise"] == "area"
    message = refused("size", FQ, "--input", DATA, "--rounds", 2, "--data", DATA, "-o", tmp_path / "t")
    assert "charge domain" in message
