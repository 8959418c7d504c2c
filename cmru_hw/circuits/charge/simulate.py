"""Run a design in SPICE on given sequences and decode the circuit's response."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge import causes, fidelity, runs, trim_codes
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.runs import Batch, Settings
from cmru_hw.circuits.simulation import Simulation, Waveforms, shared_decks
from cmru_hw.core.errors import LatchTurned, ResultRejected, UncausedTransition
from cmru_hw.core.signals import Array, Response, Traces, padded
from cmru_hw.nn.sequences import Sequences
from cmru_hw.spice import Engine
from cmru_hw.spice.schedule import Schedule

# Size [F] of the capacitor of a charge meter: 1 mV per picocoulomb.
_METER, _METERS = 1e-9, "meter_"


@dataclass(frozen=True, kw_only=True, eq=False)
class ChargeSimulation(Simulation):
    """A simulation and the evidence for its decisions. The evidence is empty at macro level, where parts are exact.

    ``rows``: differential comparator inputs [V], by layer (sequences, timesteps, units, 2), 0 past a sequence's end.
    ``delivered`` [J] (sequences, timesteps, blocks): energy from each supply to its block. ``late_flips``: number of
    decisions that flipped after their use. ``codes``: for each sequence, the trim codes that the comparators found, by
    row (``a0_3``, ``y1``); () without trim in transistors. ``options`` is the simulator's line of options, ``refine``
    the number of times that its steps were halved, both of the decks with the smallest steps.
    """

    rows: tuple[Array, ...]
    delivered: Array
    blocks: tuple[str, ...]
    late_flips: int
    codes: tuple[dict[str, int], ...]
    options: str
    refine: int

    def facts(self) -> dict[str, object]:
        trimmed: dict[str, object] = {"trim_codes": list(self.codes)} if self.codes else {}
        return {"options": self.options, **({"late_flips": self.late_flips} if self.blocks else {}), **trimmed}

    def remarks(self) -> list[tuple[str, str]]:
        late = f"{self.late_flips} decisions flipped after their packets, so no state moved"
        return [*([("late flips", late)] if self.late_flips else []), *trim_codes.remarks(self.codes)]

    def replaced(self, other: ChargeSimulation, places: NDArray[np.int64]) -> ChargeSimulation:
        """This result with that of ``other`` for the sequences ``places``; computing time and attempts add up."""

        def put(ones: Sequence[NDArray[Any]], others: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
            found = tuple(array.copy() for array in ones)
            for array, new in zip(found, others, strict=True):
                array[places] = new
            return found

        one, two = self.response, other.response
        ((logits,), (delivered,)) = (
            put([old], [new]) for old, new in ((one.logits, two.logits), (self.delivered, other.delivered))
        )
        again = dict(zip(places.tolist(), other.codes, strict=False))  # without a trim in transistors, there are none
        codes = tuple(again.get(place, old) for place, old in enumerate(self.codes))
        return replace(
            other,
            response=replace(
                one, decisions=put(one.decisions, two.decisions), states=put(one.states, two.states), logits=logits
            ),
            rows=put(self.rows, other.rows),
            delivered=delivered,
            codes=codes,
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            attempts=(*self.attempts, *other.attempts),
        )


# long: one run: options, decks, decoded sequences
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
    rows: bool = False,
) -> ChargeSimulation:
    """``sequences`` through ``design`` in ``engine``; decisions, states and readout sampled once per timestep.

    ``noise(sequence)`` returns the noise of one sequence, as :func:`macro_netlist.deck` takes it. ``reader`` is the
    design whose levels and readout scale convert volts to numbers; for a die it is the nominal design, because the
    die's own values are unknown in practice. ``observe(traces, plan, sequences)`` receives every finished deck and the
    numbers of its sequences, in any order; the decks then contain charge meters (:func:`macro_netlist.meters`).
    ``progress(done, total)`` counts timesteps. ``rows`` saves the rows of macromodels, too; those of transistors are
    always saved. Raises SimulationError if any deck fails: a partial result does not count.
    """
    reader = reader or design
    level = fidelity.of(design)
    batches = list(shared_decks(sequences.lengths.tolist(), level.frames))
    save = causes.row_nodes(design) if rows else ()

    def load(index: int) -> Batch:
        inputs = [sequences.inputs[i, : sequences.lengths[i]].astype(np.float64) for i in batches[index]]
        return Batch(inputs=inputs, noise=None if noise is None else [noise(i) for i in batches[index]])

    pieces: dict[int, list[_Piece]] = {}
    attempts: list[str] = []
    seconds, simulator = 0.0, ""
    follow = _Progress(report=progress, timesteps=[int(sequences.lengths[batch].sum()) for batch in batches])
    # Smaller steps keep a latch from turning over in a long step of the simulator.
    for finer in range(refine, refine + level.refinements + 1):
        settings = Settings(network=network, refine=finer, metered=observe is not None, save=save)
        waiting = [index for index in range(len(batches)) if index not in pieces]
        loads = [functools.partial(load, index) for index in waiting]
        follow.numbers = waiting
        for place, one in runs.run(design, loads, engine, settings, advance=follow.advance):
            index = waiting[place]
            seconds += one.cpu_seconds
            simulator = one.simulator
            attempts += one.attempts
            try:
                pieces[index] = [
                    decode(reader, one.traces, one.plan, number, name=batches[index][number])
                    for number in range(len(one.plan.lengths))
                ]
            except (LatchTurned, UncausedTransition) as error:
                if finer == refine + level.refinements:
                    raise
                attempts.append(f"again with smaller steps: {error}")
                follow.reset(index)
                continue
            if observe:
                observe(one.traces, one.plan, batches[index])
        if len(pieces) == len(batches):
            break
    ordered = [piece for index in range(len(batches)) for piece in pieces[index]]
    return _joined(
        design,
        sequences,
        ordered,
        refine=finer,
        cpu_seconds=seconds,
        simulator=simulator,
        attempts=tuple(attempts),
    )


@dataclass(kw_only=True)
class _Progress:
    """Reports progress in timesteps: ``timesteps`` of each batch; ``numbers`` are the batches of the present round."""

    report: Callable[[int, int], None] | None
    timesteps: list[int]
    numbers: Sequence[int] = ()
    shares: dict[int, float] = field(default_factory=dict)

    def advance(self, place: int, share: float) -> None:
        index = self.numbers[place]
        self.shares[index] = self.shares.get(index, 0.0) + share
        if self.report:
            done = sum(share * self.timesteps[index] for index, share in self.shares.items())
            self.report(min(round(done), sum(self.timesteps)), sum(self.timesteps))

    def reset(self, index: int) -> None:
        self.shares[index] = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Piece:
    """One sequence: see `Response` and :class:`ChargeSimulation` for the fields."""

    decisions: tuple[NDArray[np.int8], ...]
    states: tuple[Array, ...]
    logits: Array
    rows: tuple[Array, ...]
    energy: Array
    late_flips: int
    codes: dict[str, int]


def _joined(
    design: Design,
    sequences: Sequences,
    pieces: Sequence[_Piece],
    *,
    refine: int,
    cpu_seconds: float,
    simulator: str,
    attempts: tuple[str, ...],
) -> ChargeSimulation:
    """The result of all sequences, one of ``pieces`` each."""
    time, layers = sequences.inputs.shape[1], range(len(design.layers))
    level = fidelity.of(design)
    return ChargeSimulation(
        response=Response(
            lengths=sequences.lengths,
            decisions=tuple(padded([piece.decisions[layer] for piece in pieces], time) for layer in layers),
            states=tuple(padded([piece.states[layer] for piece in pieces], time) for layer in layers),
            logits=padded([piece.logits for piece in pieces], time),
        ),
        cpu_seconds=cpu_seconds,
        simulator=simulator,
        attempts=attempts,
        rows=tuple(padded([piece.rows[layer] for piece in pieces], time) for layer in layers if pieces[0].rows),
        delivered=padded([piece.energy for piece in pieces], time),
        blocks=tuple(vector.removeprefix(_METERS) for vector in level.charge_meters(design)),
        late_flips=sum(piece.late_flips for piece in pieces),
        codes=tuple(piece.codes for piece in pieces if piece.codes),
        options=level.options(refine),
        refine=refine,
    )


def decode(design: Design, traces: Traces, plan: Schedule, sequence: int, *, name: int | None = None) -> _Piece:
    """States, decisions and logits of one sequence of a deck, which messages call ``name``.

    Raises ResultRejected if a clock phase is not high at a sampling instant (XSPICE can miss an edge), if a decision
    node or a bit of a trim code is at neither rail, if a latch has turned over since it decided, or if the sign of a
    decision differs from that of its row. Such a sample has no meaning.
    """
    name = sequence if name is None else name
    plan = plan.located(traces)
    # Signal voltages scale with the supply.
    nominal = design.technology.supply
    vdd = plan.supply or nominal.vdd
    scale = vdd / nominal.vdd

    def common(instants: Array) -> Array:
        own = traces.at(plan.common, instants) if plan.common else np.full(len(instants), nominal.common_mode * scale)
        return own[:, None]

    if wrong := plan.unclocked(traces, sequence):
        raise ResultRejected(wrong)
    decisions, states, high = [], [], []
    for index, layer in enumerate(design.layers):
        instants = plan.instants(sequence, index)
        units = range(layer.units)
        output = np.stack([traces.at(f"o{index}_{i}", instants) for i in units], axis=1) - common(instants)
        # Take the saved point at which it was computed: a latch that turns over is at a rail before and after.
        latest = np.searchsorted(traces.time, plan.deciding(sequence, index), side="right") - 1
        rails = [
            np.stack([traces.values[f"{q}{index}_{i}"][latest] for i in units], axis=1) / vdd for q in ("qa", "qb")
        ]
        if any((np.abs(q - np.round(q)) > 0.1).any() for q in rails):
            raise ResultRejected(f"a decision of layer {index} is at neither rail at its sampling instant")
        for q, latched in zip(("qa", "qb"), rails, strict=True):
            _require_latched(f"{q}{index}", latched * vdd, vdd, traces, plan, sequence, index, name)
        low, upper = (q > 0.5 for q in rails)
        both, neither = low & upper, ~low & ~upper
        high.append(np.stack([low, upper], axis=2))
        decisions.append(both.astype(np.int8) - neither.astype(np.int8))
        # An integrator has positive packets only. With negative alpha, too, the state of a unit is its level.
        states.append(output / (layer.step * scale))
    instants = plan.instants(sequence)
    # A single unit has no readout: zero rows, with as many instants.
    rows = [traces.at(f"y{k}", instants) for k in range(len(design.readout.bias))]
    references = [traces.at(f"fy{k}", instants) for k in range(len(rows))] if design.technology.trim_bits else None
    readout = np.reshape(rows, (len(rows), len(instants))).T
    readout = readout - (common(instants) if references is None else np.reshape(references, readout.T.shape).T)
    row = design.readout
    logits = (readout / scale - row.offset) * (row.total + design.technology.capacitor.parasitic) / row.scale
    seen = causes.rows(design, traces, plan, sequence)
    if plan.comparing:
        causes.require_causes(seen, high, tolerance=fidelity.least_drive(design), name=name)
    return _Piece(
        decisions=tuple(decisions),
        states=tuple(states),
        logits=logits,
        rows=seen,
        energy=_energy(design, traces, plan, sequence),
        late_flips=causes.late_flips(design, traces, plan, sequence),
        codes=trim_codes.found(design, traces, plan, sequence),
    )


def _energy(design: Design, traces: Traces, plan: Schedule, sequence: int) -> Array:
    """(timesteps, charge meters) [J]. Empty at macro level, where meters are added on request only."""
    edges = np.minimum(plan.edges(sequence), traces.time[-1])
    meters = fidelity.of(design).charge_meters(design)
    joules = [np.diff(traces.at(vector, edges)) * _METER * volts for vector, volts in meters.items()]
    return np.reshape(joules, (len(joules), len(edges) - 1)).T


def _require_latched(
    nodes: str, latched: Array, vdd: float, traces: Traces, plan: Schedule, sequence: int, group: int, name: int
) -> None:
    """Raise LatchTurned unless the latches still hold their decisions, the voltages ``latched`` (timesteps, units)."""
    instants = plan.decided(sequence, group)
    if instants is None:
        return
    decided = np.stack([traces.at(f"{nodes}_{i}", instants) for i in range(latched.shape[1])], axis=1)
    turned = np.argwhere(np.abs(decided - latched) > 0.5 * vdd)
    if turned.size:
        timestep, unit = turned[0].tolist()
        raise LatchTurned(
            f"the latch {nodes}_{unit} flipped after its decision in timestep {timestep} of sequence {name}: "
            "the simulator stepped over the clock edge; shorten the edge of the technology's clocks"
        )


def waveforms(
    design: Design, sequences: Sequences, engine: Engine, *, unit: tuple[int, int], network: str | None = None
) -> Waveforms:
    """Simulate the first of ``sequences`` again and return the waveforms of ``unit`` (layer, unit) in s, V and A.

    The result's ``plan`` holds the sampling instant of each timestep. Raises SimulationError.
    """
    layer, number = unit
    batch = Batch(inputs=[sequences.inputs[0, : sequences.lengths[0]].astype(np.float64)])
    settings = Settings(network=network, save=tuple(f"{row}{layer}_{number}" for row in ("a", "b")))
    traces, plan = runs.unit(design, batch, engine, settings, layer=layer, number=number)
    return Waveforms(layer=layer, unit=number, traces=traces, plan=plan)
