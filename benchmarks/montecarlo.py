"""What a die costs: the fast engine against SPICE, SPICE against a plain loop, two jobs against one.

Run: ``python -m benchmarks.montecarlo [--large]``. All ratios are of one run on one machine. Rates are dies per second
of wall time, and of CPU time where that says more about the program than about the machine's other work. ``--large``
adds 100 000 dies of the vowels network on all 370 utterances.
"""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from PySpice.Spice.Netlist import Circuit
from PySpice.Spice.NgSpice.Shared import NgSpiceShared

from cmru_hw import checkpoint, mapping, netlist, noise, shipped, technology, variation
from cmru_hw.checkpoint import ModelConfig, Sequences, Trained
from cmru_hw.montecarlo import workers
from cmru_hw.montecarlo.scores import Job, clopper_pearson, passed, scores
from cmru_hw.montecarlo.store import blocks

LARGE = 100_000


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def vowels(count: int | None = None) -> Job:
    trained = checkpoint.load(shipped.folder("models") / "vowels-cmru-2x16.safetensors")
    data = checkpoint.load_sequences(shipped.folder("models") / "vowels-eval.npz")
    design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
    chosen = data if count is None else data.first(count)
    return Job(design=design, trained=trained, sequences=chosen, seed=0, on=variation.choose(design))


def wide() -> Job:
    """64 inputs, 64 units, 8 classes, one timestep of 64 sequences; 5 % on a mean weight and nothing else."""
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
    # a mean weight is a 64th of a row: make that one vary by 5 %
    law = macro.mismatch
    size = macro.capacitor.row / 64
    macro = replace(macro, mismatch=replace(law, capacitor=0.05 * np.sqrt(size / law.density)))
    design = mapping.map_network(trained, macro, mapping.calibrate(trained, data))
    return Job(design=design, trained=trained, sequences=data, seed=0, on=variation.choose(design, only=["weights"]))


def plain_loop(job: Job, dies: int) -> float:
    """Wall seconds per die of the loop one would write first: a circuit built and simulated anew for every utterance.

    The same capacitors and switches, but inputs and noise as PWL sources and steps of a 50th of a timestep, because
    nothing else tells a plain transient analysis where the short phases are.
    """
    NgSpiceShared.LIBRARY_PATH = "libngspice.so.0"
    shared = NgSpiceShared.new_instance()
    step = job.design.technology.timing.timestep / 50
    begun = time.perf_counter()
    for number in range(dies):
        drawn = variation.draw(job.design, seed=0, dies=[number], on=job.on)
        for index, length in enumerate(job.sequences.lengths.tolist()):
            inputs = job.sequences.inputs[index, :length].astype(float)
            deck, _ = netlist.deck(drawn.one(0), [inputs], noise=[noise.columns(drawn, 0, index, length)])
            circuit = Circuit(f"die {number}")
            circuit.raw_spice = _flat(deck)
            simulator = circuit.simulator(simulator="ngspice-shared", ngspice_shared=shared)
            simulator.transient(step_time=step, end_time=deck.stop, max_time=step, use_initial_condition=True)
    return (time.perf_counter() - begun) / dies


def _flat(deck: netlist.Deck) -> str:
    """``deck`` in one text, its data files as PWL sources."""
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
    small, whole = vowels(5), vowels()
    steps, all_steps = int(small.sequences.lengths.sum()), int(whole.sequences.lengths.sum())

    twin = replace(small, engine="spice")
    scores(twin, [0])
    spice_wall, _ = timed(lambda: scores(twin, [1, 2, 3, 4]))
    spice_die = spice_wall / 4 * all_steps / steps
    scores(whole, range(8))
    fast_wall, fast_cpu = timed(lambda: scores(whole, range(8, 72)))
    quiet = replace(whole, on=variation.choose(whole.design, without=["noise"]))
    quiet_wall, _ = timed(lambda: scores(quiet, range(8, 72)))
    print(f"vowels network, 370 utterances, {all_steps} timesteps, one process; SPICE from 5 utterances, by timesteps")
    print(f"SPICE                    {1 / spice_die:10.4f} dies/s")
    print(
        f"fast, everything on      {64 / fast_wall:10.1f} dies/s ({1e3 * fast_cpu / 64:.1f} ms CPU): "
        f"{spice_die * 64 / fast_wall:.0f} times SPICE"
    )
    print(f"fast, mismatch only      {64 / quiet_wall:10.1f} dies/s: {spice_die * 64 / quiet_wall:.0f} times SPICE")

    plain = plain_loop(small, 1)
    print(
        f"plain PySpice loop, 5 utterances: {plain:.1f} s a die, ours {spice_wall / 4:.2f} s: "
        f"{plain / (spice_wall / 4):.1f} times"
    )

    stack = wide()
    scores(stack, range(16))
    stack_wall, _ = timed(lambda: scores(stack, range(1024)))
    print(f"64-64-8 stack, 5 % mismatch, 64 inputs, one process: {1024 / stack_wall:.0f} dies/s")

    todo = blocks(whole, range(512))
    walls = []
    for jobs in (1, 2):
        with workers.local(jobs) as pool:
            list(pool(whole, blocks(whole, range(10**6, 10**6 + 128 * jobs))))
            walls.append(timed(lambda: list(pool(whole, todo)))[0])
    print(f"two jobs over one, 512 dies: {walls[0] / walls[1]:.2f} times")
    print(f"memory of the largest process so far: {_peak_gib():.2f} GiB")

    if "--large" in sys.argv:
        good = count = 0
        begun = time.perf_counter()
        with workers.local(2) as pool:
            for _, table in pool(whole, blocks(whole, range(LARGE))):
                count += len(table)
                good += int(passed(table, whole.goal.accuracy, 0.01).sum())
        interval = clopper_pearson(good, count)
        minutes = (time.perf_counter() - begun) / 60
        print(
            f"{count} dies x 370 utterances, two jobs: {minutes:.1f} min, yield {interval.value:.4f} "
            f"({interval.low:.4f} to {interval.high:.4f}), largest process {_peak_gib():.2f} GiB"
        )


def _peak_gib() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, children) / 2**20


if __name__ == "__main__":
    main()
