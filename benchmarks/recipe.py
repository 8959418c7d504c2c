"""``python -m benchmarks.recipe``: how much of the study's gaps was training? A few minutes on one core.

The study (:mod:`benchmarks.claims`) trained every cell for 400 to 2000 steps, the CMRU without normalisation and with K
= 7 in every unit. Here some of its cells are trained again, in the same backbone with the same numbers of parameters
and the same choice between two learning rates by validation, for three times as many steps and with a moving average of
the weights; next to them a CMRU with normalised candidates, K that differs between its units, and fixed thresholds.
Its normalisation is folded into its weights before it is scored, so its units are still those of a circuit.

Finished jobs are kept, and the same command resumes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import intervals, probes, problems
from benchmarks.claims.fitting import Budget, fit, score
from benchmarks.claims.networks import shape_of
from cmru_hw.core.atomic_write import write_text

RESULTS = Path(__file__).parent / "results"
NAME = "recipe.json"
SETTINGS = (("vowels", 600), ("flipflop", 200), ("listops", 600))
CELLS = ("cmru-mixed", "cmru", "lru", "mingru")
BUDGET = Budget(steps=1500)
AVERAGE, SEEDS = 0.99, 10
QUICK = replace(BUDGET, steps=150)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipe", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps: a minute; writes to --work")
    parser.add_argument("--work", type=Path, default=Path("out/recipe"), help="where finished jobs are kept")
    parser.add_argument(
        "--collect", action="store_true", help="train nothing: write the results of the jobs that are done"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    budget = QUICK if options.quick else BUDGET
    output = (options.work if options.quick else RESULTS) / NAME
    found = []
    for cell in CELLS:
        for problem, size in SETTINGS:
            path = options.work / f"{problem}_{size}_{cell}_{budget.steps}.json"
            if options.collect and not path.exists():
                continue
            found.append(_kept(path, problem, size, cell, budget))
    write_text(output, json.dumps(sorted(found, key=_order), indent=1) + "\n")
    print(output)


def _order(found: dict[str, Any]) -> tuple[int, int]:
    """Place of a result: by problem, then by cell."""
    return SETTINGS.index((found["problem"], found["size"])), CELLS.index(found["cell"])


def _kept(path: Path, problem: str, size: int, cell: str, budget: Budget) -> dict[str, Any]:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        start = time.process_time()
        found = run(problem, size, cell, budget)
        seconds = round(time.process_time() - start, 1)
        write_text(path, json.dumps({**found, "cpu_s": seconds}) + "\n")
        print(f"{problem} {size} {cell}: {found['median']} ({seconds} s CPU)", file=sys.stderr)
    made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return made


def run(name: str, size: int, cell: str, budget: Budget, seeds: int = SEEDS) -> dict[str, Any]:
    """Scores of ``seeds`` networks of one cell, at the learning rate with the better median on validation sequences."""
    problem = problems.get(name)
    shape = shape_of(cell, features=problem.features, outputs=problem.outputs, parameters=size)
    models = fit(shape, problem, budget, seeds=range(seeds), average=AVERAGE)
    by_rate = {
        part: torch.tensor(score(models, getattr(problem, part), problem.decision)).view(len(budget.rates), -1)
        for part in ("validation", "test")
    }
    chosen = int(by_rate["validation"].median(dim=1).values.argmax())
    scores = [round(value, 6) for value in by_rate["test"][chosen].tolist()]
    median = intervals.median(scores)
    found: dict[str, Any] = {}
    if name == "flipflop":
        # Trained on holds of 50 to 100 timesteps.
        rows = torch.arange(chosen * seeds, (chosen + 1) * seeds)
        found["lengths"] = {
            length: round(intervals.median(at).value, 4)
            for length, at in probes.longer(models.take(rows), name, probes.LENGTHS).items()
        }
    return {
        "problem": name,
        "size": size,
        "cell": cell,
        "parameters": shape.parameters,
        "units": list(shape.units),
        "width": shape.width,
        "budget": asdict(budget),
        "average": AVERAGE,
        "rate": budget.rates[chosen],
        "seeds": list(range(seeds)),
        "test": scores,
        "median": round(median.value, 4),
        "ci95": [round(median.low, 4), round(median.high, 4)],
        "learnt": sum(value > problem.learnt for value in scores),
        "perfect": sum(value == 1 for value in scores),
        **found,
    }


if __name__ == "__main__":
    main()
