"""Compare a circuit's response with its software model, for every kind of circuit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.class_verdict import ClassVerdict
from cmru_hw.circuits.input_range import ClampedInputs, InputRange
from cmru_hw.core.signals import Array, Response
from cmru_hw.core.units import percent, plain, si
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.forward import Output, classify
from cmru_hw.nn.sequences import Sequences

# A transistor-level state includes its amplifier's offset, about 1 mV; an error of half a level changes the level.
LEVEL_TOLERANCE = {"macro": 0.05, "transistor": 0.25}


MOVES = ("up", "hold", "down")


SHOWN_DIFFERENCES = 20
SHOWN_UNDECIDED = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """The software response with clamped inputs, in double precision. ``trained`` ran on ``sequences``.

    ``candidates`` [software units] and ``margins`` have one array (sequences, timesteps, units) per layer. A margin is
    the distance of the compared quantity from the nearer threshold. In the charge domain the quantity is a row's
    voltage [V], in current mode a current [A].
    ``clamped`` counts the clamped inputs; ``unclamped_classes`` (sequences,) are those of the user's own model, which
    has no range.
    """

    trained: Trained
    sequences: Sequences
    response: Response
    candidates: tuple[Array, ...]
    margins: tuple[Array, ...]
    classes: NDArray[np.int64]
    clamped: ClampedInputs
    unclamped_classes: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """One decision that differs. ``software`` and ``circuit`` are +1, 0 or −1; ``margin`` is software's.

    ``margin_unit`` is "V" or "A", as in :class:`Reference`. ``inherited``: a state that the unit reads already
    differed from software, so the margin does not apply. ``tolerance``: below this margin it would not be judged.
    """

    sequence: int
    timestep: int
    layer: int
    unit: int
    software: int
    circuit: int
    margin: float
    margin_unit: str = "V"
    inherited: bool = False
    tolerance: float = 0.0

    def __str__(self) -> str:
        name = {1: "up", 0: "hold", -1: "down"}
        return (
            f"sequence {self.sequence}, timestep {self.timestep}, layer {self.layer}, unit {self.unit}: software "
            f"{name[self.software]}, circuit {name[self.circuit]}, "
            + ("inherited" if self.inherited else f"margin {si(self.margin, self.margin_unit)}")
        )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of a comparison. Decisions ``total`` = ``agree`` + ``differ`` + ``excluded``.

    A decision is excluded, not judged, if its row is closer to its threshold than the row's tolerance: ``resolution``
    [V] and the known errors of the circuit, at most ``largest_tolerance`` [V]. Where such a decision differs
    (``undecided``), software is continued from the circuit's; ``followed`` counts the judged decisions that read a
    state which that has changed. ``level_error`` is the largest |state difference| in levels; αCMRU: as a share of the
    swing. ``logit_error`` is relative to the largest logit, ``readout_error`` the part of it that the errors of the
    states do not explain. ``divergences`` are all decisions that differ, in order of time. ``coverage`` has one array
    per layer, (units, 3): the numbers of steps up, holds and steps down of the circuit. ``level``: the simulated level,
    "macro" or "transistor".
    """

    total: int
    agree: int
    excluded: int
    resolution: float
    level_error: float
    logit_error: float
    classes: ClassVerdict
    correct_software: int | None
    correct_circuit: int | None
    first_divergence: Divergence | None
    smallest_margin: float
    swing_used: float
    divergences: tuple[Divergence, ...] = ()
    coverage: tuple[NDArray[np.int64], ...] = ()
    level: str = "macro"
    largest_tolerance: float = 0.0
    undecided: tuple[Divergence, ...] = ()
    followed: int = 0
    readout_error: float = 0.0

    margin_unit: ClassVar[str] = "V"

    @property
    def judged(self) -> int:
        """Decisions that count: all but the excluded ones."""
        return self.total - self.excluded

    @property
    def classified(self) -> int:
        return self.classes.total

    @property
    def classified_alike(self) -> int:
        return self.classes.agree

    @property
    def differ(self) -> int:
        return self.total - self.agree - self.excluded

    def holds(self) -> bool:
        """True if at least one decision was judged, and every judged decision, class and level agrees with software."""
        return not self.failures()

    def failures(self) -> tuple[str, ...]:
        """A clause for each disagreement, of decisions, classes, states and readout, or one that nothing was judged."""
        found = list(self.nothing_judged())
        if self.differ:
            found.append(f"{self.differ} decisions differ from software, first {self.first_divergence}")
        if self.classes.differ:
            found.append(f"{self.classes.differ} sequences get another class than in software")
        limit = self.level_tolerance
        if not self.level_error < limit:
            found.append(f"states differ from software by up to {plain(self.level_error)} levels, more than {limit:g}")
        if not self.readout_error < limit:
            off = percent(self.readout_error)
            found.append(f"readouts differ by up to {off} of the largest from those of the circuit's own states")
        return tuple(found)

    def nothing_judged(self) -> tuple[str, ...]:
        """The clause of a comparison that excludes every decision: it has proved nothing."""
        if self.judged:
            return ()
        least = si(self.resolution, self.margin_unit)
        return (
            f"nothing was judged: all {self.total} decisions have margins below their tolerance, of {least} or more; "
            "give a smaller --resolution, or sequences that move the network's units",
        )

    @property
    def level_tolerance(self) -> float:
        """The largest accepted error of a state, in levels."""
        return LEVEL_TOLERANCE[self.level]

    @property
    def unseen(self) -> tuple[str, ...]:
        """The moves that the circuit never made, as ``"0.2 up"``: layer, unit, move."""
        return tuple(
            f"{layer}.{unit} {move}"
            for layer, counts in enumerate(self.coverage)
            for unit, row in enumerate(counts)
            for move, count in zip(MOVES, row, strict=True)
            if not count
        )

    def details(self) -> dict[str, object]:
        """Additional keys of the comparison that only this kind of circuit has, as plain numbers."""
        return {
            "differences": [asdict(found) for found in self.divergences],
            "undecided": [asdict(found) for found in self.undecided],
            "coverage": [[dict(zip(MOVES, row, strict=True)) for row in counts.tolist()] for counts in self.coverage],
            "unseen": list(self.unseen),
        }

    def remarks(self) -> list[tuple[str, str]]:
        """The same, formatted: rows of a table. This class adds the other differences, the moves of every unit, and the
        remedy for a swing that was too small."""
        rows = [
            ("not judged", f"{found}, tolerance {si(found.tolerance, found.margin_unit)}")
            for found in self.undecided[:SHOWN_UNDECIDED]
        ]
        if self.followed:
            rows.append(
                ("after these", f"{self.followed} decisions are judged against software with the circuit's state")
            )
        if self.level == "transistor":
            rows += [("difference", str(found)) for found in self.divergences[1:SHOWN_DIFFERENCES]]
            for layer, counts in enumerate(self.coverage):
                units = ", ".join("/".join(map(str, row)) for row in counts.tolist())
                rows.append((f"layer {layer}", f"units went up/held/went down {units}"))
            rows.append(("never seen", ", ".join(self.unseen) or "nothing: every unit went up, held and went down"))
        if self.swing_used > 1.01:
            rows.append(("note", f"states reached {self.swing_used:.2f} of their swing: calibrate with more data"))
        return rows


def software(limits: InputRange, trained: Trained, sequences: Sequences) -> Output:
    """The software model of a circuit with input range ``limits``, on ``sequences``. Raises DataError."""
    trained.check(sequences)
    return limits.model(trained).run(sequences.inputs, sequences.lengths)


def made(
    limits: InputRange, trained: Trained, sequences: Sequences, output: Output, margins: tuple[Array, ...]
) -> Reference:
    """The reference for ``output`` of :func:`software`."""
    valid = sequences.valid[:, :, None]
    classes = classify(output.logits, sequences.lengths, trained.config.decision)
    clamped, unclamped_classes = limits.clamped(trained, sequences, classes)
    return Reference(
        trained=trained,
        sequences=sequences,
        response=Response(
            lengths=sequences.lengths,
            decisions=output.decisions,
            states=tuple(np.where(valid, s, 0.0) for s in output.states),
            logits=np.where(valid, output.logits, 0.0),
        ),
        candidates=output.candidates,
        margins=margins,
        classes=classes,
        clamped=clamped,
        unclamped_classes=unclamped_classes,
    )


def classes_of(response: Response, decision: str) -> NDArray[np.int64]:
    """Class index (sequences,) by the checkpoint's decision rule."""
    return classify(response.logits, response.lengths, decision)
