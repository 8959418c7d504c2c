"""One unit of the chip with mismatch in every transistor, compared with dies of its macromodel.

Run: ``python -m benchmarks.transistor_mismatch DIR [--dies N] [--first DIE] [--jobs N]``. A transistor-level die takes
about 4 s of CPU time. Finished ones are stored in DIR, and the same command resumes. The macromodel has the
technology's values, gain and parasitics included, which were measured on separate blocks
(`cmru_hw.characterize.power_gated_chip.blocks`). Two sigmas agree if the 95 % interval of their ratio, from the F
distribution, contains 1.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from cmru_hw import spice
from cmru_hw.characterize import power_gated_chip
from cmru_hw.characterize.testbench import Conditions, Sigma, sample
from cmru_hw.circuits.charge import fidelity, mapping, variation
from cmru_hw.circuits.charge.design import Calibration, Design
from cmru_hw.circuits.charge.fast import respond
from cmru_hw.circuits.charge.transistor_parts import replica_gates
from cmru_hw.core.errors import SimulationError
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import technology

LEVELS, THRESHOLD = 7, 0.25
CONDITIONS = Conditions()
# Search range [V] of a threshold around its nominal value at macro level.
REACH = 30e-3


def one_unit() -> Design:
    """A network of one unit as on the chip: row and packet sizes of the shipped technology, one input."""
    config = ModelConfig(
        cell="cmru", epsilon=1.0, levels=LEVELS, skip=False, decision="mean", classes=("low", "high"), features=1,
        units=(1,),
    )  # fmt: skip
    tensors = {name: torch.zeros_like(values) for name, values in config.network().state_dict().items()}
    tensors |= {
        "input.scale": torch.ones(1),
        "layers.0.candidate.weight": torch.ones(1, 1),
        "layers.0.threshold.bias": torch.full((1,), THRESHOLD),
        "layers.0.alpha": torch.ones(1),
        "layers.0.initial_state": -torch.ones(1),
        "readout.weight": torch.tensor([[-1.0], [1.0]]),
    }
    kind = fidelity.at_level(technology.load("gf180"), "transistor", "power-gated")
    seen = Calibration(
        inputs=(1.0,), largest=(1.0,), percentile=100.0, states=(float(LEVELS),), source="the whole range"
    )
    return mapping.map_network(Trained(config=config, tensors=tensors), kind, seen)


def sizes(design: Design) -> dict[str, float]:
    """Sizes of ``design`` as parameters of the testbench."""
    layer, chip = design.layers[0], design.technology.power_gated
    assert chip is not None
    weight, tap = float(layer.low.weights[0, 0]), -float(layer.low.bias[0] + layer.low.threshold[0])
    packet, integrator = float(layer.packet[0]), float(layer.integrator[0])
    width, length = replica_gates({"a": {"0": ("p0", weight)}, "b": {"0": ("p0", weight)}})["a"]
    return {
        "cw": weight,
        "tap": tap,
        "wf": width,
        "lf": length,
        "cs": packet,
        "cint": integrator,
        "cla": chip.limit,
        "clb": chip.limit * (LEVELS - 0.5) * packet / integrator,
        "lt": chip.tail,
        "vcm": design.technology.supply.common_mode,
        "zero": chip.zero,
    }


def transistors(folder: Path, parameters: dict[str, float], dies: range, jobs: int) -> list[power_gated_chip.UnitDie]:
    """Results without mismatch, then of ``dies``; a die that fails is reported and left out."""
    bench = power_gated_chip.unit_testbench(parameters)
    decks = [bench.deck(CONDITIONS, mismatch=seed or None) for seed in (0, *dies)]
    found = {}
    with spice.open_engine(jobs=jobs, cache=folder / "cache") as engine:
        for index, outcome in engine.map(decks):
            if isinstance(outcome, SimulationError):
                print(f"die {index}: {outcome}", flush=True)
                continue
            found[index] = power_gated_chip.unit_die(outcome.traces, CONDITIONS, parameters)
            if index == 0:
                overdrive, delay = power_gated_chip.slowest(outcome.traces, CONDITIONS, found[0])
                print(f"slowest decision of equal devices: {1e9 * delay:.0f} ns at {1e3 * overdrive:.2f} mV")
    return [found[index] for index in sorted(found)]


def macro(design: Design, dies: range) -> list[power_gated_chip.UnitDie]:
    """Results without mismatch, then of macro-level dies in the fast engine: two ramps of the candidate, and packets.

    Without global variation and noise, which the transistor-level simulation does not have.
    """
    layer = design.layers[0]
    equal = variation.draw(design, seed=0, dies=[0], varied=frozenset())
    drawn = variation.draw(design, seed=0, dies=dies, varied=variation.select_variations(design, only=["layer0"]))
    middle = design.bias * -float(layer.low.threshold[0] / layer.low.weights[0, 0])
    stairs = np.arange(-REACH, REACH, power_gated_chip.RESOLUTION)
    packets = np.resize([0.2, -0.2], len(stairs))
    volts = np.stack([middle + stairs, -middle - stairs, packets])
    sequences = Sequences(
        inputs=(volts / design.input_unit)[:, :, None].astype(np.float32), lengths=np.array([len(stairs)] * 2 + [3])
    )
    found = []
    for some in (equal, drawn):
        for place, answer in enumerate(respond(some, sequences)):
            die, moves = some.batch.layers[0], answer.decisions[0][:, :, 0]
            first, second, third = answer.states[0][2, :3, 0] * layer.step[0]
            found.append(
                power_gated_chip.UnitDie(
                    threshold_up=float(volts[0, np.argmax(moves[0] > 0)]),
                    threshold_down=float(volts[1, np.argmax(moves[1] < 0)]),
                    offset_low=-float(die.low.offset[place, 0]),
                    offset_high=-float(die.high.offset[place, 0]),
                    packet_up=float(third - second),
                    packet_down=float(first - second),
                    # There is no charge injection, so the error of packets is that of the amplifier.
                    state=-float(die.packet_offset[place, 0]),
                )
            )
    return found


def quantities(dies: list[power_gated_chip.UnitDie]) -> dict[str, list[float]]:
    """Measured quantities in mV, in the order of ``dies``."""
    found = {name: [1e3 * getattr(die, name) for die in dies] for name in power_gated_chip.UnitDie.__dataclass_fields__}
    pairs = list(zip(found["packet_up"], found["packet_down"], strict=True))
    return found | {"packet": [(up + down) / 2 for up, down in pairs], "up - down": [up - down for up, down in pairs]}


def ratio(a: Sigma, b: Sigma) -> tuple[float, float]:
    """95 % interval of the ratio of two sigmas of normal samples."""
    found = a.sigma / b.sigma / np.sqrt(stats.f.ppf([0.975, 0.025], len(a.values) - 1, len(b.values) - 1))
    return float(found[0]), float(found[1])


def report(ours: list[power_gated_chip.UnitDie], twins: list[power_gated_chip.UnitDie]) -> None:
    print(f"{'mV':14} {'transistors':>33} {'macro':>33}  ratio")
    left, right = quantities(ours), quantities(twins)
    for name in left:
        a, b = (sample(values[name][1:], failed=0) for values in (left, right))
        low, high = ratio(a, b)
        columns = "  ".join(
            f"{values[name][0]:8.3f} {found.sigma:6.3f} ({found.low:.3f} to {found.high:.3f})"
            for values, found in ((left, a), (right, b))
        )
        print(f"{name:14} {columns}  {low:.2f} to {high:.2f} {'agree' if low < 1 < high else 'DIFFER'}")
    print(f"equal devices, then sigma of {len(ours) - 1} and {len(twins) - 1} dies with its 95 % interval")


def arguments(description: str | None, *, dies: int) -> tuple[Path, range, int]:
    """The folder, dies and worker processes that the command line names; ``dies`` of them by default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dies", type=int, default=dies)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    return given.folder, range(given.first, given.first + given.dies), given.jobs


def main() -> None:
    folder, dies, jobs = arguments(__doc__, dies=200)
    design = one_unit()
    ours = transistors(folder, sizes(design), dies, jobs)
    with spice.open_engine() as engine:
        gain, parasitic = (
            power_gated_chip.amplifier_gain(engine, CONDITIONS),
            power_gated_chip.row_parasitic(engine, CONDITIONS),
        )
    print(f"amplifier's gain {gain:.0f}, a row's parasitic {1e15 * parasitic:.1f} fF")
    kind = design.technology
    twin = replace(
        design,
        technology=replace(kind, capacitor=replace(kind.capacitor, parasitic=parasitic)),
        layers=(replace(design.layers[0], gain=np.full(1, gain)),),
    )
    report(ours, macro(twin, dies))


if __name__ == "__main__":
    main()
