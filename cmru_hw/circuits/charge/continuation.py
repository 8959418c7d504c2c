"""Software continued from a circuit's own decision wherever two decisions are right.

A row that is closer to its threshold than its tolerance (`cmru_hw.circuits.charge.tolerance`) may decide either way. If
the circuit and software then differ, their states differ as well, and every comparison after that would be one of
different inputs. Software therefore takes the circuit's decision there and goes on with it: what follows is judged
against the software of the same states. Decisions of one layer do not depend on its own states, so one pass through the
layers is enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge import tolerance
from cmru_hw.circuits.charge.design import Design, Row
from cmru_hw.circuits.comparison import Reference
from cmru_hw.core.signals import Array, Response


@dataclass(frozen=True, kw_only=True, eq=False)
class Continued:
    """``response`` is that of software, continued from the circuit's decisions at ``undecided`` places.

    By layer (sequences, timesteps, units): ``undecided``, ``margins`` [V] as in `Reference`, and ``tolerances`` [V], of
    the row with less to spare. ``readout`` (sequences, timesteps, classes) and ``readout_fixed`` (classes,) [software
    units]: how far the errors of states move each logit, and the part of the tolerance that is the same everywhere.
    """

    response: Response
    undecided: tuple[NDArray[np.bool_], ...]
    margins: tuple[Array, ...]
    tolerances: tuple[Array, ...]
    readout: Array
    readout_fixed: Array


def continued(design: Design, expected: Reference, response: Response, *, resolution: float) -> Continued:
    """Continue the software run of ``expected`` next to the circuit's ``response``; ``resolution`` [V] as in
    :func:`cmru_hw.circuits.charge.compare.compare`."""
    sequences = expected.sequences
    run = _Run(design, response, resolution)
    model = design.input_range.model(expected.trained)
    out = model.run(sequences.inputs, sequences.lengths, follow=run.follow, override=run.decide)
    valid = expected.response.valid[:, :, None]
    lines = tolerance.line_errors(design, len(design.layers), run.errors)
    scale = 1 / row_gain(design, design.readout)
    return Continued(
        response=Response(
            lengths=sequences.lengths,
            decisions=out.decisions,
            states=tuple(np.where(valid, s, 0.0) for s in out.states),
            logits=np.where(valid, out.logits, 0.0),
        ),
        undecided=tuple(valid & one for one in run.undecided),
        margins=tuple(run.margins),
        tolerances=tuple(run.tolerances),
        readout=tolerance.shift(design, design.readout, lines) * scale,
        readout_fixed=(resolution + tolerance.fixed(design, len(design.layers), design.readout)) * scale,
    )


class _Run:
    """The hooks of one software run."""

    def __init__(self, design: Design, response: Response, resolution: float) -> None:
        self.design, self.response, self.resolution = design, response, resolution
        self.errors: list[Array] = []
        self.undecided: list[NDArray[np.bool_]] = []
        self.margins: list[Array] = []
        self.tolerances: list[Array] = []

    def decide(self, index: int, candidate: Array, threshold: Array, decision: NDArray[np.int8]) -> NDArray[np.int8]:
        """Software's decision, or the circuit's where the rows that are too close allow it."""
        design, layer = self.design, self.design.layers[index]
        lines = tolerance.line_errors(design, index, self.errors or [candidate])
        pairs = ((layer.low, candidate - threshold), (layer.high, candidate + threshold))
        rows = np.stack([value * row_gain(design, row) for row, value in pairs])
        # Errors of states that move a row away from its threshold make no decision doubtful.
        allowed = np.stack([
            self.resolution
            + tolerance.fixed(design, index, row)
            + np.maximum(-np.sign(value) * tolerance.shift(design, row, lines), 0.0)
            for row, value in pairs
        ])  # fmt: skip
        near = np.abs(rows) < allowed
        least = ((rows > 0) & ~near).sum(0) - 1
        most = ((rows > 0) | near).sum(0) - 1
        got = self.response.decisions[index]
        undecided = near.any(0) & (got >= least) & (got <= most)
        worst = (np.abs(rows) - allowed).argmin(0)[None]
        self.undecided.append(undecided)
        self.margins.append(np.take_along_axis(np.abs(rows), worst, 0)[0])
        self.tolerances.append(np.take_along_axis(allowed, worst, 0)[0])
        return np.where(undecided, got, decision).astype(np.int8)

    def follow(self, index: int, h: Array) -> None:
        """Measure the errors of the circuit's states, once those of software are known."""
        layer = self.design.layers[index]
        # an integrator has only positive packets: a unit with a negative α holds |α| s
        volts = h * layer.unit * layer.sign
        found = self.response.states[index] * layer.step
        self.errors.append(tolerance.state_errors(self.design, layer, found, volts))


def row_gain(design: Design, row: Row) -> Array:
    """Volts at the top plate for one unit of the weighted sum (units,)."""
    return row.scale / (row.total + design.technology.capacitor.parasitic)
