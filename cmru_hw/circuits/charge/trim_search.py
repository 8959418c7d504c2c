"""Search of trim codes at power-on, in the fast engine: by bisection, on the decisions of each row's own comparator.

All rows of all layers are searched in the same windows, one for each bit. Meanwhile the inputs are at their zero, the
lines of the constants stand still, and states are empty, so that a row reads the bare offsets of the amplifiers before
it. All that is constant goes with the comparator's offset: injected charge and amplifiers' offsets. A window keeps its
bit if the row is still above its replica, by the majority of ``repeats`` decisions, each with noise of its own. While
codes are searched, half a step stands in the way of every row: codes are then rounded to the nearest, not down.

Codes are a function of seed and die, as are the draws. :mod:`.trim_windows` is the same search in SPICE.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge import noise, trim
from cmru_hw.circuits.charge.design import Row
from cmru_hw.circuits.charge.fast.batching import rises
from cmru_hw.circuits.charge.fast.integrators import drift
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.core.signals import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """Codes (dies, units) of the rows of :func:`.trim.rows`, and the smallest distance [V] of any decision that they
    follow from, (dies, units) as well, from turning out the other way."""

    codes: trim.Codes
    margins: dict[str, Array]


def calibrated(dies: Dies) -> Dies:
    """``dies`` with the codes that their comparators find; unchanged without trim."""
    if not dies.nominal.technology.trim_bits:
        return dies
    return replace(dies, batch=trim.with_codes(dies.batch, search(dies).codes))


def search(dies: Dies) -> Search:
    """The codes that the comparators of ``dies`` find, whatever the codes of their rows are."""
    constants, sources = _constants(dies), noise.calibration_noise(dies)
    codes: trim.Codes = {}
    margins: dict[str, Array] = {}
    for name, row in trim.rows(dies.batch).items():
        codes[name], margins[name] = _of_rows(dies, row, constants[name], sources[name])
    return Search(codes=codes, margins=margins)


def _of_rows(dies: Dies, row: Row, constant: Array, source: noise.NoiseSource) -> tuple[NDArray[np.int64], Array]:
    technology = dies.nominal.technology
    assert technology.trim is not None
    bits, repeats = technology.trim.bits, technology.trim.repeats
    frames = np.arange(1, bits * repeats + 1)
    noisy = constant[..., None] + source.on_all(noise.moments(noise.CALIBRATION, frames))
    margin = np.full(constant.shape, np.inf)

    def above(window: int, trial: trim.Codes) -> dict[str, NDArray[np.bool_]]:
        seen = noisy[..., window * repeats : (window + 1) * repeats]
        drive = seen - trim.shift(row, technology, trial[""])[..., None]
        np.minimum(margin, np.abs(drive).min(-1), out=margin)
        return {"": np.moveaxis(drive > 0, -1, 0)}

    return trim.bisected(technology.trim, {"": constant.shape}, above)[""], margin


def _constants(dies: Dies) -> dict[str, Array]:
    """What every row reads in calibration (dies, units) [V], without noise and at code 0."""
    nominal, technology = dies.nominal, dies.nominal.technology
    rise, features = rises(nominal), nominal.config.features
    # drift [V per timestep] of the lines, and since when [timesteps] they are not held at zero
    slope, since = np.zeros((len(dies), features)), np.zeros(features)
    found: dict[str, Array] = {}

    def constant(row: Row, at: float) -> Array:
        total = row.total + technology.capacitor.parasitic
        lower = trim.half(row.taps) * technology.supply.vdd / trim.replica(technology)
        drifted = (row.weights * (slope * (at - since))[:, None]).sum(2) / total
        return np.asarray(row.offset + lower + drifted)

    for index, layer in enumerate(dies.batch.layers):
        at = rise[f"e{index}"]
        found |= {f"a{index}_": constant(layer.low, at), f"b{index}_": constant(layer.high, at)}
        own, held = drift(nominal, layer), np.full(layer.units, at)
        joined = nominal.config.skip
        slope = np.concatenate((own, slope), axis=1) if joined else own
        since = np.concatenate((held, since)) if joined else held
        last = (own, held)
    slope, since = last
    return found | {"y": constant(dies.batch.readout, rise["r"])}


def beyond(dies: Dies) -> NDArray[np.int64]:
    """(dies,): rows of each die whose offset is out of the range of their codes, by more than a step."""
    technology = dies.nominal.technology
    count = np.zeros(len(dies), dtype=np.int64)
    bits = technology.trim_bits
    if not bits:
        return count
    lowest, highest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    for row in trim.rows(dies.batch).values():
        left = row.offset - trim.shift(row, technology)
        limit = trim.step(row, technology)
        low, high = (row.code == lowest) & (left < -limit), (row.code == highest) & (left > limit)
        count += (low | high).sum(-1)
    return count
