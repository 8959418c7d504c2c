"""Yield, power and area of the current-mode detectors: devices in parallel, and centred thresholds.

Run: ``python -m benchmarks.current_sizes [MODEL ...] [--dies N]`` (default: all detectors, 400 dies; 15 minutes of
CPU). Dies are those of seed 1 in the fast engine, on all test utterances. Thresholds are centred on the training
utterances.
"""

from __future__ import annotations

import sys

from cmru_hw.analysis.montecarlo import statistics
from cmru_hw.analysis.montecarlo.interval import clopper_pearson
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.circuits.current import architecture, mapping, technology, variation
from cmru_hw.circuits.current import fast as fast_engine
from cmru_hw.core import package_data
from cmru_hw.nn import centring, checkpoint, tasks
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences, load_sequences

MODELS = ("detect-fq-bmru-2x4", "detect-fq-bmru-2x8")
SEED, DROP = 1, 0.01
# Numbers of devices in parallel by size class. The path to the thresholds of layer 1 limits the yield.
PATH = ("layer0/levels", "layer0/output", "layer1/thresholds")
SIZES: dict[str, dict[str, int]] = {
    "one device each": {},
    "4, all": {"all": 4},
    "4, path": {**dict.fromkeys(PATH, 4), "constant": 2},
    "6, path": {**dict.fromkeys(PATH, 6), "constant": 3},
    "8, path": {**dict.fromkeys(PATH, 8), "constant": 4},
}


def row(trained: Trained, data: Sequences, sizes: dict[str, int], count: int) -> str:
    design = _design(trained, data, sizes)
    job = Job(design=design, trained=trained, sequences=data, seed=SEED, varied=variation.select_variations(design))
    table = statistics.scores(job, range(count))
    good = int(statistics.passed(table, job.goal.accuracy, DROP).sum())
    interval = clopper_pearson(good, count)
    area = architecture.parts(design).area * 1e12
    return (
        f"{good} of {count} ({good / count:.1%}, {interval.low:.1%} to {interval.high:.1%}), "
        f"{_power(design, data) * 1e9:.1f} nW, {area:.0f} um2"
    )


def _design(trained: Trained, data: Sequences, sizes: dict[str, int]) -> mapping.CurrentDesign:
    kind = technology.with_parallel(technology.load("gf180"), sizes)
    return mapping.map_network(trained, kind, mapping.calibrate(trained, data))


def _power(design: mapping.CurrentDesign, data: Sequences) -> float:
    """Mean power [W] by the static mirrors of the fast engine, over all timesteps."""
    nominal = variation.draw(design, seed=0, dies=[0], varied=frozenset())
    supply = fast_engine.run(nominal, data).supply
    return design.technology.vdd * sum(float(current[0][data.valid].mean()) for current in supply.values())


def main() -> None:
    words = sys.argv[1:]
    count = 400
    if "--dies" in words:
        place = words.index("--dies")
        count = int(words[place + 1])
        del words[place : place + 2]
    folder = package_data.folder("models")
    data = load_sequences(folder / "detect-eval.npz")
    for model in words or MODELS:
        trained = checkpoint.load(folder / f"{model}.safetensors")
        centred, moved = centring.centred(trained, tasks.get("detect").train)
        print(f"{model}, 1 nA per unit: dies at most {DROP:.0%} below software, power (static mirrors), area")
        for title, network in (("as trained", trained), (f"centred, {len(moved)} units moved", centred)):
            for name, sizes in SIZES.items():
                print(f"  {title}; {name}: {row(network, data, sizes, count)}", flush=True)


if __name__ == "__main__":
    main()
