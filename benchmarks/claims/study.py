"""The plan of the study, and its records: one JSON file per job, complete or absent.

A job is a function of its own description. An interrupted study therefore resumes, with the same records as one that
was not interrupted. A job with any change is another job.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import checkpoints, probes, problems
from benchmarks.claims.cells import CELLS
from benchmarks.claims.fitting import Budget, fit, score
from benchmarks.claims.networks import shape_of
from cmru_hw.core.atomic_write import write_text

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """``kind`` "score": train and test; "hold": test how long the same models hold without noise; "gradient" and
    "throughput" train nothing; "again", "kept" and "tune": a checkpoint of models/, whose name is the ``problem``.

    ``ask`` lists further tests of the trained models: "noise", "length".
    """

    kind: str
    problem: str = ""
    cell: str = ""
    size: int = 0
    scale: float = 1.0
    seeds: int = 10
    budget: Budget | None = None
    ask: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        parts = (
            self.kind,
            self.problem,
            self.cell,
            self.size or ("0" if self.kind == "again" else ""),
            f"x{self.scale:g}" if self.kind == "score" else "",
        )
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        return "_".join(str(part) for part in (*parts, digest) if part != "")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``settings`` (problem, parameters) are run in order, with every cell on each.

    Those in ``scaled`` also start from weights of other ``scales``; those in ``noisy`` and ``long`` get further tests.
    ``throughput``: timesteps. ``checkpoints``: of models/.
    """

    name: str
    settings: tuple[tuple[str, int], ...]
    scaled: tuple[tuple[str, int], ...]
    scales: tuple[float, ...]
    noisy: tuple[tuple[str, int], ...]
    long: tuple[tuple[str, int], ...]
    budgets: Mapping[str, Budget]
    seeds: int
    throughput: tuple[int, ...]
    checkpoints: tuple[str, ...]

    def jobs(self) -> list[Job]:
        """All jobs in the order in which they run."""
        found = [Job(kind="gradient", seeds=2 * self.seeds)]
        found += [Job(kind="throughput", cell=cell, size=steps) for steps in self.throughput for cell in CELLS]
        for setting in self.settings:
            problem, size = setting
            ask = tuple(name for name, where in (("noise", self.noisy), ("length", self.long)) if setting in where)
            budget = self.budgets[problem]
            scores = [
                Job(kind="score", problem=problem, cell=cell, size=size, seeds=self.seeds, budget=budget, ask=ask)
                for cell in CELLS
            ]
            found += scores
            if setting in self.long:
                found += [replace(job, kind="hold", ask=()) for job in scores]
            if setting in self.scaled:
                # Other starting scales use the learning rate that was chosen at a scale of 1.
                found += [replace(job, scale=scale, ask=()) for scale in self.scales for job in scores]
        for name in self.checkpoints:
            found += [Job(kind="again", problem=name, size=seed, seeds=1) for seed in range(self.seeds)]
            found += [Job(kind=kind, problem=name, seeds=self.seeds) for kind in ("kept", "tune")]
        return found


FULL = Plan(
    name="full",
    settings=(
        ("flipflop", 200),
        ("recall-30", 200),
        ("recall-100", 200),
        ("vowels", 600),
        ("leaky", 200),
        ("vowels", 200),
        ("digits", 600),
        ("leaky", 600),
        ("vowels", 2000),
    ),
    scaled=(("flipflop", 200), ("recall-100", 200), ("vowels", 600)),
    scales=(0.3, 3.0),
    noisy=(("flipflop", 200), ("vowels", 600)),
    long=(("flipflop", 200), ("recall-100", 200)),
    budgets={
        "flipflop": Budget(steps=500),
        "recall-30": Budget(steps=600),
        "recall-100": Budget(steps=600),
        "vowels": Budget(steps=500),
        # 64 single pixels: with this study's budget only the linear cells learn the task in a third of these steps.
        "digits": Budget(steps=2000),
        "leaky": Budget(steps=400),
        "listops": Budget(steps=1000),
    },
    seeds=10,
    throughput=(100, 1000),
    checkpoints=(
        "detect-cmru-2x4",
        "detect-fq-bmru-2x4",
        "detect-fq-bmru-2x8",
        "flipflop-cmru-1x2",
        "vowels-cmru-2x16",
        "vowels-bmru-2x16",
        "vowels-acmru-2x16",
    ),
)
QUICK = replace(
    FULL,
    name="quick",
    settings=(("flipflop", 200), ("recall-30", 200), ("vowels", 600), ("leaky", 200), ("listops", 600)),
    scaled=(("vowels", 600),),
    noisy=(("vowels", 600),),
    long=(("flipflop", 200),),
    budgets={name: replace(budget, steps=budget.steps // 4) for name, budget in FULL.budgets.items()},
    seeds=4,
    throughput=(100,),
    checkpoints=("flipflop-cmru-1x2",),
)


class Store:
    """The records of a study, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, job: Job) -> Record | None:
        path = self.folder / f"{job.key}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if found.get("job") == _plain(asdict(job)) else None

    def write(self, job: Job, record: Record) -> None:
        text = json.dumps(record, sort_keys=True, allow_nan=False)
        write_text(self.folder / f"{job.key}.json", text)


def run(
    jobs: Sequence[Job], store: Store, report: Callable[[int, int, Job, float], None] = lambda *_: None
) -> Generator[Record, None, None]:
    """Yield the record of every job, in order. Jobs with a record in ``store`` are not run again."""
    for place, job in enumerate(jobs):
        record = store.read(job)
        if record is None:
            start = time.process_time()
            result = _RUNNERS[job.kind](job, store, jobs)
            seconds = time.process_time() - start
            record = _plain({"job": asdict(job), "result": result, "cpu_s": round(seconds, 2)})
            store.write(job, record)
        report(place + 1, len(jobs), job, record["cpu_s"])
        yield record


def _plain(value: Any) -> Any:
    """``value`` after a round trip through JSON, so that new records equal stored ones."""
    return json.loads(json.dumps(value))


def _score(job: Job, store: Store, jobs: Sequence[Job]) -> dict[str, Any]:
    problem = problems.get(job.problem)
    assert job.budget is not None
    shape = shape_of(job.cell, features=problem.features, outputs=problem.outputs, parameters=job.size)
    budget = job.budget if job.scale == 1 else _tuned(job, store, jobs)
    models = fit(shape, problem, budget, seeds=range(job.seeds), scale=job.scale)
    by_rate = {
        part: torch.tensor(score(models, getattr(problem, part), problem.decision)).view(len(budget.rates), -1)
        for part in ("validation", "test")
    }
    chosen = int(by_rate["validation"].median(dim=1).values.argmax())
    best = models.take(torch.arange(chosen * job.seeds, (chosen + 1) * job.seeds))
    found: dict[str, Any] = {
        "parameters": shape.parameters,
        "width": shape.width,
        "units": shape.units,
        "rate": budget.rates[chosen],
        "validation": _rounded(by_rate["validation"]),
        "test": _rounded(by_rate["test"]),
        "score": _rounded(by_rate["test"][chosen]),
        "scan_error": probes.scan_error(best, problem),
    }
    if "noise" in job.ask:
        found["noise"] = probes.resilience(best, problem, draws=3)
    if "length" in job.ask:
        found["length"] = probes.longer(best, job.problem, probes.LENGTHS)
    return found


def _tuned(job: Job, store: Store, jobs: Sequence[Job]) -> Budget:
    """The budget of ``job`` with the learning rate chosen at a scale of 1; that job is earlier in every plan."""
    assert job.budget is not None
    wanted = ("score", 1.0, job.problem, job.cell, job.size)
    base = next(one for one in jobs if (one.kind, one.scale, one.problem, one.cell, one.size) == wanted)
    record = store.read(base)
    assert record is not None
    return replace(job.budget, rates=(record["result"]["rate"],))


def _hold(job: Job, store: Store, jobs: Sequence[Job]) -> dict[str, Any]:
    problem = problems.get(job.problem)
    shape = shape_of(job.cell, features=problem.features, outputs=problem.outputs, parameters=job.size)
    models = fit(shape, problem, _tuned(job, store, jobs), seeds=range(job.seeds))
    return {"quiet": probes.longer(models, job.problem, probes.LENGTHS, quiet=True)}


def _rounded(values: torch.Tensor) -> Any:
    return (values.double() * 1e6).round().div(1e6).tolist()


def _gradient(job: Job, store: Store, jobs: Sequence[Job]) -> dict[str, Any]:
    found = probes.gradients(range(job.seeds))
    return {name: [[float(f"{value:.4g}") for value in row] for row in rows] for name, rows in found.items()}


def _throughput(job: Job, store: Store, jobs: Sequence[Job]) -> dict[str, Any]:
    """Throughput of a network of 600 parameters with one feature; the job's size is the number of timesteps."""
    shape = shape_of(job.cell, features=1, outputs=10, parameters=600)
    return probes.throughput(shape, job.size, batch=32, seconds=1.0)


def _again(job: Job, store: Store, jobs: Sequence[Job]) -> dict[str, Any]:
    """A checkpoint trained again; the job's size is the seed."""
    return checkpoints.again(job.problem, job.size)


def _kept(job: Job, store: Store, jobs: Sequence[Job]) -> dict[str, Any]:
    losses = {}
    for one in jobs:
        if (one.kind, one.problem) == ("again", job.problem):
            record = store.read(one)
            assert record is not None
            losses[one.size] = record["result"]["loss"]
    return checkpoints.kept(job.problem, min(losses, key=losses.__getitem__), len(losses))


def _tune(job: Job, store: Store, jobs: Sequence[Job]) -> dict[str, Any]:
    return checkpoints.tune(job.problem, Budget.rates)


_RUNNERS: Mapping[str, Callable[[Job, Store, Sequence[Job]], dict[str, Any]]] = {
    "score": _score,
    "hold": _hold,
    "gradient": _gradient,
    "throughput": _throughput,
    "again": _again,
    "kept": _kept,
    "tune": _tune,
}
