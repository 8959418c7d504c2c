"""Dies that a sizing takes, compared with a plain grid of sizes of equal quality.

Run: ``python -m benchmarks.sizing [NETWORK] [TRIALS]`` (detect-cmru-2x4, 60). The grid varies the four sizes that
move the energy most, and trim, each at LEVELS values over its range; the others are the technology's own. It simulates
all dies of the search for each of its points. Its best point is the cheapest good one; the search then has equal
quality as soon as it has found a good trial that is as cheap. To save time, points of the grid that cost more than
a good one are counted, but not simulated: their dies would change nothing.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import numpy as np
import torch

from cmru_hw.analysis.montecarlo import workers
from cmru_hw.analysis.sizing.problem import Goal, Problem
from cmru_hw.analysis.sizing.search import Search, job_of, outcomes
from cmru_hw.analysis.sizing.study import Study
from cmru_hw.core import package_data
from cmru_hw.core.errors import MappingError
from cmru_hw.core.units import si
from cmru_hw.nn import checkpoint
from cmru_hw.nn.sequences import load_sequences
from cmru_hw.process import sizes as sizing
from cmru_hw.process import sizing_laws, technology
from cmru_hw.process.sizes import Sizes

LEVELS = 3
AXES = ("row", "pair_width", "swing", "tail")
BITS = (0, 4, 5, 6)


def problem(network: str) -> Problem:
    folder = package_data.folder("models")
    return Problem(
        trained=checkpoint.load(folder / f"{network}.safetensors"),
        sequences=load_sequences(folder / f"{network.split('-')[0]}-eval.npz"),
        technology=technology.load("gf180"),
        laws=sizing_laws.load("gf180"),
        goal=Goal(yield_=0.99),
        seed=0,
    )


def grid(of: Problem) -> Iterator[Sizes]:
    axes = [np.geomspace(*sizing.bounds(name, of.base), LEVELS) for name in AXES]
    for bits, *values in itertools.product(BITS, *axes):
        yield sizing.changed(of.base, {"trim_bits": bits, **dict(zip(AXES, values, strict=True))})


def cheapest(of: Problem) -> tuple[int, float]:
    """Points of the grid, and the energy of the cheapest good one [J per timestep]."""
    dies, allowed = of.goal.search_dies, of.goal.allowed(of.goal.search_dies)
    priced = []
    for sizes in grid(of):
        try:
            priced.append((of.costs(of.design(sizes), sizes).energy, sizes))
        except MappingError:
            priced.append((np.inf, sizes))
    priced.sort(key=lambda pair: pair[0])
    for energy, sizes in priced:
        job, failed = job_of(of, of.design(sizes)), 0
        for first in range(0, dies, 32):
            found = outcomes(job, range(first, min(first + 32, dies)), workers.serial, of.goal.drop)
            failed += sum(not good for good in found.values())
            if failed > allowed:
                break
        else:
            return len(priced), energy
    raise SystemExit("no point of the grid is good: raise LEVELS")


def main() -> None:
    torch.set_num_threads(1)
    network = sys.argv[1] if len(sys.argv) > 1 else "detect-cmru-2x4"
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    of = problem(network)
    points, energy = cheapest(of)
    plain = points * of.goal.search_dies
    print(f"{network}: grid of {points} points, {plain} dies, best {si(energy, 'J')}", flush=True)
    search = Search(study=Study.open(of, None), most=most)
    search.run()
    spent, equal = 0, None
    for place, one in enumerate(search.study.trials):
        spent += one.dies
        if equal is None and one.state == "good" and one.cost("energy") <= energy:
            equal = (place + 1, spent)
    best = search.study.best()
    assert best is not None and best.energy_J is not None
    if equal is not None:
        ratio = plain / equal[1]
        print(f"size is as good after {equal[0]} trials and {equal[1]} dies: {ratio:.1f} times fewer than the grid")
    tried = len(search.study.trials)
    best_ = si(best.energy_J, "J")
    print(f"size at its end: {tried} trials, {spent} dies ({plain / spent:.1f} times fewer), best {best_}")


if __name__ == "__main__":
    main()
