"""How close to its threshold a row may be before either decision is right.

Four things move a row of a correct circuit:

* rounding, of stimulus files and of a comparator's hysteresis: `RESOLUTION`
* known offsets: the charge of the precharge switch (``Row.offset`` of a nominal design) and, in transistors, the kick
  of the comparators
* errors of the states that the row reads: finite gain, droop, and the integration of the simulator. Their sign counts:
  a row that they move away from its threshold is no closer to call
* where states still settle or droop, what they do between the instant at which a row reads them and the end of the
  timestep, when they are sampled: `LATE`, and the share of a packet that does not arrive in time

The error of states is measured in the run itself: Σ w e / ΣC over the lines of the row, with e the difference between
the state of the circuit and that of software. A state counts there with at most the error that a comparison accepts
(`cmru_hw.circuits.comparison.LEVEL_TOLERANCE`), so that a wrong circuit does not excuse its own decisions. One
criterion serves the comparison with software, the gate of an export, and Monte-Carlo, where the fast engine is compared
with SPICE.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cmru_hw.circuits.charge import fidelity
from cmru_hw.circuits.charge.design import Design, Layer, Row
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.circuits.comparison import LEVEL_TOLERANCE
from cmru_hw.core.signals import Array

# Smallest margin at which a macro row must decide right [V]: ten times the hysteresis of its comparator, and far above
# the rounding (%.10g) of a stimulus file.
RESOLUTION = 1e-6
# Rows that read settling or drooping states differ by a few microvolts between SPICE and the fast engine. [V]
LATE = 4e-6


def accepted(design: Design, layer: Layer) -> Array:
    """Largest accepted error (units,) [V] of the states of ``layer``."""
    scale = design.technology.signal.state_swing if design.config.cell == "acmru" else layer.step
    return np.broadcast_to(LEVEL_TOLERANCE[design.technology.level] * scale, (layer.units,))


def state_errors(design: Design, layer: Layer, volts: Array, expected: Array) -> Array:
    """``volts`` less ``expected``, states (..., units) [V], limited to the accepted error."""
    most = accepted(design, layer)
    return np.clip(np.nan_to_num(volts - expected), -most, most)


def line_errors(design: Design, index: int, errors: Sequence[Array]) -> Array:
    """Errors (..., lines) [V] of the lines that layer ``index`` reads; ``index`` = number of layers: the readout.

    ``errors`` has :func:`state_errors` of every layer before it, and one array (..., anything) at least. Inputs have
    none, and bits of a counter are whole.
    """
    memory = registry.of(design.technology)
    lines = len(design.readout_unit) if index == len(design.layers) else len(design.layers[index].line_unit)
    found = np.zeros((*errors[0].shape[:-1], lines))
    if index == 0 or (memory is not None and memory.bits):
        return found
    first = 0
    for layer in reversed(range(index)):
        own = errors[layer]
        found[..., first : first + own.shape[-1]] = own
        first += own.shape[-1]
        if index == len(design.layers) or not design.config.skip:
            break
    return found


def shift(design: Design, row: Row, lines: Array) -> Array:
    """Volts (..., rows) by which ``lines``, errors (..., lines) [V], move the top plates of ``row``."""
    weights = row.weights / (row.total + design.technology.capacitor.parasitic)[:, None]
    return np.asarray(lines @ weights.T)


def late(design: Design, index: int) -> float:
    """`LATE` for rows of layer ``index`` if states move between two sampling instants, else 0."""
    technology = design.technology
    still = technology.amplifier.time_constant == 0 and technology.leakage.integrator == 0
    return 0.0 if index == 0 or still else LATE


def fixed(design: Design, index: int, row: Row) -> Array:
    """Part of the tolerance (rows,) [V] that no run changes, without `RESOLUTION`; ``row`` is one of layer ``index``
    (number of layers: of the readout)."""
    kick = fidelity.of(design).kick(design)
    missing = line_errors(design, index, [layer.unsettled * layer.step for layer in design.layers])
    weights = np.abs(row.weights) / (row.total + design.technology.capacitor.parasitic)[:, None]
    return np.asarray(np.abs(row.offset) + kick + late(design, index) + weights @ missing)
