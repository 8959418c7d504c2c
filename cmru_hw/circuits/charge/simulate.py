"""Run a design in SPICE on given sequences and decode what the circuit did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge import fidelity
from cmru_hw.circuits.charge.compare import RESOLUTION, compare, reference
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.simulation import Simulation, Verified, Waveforms, shared_decks
from cmru_hw.core.errors import LatchTurned, ResultRejected, SimulationError
from cmru_hw.core.signals import Array, Response, Traces, padded
from cmru_hw.nn.checkpoint import Sequences, Trained
from cmru_hw.spice import Engine
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.schedule import Schedule

# Decks of this many timesteps: long enough to pay for their start, short enough to share between workers.
FRAMES_PER_DECK = 400
MOST_REFINEMENTS = 2


def simulate(
    design: Design,
    sequences: Sequences,
    engine: Engine,
    *,
    network: str | None = None,
    refine: int = 0,
    noise: Callable[[int], Mapping[str, Array]] | None = None,
    reader: Design | None = None,
    observe: Callable[[Traces, Schedule, Sequence[int]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Simulation:
    """``sequences`` through ``design`` in ``engine``; decisions, states and readout sampled once per timestep.

    ``noise(sequence)`` gives what :func:`netlist.deck` takes for it. ``reader`` is the design whose levels and readout
    scale turn volts into numbers: for one die of many the nominal one, because nobody knows the die's own.
    ``observe(traces, plan, sequences)`` sees every deck that has run and which sequences it holds, in any order; its
    accounts are then kept (:func:`netlist.meters`). ``progress(done, total)`` counts timesteps. Raises SimulationError
    if any deck fails: a partial answer is no answer.
    """
    reader = reader or design
    # transistors take seconds for a timestep: every sequence is a deck of its own
    frames = 0 if fidelity.in_transistors(design) else FRAMES_PER_DECK
    batches = list(shared_decks(sequences.lengths.tolist(), frames))
    inputs = [x[:length].astype(np.float64) for x, length in zip(sequences.inputs, sequences.lengths, strict=True)]

    def build(batch: Sequence[int], refine: int) -> tuple[Deck, Schedule]:
        return fidelity.deck(
            design,
            [inputs[i] for i in batch],
            network=network,
            noise=None if noise is None else [noise(i) for i in batch],
            refine=refine,
            metered=observe is not None,
        )

    pieces: dict[int, list[_Piece]] = {}
    attempts: list[str] = []
    seconds, simulator, done = 0.0, "", 0
    total = int(sequences.lengths.sum())
    # a latch that falls over in a long step of the simulator stands in smaller ones
    for finer in range(refine, refine + MOST_REFINEMENTS + 1):
        waiting = [index for index in range(len(batches)) if index not in pieces]
        built = [build(batches[index], finer) for index in waiting]
        for place, outcome in engine.map([deck for deck, _ in built]):
            if isinstance(outcome, SimulationError):
                raise outcome
            index, plan = waiting[place], built[place][1]
            seconds += outcome.cpu_seconds
            simulator = outcome.simulator
            attempts += outcome.attempts
            try:
                pieces[index] = [decode(reader, outcome.traces, plan, number) for number in range(len(plan.lengths))]
            except LatchTurned as error:
                if finer == refine + MOST_REFINEMENTS or not fidelity.in_transistors(design):
                    raise
                attempts.append(f"again with smaller steps: {error}")
                continue
            if observe:
                observe(outcome.traces, plan, batches[index])
            done += sum(plan.lengths)
            if progress:
                progress(done, total)
        if len(pieces) == len(batches):
            break
    ordered = [piece for index in range(len(batches)) for piece in pieces[index]]
    time, layers = sequences.inputs.shape[1], range(len(design.layers))
    return Simulation(
        response=Response(
            lengths=sequences.lengths,
            decisions=tuple(padded([piece.decisions[layer] for piece in ordered], time) for layer in layers),
            states=tuple(padded([piece.states[layer] for piece in ordered], time) for layer in layers),
            logits=padded([piece.logits for piece in ordered], time),
        ),
        cpu_seconds=seconds,
        simulator=simulator,
        attempts=tuple(attempts),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Piece:
    decisions: tuple[NDArray[np.int8], ...]
    states: tuple[Array, ...]
    logits: Array


def decode(design: Design, traces: Traces, plan: Schedule, sequence: int) -> _Piece:
    """States, decisions and logits of one sequence of a deck.

    Raises ResultRejected where a clock phase is not high at a sampling instant (XSPICE can miss an edge), a decision
    node is at neither rail or a latch has turned over since it decided: then the sample means nothing.
    """
    plan = plan.located(traces)
    # signals are ratios of the supply
    nominal = design.technology.supply
    vdd = plan.supply or nominal.vdd
    scale = vdd / nominal.vdd

    def common(instants: Array) -> Array:
        own = traces.at(plan.common, instants) if plan.common else np.full(len(instants), nominal.common_mode * scale)
        return own[:, None]

    if wrong := plan.unclocked(traces, sequence):
        raise ResultRejected(wrong)
    decisions, states = [], []
    for index, layer in enumerate(design.layers):
        instants = plan.instants(sequence, index)
        units = range(layer.units)
        output = np.stack([traces.at(f"o{index}_{i}", instants) for i in units], axis=1) - common(instants)
        # a decision is read where it was computed: one that turns over between two points is at a rail in both
        latest = np.searchsorted(traces.time, plan.deciding(sequence, index), side="right") - 1
        rails = [
            np.stack([traces.values[f"{q}{index}_{i}"][latest] for i in units], axis=1) / vdd for q in ("qa", "qb")
        ]
        if any((np.abs(q - np.round(q)) > 0.1).any() for q in rails):
            raise ResultRejected(f"a decision of layer {index} is at neither rail at its sampling instant")
        for q, kept in zip(("qa", "qb"), rails, strict=True):
            _require_latched(f"{q}{index}", kept * vdd, vdd, traces, plan, sequence, index)
        low, high = (q > 0.5 for q in rails)
        both, neither = low & high, ~low & ~high
        decisions.append(both.astype(np.int8) - neither.astype(np.int8))
        # the integrator knows positive packets only: the state of a unit with negative alpha is its level all the same
        states.append(output / (layer.step * scale))
    instants = plan.instants(sequence)
    # a unit alone has no readout: no rows, as many instants
    rows = [traces.at(f"y{k}", instants) for k in range(len(design.readout.bias))]
    readout = np.reshape(rows, (len(rows), len(instants))).T - common(instants)
    row = design.readout
    logits = (readout / scale - row.offset) * (row.total + design.technology.capacitor.parasitic) / row.scale
    return _Piece(decisions=tuple(decisions), states=tuple(states), logits=logits)


def _require_latched(
    nodes: str, kept: Array, vdd: float, traces: Traces, plan: Schedule, sequence: int, group: int
) -> None:
    """Latches whose voltages ``kept`` (timesteps, units) are read must hold what they decided."""
    instants = plan.decided(sequence, group)
    if instants is None:
        return
    decided = np.stack([traces.at(f"{nodes}_{i}", instants) for i in range(kept.shape[1])], axis=1)
    turned = np.argwhere(np.abs(decided - kept) > 0.5 * vdd)
    if turned.size:
        timestep, unit = turned[0].tolist()
        raise LatchTurned(
            f"the latch {nodes}_{unit} turned over after its decision in timestep {timestep} of sequence {sequence}: "
            "the simulator stepped across it; make the edge of the technology's clocks shorter"
        )


def verify(
    design: Design,
    trained: Trained,
    sequences: Sequences,
    engine: Engine,
    *,
    network: str | None = None,
    resolution: float = RESOLUTION,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Simulate and compare; where they differ, halve the time step until the circuit's answer holds still.

    A difference that a finer step removes was the integrator's doing, not the circuit's. One that stays is real.
    ``resolution`` [V]: below it a decision is too close to call. ``progress(done, total)`` counts timesteps. Raises
    SimulationError, and DataError for sequences that do not fit.
    """
    expected = reference(design, trained, sequences)
    previous: Response | None = None
    # transistors take their steps from their own edges: halving the largest one changes nothing
    for refined in range(1 if fidelity.in_transistors(design) else MOST_REFINEMENTS + 1):
        simulation = simulate(design, sequences, engine, network=network, refine=refined, progress=progress)
        response = simulation.response
        comparison = compare(design, expected, response, labels=sequences.labels, resolution=resolution)
        if comparison.holds() or (previous is not None and _same_decisions(previous, response)):
            break
        previous = response
    return Verified(comparison=comparison, simulation=simulation, expected=expected, refined=refined)


def _same_decisions(one: Response, other: Response) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.decisions, other.decisions, strict=True))


def waveforms(
    design: Design, sequences: Sequences, engine: Engine, *, unit: tuple[int, int], network: str | None = None
) -> Waveforms:
    """Simulate the first of ``sequences`` again and keep the waveforms of ``unit`` (layer, unit), in s, V and A.

    The result's ``plan`` says when each timestep is sampled. Raises SimulationError.
    """
    layer, number = unit
    first = sequences.inputs[0, : sequences.lengths[0]].astype(np.float64)
    rows = tuple(f"{row}{layer}_{number}" for row in ("a", "b"))
    deck, plan = fidelity.deck(design, [first], network=network, save=rows)
    return Waveforms(layer=layer, unit=number, traces=engine.run(deck).traces, plan=plan)
