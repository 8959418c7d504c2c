"""Drift of rows after the calibration of their trim codes, with temperature or supply.

A technology states the standard deviations, which were measured on transistors. A run has the drift only if it is asked
for (:func:`.variation.select_variations`): codes are found without it, and the rows move afterwards.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cmru_hw.circuits.charge import trim_search
from cmru_hw.circuits.charge.design import Row
from cmru_hw.circuits.charge.variation import DRIFT_LEAVES, Dies, Draws
from cmru_hw.core.signals import Array


def in_use(dies: Dies) -> Dies:
    """``dies`` with the codes that their comparators find, and the drift since then; unchanged without trim."""
    return _moved(trim_search.calibrated(dies), 1.0)


def in_calibration(dies: Dies) -> Dies:
    """Inverse of :func:`in_use` for the offsets: ``dies`` as they were when their codes were searched."""
    return _moved(dies, -1.0)


def _moved(dies: Dies, sign: float) -> Dies:
    if not any(leaf.rpartition("/")[2] in DRIFT_LEAVES.values() for leaf in dies.varied):
        return dies
    layers = []
    for index, layer in enumerate(dies.batch.layers):
        low, high = (
            _shifted(dies, row, f"layer{index}", kind, sign, states=index > 0)
            for kind, row in (("a", layer.low), ("b", layer.high))
        )
        layers.append(replace(layer, low=low, high=high))
    readout = _shifted(dies, dies.batch.readout, "readout", "y", sign, states=True)
    return replace(dies, batch=replace(dies.batch, layers=tuple(layers), readout=readout))


def _shifted(dies: Dies, row: Row, group: str, kind: str, sign: float, *, states: bool) -> Row:
    """``row`` with its drift; ``states``: it reads states."""
    return replace(row, offset=row.offset + sign * drift(dies, group, kind, row.offset.shape[1], states=states))


def drift(dies: Dies, group: str, kind: str, units: int, *, states: bool) -> Array:
    """Drift [V] of the offsets of rows ``kind`` of ``group``, (dies, units); zeros for leaves that do not vary."""
    bank, draws = dies.nominal.technology.trim, Draws(seed=dies.seed, numbers=dies.numbers, varied=dies.varied)
    assert bank is not None
    sigma = {
        "temperature": bank.drift_temperature,
        "supply": bank.drift_supply_states if states else bank.drift_supply,
    }
    moved = [volts * draws.normal(f"{group}/{DRIFT_LEAVES[cause]}", kind, (units,)) for cause, volts in sigma.items()]
    return np.asarray(np.sum(moved, axis=0))
