"""Whether a cell keeps its state when nothing happens: it restores it, so that there is no droop to measure.

Where it is hot, leakage and currents of other ratios can move its window away from the candidate in the middle of the
nominal one; then it does not lose its state by and by, but has only one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmru_hw import pdk
from cmru_hw.characterize import deck
from cmru_hw.current.mapping import CurrentDesign
from cmru_hw.spice import Engine

TEMPERATURES = (-40.0, 27.0, 85.0, 125.0)
# A cell's output may move by this share of its high level while it is left alone.
STILL = 1e-3


@dataclass(frozen=True, kw_only=True)
class Hold:
    """What became of both states of ``unit``, the one with the narrowest window, after ``timesteps`` without an event.

    ``temperature`` in degrees Celsius. ``moved`` is the larger change of the two outputs, over the high level.
    """

    unit: str
    temperature: float
    timesteps: float
    moved: float
    simulator: str

    @property
    def held(self) -> bool:
        return self.moved < STILL


def hold(design: CurrentDesign, engine: Engine, *, temperature: float | None = None, seconds: float = 1000.0) -> Hold:
    """Leave the narrowest cell of ``design`` alone in either state, its candidate in the middle of its nominal window.

    At ``temperature`` [degrees Celsius], the technology's unless given. Raises SimulationError.
    """
    technology = design.technology
    index, i = min(
        ((index, i) for index, layer in enumerate(design.layers) for i in range(layer.units)),
        key=lambda place: float((design.layers[place[0]].upper - design.layers[place[0]].low)[place[1]]),
    )
    layer = design.layers[index]
    # one that never resets has its lower threshold below zero: no candidate is there
    middle = float(max(layer.upper[i] + layer.low[i], layer.upper[i]) / 2)
    values = {"thresh": float(layer.thresh[i]), "width": float(layer.window[i]), "gain": float(layer.gain[i])}
    values |= {
        "candidate": middle,
        "hold": seconds,
        "vdd": technology.vdd,
        "w": technology.width,
        "l": technology.length,
        "ls": technology.sink_length,
    }
    warm = technology.temperature if temperature is None else temperature
    models = pdk.devices(technology.process, corner=technology.corner, temperature=warm)
    saved = ("i(vset)", "i(vreset)")
    outcome = engine.run(deck("current_hold", models, saved=saved, parameters=values, stop=seconds))
    moments = np.array([1.0, seconds])
    moved = max(abs(float(np.diff(outcome.traces.at(name, moments))[0])) for name in saved)
    set_, reset = (float(outcome.traces.at(name, moments)[1]) for name in saved)
    # a state that went over to the other side before the first look did not move either
    lost = max(abs(set_ / layer.high[i] - 1) > 0.5, abs(reset / layer.high[i]) > 0.5)
    share = 1.0 if lost else moved / float(layer.high[i])
    return Hold(
        unit=f"{index}.{i}",
        temperature=warm,
        timesteps=seconds / design.timestep,
        moved=share,
        simulator=outcome.simulator,
    )
