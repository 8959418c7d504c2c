"""Cost of a die: the fast engine compared with SPICE, SPICE with a plain loop, two jobs with one.

Run: ``python -m benchmarks.montecarlo [--large [FOLDER]]``. All ratios come from one run on one machine, in which the
compared programs take turns. Each is given in wall time and in CPU time; the latter depends less on the machine's other
load. ``--large`` simulates 100 000 dies of the vowels network on all 370 utterances instead. Finished dies are stored
in FOLDER, and the same command resumes after an interruption.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import torch
from PySpice.Spice.Netlist import Circuit
from PySpice.Spice.NgSpice.Shared import NgSpiceShared

from cmru_hw.analysis.montecarlo import scheduler, workers
from cmru_hw.analysis.montecarlo.interval import clopper_pearson
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.shards import Store, blocks
from cmru_hw.analysis.montecarlo.statistics import passed, scores
from cmru_hw.circuits.charge import macro_netlist, mapping, noise, variation
from cmru_hw.core import package_data
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.process import technology
from cmru_hw.spice.deck import Deck

LARGE = 100_000
# Utterances per die in SPICE: enough to make its start-up a small part.
UTTERANCES = 40
ROUNDS = 3
SOME = 128
# Dies for the comparison of two jobs with one: enough blocks that neither waits long for the other's last block.
MANY = 3072


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of wall time, and of CPU time of this process and of those that it ended meanwhile."""

    wall: float
    cpu: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(wall=self.wall + other.wall, cpu=self.cpu + other.cpu)

    def __mul__(self, factor: float) -> Cost:
        return Cost(wall=self.wall * factor, cpu=self.cpu * factor)

    def over(self, other: Cost) -> str:
        return f"{self.wall / other.wall:.0f} times by wall time, {self.cpu / other.cpu:.0f} by CPU time"


def timed(work: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), _cpu()
    work()
    return Cost(wall=time.perf_counter() - wall, cpu=_cpu() - cpu)


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def taking_turns(spice: Job, fast: Job, scale: float) -> tuple[Cost, Cost]:
    """Cost of one die in each engine: mean of ROUNDS dies in SPICE, times ``scale``, and of many in the fast engine."""
    simulated = computed = Cost(wall=0.0, cpu=0.0)
    # Values that depend on the job only are not a cost of a die.
    _ = spice.goal, fast.goal
    scores(fast, range(8))
    for number in range(ROUNDS):
        dies = range(1000 + number * SOME, 1000 + (number + 1) * SOME)
        simulated += timed(partial(scores, spice, [number]))
        computed += timed(partial(scores, fast, dies))
    return simulated * (scale / ROUNDS), computed * (1 / (ROUNDS * SOME))


def vowels(count: int | None = None) -> Job:
    trained = checkpoint.load(package_data.folder("models") / "vowels-cmru-2x16.safetensors")
    data = load_sequences(package_data.folder("models") / "vowels-eval.npz")
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
    chosen = data if count is None else data.first(count)
    return Job(design=design, trained=trained, sequences=chosen, seed=0, varied=variation.select_variations(design))


def wide() -> Job:
    """64 inputs, 64 units, 8 classes, one timestep of 64 sequences; only mismatch, 5 % on a mean weight."""
    config = ModelConfig(
        cell="bmru",
        epsilon=0.0,
        levels=None,
        skip=False,
        decision="mean",
        classes=tuple(f"class {k}" for k in range(8)),
        features=64,
        units=(64,),
    )
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(tensor.shape, generator=generator) for name, tensor in config.network().state_dict().items()
    }
    tensors["layers.0.initial_state"].sign_()
    trained = Trained(config=config, tensors=tensors)
    rng = np.random.default_rng(0)
    data = Sequences(inputs=rng.normal(size=(64, 1, 64)).astype(np.float32))
    macro = technology.load("macro")
    # A mean weight is a 64th of a row; it varies by 5 %.
    law = macro.mismatch
    size = macro.capacitor.row / 64
    macro = replace(macro, mismatch=replace(law, capacitor=0.05 * np.sqrt(size / law.density)))
    design = mapping.map_network(trained, macro, mapping.calibrate(trained, data))
    return Job(
        design=design,
        trained=trained,
        sequences=data,
        seed=0,
        varied=variation.select_variations(design, only=["weights"]),
    )


def plain_loop(job: Job, dies: int) -> None:
    """The simplest loop: a circuit built and simulated anew for every utterance.

    The same capacitors and switches, but inputs and noise as PWL sources, and steps of a 50th of a timestep, because a
    plain transient analysis has no other information on the short phases.
    """
    NgSpiceShared.LIBRARY_PATH = "libngspice.so.0"
    shared = NgSpiceShared.new_instance()
    step = job.design.technology.timing.timestep / 50
    for number in range(dies):
        drawn = variation.draw(job.design, seed=0, dies=[number], varied=job.varied)
        for index, length in enumerate(job.sequences.lengths.tolist()):
            inputs = job.sequences.inputs[index, :length].astype(float)
            deck, _ = macro_netlist.deck(drawn.one(0), [inputs], noise=[noise.columns(drawn, 0, index, length)])
            circuit = Circuit(f"die {number}")
            circuit.raw_spice = _flat(deck)
            simulator = circuit.simulator(simulator="ngspice-shared", ngspice_shared=shared)
            simulator.transient(step_time=step, end_time=deck.stop, max_time=step, use_initial_condition=True)


def _flat(deck: Deck) -> str:
    """``deck`` as one text, with its data files as PWL sources."""
    lines = []
    for line in deck.text.splitlines():
        if line.startswith(".include"):
            lines += [one for one in deck.files[line.split()[1]].decode().splitlines() if not one.startswith("*")]
        elif found := re.fullmatch(r"a(\w+) %v\(\[([\w ]+)\]\) \w+", line):
            rows = np.loadtxt(deck.files[f"{found[1]}.txt"].decode().splitlines())
            edge = 1e-5
            for column, node in enumerate(found[2].split(), start=1):
                points = [f"0 {rows[0, column]:.10g}"]
                for (time_, before), (_, after) in zip(rows[1:, [0, column]], rows[:-1, [0, column]], strict=True):
                    points.append(f"{time_:.10g} {after:.10g} {time_ + edge:.10g} {before:.10g}")
                lines += [f"v{node} {node} 0 pwl("] + [f"+ {point}" for point in points] + ["+ )"]
        elif not line.startswith((".model", ".tran")):
            lines.append(line)
    return "\n".join(lines)


def main() -> None:
    torch.set_num_threads(1)
    whole = vowels()
    if "--large" in sys.argv:
        large(whole, Path(sys.argv[-1] if sys.argv[-1] != "--large" else "out/large"))
        return
    engines(whole)
    against_a_plain_loop()
    stack()
    two_jobs(whole)
    print(f"memory of the largest process: {_peak_gib():.2f} GiB")


def engines(whole: Job) -> None:
    some = replace(vowels(UTTERANCES), engine="spice")
    steps, all_steps = int(some.sequences.lengths.sum()), int(whole.sequences.lengths.sum())
    print(
        f"vowels network, 370 utterances, {all_steps} timesteps, one process; SPICE: {ROUNDS} dies of "
        f"{UTTERANCES} utterances, by timesteps"
    )
    for name, on in (
        ("everything on", whole.varied),
        ("mismatch only", variation.select_variations(whole.design, without=["noise"])),
    ):
        simulated, computed = taking_turns(replace(some, varied=on), replace(whole, varied=on), all_steps / steps)
        print(f"{name}: SPICE {1 / simulated.wall:.4f} dies/s ({simulated.cpu:.1f} s CPU a die)")
        print(
            f"{name}: fast  {1 / computed.wall:.1f} dies/s ({1e3 * computed.cpu:.2f} ms CPU a die): "
            f"{simulated.over(computed)}"
        )


def against_a_plain_loop() -> None:
    small = vowels(5)
    twin = replace(small, engine="spice")
    scores(twin, [0])
    ours = timed(lambda: scores(twin, [1, 2])) * 0.5
    plain = timed(lambda: plain_loop(small, 1))
    print(
        f"5 utterances in SPICE: plain PySpice loop {plain.wall:.1f} s a die, ours {ours.wall:.2f} s: "
        f"{plain.wall / ours.wall:.1f} times by wall time, {plain.cpu / ours.cpu:.1f} by CPU time"
    )


def stack() -> None:
    job = wide()
    scores(job, range(16))
    cost = timed(lambda: scores(job, range(1024)))
    print(
        f"64-64-8 stack, 5 % mismatch, 64 inputs, one process: {1024 / cost.wall:.0f} dies/s of wall time, "
        f"{1024 / cost.cpu:.0f} of CPU time"
    )


def two_jobs(whole: Job) -> None:
    walls, busiest = [], []
    for jobs in (1, 2):
        with workers.local(jobs) as pool:
            list(pool(whole, blocks(whole, range(10**6, 10**6 + 128 * jobs))))
            before = _children_cpu()
            cost = timed(lambda: list(pool(whole, blocks(whole, range(MANY)))))
            after = _children_cpu()
            walls.append(cost.wall)
            # Lower bound of the wall time on a machine without other load.
            busiest.append(cost.cpu + max(after[pid] - before[pid] for pid in after))
    print(
        f"two jobs over one, {MANY} dies: {walls[0] / walls[1]:.2f} times by wall time, {busiest[0] / busiest[1]:.2f} "
        "by CPU time of this process and its busier worker"
    )


def _children_cpu() -> dict[int, float]:
    """CPU seconds of each living worker."""
    tick = os.sysconf("SC_CLK_TCK")
    stats = {
        child.pid: Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split() for child in active_children()
    }
    return {pid: (int(fields[11]) + int(fields[12])) / tick for pid, fields in stats.items() if pid is not None}


def large(whole: Job, folder: Path) -> None:
    begun = time.perf_counter()
    kept, todo = len(list(folder.rglob("*.parquet"))), len(blocks(whole, range(LARGE)))
    with workers.local(2) as pool:
        table = scheduler.collect(whole, range(LARGE), Store.of(folder, whole), pool, drop=0.01)
    minutes = (time.perf_counter() - begun) / 60
    interval = clopper_pearson(int(passed(table, whole.goal.accuracy, 0.01).sum()), len(table))
    print(
        f"{len(table)} dies x 370 utterances, two jobs: {minutes:.1f} min ({kept} of {todo} "
        f"blocks were there), yield {interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f}), largest process "
        f"{_peak_gib():.2f} GiB"
    )


def _peak_gib() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, children) / 2**20


if __name__ == "__main__":
    main()
