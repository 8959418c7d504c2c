"""Run batches of sequences through a design: one deck for each batch, or the pieces of a large macromodel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cmru_hw.circuits.charge import fidelity, macro_netlist, macro_stimulus, pieces
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.macro_stimulus import Sources
from cmru_hw.circuits.charge.pieces import Joined, Piece
from cmru_hw.core.errors import SimulationError
from cmru_hw.core.signals import Array, Traces
from cmru_hw.spice import Engine
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.engine import Outcome
from cmru_hw.spice.schedule import Schedule

Noise = Sequence[Mapping[str, Array]]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sequences of one deck: ``inputs``, each (timesteps, features), and the ``noise`` of each."""

    inputs: Sequence[Array]
    noise: Noise | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all decks have in common: see `cmru_hw.circuits.charge.macro_netlist.deck`."""

    network: str | None = None
    refine: int = 0
    metered: bool = False
    save: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """The result of one batch. ``attempts`` as in `cmru_hw.spice.engine.Outcome`, of all its decks."""

    traces: Traces
    plan: Schedule
    cpu_seconds: float
    simulator: str
    attempts: tuple[str, ...]


def run(
    design: Design,
    batches: Sequence[Callable[[], Batch]],
    engine: Engine,
    settings: Settings,
    *,
    advance: Callable[[int, float], None] | None = None,
) -> Iterator[tuple[int, Run]]:
    """Yield (index, run) for each of ``batches``, in any order. A batch is made when its decks are built.

    ``advance(index, share)`` reports that a further share of a batch is simulated. Raises SimulationError.
    """
    stages = _stages(design, batches, settings)
    if not stages:
        yield from _whole(design, batches, engine, settings, advance)
        return
    # Pieces of one layer are independent, those of the next wait for them: enough batches at a time for all workers.
    at_once = -(-2 * engine.jobs // max(len(stage) for stage in stages))
    for first in range(0, len(batches), at_once):
        indices = range(first, min(first + at_once, len(batches)))
        yield from _in_pieces(design, {i: batches[i]() for i in indices}, stages, engine, settings, advance)


def unit(
    design: Design, batch: Batch, engine: Engine, settings: Settings, *, layer: int, number: int
) -> tuple[Traces, Schedule]:
    """Every saved point of the deck or piece that contains unit ``number`` of ``layer``. Raises SimulationError."""
    stages = _stages(design, [lambda: batch], settings)
    if not stages:
        ((_, found),) = _whole(design, [lambda: batch], engine, settings, None)
        return found.traces, found.plan
    one = _Progress.begin(design, batch)
    for stage in stages[:layer]:
        for _ in _stage(design, {0: one}, stage, engine, settings):
            pass
    piece = next(piece for piece in stages[layer] if number in piece.part.units[layer])
    ((_, outcome),) = _stage(design, {0: one}, [piece], engine, settings)
    return outcome.traces, one.plan


def _stages(
    design: Design, batches: Sequence[Callable[[], Batch]], settings: Settings
) -> tuple[tuple[Piece, ...], ...]:
    if not fidelity.of(design).divisible or sum(layer.units for layer in design.layers) <= pieces.MOST_UNITS:
        return ()
    network = settings.network
    if network is None:
        noise = batches[0]().noise
        network = macro_netlist.network_text(design, driven=noise[0].keys() if noise else ())
    return pieces.cut(design, network)


def _whole(
    design: Design,
    batches: Sequence[Callable[[], Batch]],
    engine: Engine,
    settings: Settings,
    advance: Callable[[int, float], None] | None,
) -> Iterator[tuple[int, Run]]:
    plans: list[Schedule] = []

    def decks() -> Iterator[Deck]:
        for load in batches:
            batch = load()
            deck, plan = fidelity.deck(
                design,
                batch.inputs,
                network=settings.network,
                noise=batch.noise,
                refine=settings.refine,
                metered=settings.metered,
                save=settings.save,
            )
            plans.append(plan)
            yield deck

    for index, outcome in engine.map(decks()):
        if isinstance(outcome, SimulationError):
            raise outcome
        if advance:
            advance(index, 1.0)
        cost = _Cost()
        cost.add(outcome)
        yield index, cost.run(outcome.traces, plans[index])


@dataclass(kw_only=True)
class _Cost:
    """Totals over the decks of a batch."""

    cpu_seconds: float = 0.0
    simulator: str = ""
    attempts: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.cpu_seconds += outcome.cpu_seconds
        self.simulator = outcome.simulator
        self.attempts += outcome.attempts

    def run(self, traces: Traces, plan: Schedule) -> Run:
        return Run(
            traces=traces,
            plan=plan,
            cpu_seconds=self.cpu_seconds,
            simulator=self.simulator,
            attempts=tuple(self.attempts),
        )


@dataclass(kw_only=True, eq=False)
class _Progress:
    """A batch while its pieces are simulated."""

    batch: Batch
    plan: Schedule
    joined: Joined
    cost: _Cost = field(default_factory=_Cost)

    @classmethod
    def begin(cls, design: Design, batch: Batch) -> _Progress:
        plan = macro_netlist.plan_of(design, batch.inputs)
        joined = Joined(time=pieces.instants(design, plan), clocks=frozenset(design.phases))
        return cls(batch=batch, plan=plan, joined=joined)

    def add(self, outcome: Outcome) -> None:
        self.joined.add(outcome.traces)
        self.cost.add(outcome)


def _in_pieces(
    design: Design,
    batches: Mapping[int, Batch],
    stages: Sequence[Sequence[Piece]],
    engine: Engine,
    settings: Settings,
    advance: Callable[[int, float], None] | None,
) -> Iterator[tuple[int, Run]]:
    every = {index: _Progress.begin(design, batch) for index, batch in batches.items()}
    count = sum(map(len, stages))
    for stage in stages:
        for index, _ in _stage(design, every, stage, engine, settings):
            if advance:
                advance(index, 1 / count)
    for index, one in every.items():
        yield index, one.cost.run(one.joined.traces(), one.plan)


def _stage(
    design: Design, every: Mapping[int, _Progress], stage: Sequence[Piece], engine: Engine, settings: Settings
) -> Iterator[tuple[int, Outcome]]:
    """Simulate the pieces of ``stage`` for every batch, add them to the batch, and yield (batch, outcome)."""
    places: list[int] = []

    def decks() -> Iterator[Deck]:
        for index, one in every.items():
            recorded = _recorded(one.joined, stage[0].reads)
            for piece in stage:
                places.append(index)
                yield _deck(design, piece, one.batch, recorded, settings)

    for place, outcome in engine.map(decks()):
        if isinstance(outcome, SimulationError):
            raise outcome
        every[places[place]].add(outcome)
        yield places[place], outcome


def _recorded(joined: Joined, reads: Sequence[str]) -> Sources | None:
    return macro_stimulus.recorded(joined.time, {node: joined.values[node] for node in reads}) if reads else None


def _deck(design: Design, piece: Piece, batch: Batch, recorded: Sources | None, settings: Settings) -> Deck:
    deck, _ = macro_netlist.deck(
        design,
        batch.inputs,
        network=piece.network,
        noise=batch.noise,
        refine=settings.refine,
        metered=settings.metered,
        save=piece.part.among(settings.save),
        part=piece.part,
        recorded=recorded,
    )
    return deck
