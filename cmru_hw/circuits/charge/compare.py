"""Hold a circuit's response against its software model, decision by decision."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cmru_hw.circuits.charge.mapping import Design, Row
from cmru_hw.core.signals import Array, Response
from cmru_hw.nn.cells import classify
from cmru_hw.nn.checkpoint import Sequences, Trained

# Below this a macro row cannot be asked to decide: ten times the hysteresis of its comparator, and the volts that
# survive the %.10g of a stimulus file many times over. [V]
RESOLUTION = 1e-6
# A state of transistors carries its amplifier's offset, a millivolt; a level is misread when it is half a level off.
LEVEL_TOLERANCE = {"macro": 0.05, "transistor": 0.25}
MOVES = ("up", "hold", "down")
SHOWN_DIFFERENCES = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """The software truth, in double precision. ``margins`` has, per layer, (sequences, timesteps, units): how far what
    is compared is from the nearer threshold: in the charge domain a row's voltage [V], in current mode a current [A].
    """

    response: Response
    margins: tuple[Array, ...]
    classes: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """One decision that differs. ``software`` and ``circuit`` are +1, 0 or −1; ``margin`` is software's.

    ``margin_unit`` is "V" or "A", as in :class:`Reference`. ``inherited``: a state that the unit reads was already
    another level, so its margin says nothing.
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

    def __str__(self) -> str:
        name = {1: "up", 0: "hold", -1: "down"}
        return (
            f"sequence {self.sequence}, timestep {self.timestep}, layer {self.layer}, unit {self.unit}: software "
            f"{name[self.software]}, circuit {name[self.circuit]}, "
            + ("inherited" if self.inherited else f"margin {self.margin:.3g} {self.margin_unit}")
        )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The verdict. Decisions ``total`` = ``agree`` + ``differ`` + ``excluded``.

    Excluded are decisions whose margin is below ``resolution`` [V], and, in a sequence where one of those fell the
    other way, everything that comes after it. ``level_error`` is the largest |state difference| in levels; αCMRU: as
    a share of the swing. ``logit_error`` is relative to the largest logit. ``divergences`` are all that differ, in
    order of time. ``coverage`` has one array per layer, (units, 3): how often the circuit went up, held, went down.
    ``level``: what was simulated, macros or transistors.
    """

    total: int
    agree: int
    excluded: int
    resolution: float
    level_error: float
    logit_error: float
    classified: int
    classified_alike: int
    correct_software: int | None
    correct_circuit: int | None
    first_divergence: Divergence | None
    smallest_margin: float
    swing_used: float
    divergences: tuple[Divergence, ...] = ()
    coverage: tuple[NDArray[np.int64], ...] = ()
    level: str = "macro"

    margin_unit: ClassVar[str] = "V"

    @property
    def differ(self) -> int:
        return self.total - self.agree - self.excluded

    def holds(self) -> bool:
        """Whether circuit and software are the same network: every decision that counts, every class, every level."""
        alike = self.classified == self.classified_alike
        return not self.differ and alike and self.level_error < self.level_tolerance

    @property
    def level_tolerance(self) -> float:
        """What a state may be off by, in levels."""
        return LEVEL_TOLERANCE[self.level]

    @property
    def unseen(self) -> tuple[str, ...]:
        """What the circuit was never seen to do, as ``"0.2 up"``: layer, unit, move."""
        return tuple(
            f"{layer}.{unit} {move}"
            for layer, counts in enumerate(self.coverage)
            for unit, row in enumerate(counts)
            for move, count in zip(MOVES, row, strict=True)
            if not count
        )

    def details(self) -> dict[str, Any]:
        """What only this kind of circuit has to say, in plain numbers: more keys of the comparison."""
        return {
            "differences": [asdict(found) for found in self.divergences],
            "coverage": [[dict(zip(MOVES, row, strict=True)) for row in counts.tolist()] for counts in self.coverage],
            "unseen": list(self.unseen),
        }

    def remarks(self) -> list[tuple[str, str]]:
        """The same for people: rows of a table. Here the other differences, what every unit was seen to do, and what
        to do about a swing that was too small."""
        rows = []
        if self.level == "transistor":
            rows += [("difference", str(found)) for found in self.divergences[1:SHOWN_DIFFERENCES]]
            for layer, counts in enumerate(self.coverage):
                units = ", ".join("/".join(map(str, row)) for row in counts.tolist())
                rows.append((f"layer {layer}", f"units went up/held/went down {units}"))
            rows.append(("never seen", ", ".join(self.unseen) or "nothing: every unit went up, held and went down"))
        if self.swing_used > 1.01:
            rows.append(("note", f"states went to {self.swing_used:.2f} of their swing: calibrate with more data"))
        return rows


def reference(design: Design, trained: Trained, sequences: Sequences) -> Reference:
    """Run the software model in double precision: decisions, states, logits, classes (see :class:`Reference`).

    It is the cell of arXiv:2605.11855 (BMRU: arXiv:2601.09495). Raises DataError for sequences that do not fit.
    """
    trained.check(sequences)
    network = trained.network().double()
    lengths = torch.from_numpy(sequences.lengths)
    with torch.no_grad():
        out = network(torch.from_numpy(sequences.inputs).double(), lengths)
    valid = np.arange(sequences.inputs.shape[1])[None, :, None] < sequences.lengths[:, None, None]
    margins = []
    for layer, candidate, threshold in zip(design.layers, out.candidates, out.thresholds, strict=True):
        c, beta = candidate.numpy(), threshold.numpy()
        margins.append(
            np.minimum(np.abs(c - beta) * row_gain(design, layer.low), np.abs(c + beta) * row_gain(design, layer.high))
        )
    response = Response(
        lengths=sequences.lengths,
        decisions=tuple(d.numpy() for d in out.decisions),
        states=tuple(np.where(valid, s.numpy(), 0.0) for s in out.states),
        logits=np.where(valid, out.logits.numpy(), 0.0),
    )
    return Reference(
        response=response,
        margins=tuple(margins),
        classes=classify(out.logits, lengths, trained.config.decision).numpy(),
    )


def classes_of(response: Response, decision: str) -> NDArray[np.int64]:
    """Class index (sequences,) by the checkpoint's decision rule."""
    return classify(torch.from_numpy(response.logits), torch.from_numpy(response.lengths), decision).numpy()


def compare(
    design: Design,
    expected: Reference,
    response: Response,
    *,
    labels: NDArray[np.int64] | None = None,
    resolution: float = RESOLUTION,
) -> Comparison:
    """Count agreement, exclude what lies below ``resolution`` [V], and name the first divergence.

    ``response`` is what a circuit did on the sequences of ``expected``; ``labels`` (sequences,) are class indices.
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
    """(sequences, timesteps): whether any state below layer ``index`` is off by more than half a level."""
    apart = [np.abs(a - b).max(axis=2) > 0.5 for a, b in zip(expected.states[:index], response.states, strict=False)]
    return np.any(apart, axis=0) if apart else np.zeros(expected.valid.shape, dtype=bool)


def _ignored(expected: Reference, response: Response, resolution: float) -> list[NDArray[np.bool_]]:
    """Per layer, the decisions that prove nothing: too close to call, or downstream of one that fell the other way."""
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
            # its own layer has a wrong state from the next timestep on; layers above see it within this one
            ignored[index][s, when + (index <= where) :] = True
    return ignored


def row_gain(design: Design, row: Row) -> Array:
    """Volts at the top plate for one unit of the weighted sum (units,)."""
    return row.scale / (row.total + design.technology.capacitor.parasitic)
