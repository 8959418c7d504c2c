"""Compare the response of a current-mode circuit with its software model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.class_verdict import judge
from cmru_hw.circuits.comparison import Comparison, Divergence, Reference, classes_of, made, software
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.current.simulate import CurrentSimulation
from cmru_hw.circuits.current.transitions import HIGH
from cmru_hw.core.signals import Array
from cmru_hw.core.units import percent, plain
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences

# A cell is clear of its thresholds if its candidate is farther from them than this share of the upper threshold. Closer
# to them its output deviates from its level: by 0.1 % at this distance, by 3 % at the threshold itself
# (`python -m benchmarks.current cell`).
CLEAR = 0.1
# Required agreement with software: this share of all decisions, of all states and of all classes.
AGREEMENT = 0.98
# Scores closer than this share of the largest one are not judged: mirrors of the readout are not exact.
READOUT = 0.01


@dataclass(frozen=True, kw_only=True)
class ClearErrors:
    """Errors as in :class:`CurrentComparison`, for the ``share`` of cells that are clear of their thresholds."""

    share: float
    candidate: float
    state: float

    @property
    def suppression(self) -> float:
        return self.candidate / max(self.state, 1e-30)


@dataclass(frozen=True, kw_only=True)
class CurrentComparison(Comparison):
    """A `Comparison` with margins and ``resolution`` in A; ``swing_used`` is relative to the input's full scale.

    Decisions and states with a margin smaller than ``resolution`` are excluded; ``states_agree`` counts the agreeing
    ones of the rest. ``roots`` is the number of wrong decisions for which every earlier and preceding state was right,
    so that only their own margin explains them; ``root_margin`` is the largest of these margins over the upper
    threshold (0 if there are none). ``candidate_error`` and ``state_error`` are rms errors over the rms of the signal,
    where all preceding states were right; ``state_error`` covers the output levels of right states only, because wrong
    states are counted. ``suppression`` is the ratio of both errors. ``clear`` holds the same two errors for cells and
    timesteps whose software candidate is clear of both thresholds (`CLEAR`), and the share of these.
    ``transitions_checked``: see `simulate.CurrentSimulation`.
    """

    states_agree: int
    roots: int
    root_margin: float
    candidate_error: float
    state_error: float
    clear: ClearErrors
    transitions_checked: bool

    margin_unit: ClassVar[str] = "A"

    @property
    def suppression(self) -> float:
        return self.candidate_error / max(self.state_error, 1e-30)

    def failures(self) -> tuple[str, ...]:
        """One clause for each of decisions, states and classes whose agreement with software is below `AGREEMENT`.

        ``level_tolerance`` does not apply: an output has one of two levels, and a wrong level is a wrong state.
        """
        counted = self.judged
        found = []
        for what, agree, of in (
            ("decisions", self.agree, counted),
            ("states", self.states_agree, counted),
            ("classes", self.classes.agree, self.classes.judged),
        ):
            if agree < AGREEMENT * of:
                found.append(f"{of - agree} of {of} {what} differ from software, more than {percent(1 - AGREEMENT)}")
        if found and self.agree < AGREEMENT * counted:
            found[0] += f"; the first: {self.first_divergence}"
        return (*self.nothing_judged(), *found)

    def details(self) -> dict[str, object]:
        return {
            "states_agree": self.states_agree,
            "transitions_checked": self.transitions_checked,
            "wrong_by_their_own_margin": {"decisions": self.roots, "largest_of_threshold": self.root_margin},
            "error_rms": {
                "candidate": self.candidate_error,
                "state": self.state_error,
                "suppression": self.suppression,
                "clear_of_thresholds": {
                    "by_of_upper": CLEAR,
                    "share": self.clear.share,
                    "candidate": self.clear.candidate,
                    "state": self.clear.state,
                    "suppression": self.clear.suppression,
                },
            },
        }

    def remarks(self) -> list[tuple[str, str]]:
        rows = [("states", f"{self.states_agree} of {self.judged} agree")]
        if self.differ:
            because = f"{self.roots} with a candidate within {percent(self.root_margin)} of its threshold in software"
            rows.append(("why they differ", f"{because}; the others follow from one of these"))
        errors = f"candidates {percent(self.candidate_error)} rms off, outputs {percent(self.state_error)}"
        rows.append(("error suppression", f"{errors}: {plain(self.suppression)} times less"))
        far = f"{percent(self.clear.share)} of cells, whose candidate is {percent(CLEAR)} or more off its thresholds"
        rows.append(("", f"{plain(self.clear.suppression)} times less for the {far}"))
        if not self.transitions_checked:
            rows.append(("note", "the causes of transitions are not checked: thresholds of these cells are unknown"))
        return rows


def reference(design: CurrentDesign, trained: Trained, sequences: Sequences) -> Reference:
    """The software response in double precision, with inputs clamped to the range of the design.

    Margins [A] are distances of candidates from the nearer threshold. Raises DataError.
    """
    out = software(design.input_range, trained, sequences)
    margins = []
    for layer, candidate, threshold in zip(design.layers, out.candidates, out.thresholds, strict=True):
        low, high = threshold
        margins.append(np.minimum(np.abs(candidate - low), np.abs(candidate - high)) * layer.candidate.unit)
    return made(design.input_range, trained, sequences, out, tuple(margins))


# long: one report of one comparison, fact after fact
def compare(
    design: CurrentDesign,
    trained: Trained,
    sequences: Sequences,
    simulation: CurrentSimulation,
    *,
    expected: Reference | None = None,
    resolution: float = 0.0,
) -> CurrentComparison:
    """Count agreement, and attribute the differences."""
    expected = expected or reference(design, trained, sequences)
    response = simulation.response
    valid = expected.response.valid[:, :, None]
    # Right so far: all states of preceding layers at this timestep, and of this unit one timestep earlier.
    front = np.ones_like(valid)
    agree = total = excluded = states_agree = roots = 0
    root_margin = level_error = 0.0
    smallest = np.inf
    divergences: list[Divergence] = []
    # Sums of `_squares`: of all cells, and of cells that are clear of their thresholds.
    errors = {name: np.zeros(3) for name in ("candidate", "state", "clear candidate", "clear state")}
    for index, layer in enumerate(design.layers):
        wanted, got = expected.response.decisions[index], response.decisions[index]
        margin = expected.margins[index]
        right = (response.states[index] > HIGH) == (expected.response.states[index] > HIGH)
        before = np.concatenate([np.ones_like(right[:, :1]), right[:, :-1]], axis=1)
        counted = valid & (margin >= resolution)
        total += int(valid.sum()) * layer.units
        excluded += int((valid & (margin < resolution)).sum())
        agree += int((counted & (wanted == got)).sum())
        states_agree += int((counted & right).sum())
        if counted.any():
            smallest = min(smallest, float(margin[counted].min()))
        wrong = counted & (wanted != got)
        divergences += [_divergence(index, tuple(place), wanted, got, margin) for place in np.argwhere(wrong).tolist()]
        root = wrong & front & before
        roots += int(root.sum())
        if root.any():
            root_margin = max(root_margin, float((margin / layer.upper)[root].max()))
        clean = np.broadcast_to(valid & front, right.shape)
        for name, chosen in (("", clean), ("clear ", clean & (margin >= CLEAR * layer.upper))):
            errors[f"{name}candidate"] += _squares(simulation.candidates[index], expected.candidates[index], chosen)
            wanted_states = expected.response.states[index]
            errors[f"{name}state"] += _squares(response.states[index], wanted_states, chosen & right)
        same = np.broadcast_to(valid, right.shape) & right
        # If no state of the layer is right, there is no level to compare.
        errors_of_levels = np.abs(response.states[index] - expected.response.states[index])[same]
        level_error = max(level_error, float(errors_of_levels.max(initial=0.0)))
        front = front & right.all(axis=2, keepdims=True)
    classes = classes_of(response, design.config.decision)
    logits = np.where(valid, response.logits - expected.response.logits, 0.0)
    used = np.abs(design.input_range.scaled(sequences.inputs)) / np.array(design.calibration.inputs)
    labels = sequences.labels
    scores = expected.response.logits
    verdict = judge(
        classes, expected.classes, scores, sequences.lengths, design.config.decision,
        fixed=READOUT / 2 * float(np.abs(scores).max()),
    )  # fmt: skip
    scored = labels is not None and not verdict.one_score
    return CurrentComparison(
        total=total,
        agree=agree,
        excluded=excluded,
        resolution=resolution,
        level_error=level_error,
        logit_error=float(np.abs(logits).max() / max(np.abs(expected.response.logits).max(), 1e-30)),
        classes=verdict,
        correct_software=int((expected.classes == labels).sum()) if scored else None,
        correct_circuit=int((classes == labels).sum()) if scored else None,
        first_divergence=min(divergences, key=lambda d: (d.sequence, d.timestep, d.layer, d.unit), default=None),
        smallest_margin=smallest,
        swing_used=float(np.where(valid, used, 0).max()),
        states_agree=states_agree,
        roots=roots,
        root_margin=root_margin,
        candidate_error=_relative(errors["candidate"]),
        state_error=_relative(errors["state"]),
        clear=ClearErrors(
            share=float(errors["clear candidate"][0] / max(errors["candidate"][0], 1)),
            candidate=_relative(errors["clear candidate"]),
            state=_relative(errors["clear state"]),
        ),
        transitions_checked=simulation.transitions_checked,
    )


# --- Steps of the above ------------------------------------------------------------------------------------------


def _squares(found: Array, wanted: Array, chosen: NDArray[np.bool_]) -> Array:
    """(3,): number of ``chosen`` values, sum of squares of their errors, sum of squares of their expected values."""
    return np.array([chosen.sum(), ((found - wanted)[chosen] ** 2).sum(), (wanted[chosen] ** 2).sum()])


def _relative(squares: Array) -> float:
    return float(np.sqrt(squares[1] / max(squares[2], 1e-30)))


def _divergence(
    layer: int, place: tuple[int, ...], wanted: NDArray[np.int8], got: NDArray[np.int8], margin: Array
) -> Divergence:
    sequence, timestep, unit = place
    return Divergence(
        sequence=sequence,
        timestep=timestep,
        layer=layer,
        unit=unit,
        software=int(wanted[place]),
        circuit=int(got[place]),
        margin=float(margin[place]),
        margin_unit="A",
    )
