"""Decisions that noise flips, per thousand: from margins and noise, and in the fast engine.

Run: ``python -m benchmarks.decision_noise [--model NAME] [--dies N]``. The network has the sizes of the power-gated
chip and no mismatch. A decision flips with the probability that its two rows, each with normal noise, have other signs.
The fast engine decides N times on all evaluation sequences, each time with other noise.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import norm

from cmru_hw.circuits.charge import fast, fidelity, mapping, noise, variation
from cmru_hw.circuits.charge.continuation import row_gain
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.comparison import software
from cmru_hw.core import package_data
from cmru_hw.core.signals import Array
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.process import technology

NOISE = frozenset({"noise/row", "noise/decision", "noise/wander"})


def expected(design: Design, trained: Trained, data: Sequences) -> list[Array]:
    """Probability that each decision flips, (sequences, timesteps, units) of each layer, on software's states."""
    dies = variation.draw(design, seed=0, dies=[0], varied=NOISE)
    out = software(design.input_range, trained, data)
    found = []
    for index, layer in enumerate(design.layers):
        sources = noise.layer_noise(dies, index)
        c, beta = out.candidates[index], out.thresholds[index]
        low, high = (
            value * row_gain(design, row) / np.sqrt((source.sigma[0] ** 2).sum(axis=0))
            for value, row, source in ((c - beta, layer.low, sources.low), (c + beta, layer.high, sources.high))
        )
        up, down = norm.cdf(low) * norm.cdf(high), norm.cdf(-low) * norm.cdf(-high)
        decided = np.sign(np.sign(low) + np.sign(high))
        found.append(1 - np.where(decided > 0, up, np.where(decided < 0, down, 1 - up - down)))
    return found


def flips(design: Design, data: Sequences, dies: int, seed: int = 1) -> list[float]:
    """Share of each layer's decisions that differ from those without noise, in the fast engine."""
    plain = fast.respond(variation.draw(design, seed=seed, dies=[0], varied=frozenset()), data)[0]
    noisy = fast.respond(variation.draw(design, seed=seed, dies=range(dies), varied=NOISE), data)
    valid = data.valid
    return [
        float(np.mean([(one.decisions[index] != plain.decisions[index])[valid].mean() for one in noisy]))
        for index in range(len(design.layers))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="detect-cmru-2x4")
    parser.add_argument("--data", default="detect-eval")
    parser.add_argument("--dies", type=int, default=20)
    chosen = parser.parse_args()
    models = package_data.folder("models")
    trained, data = (
        checkpoint.load(models / f"{chosen.model}.safetensors"),
        load_sequences(models / f"{chosen.data}.npz"),
    )
    kind = fidelity.at_level(technology.load("gf180"), "macro", "power-gated")
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    counted = flips(design, data, chosen.dies)
    for index, share in enumerate(expected(design, trained, data)):
        print(
            f"layer {index}: {1000 * share[data.valid].mean():.2f} of 1000 decisions expected to flip, "
            f"{1000 * counted[index]:.2f} in the fast engine"
        )


if __name__ == "__main__":
    main()
