"""Search of trim codes at power-on, in SPICE: the windows of :mod:`.trim_search`, each simulated.

A deck is one window: all rows with the codes that they try, inputs at their zero, the line of the constant 1 at V_cm,
init on, no packets. The decisions of the netlist's own comparators say what the next window tries.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge import macro_netlist, noise, trim
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.core.errors import ResultRejected
from cmru_hw.core.signals import Array
from cmru_hw.spice import Engine


def search(dies: Dies, engine: Engine) -> trim.Codes:
    """Codes (1, units) that the only die of ``dies`` finds in ``engine``. Raises SimulationError."""
    assert len(dies) == 1
    technology = dies.nominal.technology
    assert technology.trim is not None
    repeats = technology.trim.repeats
    sources = noise.calibration_noise(dies)
    rows = trim.rows(dies.batch)

    def above(window: int, trial: trim.Codes) -> dict[str, NDArray[np.bool_]]:
        frames = np.arange(1 + window * repeats, 1 + (window + 1) * repeats)
        moment = noise.moments(noise.CALIBRATION, frames)
        columns = {
            f"{source.name}{unit}": np.concatenate(([0.0], values))
            for source in sources.values()
            if len(source.octave)
            for unit, values in enumerate(source.at(0, moment))
        }
        return _decisions(dies, trial, columns, repeats, engine)

    return trim.bisected(technology.trim, {name: row.code.shape for name, row in rows.items()}, above)


def _decisions(
    dies: Dies, trial: trim.Codes, columns: dict[str, Array], repeats: int, engine: Engine
) -> dict[str, NDArray[np.bool_]]:
    """Whether each row is above its replica (repeats, units), by the names of :func:`.trim.rows`."""
    design = replace(trim.with_codes(dies.batch, trial), bias=np.zeros_like(dies.batch.bias))
    die = replace(dies, batch=design).one(0)
    # at its zero, the line of an input is at V_cm
    still = np.tile(-die.input_offset / die.input_scale, (repeats, 1))
    deck, plan = macro_netlist.deck(die, [still], noise=[columns] if columns else None, calibrating=True)
    traces = engine.run(deck).traces
    instants, vdd = plan.instants(0), die.technology.supply.vdd
    low = [name for name in die.phases if name[0] in "er" and (traces.at(name, instants) < 0.9).any()]
    if low:
        raise ResultRejected(f"clock {low[0]} is low at a decision of the trim search: the simulator missed an edge")
    found = {}
    for name, row in trim.rows(die).items():
        share = np.stack([traces.at(f"q{name}{unit}", instants) for unit in range(len(row.code))], axis=1) / vdd
        if (np.abs(share - np.round(share)) > 0.1).any():
            raise ResultRejected(f"a decision of rows {name} is at neither rail in the trim search")
        found[name] = share > 0.5
    return found
