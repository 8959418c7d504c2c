"""The fast engine of current mode: static mirrors and hysteretic cells, for many dies at once.

The gain of a mirror is its swept ratio at the current of its line, times the strength ratio of its arm and its diode.
The gain falls slightly with the current in the diode that the arm drives (`MirrorTable.landing`). A diode at the end of
a row rectifies the row. A cell with device strengths f1 … f9 compares I_in f1 with I_thresh f2. The currents at the
state node give the effect of mismatch on its thresholds; the swept cell gives the effect of finite output conductance.
A cell whose candidate exceeds its threshold by ΔI needs a time Q/ΔI to switch, where Q is the charge of its state node
(``SWING``). Within one timestep T it therefore switches only if ΔI T > Q.

The model has no other dynamics: it assumes settled rows, and layers that switch one after the other. Sequences and dies
are independent of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.current.mapping import CurrentDesign, CurrentLayer
from cmru_hw.circuits.current.mirrors import MirrorRows, arm
from cmru_hw.circuits.current.netlist import BLOCKS, devices, folds, input_lines
from cmru_hw.circuits.current.variation import CurrentDies
from cmru_hw.core.signals import Array, Response
from cmru_hw.nn.sequences import Sequences

# Charge [C] that switches a cell. On a ramp of its candidate a cell switches late by √(2 Q slope). From the delays Q is
# 3 to 11 fC up, for ramps of 1 to 16 s, and less than 4 fC down (`python -m benchmarks.current cell`). With N devices
# in parallel it is about N times as large: 12 to 15, 28 to 30 and 67 to 83 fC up for 2, 6 and 16.
SWING = 5e-15
DIES_AT_ONCE = 16
# A current below this [A] counts as zero, whatever the ratio of the mirror that copies it.
LEAST = 1e-15
# Largest ratio of currents over which a diode's voltage follows the logarithm of its current. Beyond it, it hardly
# conducts.
FAR = 100.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectories:
    """Responses of dies: per layer (dies, sequences, timesteps, units).

    ``decisions`` are int8 as in `simulate`. ``states`` are outputs relative to their nominal high level. ``candidates``
    [A]. ``margins`` [A] are distances of candidates from the nearest of two kinds of threshold: the nominal one, which
    defines the decision, and the die's own, at which the cell switches. ``logits`` (dies, sequences, timesteps,
    classes). ``supply`` [A]: settled current of each block of `netlist.BLOCKS`, (dies, sequences, timesteps).
    """

    lengths: NDArray[np.int64]
    decisions: tuple[NDArray[np.int8], ...]
    states: tuple[Array, ...]
    candidates: tuple[Array, ...]
    margins: tuple[Array, ...]
    logits: Array
    supply: Mapping[str, Array]

    def response(self, die: int) -> Response:
        return Response(
            lengths=self.lengths,
            decisions=tuple(values[die] for values in self.decisions),
            states=tuple(values[die] for values in self.states),
            logits=self.logits[die],
        )


def run(dies: CurrentDies, sequences: Sequences) -> Trajectories:
    """Simulate all of ``dies`` on all of ``sequences``."""
    parts = []
    for first in range(0, len(dies), DIES_AT_ONCE):
        here = slice(first, first + DIES_AT_ONCE)
        parts.append(_run(dies.design, {name: values[here] for name, values in dies.strengths.items()}, sequences))
    layers = range(len(dies.design.layers))
    return Trajectories(
        lengths=sequences.lengths,
        decisions=tuple(np.concatenate([part.decisions[layer] for part in parts]) for layer in layers),
        states=tuple(np.concatenate([part.states[layer] for part in parts]) for layer in layers),
        candidates=tuple(np.concatenate([part.candidates[layer] for part in parts]) for layer in layers),
        margins=tuple(np.concatenate([part.margins[layer] for part in parts]) for layer in layers),
        logits=np.concatenate([part.logits for part in parts]),
        supply={block: np.concatenate([part.supply[block] for part in parts]) for block in BLOCKS},
    )


# long: one timestep of all dies, in the order of the signal, on arrays that its parts would have to share
def _run(  # noqa: C901 - see above
    design: CurrentDesign, strength: Mapping[str, Array], sequences: Sequences
) -> Trajectories:
    count = len(strength["diode_one"])
    shape = sequences.inputs.shape[:2]
    flat = sequences.inputs.reshape(-1, sequences.inputs.shape[2])
    valid = sequences.valid[None, :, :, None]
    # Current [A] of a gate line in an arm of strength 1 and ratio 1: line → type → (dies, places).
    lines: dict[str, dict[str, Array]] = {}
    made, drawn, mirror = folds(design), devices(design), design.technology.mirror
    # Currents of lines are those of one of the devices in parallel.
    strength = {name: values * drawn[name].count for name, values in strength.items()}
    unit = design.technology.width / design.technology.length
    supply = {block: np.zeros((count, flat.shape[0])) for block in BLOCKS}

    def line(name: str, own: str, current: Array) -> None:
        lines[name] = {own: current}
        if name in made:
            arm_ = drawn[f"fold_{name}"]
            ratio = mirror.at_currents(arm_.width / arm_.length, own, "across", np.maximum(current, LEAST))
            folded = current * ratio * strength[f"fold_{name}"][:, None]
            lines[name]["p" if own == "n" else "n"] = folded / strength[f"diode_fold_{name}"][:, None]
            supply["fc"] += folded

    def rows(which: MirrorRows) -> list[Array]:
        """Currents (dies, places) of ``which``. Rows that end on diodes are rectified and become lines."""
        sums = []
        for row, name in enumerate(which.names):
            arms = []
            for column in np.flatnonzero(which.ratio[row]).tolist():
                source = which.lines[column]
                polarity, landing = arm(which.diode, positive=which.ratio[row, column] > 0)
                gate = np.maximum(lines[source][polarity], LEAST)
                aspect = which.width[row, column] / which.length[row, column]
                ratio = np.sign(which.ratio[row, column]) * mirror.at_currents(aspect, polarity, landing, gate)
                current = strength[f"{name}_{source}"][:, None] * ratio * lines[source][polarity]
                # The landing voltage differs from that of the sweep, in which the far diode carried the same current.
                moved = mirror.landing(unit, polarity, landing, gate)
                moved = moved * design.technology.length / which.length[row, column]
                arms.append((polarity, gate, moved, current))
            total = sum((current for *_, current in arms), np.zeros((count, flat.shape[0])))
            if which.diode:
                ends = np.maximum(total, LEAST) / strength[f"diode_{name}"][:, None]
                arms = [
                    (polarity, gate, moved, current * np.clip(ends / gate, 1 / FAR, FAR) ** moved)
                    for polarity, gate, moved, current in arms
                ]
                total = np.maximum(sum((current for *_, current in arms), np.zeros_like(total)), 0)
                line(name, which.diode, total / strength[f"diode_{name}"][:, None])
            for polarity, *_, current in arms:
                # The supply delivers the current that arms sink at a pf diode, or source at any other end.
                if polarity == ("n" if which.diode == "p" else "p"):
                    supply["fc"] += np.abs(current)
            sums.append(total)
        return sums

    driven = design.currents(flat)
    for name in input_lines(design):
        line(name, "n", driven[name][None] / strength[f"diode_{name}"][:, None])
        supply["inputs"] += driven[name]
    supply["references"] += design.technology.bias
    line("one", "n", design.technology.bias / strength["diode_one"][:, None] * np.ones((1, flat.shape[0])))
    decisions, states, candidates, margins = [], [], [], []
    for index, layer in enumerate(design.layers):
        if layer.entry is not None:
            rows(layer.entry)
        # As in the netlist's ammeters, a candidate is measured by the current of its diode.
        seen = np.stack(rows(layer.candidate), axis=-1).reshape(count, *shape, layer.units)
        cells = [_thresholds(layer, index, i, strength) for i in range(layer.units)]
        up, down, out = (np.stack(values, axis=-1) for values in zip(*cells, strict=True))
        out = out * design.technology.count(f"h{index}_0")
        needed = SWING * design.technology.count(f"c{index}_0")
        state = _switch(seen, up, down, layer.initial, design.technology.timestep, needed)
        supply["references"] += (layer.thresh + layer.window + layer.gain).sum()
        for i in range(layer.units):
            supply["cells"] += _drawn(layer, index, i, strength, seen[..., i], state[..., i]).reshape(count, -1)
            # The level is the output of a reader of unit size at half the supply. The diode carries the copied current.
            each = out[:, i] / design.technology.count(f"h{index}_{i}")
            copied = each / mirror.at_currents(unit, "p", "half", each)
            line(f"h{index}_{i}", "p", (state[..., i] * copied[:, None, None]).reshape(count, -1))
        high = (state > 0.5) & valid
        upward = high & (seen >= layer.upper)
        downward = ~(state > 0.5) & (seen < layer.low) & valid
        decisions.append(upward.astype(np.int8) - downward.astype(np.int8))
        states.append(np.where(valid, state * (out / layer.high)[:, None, None], 0.0))
        edges = [layer.low, layer.upper, *(own[:, None, None] for own in (up, down))]
        margins.append(np.min([np.abs(seen - edge) for edge in edges], axis=0))
        candidates.append(np.where(valid, seen, 0.0))
        rows(layer.output)
    logits = np.stack(rows(design.readout), axis=-1).reshape(count, *shape, -1) / design.readout.unit
    return Trajectories(
        lengths=sequences.lengths,
        decisions=tuple(decisions),
        states=tuple(states),
        candidates=tuple(candidates),
        margins=tuple(margins),
        logits=np.where(valid, logits, 0.0),
        supply={block: current.reshape(count, *shape) for block, current in supply.items()},
    )


def _thresholds(layer: CurrentLayer, index: int, i: int, strength: Mapping[str, Array]) -> tuple[Array, Array, Array]:
    """(up, down, out) (dies,) [A]: switching candidates at the row's diode, and output for nominal arms."""
    f = {m: strength[f"cell{index}_{i}.m{m}"] for m in range(1, 10)}
    t, b, g = (strength[f"{name}{index}_{i}"] for name in "tbg")
    entry = strength[f"diode_c{index}_{i}"] / f[1]
    sunk, fed = f[2] / t, f[8] / b * f[9] / f[7]
    # Output conductance narrows the window by a share of the sunk current. The feedback current sets the rest.
    lost = layer.window[i] - (layer.upper[i] - layer.low[i])
    up = layer.upper[i] * sunk
    down = up - (layer.window[i] * fed - lost * sunk)
    return up * entry, down * entry, layer.high[i] * f[5] / g / f[4]


def _drawn(layer: CurrentLayer, index: int, i: int, strength: Mapping[str, Array], seen: Array, state: Array) -> Array:
    """Supply current of a cell [A] (dies, sequences, timesteps): M2 + M5 + M8 if high, M1 if low."""
    f = {m: strength[f"cell{index}_{i}.m{m}"][:, None, None] for m in (1, 2, 5, 8)}
    t, b, g = (strength[f"{name}{index}_{i}"][:, None, None] for name in "tbg")
    compared = layer.thresh[i] * f[2] / t
    high = compared + layer.window[i] * f[8] / b + layer.gain[i] * f[5] / g
    return np.where(
        state > 0.5, high, np.minimum(seen * f[1] / strength[f"diode_c{index}_{i}"][:, None, None], compared)
    )


def _switch(seen: Array, up: Array, down: Array, initial: Array, timestep: float, needed: float = SWING) -> Array:
    """States (dies, sequences, timesteps, units) after each timestep. ``needed`` [C] switches a cell."""
    states = np.empty_like(seen)
    state = np.broadcast_to(initial, (*seen.shape[:2], seen.shape[3])).astype(bool)
    # Charge [C] already moved towards the other state.
    moved = np.zeros(state.shape)
    for t in range(seen.shape[2]):
        now = seen[:, :, t]
        push = np.where(state, down[:, None] - now, now - up[:, None]) * timestep
        moved = np.maximum(moved + push, 0)
        flips = moved > needed
        state = state ^ flips
        moved = np.where(flips, 0, moved)
        states[:, :, t] = state
    return states


def agreement(one: Response, other: Response) -> tuple[int, int]:
    """(agreeing, all) decisions of two responses to the same sequences."""
    valid = one.valid[:, :, None]
    pairs: Sequence[tuple[NDArray[np.int8], NDArray[np.int8]]] = list(zip(one.decisions, other.decisions, strict=True))
    agree = sum(int((valid & (a == b)).sum()) for a, b in pairs)
    return agree, sum(int(valid.sum()) * a.shape[2] for a, _ in pairs)
