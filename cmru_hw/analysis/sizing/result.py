"""The result of a search for sizes: the contents of ``sizing.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from cmru_hw.analysis.provenance import Provenance
from cmru_hw.analysis.sizing.study import Trial
from cmru_hw.core.records import INLINE, Count, Invalid, NotNegative, OneOf, Record, Share, named

RESULT, ROUNDS, FIGURE = "sizing.json", "rounds.json", "front"


@dataclass(frozen=True, kw_only=True)
class Proof(Record):
    """Dies of a design with ``seed``, which no search has seen: ``good`` of ``dies``. ``bound``: lower bound of the
    yield that holds with the confidence of the goal for all proofs of a search together. ``folder``: the Monte-Carlo.

    ``spice_decisions`` of a subset of the dies were simulated in SPICE as well; ``spice_unexplained`` differ between
    the engines without being too close to call. None if no die was simulated in both.
    """

    seed: Count
    dies: Count
    good: Count
    bound: Share
    passed: bool
    folder: str
    spice_dies: Count = 0
    spice_decisions: Count | None = None
    spice_unexplained: Count | None = None

    def check(self) -> None:
        if self.good > self.dies:
            raise Invalid("good", f"is {self.good} of {self.dies} dies")
        if self.good < self.dies * self.bound:
            raise Invalid("bound", f"is {self.bound:g}, above {self.good} of {self.dies} dies")


@dataclass(frozen=True, kw_only=True)
class Limit(Record):
    """A class of elements, the ``law`` behind its errors, and the sizes that it depends on. ``agreement_alone``: share
    of decisions as in software if only it varies; ``yield_without`` of the dies if it does not vary."""

    element: str
    law: str
    agreement_alone: Share
    yield_without: Share


@dataclass(frozen=True, kw_only=True)
class Figures(Record):
    """Figures of a technology that follow from its sizes. Offsets [V] are standard deviations; ``trim_step`` [V], None
    without trim; ``kick`` [V]: movement of a row by a decision; ``decision`` [s] at 1 mV; ``amplifier_time`` [s]: time
    constant. ``threshold_spread``: standard deviation of a threshold by the mirrors of its cell, of the layer with
    the largest. None for the figures of the other kind of circuit.
    """

    energy_J: NotNegative
    area_m2: NotNegative
    comparator_offset: NotNegative | None = None
    amplifier_offset: NotNegative | None = None
    limit_offset: NotNegative | None = None
    trim_step: NotNegative | None = None
    kick: NotNegative | None = None
    decision: NotNegative | None = None
    amplifier_gain: NotNegative | None = None
    amplifier_time: NotNegative | None = None
    threshold_spread: NotNegative | None = None
    blocks_J: Mapping[str, NotNegative]


@dataclass(frozen=True, kw_only=True)
class SizingResult(Record):
    """The ``chosen`` sizes with their ``figures``, those of the technology (``own``), the Pareto ``front``, the
    ``proofs``, and the classes of elements that limit the yield next, the worst first.

    ``chosen`` is None if no trial reaches the goal. Then ``limits`` are those of the trial with the highest yield,
    and ``limited_by`` are the laws that keep it from the goal, the costliest first. ``die_evaluations``: simulated dies
    of the search, without those of proofs, limits and front. ``own_sizes`` are those of the technology; empty in files
    of older versions. ``level`` is that of the dies.
    """

    kind: Literal["sizing"] = "sizing"
    goal: Share
    confidence: Share
    minimise: Annotated[str, OneOf(("energy", "area"))]
    drop: float
    technology: str
    fixed: Mapping[str, float]
    reached: bool
    chosen: Trial | None
    figures: Figures | None
    own: Figures
    trials: Count
    die_evaluations: Count
    search_dies: Count
    front: tuple[Trial, ...]
    proofs: tuple[Proof, ...]
    limits: tuple[Limit, ...]
    limited_by: tuple[str, ...] = ()
    provenance: Provenance = field(metadata=INLINE)
    yield_of_best: Share = field(default=0.0, metadata=named("best_yield"))
    own_sizes: Mapping[str, float] = field(default_factory=dict)
    level: Literal["macro", "transistor"] = "macro"

    @property
    def proof(self) -> Proof | None:
        """The last proof, which is that of the exported design; None if no trial was worth one."""
        return self.proofs[-1] if self.proofs else None

    def check(self) -> None:
        if self.reached == (self.chosen is None):
            raise Invalid("chosen", "does not fit reached")
        if (self.chosen is None) != (self.figures is None):
            raise Invalid("figures", "does not fit chosen")
        if self.reached and not (self.proof is not None and self.proof.passed):
            raise Invalid("reached", "is true, but no proof passed")


@dataclass(frozen=True, kw_only=True)
class Round(Record):
    """One search of several in turn with training: ``accuracy`` of the software model that was sized, and results in
    ``folder``."""

    number: Count
    accuracy: Share
    folder: str
    sizing: SizingResult

    @property
    def cost(self) -> float:
        """The cost that was minimised: energy [J per timestep] or area [m²] of the chosen sizes; infinite without."""
        figures = self.sizing.figures
        if figures is None:
            return float("inf")
        return figures.energy_J if self.sizing.minimise == "energy" else figures.area_m2


@dataclass(frozen=True, kw_only=True)
class Rounds(Record):
    """Searches in turn with training, and the number of the ``best``: the cheapest that reaches the yield. ``ended``:
    why there are fewer than asked for, else empty."""

    kind: Literal["sizing-rounds"] = "sizing-rounds"
    best: Count
    rounds: tuple[Round, ...]
    ended: str = ""
