"""Offset trim in the fast engine: CPU time and yield of dies with trim and without it.

Run: ``python -m benchmarks.trim [DIES]``. Designs take turns, one block of dies each; the ratio is of CPU time per die,
search of the codes included. The yield is of the same DIES (1000) in each line.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import torch

from benchmarks.montecarlo import Cost, timed
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.statistics import scores, summary
from cmru_hw.circuits.charge import fidelity, mapping, trim, variation
from cmru_hw.core import package_data
from cmru_hw.core.units import percent
from cmru_hw.nn import checkpoint
from cmru_hw.nn.sequences import load_sequences
from cmru_hw.process import technology
from cmru_hw.process.technology import Technology

BLOCK = 128
BITS = (0, 5, 6)
NETWORKS = (
    "vowels-cmru-2x16",
    "vowels-bmru-2x16",
    "vowels-acmru-2x16",
    "detect-cmru-2x4",
    "detect-cmru-2x6",
    "flipflop-cmru-1x2",
)


@dataclass(kw_only=True)
class _Case:
    job: Job
    tables: list[pa.Table]
    cost: Cost

    def run(self, block: range) -> None:
        self.cost += timed(lambda: self.tables.append(scores(self.job, block)))


def case(network: str, sizes: Technology, bits: int) -> _Case:
    folder = package_data.folder("models")
    trained = checkpoint.load(folder / f"{network}.safetensors")
    data = load_sequences(folder / f"{network.split('-')[0]}-eval.npz")
    kind = trim.with_bits(sizes, bits)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    job = Job(design=design, trained=trained, sequences=data, seed=0, varied=variation.select_variations(design))
    # Software runs and code is compiled once, so neither counts for a die.
    scores(job, range(8))
    return _Case(job=job, tables=[], cost=Cost(wall=0.0, cpu=0.0))


def compare(name: str, network: str, sizes: Technology, dies: int) -> None:
    cases = {bits: case(network, sizes, bits) for bits in BITS}
    for first in range(0, dies, BLOCK):
        for one in cases.values():
            one.run(range(first, min(first + BLOCK, dies)))
    for bits, one in cases.items():
        found = summary(one.job, pa.concat_tables(one.tables), drop=0.01)
        low, high = found.yield_.ci95
        ratio = one.cost.cpu / cases[0].cost.cpu
        beyond = "" if found.trim is None else f", {found.trim.rows_beyond} rows out of range"
        print(
            f"{network}, {name}, {bits} bits: yield {percent(found.yield_.value)} ({percent(low)} to {percent(high)}), "
            f"{1e3 * one.cost.cpu / dies:.2f} ms CPU a die, {ratio:.2f} times that without trim{beyond}",
            flush=True,
        )


def main() -> None:
    torch.set_num_threads(1)
    dies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    gf180 = technology.load("gf180")
    run = partial(compare, dies=dies)
    for network in NETWORKS:
        run("gf180", network, gf180)
    for network in NETWORKS:
        # The smaller integrators of the chip have no room for the smallest packet of detect-cmru-2x6.
        if "-cmru" in network and network != "detect-cmru-2x6":
            run("gf180 at the sizes of the chip", network, fidelity.at_level(gf180, "macro", "power-gated"))


if __name__ == "__main__":
    main()
