"""The interface for dies of a design, for every kind of circuit: the same die in the fast engine and in SPICE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.input_range import ClampedInputs
from cmru_hw.core.signals import Response
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.spice import Backend, Engine
from cmru_hw.spice.deck import Deck


class Goal(Protocol):
    """The software run that dies are compared with. ``accuracy`` is the share of correct sequences of the user's own
    model, whose inputs have no range; ``clamped`` counts the inputs that are clamped in the circuit."""

    @property
    def accuracy(self) -> float: ...
    @property
    def clamped(self) -> ClampedInputs: ...


class DieJob(Protocol):
    """The part of a Monte-Carlo job that a kind of circuit needs.

    ``varied`` names the sources of variation that differ from die to die; ``goal`` is that of `DieSimulator.goal`.
    In SPICE, time steps are halved ``refine`` times; ``backend`` and ``timeout`` [s] are those of the simulator.
    """

    @property
    def design(self) -> Any: ...
    @property
    def trained(self) -> Trained: ...
    @property
    def sequences(self) -> Sequences: ...
    @property
    def seed(self) -> int: ...
    @property
    def varied(self) -> frozenset[str]: ...
    @property
    def refine(self) -> int: ...
    @property
    def backend(self) -> Backend: ...
    @property
    def timeout(self) -> float: ...
    @property
    def goal(self) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class DieScores:
    """One die: the columns of `cmru_hw.analysis.montecarlo.rows.SCHEMA`.

    ``status`` is "ok" or the cause of a failure. ``accuracy`` is the share of sequences classified as labelled (without
    labels: as software does), ``classes_alike`` the number classified as in software. ``decisions_agree`` of
    ``decisions`` are those of software. Level errors are in levels (αCMRU: shares of the swing). ``engines_agree``
    decisions are the same in both engines; ``engines_close`` differ because they are too close to call. ``trim_beyond``
    rows have an offset out of the range of their trim code; None without trim.
    """

    die: int
    status: str
    accuracy: float | None = None
    classes_alike: int | None = None
    decisions: int | None = None
    decisions_agree: int | None = None
    level_error_max: float | None = None
    level_error_rms: float | None = None
    engines_agree: int | None = None
    engines_close: int | None = None
    trim_beyond: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """One die over the first sequence: its deck, the fast engine's response, and the software reference."""

    deck: Deck
    response: Response
    expected: Reference


@dataclass(frozen=True, kw_only=True)
class DieSimulator:
    """Functions that draw and score dies of one kind of circuit.

    * ``goal(job)``: the software run that dies are compared with
    * ``draw(job, dies)``: the dies with these numbers
    * ``fast(job, dies)``: the scores of each die from the fast engine
    * ``simulated(job, drawn, engine)``: the scores of the only die drawn, from SPICE, with its agreement with the fast
      engine
    * ``replay(job, die)``: one die in both engines, to inspect
    * ``resolution``: in words, the decisions that are too close to call between the engines
    * ``fast_seconds`` and ``simulated_seconds``: about the CPU time per weight and timestep [s]. It sets the size of
      blocks of dies; their rows do not depend on it.
    * ``engines``: those that can simulate a die
    * ``certified``: whether a result in SPICE has a certificate of the nominal die
    """

    goal: Callable[[DieJob], Goal]
    draw: Callable[[DieJob, Sequence[int]], Any]
    fast: Callable[[DieJob, Sequence[int]], list[DieScores]]
    simulated: Callable[[DieJob, Any, Engine], DieScores]
    replay: Callable[[DieJob, int], Replay]
    resolution: str
    fast_seconds: float = 1e-9
    simulated_seconds: float = 1e-3
    engines: tuple[str, ...] = ("fast", "spice")
    certified: bool = True
