"""Candidates at which the cells of a design are set and reset: as designed, or measured on given devices."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cmru_hw.circuits.current import netlist
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.current.numerics import CONVERGED
from cmru_hw.core.signals import Array, Traces
from cmru_hw.process import device_models
from cmru_hw.spice import Engine
from cmru_hw.spice.deck import Deck

# The candidates of all cells rise from 0 to PEAK times their upper thresholds within HALF seconds, and fall again. This
# ramp is so slow that its speed shifts a crossing by far less than one of its steps.
HALF, PEAK, STEPS = 1000.0, 1.5, 400
# Prefixes of a cell's elements in netlist.network_text: bias currents and their diodes, the cell, its reader.
OF_A_CELL = ("it", "ib", "ig", "xt", "xb", "xg", "xcell", "vh", "xprobe")
OF_ITS_CANDIDATE = ("vc", "xdiode_c")


@dataclass(frozen=True, kw_only=True, eq=False)
class Thresholds:
    """Candidates [A] (units,) at which the cells of one layer are set and reset.

    ``up`` is inf for a cell that no candidate sets, and −inf for one that is set without a candidate. ``down`` is −inf
    for a cell that no candidate resets, and inf for one that never stays set.
    """

    up: Array
    down: Array


def designed(design: CurrentDesign) -> tuple[Thresholds, ...]:
    """The thresholds of the cells' design, by layer."""
    return tuple(Thresholds(up=layer.upper, down=layer.low) for layer in design.layers)


def measured(
    design: CurrentDesign, engine: Engine, *, network: str, devices: device_models.Devices, vdd: float
) -> tuple[Thresholds, ...] | None:
    """The thresholds of every cell of the netlist ``network``, simulated separately on ``devices`` at ``vdd`` [V].

    None if the netlist lacks an element that belongs to a cell. Raises SimulationError.
    """
    deck = _deck(design, network, devices, vdd)
    if deck is None:
        return None
    traces = engine.run(deck).traces
    found = []
    for index, layer in enumerate(design.layers):
        cells = [_read(traces, f"{index}_{i}", float(layer.upper[i]), float(layer.high[i])) for i in range(layer.units)]
        up, down = np.array(cells).T
        found.append(Thresholds(up=up, down=down))
    return tuple(found)


def _deck(design: CurrentDesign, network: str, devices: device_models.Devices, vdd: float) -> Deck | None:
    """The cells of ``network`` with bias currents and readers; a ramp replaces the arms of each candidate."""
    statements = {line.split(maxsplit=1)[0].lower(): line for line in _statements(network)}
    lines = [
        devices.text.rstrip(),
        *[f".include {path}" for path in netlist.cell_files(design)],
        *[f"vdd_{block} vdd_{block} 0 {vdd!r}" for block in ("fc", "cells", "references", "probe")],
        f"vhalf half 0 {vdd / 2!r}",
        f"vramp ramp 0 pwl(0 0 {HALF!r} 1 {2 * HALF!r} 0)",
    ]
    saved = ["ramp"]
    for index, layer in enumerate(design.layers):
        for i in range(layer.units):
            here = f"{index}_{i}"
            parts = [f"{part}{here}" for part in (*OF_A_CELL, *OF_ITS_CANDIDATE)]
            if not statements.keys() >= set(parts):
                return None
            lines += [statements[part] for part in parts]
            lines.append(f"gramp{here} k_c{here} 0 ramp 0 {float(PEAK * layer.upper[i])!r}")
            saved.append(f"i(vh{here})")
    settings = replace(CONVERGED, bypass=False)
    lines += [
        ".save " + " ".join(saved),
        settings.options(),
        f".tran {HALF / 10!r} {2 * HALF!r} 0 {HALF / STEPS!r}",
    ]
    return Deck(
        text="\n".join(lines) + "\n",
        stop=2 * HALF,
        saved=tuple(saved),
        files={**netlist.cell_files(design), **devices.files},
        settings=devices.settings,
        libraries=devices.libraries,
    )


def _statements(network: str) -> list[str]:
    """Statements with their continuation lines joined, without comments."""
    found: list[str] = []
    for line in network.splitlines():
        if line.startswith("+") and found:
            found[-1] += f"\n{line}"
        elif line.strip() and not line.startswith("*"):
            found.append(line)
    return found


def _read(traces: Traces, here: str, upper: float, level: float) -> tuple[float, float]:
    """(up, down) of one cell."""
    candidate = traces.values["ramp"] * PEAK * upper
    output = traces.values[f"i(vh{here})"] / level
    turn = int(np.argmax(candidate))
    up = _first(candidate[: turn + 1], output[: turn + 1] - 0.5)
    down = _first(candidate[turn:], 0.5 - output[turn:])
    return (np.inf if up is None else up), (-np.inf if down is None else down)


def _first(candidate: Array, beyond: Array) -> float | None:
    """The candidate where ``beyond`` first rises through 0; None if it never does.

    Infinite if ``beyond`` starts above 0: a rising candidate starts at −inf, a falling one at inf.
    """
    above = beyond > 0
    if not above.any():
        return None
    k = int(np.argmax(above))
    if k == 0:
        return -np.inf if candidate[0] < candidate[-1] else np.inf
    share = -beyond[k - 1] / (beyond[k] - beyond[k - 1])
    return float(candidate[k - 1] + share * (candidate[k] - candidate[k - 1]))
