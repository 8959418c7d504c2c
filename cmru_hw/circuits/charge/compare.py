"""Compare a circuit's response with its software model, decision by decision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge.design import Design, Row
from cmru_hw.circuits.comparison import Comparison, Divergence, Reference, classes_of, made, software
from cmru_hw.core.signals import Array, Response
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences

# Smallest margin [V] at which a macro row must decide correctly: ten times the hysteresis of its comparator, and far
# above the rounding (%.10g) of a stimulus file.
RESOLUTION = 1e-6


def reference(design: Design, trained: Trained, sequences: Sequences) -> Reference:
    """Run the software model in double precision: decisions, states, logits, classes (see :class:`Reference`).

    The cell is that of arXiv:2605.11855 (BMRU: arXiv:2601.09495). Inputs are clamped to the range of the design. Raises
    DataError for sequences that do not fit.
    """
    out = software(design.input_range, trained, sequences)
    margins = []
    for layer, candidate, threshold in zip(design.layers, out.candidates, out.thresholds, strict=True):
        c, beta = candidate.numpy(), threshold.numpy()
        margins.append(
            np.minimum(np.abs(c - beta) * row_gain(design, layer.low), np.abs(c + beta) * row_gain(design, layer.high))
        )
    return made(design.input_range, trained, sequences, out, tuple(margins))


# long: one count of all decisions, then one report
def compare(
    design: Design,
    expected: Reference,
    response: Response,
    *,
    labels: NDArray[np.int64] | None = None,
    resolution: float = RESOLUTION,
) -> Comparison:
    """Count agreement, exclude decisions with a margin below ``resolution`` [V], and name the first divergence.

    ``response`` is the circuit's response to the sequences of ``expected``; ``labels`` (sequences,) are class indices.
    """
    valid = expected.response.valid
    ignored = _ignored(expected, response, resolution)
    total = agree = excluded = 0
    level_error = swing_used = 0.0
    smallest = np.inf
    divergences: list[Divergence] = []
    coverage = []
    swing = design.technology.signal.state_swing
    for index, layer in enumerate(design.layers):
        wanted, got = expected.response.decisions[index], response.decisions[index]
        margin = expected.margins[index]
        counted = valid[:, :, None] & ~ignored[index]
        total += int(valid.sum()) * layer.units
        excluded += int((valid[:, :, None] & ignored[index]).sum())
        agree += int((counted & (wanted == got)).sum())
        if counted.any():
            smallest = min(smallest, float(margin[counted].min()))
        coverage.append(np.stack([((got == move) & valid[:, :, None]).sum(axis=(0, 1)) for move in (1, 0, -1)], axis=1))
        moved = _misread(expected.response, response, index)
        for place in np.argwhere(counted & (wanted != got)):
            s, t, u = place.tolist()
            divergences.append(
                Divergence(
                    sequence=s,
                    timestep=t,
                    layer=index,
                    unit=u,
                    software=int(wanted[s, t, u]),
                    circuit=int(got[s, t, u]),
                    margin=float(margin[s, t, u]),
                    inherited=bool(moved[s, t]),
                )
            )
        difference = np.where(counted, np.abs(response.states[index] - expected.response.states[index]), 0.0)
        scale = layer.unit / swing if design.config.cell == "acmru" else 1.0
        level_error = max(level_error, float(difference.max()) * scale)
        swing_used = max(swing_used, float((np.abs(response.states[index]) * layer.step).max()) / swing)
    divergences.sort(key=lambda d: (d.sequence, d.timestep, d.layer, d.unit))
    classes = classes_of(response, design.config.decision)
    settled = ~np.any([i.any(axis=(1, 2)) for i in ignored], axis=0) if resolution else np.ones(len(classes), bool)
    alike = (classes == expected.classes) | ~settled
    logits = np.where(valid[:, :, None] & settled[:, None, None], response.logits - expected.response.logits, 0.0)
    return Comparison(
        total=total,
        agree=agree,
        excluded=excluded,
        resolution=resolution,
        level_error=level_error,
        logit_error=float(np.abs(logits).max() / max(np.abs(expected.response.logits).max(), 1e-30)),
        classified=len(classes),
        classified_alike=int(alike.sum()),
        correct_software=None if labels is None else int((expected.classes == labels).sum()),
        correct_circuit=None if labels is None else int((classes == labels).sum()),
        first_divergence=divergences[0] if divergences else None,
        smallest_margin=smallest,
        swing_used=swing_used,
        divergences=tuple(divergences),
        coverage=tuple(coverage),
        level=design.technology.level,
    )


def _misread(expected: Response, response: Response, index: int) -> NDArray[np.bool_]:
    """(sequences, timesteps): whether any state below layer ``index`` deviates by more than half a level."""
    apart = [np.abs(a - b).max(axis=2) > 0.5 for a, b in zip(expected.states[:index], response.states, strict=False)]
    return np.any(apart, axis=0) if apart else np.zeros(expected.valid.shape, dtype=bool)


def _ignored(expected: Reference, response: Response, resolution: float) -> list[NDArray[np.bool_]]:
    """Per layer, the excluded decisions: too close to call, or downstream of such a decision that differed."""
    close = [margin < resolution for margin in expected.margins]
    ignored = [c.copy() for c in close]
    for s in range(len(expected.response.lengths)):
        first: tuple[int, int] | None = None
        for index, c in enumerate(close):
            fell = c[s] & (expected.response.decisions[index][s] != response.decisions[index][s])
            if fell.any():
                place = (int(np.argmax(fell.any(axis=1))), index)
                first = place if first is None else min(first, place)
        if first is None:
            continue
        when, where = first
        for index in range(len(close)):
            # The decision's own layer has a wrong state from the next timestep on; later layers see it at once.
            ignored[index][s, when + (index <= where) :] = True
    return ignored


def row_gain(design: Design, row: Row) -> Array:
    """Volts at the top plate for one unit of the weighted sum (units,)."""
    return row.scale / (row.total + design.technology.capacitor.parasitic)
