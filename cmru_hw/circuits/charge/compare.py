"""Compare a circuit's response with its software model, decision by decision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge.continuation import Continued, continued, row_gain
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.tolerance import RESOLUTION
from cmru_hw.circuits.class_verdict import judge
from cmru_hw.circuits.comparison import Comparison, Divergence, Reference, classes_of, made, software
from cmru_hw.core.signals import Response
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences


def reference(design: Design, trained: Trained, sequences: Sequences) -> Reference:
    """Run the software model in double precision: decisions, states, logits, classes (see :class:`Reference`).

    The cell is that of arXiv:2605.11855 (BMRU: arXiv:2601.09495). Inputs are clamped to the range of the design. Raises
    DataError for sequences that do not fit.
    """
    out = software(design.input_range, trained, sequences)
    margins = []
    for layer, candidate, threshold in zip(design.layers, out.candidates, out.thresholds, strict=True):
        low, high = candidate - threshold, candidate + threshold
        margins.append(
            np.minimum(np.abs(low) * row_gain(design, layer.low), np.abs(high) * row_gain(design, layer.high))
        )
    return made(design.input_range, trained, sequences, out, tuple(margins))


def compare(
    design: Design,
    expected: Reference,
    response: Response,
    *,
    labels: NDArray[np.int64] | None = None,
    resolution: float = RESOLUTION,
) -> Comparison:
    """Judge every decision, state, readout and class of ``response``, a circuit's, to the sequences of ``expected``.

    A decision is excluded if its margin is below the tolerance of its row: ``resolution`` [V] plus the terms of
    `cmru_hw.circuits.charge.tolerance`. Software is continued from the circuit's decision there
    (`cmru_hw.circuits.charge.continuation`). ``labels`` (sequences,) are class indices.
    """
    software = continued(design, expected, response, resolution=resolution)
    valid = expected.response.valid
    wrong, counts, coverage = _decisions(software, response, valid)
    classes = classes_of(response, design.config.decision)
    verdict = judge(
        classes, expected.classes, software.response.logits, expected.response.lengths, design.config.decision,
        moved=software.readout, fixed=software.readout_fixed,
    )  # fmt: skip
    scored = labels is not None and not verdict.one_score
    logit_error, readout_error = _readout(design, software, response, valid)
    level_error, swing_used = _states(design, software, response)
    divergences = _named(software, response, wrong)
    total, agree, excluded, smallest = counts
    turned = [u & (a != b) for u, a, b in zip(software.undecided, expected.response.decisions, response.decisions,
              strict=True)]  # fmt: skip
    return Comparison(
        total=total,
        agree=agree,
        excluded=excluded,
        resolution=resolution,
        level_error=level_error,
        logit_error=logit_error,
        classes=verdict,
        correct_software=int((expected.classes == labels).sum()) if scored else None,
        correct_circuit=int((classes == labels).sum()) if scored else None,
        first_divergence=divergences[0] if divergences else None,
        smallest_margin=smallest,
        swing_used=swing_used,
        divergences=divergences,
        coverage=coverage,
        level=design.technology.level,
        largest_tolerance=max(float(one[valid].max()) for one in software.tolerances),
        undecided=_named(software, response, turned, original=expected.response),
        followed=_followed(design, expected, software, valid),
        readout_error=readout_error,
    )


Places = list[NDArray[np.bool_]]


def _decisions(
    software: Continued, response: Response, valid: NDArray[np.bool_]
) -> tuple[Places, tuple[int, int, int, float], tuple[NDArray[np.int64], ...]]:
    """Places that differ; total, agreeing and excluded decisions and the smallest judged margin; moves by unit."""
    wrong, coverage = [], []
    total = agree = excluded = 0
    smallest = np.inf
    for wanted, got, undecided, margin in zip(
        software.response.decisions, response.decisions, software.undecided, software.margins, strict=True
    ):
        judged = valid[:, :, None] & ~undecided
        wrong.append(judged & (wanted != got))
        total += int(valid.sum()) * got.shape[2]
        excluded += int(undecided.sum())
        agree += int((judged & (wanted == got)).sum())
        if judged.any():
            smallest = min(smallest, float(margin[judged].min()))
        coverage.append(np.stack([((got == move) & valid[:, :, None]).sum(axis=(0, 1)) for move in (1, 0, -1)], axis=1))
    return wrong, (total, agree, excluded, smallest), tuple(coverage)


def _named(
    software: Continued, response: Response, places: Places, *, original: Response | None = None
) -> tuple[Divergence, ...]:
    """The decisions at ``places`` (by layer), in order of time; software's are those of ``original`` if given."""
    found = []
    reference = original or software.response
    for index, chosen in enumerate(places):
        moved = _misread(software.response, response, index)
        for s, t, u in np.argwhere(chosen).tolist():
            found.append(
                Divergence(
                    sequence=s,
                    timestep=t,
                    layer=index,
                    unit=u,
                    software=int(reference.decisions[index][s, t, u]),
                    circuit=int(response.decisions[index][s, t, u]),
                    margin=float(software.margins[index][s, t, u]),
                    inherited=bool(moved[s, t]),
                    tolerance=float(software.tolerances[index][s, t, u]),
                )
            )
    return tuple(sorted(found, key=lambda d: (d.sequence, d.timestep, d.layer, d.unit)))


def _states(design: Design, software: Continued, response: Response) -> tuple[float, float]:
    """Largest error of a state, in levels (αCMRU: of the swing), and largest state as a share of the swing."""
    error = used = 0.0
    swing = design.technology.signal.state_swing
    for layer, wanted, got in zip(design.layers, software.response.states, response.states, strict=True):
        scale = layer.unit / swing if design.config.cell == "acmru" else 1.0
        error = max(error, float((np.abs(got - wanted) * scale).max()))
        used = max(used, float((np.abs(got) * layer.step).max()) / swing)
    return error, used


def _readout(design: Design, software: Continued, response: Response, valid: NDArray[np.bool_]) -> tuple[float, float]:
    """Largest error of a logit, and of that the part that the errors of states do not explain; both relative."""
    error = np.where(valid[:, :, None], response.logits - software.response.logits, 0.0)
    rest = np.where(valid[:, :, None], error - software.readout, 0.0)
    # a readout that is always 0 has no largest logit; rounding is small compared with this
    least = 1e3 * RESOLUTION / row_gain(design, design.readout).min()
    largest = max(float(np.abs(software.response.logits).max()), float(least))
    return float(np.abs(error).max()) / largest, float(np.abs(rest).max()) / largest


def _followed(design: Design, expected: Reference, software: Continued, valid: NDArray[np.bool_]) -> int:
    """Judged decisions of units that read a state which an undecided decision has changed."""
    changed = np.zeros(valid.shape, dtype=bool)
    count = 0
    for index, undecided in enumerate(software.undecided):
        count += int((changed[:, :, None] & valid[:, :, None] & ~undecided).sum())
        own = (expected.response.states[index] != software.response.states[index]).any(axis=2)
        changed = changed | own if design.config.skip else own
    return count


def _misread(expected: Response, response: Response, index: int) -> NDArray[np.bool_]:
    """(sequences, timesteps): whether any state below layer ``index`` deviates by more than half a level."""
    wrong = [np.abs(a - b).max(axis=2) > 0.5 for a, b in zip(expected.states[:index], response.states, strict=False)]
    return np.any(wrong, axis=0) if wrong else np.zeros(expected.valid.shape, dtype=bool)
