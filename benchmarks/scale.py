"""Cost of random CMRU networks of two layers by size and by number of timesteps: CPU time and memory.

Run: ``python -m benchmarks.scale [--units 32 64 128 256] [--fast 1024 2048] [--keep FILE]``. It takes about 20 minutes
of CPU time and ends with the cost of a die next to that in other programs (`benchmarks.die_cost`); ``--versus`` prints
this part alone. Each measurement runs in a process of its own, with one job. CPU time is that of the process and its
simulators, which depends less on the machine's other load than wall time does; memory is the peak of the largest of
these processes. A gate whose comparison fails is marked. FILE receives each measurement when it is finished; the same
command after an interruption does not measure it again. chipify is measured if CHIPIFY_PYTHON names a Python that has
it.

Networks have 16 features, K = 7 and random weights; inputs are 4 sequences of 50 timesteps.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import die_cost
from cmru_hw import spice
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.statistics import scores
from cmru_hw.circuits.charge import mapping, variation
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.verify import verify
from cmru_hw.core import atomic_write
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import technology

FEATURES, LEVELS, CLASSES = 16, 7, 4
SEQUENCES, TIMESTEPS = 4, 50
# Timesteps of one sequence, for growth in time.
LONG = (250, 1000, 10_000)
UNITS_IN_TIME = 16
TIMEOUT = 3600.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of CPU and wall time, peak memory [GiB], and the result in words.

    ``programs`` [s] is the part of the CPU time that other programs took, such as ngspice.
    """

    cpu: float
    programs: float
    wall: float
    memory: float
    result: str = ""


def network(units: int) -> Trained:
    config = ModelConfig(
        cell="cmru",
        epsilon=1.0,
        levels=LEVELS,
        skip=True,
        decision="mean",
        classes=tuple(f"class {k}" for k in range(CLASSES)),
        features=FEATURES,
        units=(units, units),
    )
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for name, tensor in config.network().state_dict().items():
        values = torch.randn(tensor.shape, generator=generator)
        if name.endswith("initial_state"):
            values = torch.where(values > 0, 1.0, -1.0)
        tensors[name] = values.abs() + 0.5 if name == "input.scale" else values
    return Trained(config=config, tensors=tensors)


def made(units: int, count: int, timesteps: int) -> tuple[Trained, Design, Sequences]:
    trained = network(units)
    inputs = np.random.default_rng(1).normal(size=(count, timesteps, FEATURES)).astype(np.float32)
    data = Sequences(inputs=inputs, labels=np.arange(count) % CLASSES)
    return trained, mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data)), data


def gate(units: int, count: int, timesteps: int) -> str:
    """The comparison with software, and the certificate, of an export."""
    trained, design, data = made(units, count, timesteps)
    with spice.open_engine(timeout=TIMEOUT) as engine:
        found = verify(design, trained, data, engine, frames=1).comparison
    judged = f"{found.differ} of {found.total} differ, {found.excluded} not judged"
    return judged if found.holds() else f"FAILS: {'; '.join(found.failures())}"


def dies(units: int, engine: str, count: int) -> str:
    trained, design, data = made(units, SEQUENCES, TIMESTEPS)
    job = Job(
        design=design,
        trained=trained,
        sequences=data,
        seed=0,
        varied=variation.select_variations(design),
        engine="spice" if engine == "spice" else "fast",
        timeout=TIMEOUT,
    )
    table = scores(job, range(count))
    job.engines.close()
    return f"{table['status'].to_pylist().count('ok')} of {count} dies ok"


WORK: dict[str, Callable[[int], str]] = {
    "export with its gate": lambda units: gate(units, SEQUENCES, TIMESTEPS),
    "compare, 2 sequences": lambda units: gate(units, 2, TIMESTEPS),
    "montecarlo fast, 100 dies": lambda units: dies(units, "fast", 100),
    "montecarlo spice, 4 dies": lambda units: dies(units, "spice", 4),
    **{f"1 sequence of {steps} timesteps": partial(gate, count=1, timesteps=steps) for steps in LONG},
}
# The same dies in several ways, by number of dies.
DIES: dict[str, Callable[[int], str]] = {
    "flip-flop in SPICE": partial(die_cost.ours, "flipflop"),
    "flip-flop, ngspice -b": partial(die_cost.batch, "flipflop"),
    "flip-flop, chipify": die_cost.chipify,
    "vowels in SPICE": partial(die_cost.ours, "vowels"),
    "vowels, ngspice -b": partial(die_cost.batch, "vowels"),
    "vowels, plain PySpice loop": die_cost.plain_loop,
    "64-64-8 in the fast engine": die_cost.fast_stack,
    "64-64-8, PyTorch product": die_cost.torch_stack,
}


def measure(name: str, units: int) -> Cost:
    """The cost of one piece of work in this process."""
    torch.set_num_threads(1)
    wall, cpu = time.perf_counter(), _cpu()
    result = {**WORK, **DIES}[name](units)
    used = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, programs = (now - before for now, before in zip(_cpu(), cpu, strict=True))
    return Cost(
        cpu=own + programs,
        programs=programs,
        wall=time.perf_counter() - wall,
        memory=max(used) / 2**20,
        result=result,
    )


def _cpu() -> tuple[float, float]:
    """CPU seconds of this process, and of the programs that it ended."""
    own, programs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime, programs.ru_utime + programs.ru_stime


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Finished measurements, stored in ``file`` if there is one. Raises ValueError for a file of something else."""

    file: Path | None = None

    def of(self, name: str, number: int) -> Cost:
        """The cost of one piece of work in a process of its own, unless it is stored."""
        key, found = f"{name}: {number}", self._stored()
        if key not in found:
            command = [sys.executable, "-m", "benchmarks.scale", "--one", name, str(number)]
            measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            found = self._stored() | {key: measured}
            if self.file:
                atomic_write.write_text(self.file, json.dumps(found, indent=1) + "\n")
        return Cost(**found[key])

    def _stored(self) -> dict[str, dict[str, Any]]:
        found = json.loads(self.file.read_text()) if self.file and self.file.exists() else {}
        if not isinstance(found, dict):
            raise ValueError(f"{self.file} holds no measurements: give another file")
        return found

    def per_die(self, name: str, few: int, many: int, *, programs: bool = False) -> float:
        """CPU seconds of one die, from the difference of two numbers of dies; of other programs alone if asked."""
        costs = [self.of(name, count) for count in (few, many)]
        used = [cost.programs if programs else cost.cpu for cost in costs]
        found = (used[1] - used[0]) / (many - few)
        print(
            f"{name:28} {1e3 * found:10.3f} ms CPU a die  ({few} and {many} dies: {used[0]:.2f} and {used[1]:.2f} s)",
            flush=True,
        )
        return found


def versus(measurements: Measurements) -> None:
    """The cost of a die next to that in other programs."""
    per_die = measurements.per_die
    for name, few, many in (("flip-flop", 16, 80), ("vowels", 2, 6)):
        mine = per_die(f"{name} in SPICE", few, many)
        other = per_die(f"{name}, ngspice -b", few, many, programs=True)
        print(f"{name}: a die takes {mine / other:.2f} times the CPU time of ngspice -b")
        if name == "flip-flop" and die_cost.CHIPIFY in os.environ:
            other = per_die(f"{name}, chipify", 4, 12, programs=True)
            print(f"{name}: chipify takes {other / mine:.2f} times the CPU time of a die, and reads one voltage of it")
    loop = per_die("vowels, plain PySpice loop", 1, 2)
    print(f"vowels: a plain PySpice loop takes {loop / mine:.1f} times the CPU time of a die")
    mine, product = per_die("64-64-8 in the fast engine", 512, 2560), per_die("64-64-8, PyTorch product", 512, 2560)
    print(
        f"64-64-8: {1 / mine:.0f} dies/s with two rows and comparators for each unit, {1 / product:.0f} as a PyTorch "
        f"product with one row: {mine / product / 2:.2f} times its time for each weight"
    )


def weights(units: int) -> int:
    """Weights of both layers: candidate and threshold."""
    return 2 * units * (FEATURES + units + FEATURES)


def exponent(sizes: Sequence[float], costs: Sequence[Cost]) -> float:
    """Slope of log(CPU time) over log(size)."""
    return float(np.polyfit(np.log(sizes), np.log([cost.cpu for cost in costs]), 1)[0])


def table(measurements: Measurements, units: Sequence[int], fast: Sequence[int]) -> None:
    """Measure and print each piece of work at every size, and its growth."""

    def measured(name: str, size: int) -> Cost:
        found = measurements.of(name, size)
        print(
            f"2x{size:<5} {name:28} {found.cpu:8.1f} s CPU  {found.wall:8.1f} s wall  {found.memory:5.2f} GiB  "
            f"{found.result}",
            flush=True,
        )
        return found

    for name in list(WORK)[:4]:
        sizes = [*units, *(fast if "fast" in name else ())]
        costs = [measured(name, size) for size in sizes]
        if len(sizes) > 1:
            print(f"{name}: CPU time grows as weights^{exponent([weights(size) for size in sizes], costs):.2f}")
    costs = [measured(f"1 sequence of {steps} timesteps", UNITS_IN_TIME) for steps in LONG]
    print(f"2x{UNITS_IN_TIME}: CPU time grows as timesteps^{exponent(LONG, costs):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--units", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--fast", type=int, nargs="*", default=[1024, 2048], help="more sizes for the fast engine")
    parser.add_argument("--keep", type=Path, help="file of finished measurements, which are not repeated")
    parser.add_argument("--versus", action="store_true", help="only the cost of a die next to that in other programs")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(asdict(measure(given.one[0], int(given.one[1])))))
        return
    measurements = Measurements(file=given.keep)
    if not given.versus:
        table(measurements, given.units, given.fast)
    versus(measurements)


if __name__ == "__main__":
    main()
