"""Rows of the chip with offset trim in transistors: the offsets that remain after they have found their own codes.

Run: ``python -m benchmarks.transistor_trim DIR [--dies N] [--first DIE] [--jobs N]``. Every die draws the mismatch of
all devices of two rows of a unit, of the unit's amplifier, of a row of the next layer that reads it, and of their banks
and bits (`netlists/testbenches/transistor_power_gated_trim.cir`). Its comparators search the codes at 27 °C. The same
die with these codes then runs at 85 °C, and at 27 °C with its thresholds moving, as in use. A die takes about 10 s of
CPU time. Finished simulations are stored in DIR, and the same command resumes.

The macromodel twin is a network of the same sizes in the fast engine, with the variations of the same devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks import transistor_mismatch
from cmru_hw import spice
from cmru_hw.characterize.testbench import Conditions, Testbench, sample
from cmru_hw.circuits.charge import fidelity, mapping, trim, trim_codes, trim_search, variation
from cmru_hw.circuits.charge.design import Calibration, Design
from cmru_hw.core.errors import SimulationError
from cmru_hw.core.signals import Array, Traces
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.process import technology
from cmru_hw.spice.deck import Deck

BITS = 5
ROWS = "abc"
# Of each row: the vector of its correction, that of its replica, and the time [s] in a frame when it is compared.
ADDED = {"a": "ta", "b": "tb", "c": "tn"}
REPLICA = {"a": "fa", "b": "fb", "c": "fn"}
FIRED = {"a": 0.4725e-6, "b": 0.4725e-6, "c": 1.4898e-6}
FRAME = 2e-6
# First frame of the measurement after a search, and with given codes; frames of a measurement, its largest step [V].
SEARCHED, GIVEN, FRAMES, SIZE = 6, 1, 5, 1e-3
COOL, HOT = Conditions(temperature=27.0), Conditions(temperature=85.0)
# Half a step at a row of 200 fF and its parasitics [F].
HALF = 0.067e-15
# Weights of the next layer on the state and on its own input: 110 fF and 80 fF of the testbench's row.
STATE_WEIGHT = (0.123, 1.0)


@dataclass(frozen=True, kw_only=True)
class TrimmedRow:
    """One row of a die: its code, and its offsets [V] at the row, before the search and after it.

    ``left`` as calibrated (thresholds still), ``hot`` the same at 85 °C, ``moving`` at 27 °C with the thresholds
    moving, whose capacitors have a mismatch of their own.
    """

    code: int
    before: float
    left: float
    hot: float
    moving: float


Die = Mapping[str, TrimmedRow]


def testbench(parameters: Mapping[str, float], **more: float) -> Testbench:
    """The testbench with the sizes ``parameters`` and its own parameters ``more``."""
    first = int(more.get("first", SEARCHED))
    nodes = [*ROWS, *ADDED.values(), *REPLICA.values()]
    return Testbench(
        name="transistor_power_gated_trim",
        saved=(*nodes, *(f"xt{row}.b{bit}" for row in ROWS for bit in range(BITS))),
        stop=(first + FRAMES) * FRAME,
        parameters={**parameters, "half": HALF, "size": SIZE, **more},
    )


def codes(traces: Traces) -> dict[str, int]:
    """The codes that the bits of a run hold at its end. Raises SimulationError for a bit at neither rail."""
    found = {}
    for row in ROWS:
        bits = np.array([traces.values[f"xt{row}.b{bit}"][-1] for bit in range(BITS)]) / COOL.vdd
        code = trim_codes.decoded(bits)
        if code is None:
            raise SimulationError(f"a bit of row {row} is at neither rail: {bits.round(2).tolist()}")
        found[row] = code
    return found


def differential(traces: Traces, row: str, frames: Array) -> Array:
    """Input [V] of the comparator of ``row`` when it fires in ``frames``."""
    at = FRAME * frames + FIRED[row]
    return traces.at(row, at) - traces.at(REPLICA[row], at)


def measured(traces: Traces, row: str, first: int) -> tuple[float, float]:
    """The correction that balances the comparator of ``row``, and the input at which it turns over [V at the row].

    Raises SimulationError if the correction ends at the limit of the measurement.
    """
    frames = first + np.arange(FRAMES, dtype=np.float64)
    # A correction comes after the decision of its frame.
    tried, last = traces.at(ADDED[row], FRAME * frames), float(traces.values[ADDED[row]][-1])
    largest = (2.4 if row == "c" else 1.0) * SIZE * (2 - 2.0 ** (1 - FRAMES))
    if abs(last) > 0.999 * largest:
        raise SimulationError(f"row {row} is {1e3 * abs(last):.2f} mV or more off, beyond the range of the measurement")
    slope, level = np.polyfit(tried, differential(traces, row, frames), 1)
    return float(slope * last), float(level + slope * last)


def die(searched: Traces, hot: Traces, moving: Traces) -> Die:
    """One die from its three runs."""
    found = {}
    for row, code in codes(searched).items():
        left, turns = measured(searched, row, SEARCHED)
        # The first window of the search tries code 0, with everything else at rest.
        at_zero = float(differential(searched, row, np.ones(1))[0])
        found[row] = TrimmedRow(
            code=code,
            before=turns - at_zero,
            left=left,
            hot=measured(hot, row, GIVEN)[0],
            moving=measured(moving, row, GIVEN)[0],
        )
    return found


def transistors(folder: Path, parameters: Mapping[str, float], dies: range, jobs: int) -> dict[int, Die]:
    """Dies by their number, 0 for equal devices; a die that fails is reported and left out."""
    seeds, found = [0, *dies], dict[int, Die]()
    search = testbench(parameters)
    with spice.open_engine(jobs=jobs, cache=folder / "cache") as engine:
        for seed in seeds:
            try:
                first = engine.run(search.deck(COOL, mismatch=seed or None)).traces
                given = {f"code{row}": float(code) for row, code in codes(first).items()}
                still = testbench(parameters, search=0.0, first=float(GIVEN), **given)
                used = testbench(parameters, search=0.0, first=float(GIVEN), moving=1.0, **given)
                decks: list[Deck] = [one.deck(at, mismatch=seed or None) for one, at in ((still, HOT), (used, COOL))]
                hot, moving = (engine.run(deck).traces for deck in decks)
                found[seed] = die(first, hot, moving)
            except SimulationError as error:
                print(f"die {seed}: {error}", flush=True)
                continue
            print(
                f"die {seed}: "
                + "; ".join(
                    f"{row} {one.code:+d} {1e3 * one.before:+.2f} mV, left {1e3 * one.left:+.2f}, at 85 C "
                    f"{1e3 * one.hot:+.2f}, moving {1e3 * one.moving:+.2f}"
                    for row, one in found[seed].items()
                ),
                flush=True,
            )
    return found


def twin() -> Design:
    """Macromodels of the rows at the same sizes: a unit, and a unit of the next layer that reads it and an input."""
    config = ModelConfig(
        cell="cmru", epsilon=1.0, levels=transistor_mismatch.LEVELS, skip=True, decision="mean",
        classes=("low", "high"), features=1, units=(1, 1),
    )  # fmt: skip
    tensors = {name: torch.zeros_like(values) for name, values in config.network().state_dict().items()}
    tensors |= {
        "input.scale": torch.ones(1),
        "layers.0.candidate.weight": torch.ones(1, 1),
        "layers.0.threshold.bias": torch.full((1,), transistor_mismatch.THRESHOLD),
        "layers.0.alpha": torch.ones(1),
        "layers.0.initial_state": -torch.ones(1),
        "layers.1.candidate.weight": torch.tensor([STATE_WEIGHT]),
        "layers.1.alpha": torch.ones(1),
        "layers.1.initial_state": -torch.ones(1),
        "readout.weight": torch.tensor([[-1.0], [1.0]]),
    }
    kind = fidelity.with_trim(fidelity.at_level(technology.load("gf180"), "macro", "power-gated"), BITS)
    top = float(transistor_mismatch.LEVELS)
    seen = Calibration(inputs=(1.0,), largest=(1.0,), percentile=100.0, states=(top, top), source="the whole range")
    return mapping.map_network(Trained(config=config, tensors=tensors), kind, seen)


def macro(design: Design, count: int) -> dict[str, dict[str, Array]]:
    """Offsets [V] of ``count`` dies by kind and row: the fields of `TrimmedRow` that a macromodel has.

    Without global variation and noise, which the transistor-level simulation does not have.
    """
    local = ["layer0", "layer1"]
    dies = variation.draw(design, seed=0, dies=range(count), varied=variation.select_variations(design, only=local))
    found: dict[str, dict[str, Array]] = {"before": {}, "left": {}, "moving": {}}
    batch = trim_search.calibrated(dies).batch
    layers = (*((0, kind) for kind in ("low", "high")), (1, "low"))
    for row, (index, kind) in zip(ROWS, layers, strict=True):
        one, nominal = getattr(batch.layers[index], kind), getattr(design.layers[index], kind)
        tap = (one.bias + one.threshold - nominal.bias - nominal.threshold)[:, 0]
        found["before"][row] = one.offset[:, 0]
        found["left"][row] = (one.offset - trim.shift(one, design.technology))[:, 0]
        moved = tap * design.technology.supply.vdd / trim.replica(design.technology)
        found["moving"][row] = found["left"][row] + moved
    return found


def report(found: Mapping[int, Die], twins: dict[str, dict[str, Array]]) -> None:
    drawn = [one for seed, one in found.items() if seed]
    count = len(next(iter(twins["left"].values())))
    print(f"sigma with its 95 % interval, mean and largest [mV] of {len(drawn)} dies, and sigma of {count} macro dies")
    for name, title in (("before", "code 0"), ("left", "calibrated"), ("hot", "at 85 C"), ("moving", "in use")):
        for rows in (*ROWS, ROWS):
            ours = [1e3 * getattr(one[row], name) for one in drawn for row in rows]
            a = sample(ours, failed=0)
            line = f"{title:10} {rows:3} {a.sigma:6.3f} ({a.low:.3f} to {a.high:.3f}), mean {a.mean:+.3f}, largest "
            line += f"{np.abs(ours).max():.3f}"
            if name in twins:
                b = sample((1e3 * np.concatenate([twins[name][row] for row in rows])).tolist(), failed=0)
                low, high = transistor_mismatch.ratio(a, b)
                line += (
                    f"; macro {b.sigma:.3f}, ratio {low:.2f} to {high:.2f} {'agree' if low < 1 < high else 'DIFFER'}"
                )
            print(line)
    drift = sample([1e3 * (one[row].hot - one[row].left) for one in drawn for row in ROWS], failed=0)
    print(
        f"drift from 27 to 85 C: sigma {drift.sigma:.3f} ({drift.low:.3f} to {drift.high:.3f}), mean {drift.mean:+.3f}"
    )
    codes_of = [one[row].code for one in drawn for row in ROWS]
    print(f"codes from {min(codes_of)} to {max(codes_of)}")


def main() -> None:
    folder, dies, jobs = transistor_mismatch.arguments(__doc__, dies=100)
    sizes = transistor_mismatch.sizes(transistor_mismatch.one_unit())
    rows = {name: sizes[name] for name in ("cw", "tap", "wf", "cint", "lt", "vcm", "zero")}
    found = transistors(folder, rows, dies, jobs)
    report(found, macro(twin(), 10 * len(dies)))


if __name__ == "__main__":
    main()
