"""Noise of the chip's comparator and amplifier, and decisions that noise flips, in transistors.

Run: ``python -m benchmarks.transistor_noise [--decisions N] [--seed N]``. The noise of the blocks follows from their
sensitivities (`cmru_hw.characterize.transistor_noise`). Then one comparator decides N times, with white noise currents
in its transistors, scaled by their conductances at every moment, and with the sampled noise of a row and its replica.
The inputs are known margins, so the decisions that are wrong can be counted. They are compared with the share that
margins and the noise of the blocks predict.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import constants, optimize, stats

from cmru_hw import spice
from cmru_hw.characterize import power_gated_chip, transistor_noise
from cmru_hw.characterize.testbench import Conditions, Testbench
from cmru_hw.characterize.transistor_noise import DEVICES, ComparatorNoise
from cmru_hw.core.signals import Array

Bools = NDArray[np.bool_]
MARGINS = (-6e-4, -4e-4, -2e-4, 2e-4, 4e-4, 6e-4)
# A decision every PERIOD [s]; noise has one value every STEP [s].
PERIOD, EDGE, LOW, STEP = 200e-9, 200e-9, 100e-9, 1e-9
# Currents [A] are voltages [V] times this.
SCALE = 1e-6


def noise_currents(found: ComparatorNoise, decisions: int, rng: np.random.Generator) -> Array:
    """(moments, 10): noise [A] of each device, x1's half first, with the conductances of ``found`` in each decision."""
    moments = round((EDGE + decisions * PERIOD) / STEP)
    after = (np.arange(moments) * STEP - EDGE + PERIOD / 2) % PERIOD - PERIOD / 2
    columns = []
    for device in (*DEVICES, *DEVICES):
        conductance = np.interp(after, found.delays, found.conductance[device])
        columns.append(np.sqrt(2 * constants.k * 300.15 * conductance / STEP) * rng.normal(size=moments))
    return np.stack(columns, axis=1)


def decide(
    engine: spice.Engine, found: ComparatorNoise, share: float, inputs: Array, rng: np.random.Generator
) -> Bools:
    """Whether each of ``inputs`` [V at the row] was decided to be positive; ``share``: of the input that a row gets."""
    count = len(inputs)
    testbench = Testbench(
        name=transistor_noise.TESTBENCH,
        saved=("q",),
        stop=EDGE + count * PERIOD,
        parameters={"qx": 0.0, "qo": 0.0, "period": PERIOD, "low": LOW},
    )
    deck = testbench.deck(Conditions())
    currents = noise_currents(found, count, rng) / SCALE
    time = np.arange(len(currents)) * STEP
    # an input is there from 60 ns before the clock's edge, when the comparator is reset
    given = inputs[np.clip(((time - EDGE + 60e-9) // PERIOD).astype(int), 0, count - 1)] / share
    table = "\n".join(
        " ".join(f"{value:.6e}" for value in row) for row in np.column_stack((time, given, currents)).tolist()
    )
    nodes = [f"n{place}" for place in range(currents.shape[1])]
    lines = [f"anoise %v([na {' '.join(nodes)}]) noise"]
    ones = " ".join("1" for _ in range(len(nodes) + 1))
    zeros = ones.replace("1", "0")
    lines.append(f'.model noise filesource(file="noise.txt" amploffset=[{zeros}] amplscale=[{ones}])')
    other = {"x1": "x2", "om": "op", "": ""}
    ends = [(plus, minus) for plus, minus in DEVICES.values()]
    ends += [(other[plus], other[minus]) for plus, minus in ends]
    for node, (plus, minus) in zip(nodes, ends, strict=True):
        low = f"xcomparator.{minus}" if minus else "0"
        lines.append(f"g{node} {low} xcomparator.{plus} {node} 0 {SCALE}")
    kept = [line for line in deck.text.splitlines() if not line.startswith("va na")]
    kept = [f".tran 1e-9 {testbench.stop!r} 0 1e-9 uic" if line.startswith(".tran") else line for line in kept]
    text = "\n".join([*kept, *lines]) + "\n"
    traces = engine.run(
        replace(deck, text=text, files={**deck.files, "noise.txt": table.encode()}, stop=testbench.stop)
    ).traces
    moments: Array = EDGE + PERIOD * np.arange(count, dtype=np.float64) + 0.95 * LOW
    return traces.at("q", moments) > 0.9


def fitted(margins: Array, right: Bools) -> float:
    """Noise [V rms] at which the observed decisions are most likely."""

    def unlikely(logarithm: float) -> float:
        share = stats.norm.cdf(np.abs(margins) / np.exp(logarithm))
        return -float(np.log(np.where(right, share, 1 - share)).sum())

    return float(np.exp(optimize.minimize_scalar(unlikely, bounds=(np.log(5e-5), np.log(3e-3)), method="bounded").x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    with spice.open_engine(timeout=7200) as engine:
        found = transistor_noise.comparator_noise(engine, Conditions())
        amplifier = transistor_noise.amplifier_noise(engine, Conditions())
        print(f"comparator: {found.sigma * 1e3:.3f} mV rms at the row; " + parts(found.parts))
        print(f"amplifier:  {amplifier.sigma * 1e3:.3f} mV rms in the state; " + parts(amplifier.parts))
        parasitic = power_gated_chip.row_parasitic(engine, Conditions())
        row = power_gated_chip.ROW
        sampled = float(np.sqrt(2 * constants.k * 300.15 / (row + parasitic)))
        margins = np.resize(np.array(MARGINS), chosen.decisions)
        inputs = margins + sampled * rng.normal(size=chosen.decisions)
        up = decide(engine, found, row / (row + parasitic), inputs, rng)
    right = up == (margins > 0)
    total = float(np.hypot(found.sigma, sampled))
    print(
        f"row and replica of {(row + parasitic) * 1e15:.0f} fF: {sampled * 1e3:.3f} mV rms; all: {total * 1e3:.3f} mV"
    )
    for margin in sorted({abs(one) for one in MARGINS}):
        some = np.abs(margins) == margin
        expected = 1000 * stats.norm.cdf(-margin / total)
        flipped = int((~right[some]).sum())
        print(
            f"margin {margin * 1e3:.1f} mV: {1000 * flipped / some.sum():.0f} of 1000 flip "
            f"({flipped} of {some.sum()}), expected {expected:.0f}"
        )
    sigma = fitted(margins, right)
    print(f"noise that explains the decisions: {sigma * 1e3:.3f} mV rms, of which comparator "
          f"{np.sqrt(max(sigma**2 - sampled**2, 0)) * 1e3:.3f} mV")  # fmt: skip


def parts(found: dict[str, float] | object) -> str:
    assert isinstance(found, dict)
    return ", ".join(f"{name} {value * 1e3:.3f}" for name, value in found.items())


if __name__ == "__main__":
    main()
