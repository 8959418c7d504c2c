"""The verdict before simulation against Monte-Carlo runs of the fast engine, for good and hopeless networks."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.statistics import scores, summary
from cmru_hw.analysis.verdict import api, remedies
from cmru_hw.analysis.verdict import dies as software_dies
from cmru_hw.analysis.verdict.result import AT_RISK, BUILDS_WELL, HOPELESS, WELL, WILL_NOT_WORK, Verdict, band
from cmru_hw.circuits import registry, row_errors
from cmru_hw.circuits.charge import fidelity, trim
from cmru_hw.circuits.charge.row_errors import OffsetBudget
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.cli import group
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences, load_sequences
from tests.networks import Shape, random_network, random_sequences

MODELS = Path(__file__).parent.parent / "models"
DIES = 200
# Where a Monte-Carlo's yield is this near to the limit of two verdicts, either is right: it has an interval itself.
EDGE = 0.05
# Two yields of 200 dies each differ by 0.05 (one standard deviation) in the middle by chance alone.
LARGEST_ERROR, MEAN_ERROR = 0.15, 0.04

Change = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    technology: str = "gf180"
    shape: Shape | None = None
    change: Change = lambda technology: technology
    redo: Callable[[Trained], Trained] = lambda trained: trained
    every: int = 1
    dies: int = DIES


def mismatch(**factors: float) -> Change:
    def change(technology: Any) -> Any:
        law = technology.mismatch
        return replace(technology, mismatch=replace(law, **{k: getattr(law, k) * v for k, v in factors.items()}))

    return change


def offsets(factor: float, amplifier: float = 1.0) -> Change:
    return mismatch(threshold=factor, comparator_rest=factor, amplifier=amplifier)


def small_inputs(technology: Any) -> Any:
    """As if one input were 9 times as large as all others: these have a ninth of the swing."""
    return replace(technology, signal=replace(technology.signal, input_swing=technology.signal.input_swing / 9))


def crowded(trained: Trained, bias: float = 30.0) -> Trained:
    """All rows of layer 0 near their thresholds: a large bias on either side, which leaves little for the signal."""
    tensors = dict(trained.tensors)
    for part in ("candidate", "threshold"):
        name = f"layers.0.{part}.bias"
        tensors[name] = tensors[name] + bias * torch.ones_like(tensors[name])
    return Trained(config=trained.config, tensors=tensors)


CASES = {
    "vowels": Case(name="vowels-cmru-2x16"),
    "vowels, macro": Case(name="vowels-cmru-2x16", technology="macro"),
    "vowels, small inputs": Case(name="vowels-cmru-2x16", every=2, change=small_inputs),
    "vowels, small offsets": Case(name="vowels-cmru-2x16", every=2, change=offsets(0.07, amplifier=0.07)),
    "vowels, large offsets": Case(name="vowels-cmru-2x16", every=2, change=offsets(3)),
    "vowels, bmru": Case(name="vowels-bmru-2x16"),
    "vowels, bmru, large offsets": Case(name="vowels-bmru-2x16", every=2, change=offsets(2)),
    "vowels, acmru": Case(name="vowels-acmru-2x16", every=2),
    "vowels, acmru, macro": Case(name="vowels-acmru-2x16", every=2, technology="macro"),
    "detect": Case(name="detect-cmru-2x4"),
    "detect, macro": Case(name="detect-cmru-2x4", technology="macro"),
    "detect, large offsets": Case(name="detect-cmru-2x4", change=offsets(4)),
    "detect, small inputs": Case(name="detect-cmru-2x4", every=2, change=small_inputs),
    "detect, crowded rows": Case(name="detect-cmru-2x4", redo=crowded),
    "flipflop": Case(name="flipflop-cmru-1x2"),
    "flipflop, poor": Case(name="flipflop-cmru-1x2", change=offsets(40)),
    "random cmru": Case(name="", shape=Shape(features=4, units=(6, 4), classes=3, levels=4)),
    "random mixed K": Case(name="", shape=Shape(features=4, units=(6, 4), classes=3, levels="mixed")),
    "random bmru": Case(name="", shape=Shape(cell="bmru", features=4, units=(6, 4), classes=2)),
    "current 2x4": Case(name="detect-fq-bmru-2x4", every=4, dies=60),
    "current 2x8": Case(name="detect-fq-bmru-2x8", dies=60),
}  # fmt: skip


def trimmed(bits: int, change: Change = lambda technology: technology, *, memory: str | None = None) -> Change:
    def changed(technology: Any) -> Any:
        sized = technology if memory is None else fidelity.at_level(technology, "macro", memory)
        return trim.with_bits(change(sized), bits)

    return changed


def short_reach(technology: Any) -> Any:
    return replace(technology, trim=replace(technology.trim, reach=3e-3))


RANDOM = Shape(features=4, units=(6, 4), classes=3, levels=4)
TRIMMED = {
    "5 bits": Case(name="vowels-cmru-2x16", every=2, change=trimmed(5)),
    "2 bits": Case(name="vowels-cmru-2x16", every=2, change=trimmed(2)),
    "3 bits, bmru, large offsets": Case(name="vowels-bmru-2x16", every=2, change=trimmed(3, offsets(2, amplifier=2))),
    "5 bits, short reach": Case(name="vowels-cmru-2x16", every=2, change=trimmed(5, short_reach)),
    "5 bits, beyond its range": Case(name="flipflop-cmru-1x2", change=trimmed(5, offsets(40))),
    "4 bits, small inputs": Case(name="vowels-cmru-2x16", every=2, change=trimmed(4, small_inputs)),
    "4 bits, sizes of the chip": Case(name="vowels-cmru-2x16", every=2, change=trimmed(4, memory="power-gated")),
    "5 bits, crowded rows": Case(name="detect-cmru-2x4", redo=crowded, change=trimmed(5)),
    "5 bits, acmru": Case(name="vowels-acmru-2x16", every=2, change=trimmed(5)),
    "7 bits, random": Case(name="", shape=RANDOM, change=trimmed(7)),
}


def built(case: Case) -> tuple[AnyDesign, Trained, Sequences]:
    if case.shape is not None:
        trained = random_network(case.shape)
        data = random_sequences(case.shape, lengths=tuple(range(5, 65)))
        data = Sequences(inputs=data.inputs, lengths=data.lengths)
    else:
        trained = case.redo(checkpoint.load(MODELS / f"{case.name}.safetensors"))
        found = load_sequences(MODELS / f"{case.name.split('-')[0]}-eval.npz")
        data = found.take(np.arange(0, len(found), case.every))
    kind = registry.fitting(trained)
    technology = case.change(kind.load_technology(case.technology))
    return kind.map_network(trained, technology, kind.calibrate(trained, data)), trained, data


@pytest.fixture(scope="module")
def yields() -> dict[str, tuple[float, float]]:
    return of_both(CASES)


def of_both(cases: dict[str, Case]) -> dict[str, tuple[float, float]]:
    """Case → yields of the estimate and of a Monte-Carlo."""
    found = {}
    for name, case in cases.items():
        design, trained, data = built(case)
        verdict = api.judge(design, trained, data, count=DIES, explain=False)
        varied = registry.of(design).select_variations(design)
        job = Job(design=design, trained=trained, sequences=data, seed=5, varied=varied)
        truth = summary(job, scores(job, range(case.dies)), drop=api.DROP)
        found[name] = (verdict.yield_.value, truth.yield_.value)
        print(f"{name}: estimate {found[name][0]:.3f}, Monte-Carlo {found[name][1]:.3f}")
    return found


def test_networks_have_the_verdict_of_their_monte_carlo(yields: dict[str, tuple[float, float]]) -> None:
    assert len(yields) >= 20
    assert not misjudged(yields)
    # every verdict occurs, and not only at its limits
    clear = {band(truth) for _, truth in yields.values() if min(abs(truth - WELL), abs(truth - HOPELESS)) > EDGE}
    assert clear >= {AT_RISK, WILL_NOT_WORK}
    assert sum(band(truth) == BUILDS_WELL for _, truth in yields.values()) >= 4


def misjudged(yields: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Those of clear cases whose estimate has another verdict than the Monte-Carlo."""
    return {
        name: pair
        for name, pair in yields.items()
        if band(pair[0]) != band(pair[1]) and min(abs(pair[1] - edge) for edge in (WELL, HOPELESS)) > EDGE
    }


def test_trimmed_networks_have_the_verdict_of_their_monte_carlo() -> None:
    yields = of_both(TRIMMED)
    assert not misjudged(yields)
    errors = [abs(estimate - truth) for estimate, truth in yields.values()]
    assert max(errors) <= LARGEST_ERROR, yields
    assert np.mean(errors) <= MEAN_ERROR, yields
    assert {band(truth) for _, truth in yields.values()} == {BUILDS_WELL, AT_RISK, WILL_NOT_WORK}
    # the same networks without a trim are others
    assert yields["5 bits"][0] > yields["2 bits"][0] + 0.05


def test_a_trim_is_assumed_and_what_it_leaves_is_a_cause() -> None:
    cases = [CASES["vowels"], TRIMMED["2 bits"], TRIMMED["5 bits, short reach"]]
    plain, coarse, short = (api.judge(*built(replace(case, every=1)), technology="gf180") for case in cases)
    assert not any("trim" in line for line in plain.assumptions)
    assert re.search(
        r"trim: 2 bits, -16.8 mV to 8.4 mV; it leaves offsets of 2\.\d+ mV, and all rows", coarse.assumptions[-1]
    )
    assert re.search(r"and 2\d rows of a die are beyond its range", short.assumptions[-1])
    assert coarse.trim is None
    causes = [one.cause for one in coarse.causes]
    assert row_errors.TRIMMED in causes and row_errors.OFFSETS not in causes and row_errors.AMPLIFIERS not in causes


def test_a_trim_is_offered_with_its_effect() -> None:
    design, trained, data = built(CASES["vowels"])
    found = api.judge(design, trained, data, checkpoint="mine.pt", technology="gf180")
    assert found.trim is not None and found.verdict == AT_RISK
    assert found.trim.command == "cmru-hw export mine.pt --technology gf180 --trim 5 -o trimmed"
    # the offer is the verdict of the trimmed design
    after = api.judge(*built(replace(CASES["vowels"], change=trimmed(5))))
    assert found.trim.yield_ == after.yield_.value >= 0.98
    assert found.trim.accuracy > 0.003
    # a technology without a bank offers none, nor do offsets that are given
    bare = replace(design, technology=replace(design.technology, trim=None))
    assert api.judge(bare, trained, data).trim is None


def test_estimates_are_near_the_yield_of_the_monte_carlo(yields: dict[str, tuple[float, float]]) -> None:
    errors = {name: abs(estimate - truth) for name, (estimate, truth) in yields.items()}
    assert max(errors.values()) <= LARGEST_ERROR, errors
    assert np.mean(list(errors.values())) <= MEAN_ERROR, errors


# --- What a verdict rests on -------------------------------------------------------------------------------------


def test_the_expected_share_of_wrong_decisions_is_that_of_dies() -> None:
    # layer 0 reads inputs alone: nothing but its own rows makes its decisions wrong
    for name in ("vowels", "vowels, bmru", "current 2x4"):
        design, trained, data = built(replace(CASES[name], every=3))
        first = api.judge(design, trained, data, explain=False).layers[0]
        assert first.wrong == pytest.approx(first.wrong_own, rel=0.15)
        assert 0 < first.p05 < first.median


def test_a_trim_is_a_smaller_offset_budget() -> None:
    design, trained, data = built(CASES["vowels"])
    budget = OffsetBudget.of(design.technology)  # type: ignore[arg-type]
    trimmed = api.judge(design, trained, data, explain=False, offsets=replace(budget, residual=0.34e-3))
    plain = api.judge(design, trained, data, explain=False, offsets=budget)
    # a Monte-Carlo with trimmed rows: 58 % before, 99.7 % of 1000 dies after
    assert trimmed.yield_.value >= 0.98 > 0.8 > plain.yield_.value
    assert trimmed.layers[0].p05 > 5 * plain.layers[0].p05
    assert trimmed.layers[0].wrong < plain.layers[0].wrong / 5


def test_dies_without_a_source_are_the_same_dies() -> None:
    design, trained, data = built(CASES["detect"])
    data = data.first(40)
    errors = registry.of(design).row_errors(design, trained, data)
    every = api.sources(errors)
    assert {row_errors.OFFSETS, row_errors.AMPLIFIERS, row_errors.CAPACITORS, row_errors.NOISE} <= set(every)

    def run(count: int = 6, without: tuple[str, ...] = ()) -> software_dies.SoftwareDies:
        return software_dies.run(trained, errors, data, dies=count, without=without)

    ideal = run(without=every)
    assert ideal.wrong == (0.0, 0.0)
    assert (ideal.accuracy == ideal.software).all()
    quiet = tuple(name for name in every if name != row_errors.OFFSETS)
    # without noise, a die does not depend on how many there are
    assert (run(3, without=("noise",)).accuracy == run(6, without=("noise",)).accuracy[:3]).all()
    assert 0 < sum(run(without=quiet).wrong) <= sum(run().wrong) * 1.1


def test_causes_are_in_order_of_cost() -> None:
    design, trained, data = built(CASES["vowels, acmru"])
    found = api.judge(design, trained, data.first(60), checkpoint="my net.pt", technology="gf180")
    assert found.verdict == WILL_NOT_WORK
    assert {one.cause for one in found.causes[:2]} == {row_errors.AMPLIFIERS, row_errors.OFFSETS}
    lost = [one.accuracy for one in found.causes]
    assert lost == sorted(lost, reverse=True)
    assert "--from 'my net.pt' --hardware-aware --technology gf180" in found.causes[0].command


def test_an_outlier_is_named_with_its_feature() -> None:
    values = np.random.default_rng(1).normal(size=(20, 30, 5)).astype(np.float32)
    values[7, 11, 3] = 36.0
    lengths = np.full(20, 25)
    # past the end of a sequence there is no input
    values[3, 28, 0] = 99.0
    found = api.largest_input(Sequences(inputs=values, lengths=lengths))
    assert (found.feature, found.value) == (3, 36.0)
    assert 15 < found.deviations < 25


def test_a_network_whose_weights_cannot_be_drawn_is_told_so() -> None:
    design, trained, data = built(CASES["detect"])
    # most of each row is its bias, so that weights become capacitors below the 2 fF of the process
    heavy = crowded(trained, bias=150.0)
    data = Sequences(inputs=data.inputs, lengths=data.lengths)
    kind = registry.of(design)
    design = kind.map_network(heavy, design.technology, kind.calibrate(heavy, data))
    found = api.judge(design, heavy, data, explain=False)
    part = found.smallest_part
    assert part.limit == 2e-15 > part.size
    assert 0 < part.below <= part.count
    (cause,) = [one for one in found.causes if one.cause == part.cause]
    assert cause.yield_ is None
    assert cause.accuracy > 0.01
    assert "--row-margin" in cause.command


def test_the_range_of_the_inputs_is_a_cause() -> None:
    _, trained, data = built(CASES["detect"])
    inputs = data.inputs.copy()
    # one sample far beyond the others, as in the pixels of a scan with a dead column
    inputs[5, 3] = 36 * inputs.std(axis=(0, 1))
    data = Sequences(inputs=inputs, lengths=data.lengths, labels=data.labels)
    kind = registry.get("sc")
    wide, narrow = (
        kind.map_network(trained, kind.load_technology("gf180"), kind.calibrate(trained, data, percentile=percentile))
        for percentile in (100, 99.9)
    )
    found, better = (api.judge(design, trained, data) for design in (wide, narrow))
    assert found.verdict != BUILDS_WELL
    assert better.yield_.value > found.yield_.value + 0.3
    assert found.largest_input.deviations > 20
    (cause,) = [one for one in found.causes if one.cause == row_errors.OUTLIERS]
    assert cause.yield_ == better.yield_.value
    assert "--input-percentile 99.9" in cause.command


def test_clamping_that_costs_accuracy_is_a_cause() -> None:
    _, trained, data = built(CASES["detect"])
    kind = registry.get("sc")
    calibration = kind.calibrate(trained, data)
    # a range of a quarter clamps most inputs
    calibration = replace(calibration, inputs=tuple(one / 4 for one in calibration.inputs))
    design = kind.map_network(trained, kind.load_technology("gf180"), calibration)
    found = api.judge(design, trained, data, explain=False)
    (cause,) = [one for one in found.causes if one.cause == row_errors.CLAMPED]
    assert cause.accuracy > 0.001
    assert "--input-percentile 100" in cause.command


def test_every_remedy_is_a_command_that_exists(tmp_path: Path) -> None:
    every = {remedies.ON_DIES, remedies.TRIM, *remedies.OF_SOURCE.values()}
    assert len(every) > 3
    for one in every:
        program, name, *words = shlex.split(one.command.format(checkpoint=tmp_path / "a.pt", technology="gf180"))
        assert program == "cmru-hw"
        command = group.commands[name]
        # raises for an option that the command has not
        assert command.make_context(name, words, **group.context_settings)


# --- Commands ----------------------------------------------------------------------------------------------------


def run_json(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(group, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("model", ["detect-cmru-2x4", "detect-fq-bmru-2x4"])
def test_inspect_and_export_give_the_same_verdict(model: str, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    found = load_sequences(MODELS / "detect-eval.npz").first(60)
    np.savez(data, inputs=found.inputs, lengths=found.lengths, labels=found.labels)  # type: ignore[arg-type]
    path = MODELS / f"{model}.safetensors"
    given = ("--input", data, "--technology", "gf180")
    inspected = run_json("inspect", path, *given)["verdict"]
    exported = run_json("export", path, *given, "-o", tmp_path / "d", "--no-verify")["verdict"]
    assert inspected == exported
    verdict = Verdict.from_plain(inspected, where="inspect")
    assert verdict.to_plain() == inspected
    assert verdict.sequences == 60
    assert len(verdict.layers) == 2
    printed = CliRunner().invoke(group, ["inspect", str(path), *map(str, given)]).stdout
    assert verdict.sentence() in printed
    assert all(one.command in printed for one in verdict.causes)


def test_a_bad_verdict_is_no_failure(tmp_path: Path) -> None:
    model = MODELS / "vowels-acmru-2x16.safetensors"
    given = (model, "--technology", "gf180", "--input", MODELS / "vowels-eval.npz")
    found = run_json("export", *given, "-o", tmp_path / "d", "--no-verify")
    assert found["verdict"]["verdict"] == WILL_NOT_WORK
    assert (tmp_path / "d" / "network.cir").is_file()


def test_without_data_or_an_estimate_the_verdict_says_why(tmp_path: Path) -> None:
    alone = tmp_path / "net.safetensors"
    alone.write_bytes((MODELS / "detect-cmru-2x4.safetensors").read_bytes())
    assert run_json("inspect", alone)["verdict"] == {
        "verdict": None,
        "reason": "there are no sequences: give --input FILE.npz",
    }
    model = MODELS / "detect-cmru-2x4.safetensors"
    counted = run_json("inspect", model, "--technology", "gf180", "--level", "transistor", "--memory", "counter")
    assert "no estimate for the counter memory" in counted["verdict"]["reason"]
    whole = run_json("inspect", model, "--technology", "gf180", "--level", "transistor", "--memory", "integrator")
    assert whole["verdict"]["verdict"] in (BUILDS_WELL, AT_RISK, WILL_NOT_WORK)
