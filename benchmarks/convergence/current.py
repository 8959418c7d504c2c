"""Current mode: convergence of simulator settings, and SPICE compared with the fast engine.

``python -m benchmarks.convergence current`` prints, for each deck, the distance of loose and chosen settings from a
reference. ``--networks N`` runs N random networks of the published size (13 features, two layers of 4 units) in SPICE
and in the fast engine and lists every state that differs, with its distance from the threshold; ``--utterances N`` does
the same with the shipped networks. With ``--cache DIR`` an interrupted run resumes. Needs GF180MCU.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cmru_hw import spice
from cmru_hw.circuits.comparison import classes_of
from cmru_hw.circuits.current import fast, mapping, simulate, technology, variation
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.current.numerics import CONVERGED, Numerics
from cmru_hw.circuits.current.simulate import CurrentSimulation
from cmru_hw.circuits.current.transitions import HIGH
from cmru_hw.core import package_data
from cmru_hw.core.errors import SimulationError
from cmru_hw.core.signals import Traces
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.spice.schedule import Schedule

SETTINGS = {
    # Earlier settings of the program, with ngspice's default chgtol: 10 fC is more than the charge of a cell.
    "loose": Numerics(reltol=1e-3, trtol=20.0, chgtol=1e-14, bypass=True, steps=2),
    "chosen": CONVERGED,
    "reference": Numerics(reltol=1e-6, trtol=1.0, chgtol=1e-20, bypass=False, steps=200),
}
UNITS = (1.0, 0.5, 0.3)  # nA for a software unit
TABLE_UTTERANCES, TABLE_NETWORKS, TABLE_FRAMES = 3, 3, 30
NARROW = (0.9, 0.05)  # low and width of a cell that loose settings get wrong
FRAMES = 100
MODELS = ("detect-fq-bmru-2x4", "detect-fq-bmru-2x8")
# A state may differ between the engines if its candidate is this close to a threshold, relative to the upper one.
CLOSE = 0.01
# A candidate that exceeds a threshold by less than this share of the upper one leaves its cell a few pA to switch with,
# which may take longer than a timestep.
SLOW = 0.03


@dataclass(frozen=True, kw_only=True)
class Case:
    """A design and its inputs."""

    name: str
    trained: Trained
    design: CurrentDesign
    data: Sequences


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convergence current", description=__doc__)
    parser.add_argument("--networks", type=int, help="compare both engines on this many random networks")
    parser.add_argument("--first", type=int, default=0, help="number of the first random network")
    parser.add_argument("--frames", type=int, default=FRAMES, help="timesteps of each random network")
    parser.add_argument("--utterances", type=int, help="compare both engines on this many utterances of MODELS")
    parser.add_argument("--models", nargs="+", default=MODELS, help="shipped networks for --utterances")
    parser.add_argument("--units", type=float, nargs="+", default=UNITS, help="nA for a software unit")
    parser.add_argument("--cache", type=Path, help="folder that results are kept in")
    asked = parser.parse_args(arguments)
    with spice.open_engine(cache=asked.cache, timeout=3600) as engine:
        if asked.networks:
            numbers = range(asked.first, asked.first + asked.networks)
            _engines((_random(n, unit, asked.frames) for unit in asked.units for n in numbers), engine)
        if asked.utterances:
            _engines(
                (_shipped(model, unit, asked.utterances) for unit in asked.units for model in asked.models), engine
            )
        if not (asked.networks or asked.utterances):
            _table(asked.units, engine)


# --- Settings against a reference ---------------------------------------------------------------------------------


def _table(units: tuple[float, ...], engine: spice.Engine) -> None:
    for name, numerics in SETTINGS.items():
        print(f"{name}: {numerics.text(technology.load('gf180').timestep)}")
    print("deck, settings: states changed; largest difference of a candidate [of its threshold], of a state at rest,")
    print("of the energy; time points per timestep; s of CPU for one second of signal")
    for unit in units:
        cases = [_case(f"one narrow cell, {unit:g} nA", one_cell(*NARROW), wandering(*NARROW, seed=2), unit)]
        cases.append(_shipped(MODELS[0], unit, TABLE_UTTERANCES))
        cases += [_random(number, unit, TABLE_FRAMES) for number in range(TABLE_NETWORKS)]
        for case in cases:
            runs = {name: _run(case, numerics, engine) for name, numerics in SETTINGS.items()}
            for name in SETTINGS:
                print(f"{case.name}, {name}: {_difference(case, runs[name], runs['reference'])}", flush=True)


@dataclass(frozen=True, kw_only=True)
class _Run:
    result: CurrentSimulation
    points: float
    cost: float


def _run(case: Case, numerics: Numerics, engine: spice.Engine) -> _Run | SimulationError:
    points = frames = 0

    def observe(traces, plan, _sequences):  # type: ignore[no-untyped-def]  # the types are those of simulate's observe
        nonlocal points, frames
        points += len(traces.time)
        frames += plan.frames

    try:
        result = simulate.simulate(case.design, case.data, engine, numerics=numerics, check=False, observe=observe)
    except SimulationError as error:
        return error
    signal = frames * case.design.timestep
    return _Run(result=result, points=points / frames, cost=result.cpu_seconds / signal)


def _difference(case: Case, run: _Run | SimulationError, reference: _Run | SimulationError) -> str:
    if isinstance(run, SimulationError) or isinstance(reference, SimulationError):
        return str(run if isinstance(run, SimulationError) else reference)
    changed = total = 0
    candidate = state = 0.0
    found, wanted = run.result, reference.result
    for index, layer in enumerate(case.design.layers):
        one, other = found.response.states[index], wanted.response.states[index]
        same = (one > HIGH) == (other > HIGH)
        changed += int((~same).sum())
        total += int(case.data.lengths.sum()) * layer.units
        resting = same & (np.abs(other - np.round(other)) < 0.01)
        moved = np.abs(found.candidates[index] - wanted.candidates[index]) * layer.candidate.unit / layer.upper
        candidate = max(candidate, float(moved[same].max()))
        state = max(state, float(np.abs(one - other)[resting].max()))
    energy = sum(found.energy.values()) / sum(wanted.energy.values()) - 1
    return f"{changed} of {total}; {candidate:.3%}, {state:.2%}, {energy:+.3%}; {run.points:.0f}; {run.cost:.1f} s"


# --- Both engines -------------------------------------------------------------------------------------------------


def _engines(cases: Iterator[Case], engine: spice.Engine) -> None:
    total = unexplained = networks = classes_apart = 0
    reasons: Counter[str] = Counter()
    for case in cases:
        networks += 1
        swings = _Swings(case)
        try:
            run = simulate.simulate(case.design, case.data, engine, observe=swings.see)
        except SimulationError as error:
            unexplained += 1
            print(f"{case.name}: {error}", flush=True)
            continue
        static = fast.run(variation.draw(case.design, seed=0, dies=[0], varied=frozenset()), case.data)
        found = _states_apart(case, run, static, swings)
        rule = case.design.config.decision
        other = int((classes_of(run.response, rule) != classes_of(static.response(0), rule)).sum())
        states = int(case.data.lengths.sum()) * sum(layer.units for layer in case.design.layers)
        total += states
        classes_apart += other
        reasons.update(reason for reason, _ in found)
        cost = run.cpu_seconds / ((case.data.lengths.sum() + len(case.data)) * case.design.timestep)
        print(
            f"{case.name}: {len(found)} of {states} states and {other} of {len(case.data)} classes differ; "
            f"{len(run.attempts)} decks repeated; {cost:.1f} s of CPU for one second of signal"
        )
        print("".join(f"  {line}\n" for _, line in found), end="", flush=True)
    print(f"{networks} runs: {sum(reasons.values())} of {total} states and {classes_apart} classes differ")
    for reason, count in reasons.items():
        print(f"  {count}: {reason}")
    if unexplained:
        print(f"  {unexplained} runs failed")


class _Swings:
    """Smallest and largest candidates [A] between samples, by layer: (sequences, timesteps, units)."""

    def __init__(self, case: Case) -> None:
        shape = case.data.inputs.shape[:2]
        self.least = [np.full((*shape, layer.units), np.inf) for layer in case.design.layers]
        self.most = [np.full((*shape, layer.units), -np.inf) for layer in case.design.layers]

    def see(self, traces: Traces, plan: Schedule, sequences: Sequence[int]) -> None:
        for place, sequence in enumerate(sequences):
            instants = plan.instants(place)
            edges = np.searchsorted(traces.time, np.concatenate([[instants[0] - plan.timestep / 2], instants]))
            for index, least in enumerate(self.least):
                for i in range(least.shape[2]):
                    candidate = traces.values[f"i(vc{index}_{i})"]
                    for t, (first, last) in enumerate(itertools.pairwise(edges.tolist())):
                        least[sequence, t, i] = candidate[first : last + 1].min()
                        self.most[index][sequence, t, i] = candidate[first : last + 1].max()


def _states_apart(
    case: Case, run: CurrentSimulation, static: fast.Trajectories, swings: _Swings
) -> list[tuple[str, str]]:
    """(reason, in words) for every state that differs.

    The reason is taken from the timestep in which the difference began: the candidate of one engine is near a
    threshold; SPICE's candidate crossed a threshold and came back, which a static engine cannot know; it exceeds a
    threshold by so little that the cell has not switched yet; or a state of a preceding layer differs.
    """
    front = np.zeros((*case.data.inputs.shape[:2], 1), dtype=bool)
    found: list[tuple[str, str]] = []
    for index, layer in enumerate(case.design.layers):
        states = run.response.states[index]
        apart = (static.states[index][0] > HIGH) != (states > HIGH)
        seen = run.candidates[index] * layer.candidate.unit
        nearest = np.minimum(np.abs(seen - layer.upper), np.abs(seen - layer.low))
        distance = np.minimum(static.margins[index][0], nearest) / layer.upper
        over = (swings.most[index] >= layer.upper) & (seen < layer.upper)
        under = (swings.least[index] < layer.low) & (seen >= layer.low)
        past = np.where(states > HIGH, layer.low - seen, seen - layer.upper) / layer.upper
        for s, t, i in np.argwhere(apart).tolist():
            since = t
            while since and apart[s, since - 1, i]:
                since -= 1
            if distance[s, since, i] < CLOSE:
                reason = f"candidate within {CLOSE:.0%} of a threshold"
            elif front[s, : since + 1].any():
                reason = "follows from a state in front"
            elif (over | under)[s, since, i]:
                reason = "candidate crossed a threshold while inputs changed, and came back"
            elif 0 < past[s, since, i] < SLOW:
                reason = f"candidate past its threshold by less than {SLOW:.0%}, and its cell still switching"
            else:
                reason = "NO REASON FOUND"
            where = f"sequence {s}, timestep {t} (since {since}), unit {index}.{i}"
            off = f"candidate {distance[s, since, i]:.2%} of the upper threshold away from a threshold"
            found.append((reason, f"{where}: output {states[s, t, i]:.2f} in SPICE, {off}; {reason}"))
        front = front | apart.any(axis=2, keepdims=True)
    return found


# --- Networks -----------------------------------------------------------------------------------------------------


def _shipped(model: str, unit: float, count: int) -> Case:
    folder = package_data.folder("models")
    trained = checkpoint.load(folder / f"{model}.safetensors")
    data = load_sequences(folder / "detect-eval.npz")
    some = data.take(np.linspace(0, len(data) - 1, count).round().astype(np.int64))
    return _case(f"{model}, {count} utterances, {unit:g} nA", trained, some, unit)


def _config(*, features: int, units: tuple[int, ...]) -> ModelConfig:
    return ModelConfig(
        cell="fq-bmru",
        epsilon=0.0,
        levels=None,
        skip=False,
        decision="mean",
        classes=("a", "b"),
        features=features,
        units=units,
        widths=(units[0], *units),
    )


def _random(number: int, unit: float, frames: int) -> Case:
    """Random weights and alphas of either sign, narrow to wide windows; inputs as slow as those of speech."""
    config = _config(features=13, units=(4, 4))
    random = np.random.default_rng([13, number])
    tensors = {}
    for name, tensor in config.network().state_dict().items():
        shape = tuple(tensor.shape)
        if name == "input.scale":
            values = np.ones(shape)
        elif name == "input.offset":
            values = np.zeros(shape)
        elif name.endswith("initial_state"):
            values = random.integers(0, 2, shape).astype(float)
        elif name.endswith(".low"):
            values = random.uniform(0.1, 0.5, shape)
        elif name.endswith(".width"):
            values = random.uniform(0.04, 0.4, shape)
        elif name.endswith(".alpha"):
            values = random.uniform(0.5, 1.5, shape) * random.choice([-1.0, 1.0], shape)
        elif name.endswith("weight"):
            values = random.normal(size=shape) / np.sqrt(shape[1])
        else:
            values = 0.3 * random.normal(size=shape)
        tensors[name] = torch.from_numpy(values).to(tensor.dtype)
    inputs = random.normal(size=(1, frames, config.features))
    for t in range(1, frames):
        inputs[:, t] = 0.8 * inputs[:, t - 1] + 0.6 * inputs[:, t]
    trained = Trained(config=config, tensors=tensors)
    return _case(f"random network {number}, {unit:g} nA", trained, Sequences(inputs=inputs.astype(np.float32)), unit)


def _case(name: str, trained: Trained, data: Sequences, unit: float) -> Case:
    kind = technology.load("gf180")
    kind = replace(kind, unit=unit * 1e-9, bias=unit * 1e-9, full_scale=2 * unit * 1e-9)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    return Case(name=name, trained=trained, design=design, data=data)


def one_cell(low: float, width: float) -> Trained:
    """A network of one cell with a rectified input and two readout rows of opposite sign."""
    config = _config(features=1, units=(1,))
    given = {"layers.0.low": low, "layers.0.width": width}
    tensors = {}
    for name, tensor in config.network().state_dict().items():
        value = given.get(name, 1.0 if name.endswith(("weight", "alpha", "scale")) else 0.0)
        tensors[name] = torch.full_like(tensor, value)
    tensors["readout.weight"] = torch.tensor([[1.0], [-1.0]])
    return Trained(config=config, tensors=tensors)


def wandering(low: float, width: float, *, seed: int, count: int = 60) -> Sequences:
    """Inputs that wander inside the window and sometimes set or reset the cell."""
    rng = np.random.default_rng(seed)
    x = low + width * rng.uniform(0.05, 0.95, count)
    chance = rng.random(count)
    x[chance < 0.12] = low + 1.5 * width
    x[chance > 0.88] = max(low - 0.5 * width, 0.0)
    return Sequences(inputs=x[None, :, None].astype(np.float32))
