"""The verdict before simulation against a Monte-Carlo of the fast engine, on twenty networks from good to hopeless."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import Shape, random_network, random_sequences

from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.statistics import scores, summary
from cmru_hw.analysis.verdict import api
from cmru_hw.analysis.verdict.result import AT_RISK, BUILDS_WELL, HOPELESS, WELL, WILL_NOT_WORK, Verdict, band
from cmru_hw.circuits import registry
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Sequences, Trained

MODELS = Path(__file__).parent.parent / "models"
DIES = 200
# Where a Monte-Carlo's yield is this near to the limit of two verdicts, either is right: it has an interval itself.
EDGE = 0.05
# Two yields of 200 dies each differ by 0.05 (one standard deviation) in the middle by chance alone.
LARGEST_ERROR, MEAN_ERROR = 0.15, 0.04

Change = Callable[[object], object]


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
    def change(technology):
        law = technology.mismatch
        return replace(technology, mismatch=replace(law, **{k: getattr(law, k) * v for k, v in factors.items()}))

    return change


def offsets(factor: float) -> Change:
    return mismatch(threshold=factor, comparator_rest=factor)


def small_inputs(technology):
    """As if one input were 9 times as large as all others: these have a ninth of the swing."""
    return replace(technology, signal=replace(technology.signal, input_swing=technology.signal.input_swing / 9))


def crowded(trained: Trained) -> Trained:
    """All rows of layer 0 near their thresholds: a large bias on either side, which leaves little for the signal."""
    tensors = dict(trained.tensors)
    for part in ("candidate", "threshold"):
        name = f"layers.0.{part}.bias"
        tensors[name] = tensors[name] + 30.0 * torch.ones_like(tensors[name])
    return Trained(config=trained.config, tensors=tensors)


CASES = {
    "vowels": Case(name="vowels-cmru-2x16"),
    "vowels, macro": Case(name="vowels-cmru-2x16", technology="macro"),
    "vowels, small inputs": Case(name="vowels-cmru-2x16", change=small_inputs),
    "vowels, no offsets": Case(name="vowels-cmru-2x16", change=mismatch(threshold=0.07, comparator_rest=0.07, amplifier=0.07)),
    "vowels, large offsets": Case(name="vowels-cmru-2x16", change=offsets(3)),
    "vowels, bmru": Case(name="vowels-bmru-2x16"),
    "vowels, bmru, large offsets": Case(name="vowels-bmru-2x16", change=offsets(2)),
    "vowels, acmru": Case(name="vowels-acmru-2x16"),
    "vowels, acmru, macro": Case(name="vowels-acmru-2x16", technology="macro"),
    "detect": Case(name="detect-cmru-2x4"),
    "detect, macro": Case(name="detect-cmru-2x4", technology="macro"),
    "detect, large offsets": Case(name="detect-cmru-2x4", change=offsets(4)),
    "detect, small inputs": Case(name="detect-cmru-2x4", change=small_inputs),
    "detect, crowded rows": Case(name="detect-cmru-2x4", redo=crowded),
    "flipflop": Case(name="flipflop-cmru-1x2"),
    "flipflop, poor": Case(name="flipflop-cmru-1x2", change=offsets(40)),
    "random cmru": Case(name="", shape=Shape(features=4, units=(6, 4), classes=3, levels=4)),
    "random bmru": Case(name="", shape=Shape(cell="bmru", features=4, units=(6, 4), classes=2)),
    "current 2x4": Case(name="detect-fq-bmru-2x4", every=4, dies=60),
    "current 2x8": Case(name="detect-fq-bmru-2x8", every=4, dies=60),
}  # fmt: skip


def built(case: Case) -> tuple[object, Trained, Sequences]:
    if case.shape is not None:
        trained = random_network(case.shape)
        data = random_sequences(case.shape, lengths=tuple(range(5, 65)))
        data = Sequences(inputs=data.inputs, lengths=data.lengths)
    else:
        trained = case.redo(checkpoint.load(MODELS / f"{case.name}.safetensors"))
        found = checkpoint.load_sequences(MODELS / f"{case.name.split('-')[0]}-eval.npz")
        data = found.take(np.arange(0, len(found), case.every))
    kind = registry.fitting(trained)
    technology = case.change(kind.load_technology(case.technology))
    return kind.map_network(trained, technology, kind.calibrate(trained, data)), trained, data


@pytest.fixture(scope="module")
def yields() -> dict[str, tuple[float, float]]:
    """Case → yields of the estimate and of a Monte-Carlo."""
    found = {}
    for name, case in CASES.items():
        design, trained, data = built(case)
        verdict = api.judge(design, trained, data, count=DIES, explain=False)
        varied = registry.of(design).select_variations(design)
        job = Job(design=design, trained=trained, sequences=data, seed=5, varied=varied)
        truth = summary(job, scores(job, range(case.dies)), drop=api.DROP)
        found[name] = (verdict.yield_.value, truth.yield_.value)
        print(f"{name}: estimate {found[name][0]:.3f}, Monte-Carlo {found[name][1]:.3f}")
    return found


def test_twenty_networks_have_the_verdict_of_their_monte_carlo(yields):
    assert len(yields) == 20
    wrong = {
        name: pair
        for name, pair in yields.items()
        if band(pair[0]) != band(pair[1]) and min(abs(pair[1] - edge) for edge in (WELL, HOPELESS)) > EDGE
    }
    assert not wrong
    # every verdict occurs, and not only at its limits
    clear = {band(truth) for _, truth in yields.values() if min(abs(truth - WELL), abs(truth - HOPELESS)) > EDGE}
    assert clear >= {AT_RISK, WILL_NOT_WORK}
    assert sum(band(truth) == BUILDS_WELL for _, truth in yields.values()) >= 4


def test_estimates_are_near_the_yield_of_the_monte_carlo(yields):
    errors = {name: abs(estimate - truth) for name, (estimate, truth) in yields.items()}
    assert max(errors.values()) <= LARGEST_ERROR, errors
    assert np.mean(list(errors.values())) <= MEAN_ERROR, errors
