"""Compile the loops of the fast engine, so that the first Monte-Carlo does not wait for it. ``make`` does this once.

numba stores machine code next to the source. Without this step, the first command that needs a loop compiles it.
"""

from __future__ import annotations

from pathlib import Path

from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.analysis.montecarlo.statistics import scores
from cmru_hw.circuits.charge import mapping, variation
from cmru_hw.nn import checkpoint
from cmru_hw.nn.sequences import load_sequences
from cmru_hw.process import technology

MODELS = Path(__file__).parent.parent / "models"
# With and without packets of a third weighted sum.
NETWORKS = ("vowels-cmru-2x16", "vowels-acmru-2x16")


def main() -> None:
    data = load_sequences(MODELS / "vowels-eval.npz").first(2)
    for name in NETWORKS:
        trained = checkpoint.load(MODELS / f"{name}.safetensors")
        design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
        varied = variation.select_variations(design)
        scores(Job(design=design, trained=trained, sequences=data, seed=0, varied=varied), [0])


if __name__ == "__main__":
    main()
