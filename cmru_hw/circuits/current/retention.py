"""Retention in current mode: a cell restores its state, so there is no droop to measure.

At high temperature, leakage and changed current ratios can shift its window away from a candidate in the middle of the
nominal window. The cell then does not lose its state gradually, but has one stable state only.
"""

from __future__ import annotations

import numpy as np

from cmru_hw.characterize.testbench import deck
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.retention import HeldState, RetentionFacts, RetentionUnit
from cmru_hw.process import device_models
from cmru_hw.spice import Engine

TESTBENCH = "current_hold"
# Length of the hold [s], and end of the power-on [s].
LONGEST, RELEASED = 1000.0, 0.101


def unit(design: CurrentDesign, engine: Engine, corner: str) -> RetentionUnit:
    """The cell of ``design`` with the narrowest window relative to its threshold, on devices of process ``corner``.

    It is held in each of its two states, with its candidate in the middle of its nominal window. A state is lost when
    the output is closer to the other state.
    """
    technology = design.technology
    index, i = narrowest(design)
    layer = design.layers[index]
    # A cell that never resets has its lower threshold below zero, where no candidate can be.
    middle = float(max(layer.upper[i] + layer.low[i], layer.upper[i]) / 2)
    # Of N devices in parallel, each is a device of a cell with an Nth of the current.
    compared, raised = technology.count(f"c{index}_{i}"), technology.count(f"h{index}_{i}")
    values = {
        "thresh": float(layer.thresh[i]) / compared,
        "width": float(layer.window[i]) / compared,
        "gain": float(layer.gain[i]) / raised,
        "candidate": middle / compared,
        "hold": LONGEST,
        "vdd": technology.vdd,
        "w": technology.width,
        "l": technology.length,
        "ls": technology.sink_length,
    }

    def hold(temperature: float) -> tuple[HeldState, str]:
        models = device_models.devices(technology.process, corner=corner, temperature=temperature)
        saved = ("i(vset)", "i(vreset)")
        outcome = engine.run(deck(TESTBENCH, models, saved=saved, parameters=values, stop=LONGEST))
        time = outcome.traces.time
        later = time >= RELEASED
        # (2, times): outputs relative to the high level, and their distances from the expected outputs.
        outputs = np.stack([outcome.traces.values[name] for name in saved]) / (float(layer.high[i]) / raised)
        off = np.abs(outputs - np.array([[1.0], [0.0]]))
        gone = np.flatnonzero(later & (off > 0.5).any(axis=0))
        lost = bool(gone.size)
        seconds = float(time[gone[0]]) - RELEASED if lost else LONGEST
        moments = np.array([1.0, LONGEST])
        moved = max(abs(float(np.diff(np.interp(moments, time, output))[0])) for output in outputs)
        state = HeldState(
            temperature_C=temperature,
            timesteps=seconds / design.timestep,
            seconds=seconds,
            lost_in_simulation=lost,
            simulated_s=LONGEST,
            moved=moved,
        )
        return state, outcome.simulator

    return RetentionUnit(
        name=f"{index}.{i}",
        process=technology.process,
        vdd=technology.vdd,
        testbench=f"{TESTBENCH}.cir",
        restores=True,
        facts=RetentionFacts(window_of_threshold=float((layer.upper - layer.low)[i] / layer.upper[i])),
        excludes=(
            "mismatch: it moves a window as heat does",
            "noise and changes of the candidate, which is constant in the middle of the nominal window",
        ),
        hold=hold,
    )


def narrowest(design: CurrentDesign) -> tuple[int, int]:
    """Layer and unit with the smallest window relative to its threshold."""
    places = [(index, i) for index, layer in enumerate(design.layers) for i in range(layer.units)]

    def share(place: tuple[int, int]) -> float:
        layer, i = design.layers[place[0]], place[1]
        return float((layer.upper - layer.low)[i] / layer.upper[i])

    return min(places, key=share)
