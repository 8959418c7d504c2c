"""Sizing and training in turns: the second search is for the trained network, judged as the first one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmru_hw.analysis.sizing.problem import Problem
from cmru_hw.analysis.sizing.result import ROUNDS, Rounds, SizingResult
from cmru_hw.analysis.sizing.rounds import NETWORK, Training, run_rounds
from cmru_hw.cli import group
from cmru_hw.core.errors import DataError
from cmru_hw.nn import checkpoint
from tests.test_sizing import MODELS, problem, sized


def test_a_network_is_trained_between_two_searches_and_judged_by_the_first(tmp_path: Path) -> None:
    first = problem()
    made = run_rounds(first, tmp_path, rounds=2, training=Training(sequences=first.sequences, steps=4), size=sized)
    assert [one.number for one in made.rounds] == [1, 2]
    before, after = (checkpoint.load(Path(one.folder) / NETWORK) for one in made.rounds)
    assert before.sha256 == first.trained.sha256 != after.sha256
    # The bar is that of the first network, whatever the second one's accuracy.
    bars = [one.accuracy - one.sizing.drop for one in made.rounds]
    assert bars[1] == pytest.approx(bars[0])
    reached = [one for one in made.rounds if one.sizing.reached]
    assert reached and made.rounds[made.best - 1].cost == min(one.cost for one in reached)
    assert Rounds.load(tmp_path / ROUNDS) == made


def test_rounds_end_where_training_costs_too_much_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = problem()
    wrong = {name: -value if name.startswith("readout") else value for name, value in first.trained.tensors.items()}
    from cmru_hw.analysis import hardware_aware

    monkeypatch.setattr(hardware_aware, "fine_tune", lambda trained, *_, **__: replace(trained, tensors=wrong))
    sizes: list[SizingResult] = []

    def size(one: Problem, place: Path) -> SizingResult:
        sizes.append(sized(one, place))
        return sizes[-1]

    made = run_rounds(first, tmp_path, rounds=3, training=Training(sequences=first.sequences, steps=1), size=size)
    assert len(made.rounds) == len(sizes) == 1
    assert re.fullmatch(r"training after round 1 leaves [\d.]+ % in software, less than a good die needs", made.ended)


def test_training_without_labels_is_refused(tmp_path: Path) -> None:
    first = problem()
    bare = replace(first.sequences, labels=None)
    with pytest.raises(DataError, match="training between rounds needs labels; add an array 'labels'"):
        run_rounds(first, tmp_path, rounds=2, training=Training(sequences=bare), size=sized)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "2"], "give the training sequences with --data"),
        (["--data", str(MODELS / "detect-eval.npz")], "give --rounds 2 or more"),
        (["--tune-steps", "3"], "give --rounds 2 or more"),
    ],
)
def test_options_that_contradict_each_other(tmp_path: Path, arguments: list[str], message: str) -> None:
    given = ["size", str(MODELS / "detect-cmru-2x4.safetensors"), "--input", str(MODELS / "detect-eval.npz")]
    done = CliRunner().invoke(group, [*given, "-o", str(tmp_path / "sized"), *arguments])
    assert done.exit_code == 2 and message in " ".join(done.output.split())
    assert not (tmp_path / "sized").exists()


def test_the_command_shows_all_rounds(tmp_path: Path) -> None:
    model, data, place = MODELS / "detect-cmru-2x4.safetensors", MODELS / "detect-eval.npz", tmp_path / "sized"
    few = "--sequences 60 --yield 0.85 --drop 0.02 --dies 32 --proof-dies 200 --trials 12 --paired 0 --seed 3"
    turns = ["--rounds", "2", "--data", str(data), "--tune-steps", "3", "-o", str(place)]
    given = ["size", str(model), "--input", str(data), *few.split(), *turns]
    done = CliRunner().invoke(group, given)
    assert done.exit_code == 0, done.output
    shown = Rounds.load(place / ROUNDS)
    assert f"round-{shown.best}" in done.output and "yield at least" in done.output
    assert np.isfinite(shown.rounds[shown.best - 1].cost)
