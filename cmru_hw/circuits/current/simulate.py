"""Run a current-mode design in SPICE and decode the circuit's response.

A state is high if the cell's output is closer to its level than to 0. This circuit has no clocked decision: a cell
compares continuously. A decision is therefore derived from candidate and state at the end of a timestep: +1 if the
candidate is above the cell's upper threshold and the state is high, −1 if it is below the lower threshold and the state
is low, else 0. A cell that failed to switch thus counts as a wrong decision, and so does a candidate on the wrong side
of a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.current import netlist, thresholds, transitions
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.current.numerics import CONVERGED, Numerics
from cmru_hw.circuits.current.thresholds import Thresholds
from cmru_hw.circuits.simulation import Simulation, Waveforms, shared_decks
from cmru_hw.core.errors import ResultRejected, SimulationError, UncausedTransition
from cmru_hw.core.signals import Array, Response, Traces, padded
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import device_models
from cmru_hw.spice import Engine
from cmru_hw.spice.deck import Deck
from cmru_hw.spice.schedule import Schedule

# Timesteps per deck: the time for its sources grows with the square of it, and loading takes half a second.
FRAMES_PER_DECK = 120
# Largest number of repetitions with finer integration for a deck in which a transition had no cause.
MOST_REFINEMENTS = 2
# Corner and temperature at which technologies are measured: there a cell has the thresholds of its design.
MEASURED_AT = ("typical", 27.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class CurrentSimulation(Simulation):
    """A decoded simulation. States of ``response`` are I_out over its high level, not rounded.

    ``candidates``: per layer (sequences, timesteps, units) in software units. ``charge`` [C]: per block of
    `netlist.BLOCKS` (sequences, timesteps), drawn from its supply of ``vdd`` [V] in timesteps of ``timestep`` [s].
    ``numerics`` are the settings of the finest integration, which was refined ``refine`` times. ``transitions_checked``
    is False if the thresholds of cells are not known or the check was not requested: see `transitions`.
    """

    candidates: tuple[Array, ...]
    charge: Mapping[str, Array]
    vdd: float
    timestep: float
    numerics: Numerics
    refine: int
    transitions_checked: bool

    @property
    def energy(self) -> dict[str, float]:
        """Mean energy of a timestep [J] by block."""
        timesteps = int(self.response.lengths.sum())
        return {block: self.vdd * float(charge.sum()) / timesteps for block, charge in self.charge.items()}

    @property
    def power(self) -> dict[str, float]:
        """Mean power [W] by block."""
        return {block: energy / self.timestep for block, energy in self.energy.items()}

    @property
    def power_range(self) -> tuple[float, float]:
        """Smallest and largest mean power of a sequence [W], of all blocks together."""
        total = self.vdd * np.sum([charge.sum(axis=1) for charge in self.charge.values()], axis=0)
        power = total / (self.response.lengths * self.timestep)
        return float(power.min()), float(power.max())


# long: one run: decks, traces, and arrays that are filled from them
def simulate(
    design: CurrentDesign,
    sequences: Sequences,
    engine: Engine,
    *,
    network: str | None = None,
    refine: int = 0,
    numerics: Numerics = CONVERGED,
    check: bool = True,
    devices: device_models.Devices | None = None,
    vdd: float | None = None,
    timestep: float | None = None,
    observe: Callable[[Traces, Schedule, Sequence[int]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CurrentSimulation:
    """``sequences`` through ``design`` in ``engine``; see `netlist.deck` for the other parameters.

    A deck that contains a transition without a cause is simulated again with finer integration. ``check=False`` accepts
    all transitions, for studies of settings. ``observe(traces, plan, sequences)`` receives every accepted deck and the
    numbers of its sequences, in any order. ``progress(done, total)`` counts timesteps. Raises SimulationError if any
    deck fails, UncausedTransition if a transition without a cause remains: a partial result does not count.
    """
    lengths = [int(length) for length in sequences.lengths]
    inputs = [x[:length].astype(np.float64) for x, length in zip(sequences.inputs, lengths, strict=True)]
    supply, period = vdd or design.technology.vdd, timestep or design.technology.timestep
    own = _own_thresholds(design, engine, network=network, devices=devices, vdd=supply) if check else None
    batches = list(shared_decks(lengths, FRAMES_PER_DECK))
    pieces: dict[int, list[_CurrentPiece]] = {}
    attempts: list[str] = []
    seconds, simulator = 0.0, ""
    for finer in range(refine, refine + MOST_REFINEMENTS + 1):
        waiting = [index for index in range(len(batches)) if index not in pieces]
        plans: list[Schedule] = []

        def decks(finer: int, waiting: list[int], plans: list[Schedule]) -> Iterator[Deck]:
            for index in waiting:
                deck, plan = netlist.deck(
                    design,
                    [inputs[i] for i in batches[index]],
                    devices=devices,
                    network=network,
                    vdd=supply,
                    timestep=period,
                    refine=finer,
                    numerics=numerics,
                )
                plans.append(plan)
                yield deck

        for place, outcome in engine.map(decks(finer, waiting, plans)):
            if isinstance(outcome, SimulationError):
                raise outcome
            index, plan = waiting[place], plans[place]
            seconds += outcome.cpu_seconds
            simulator = outcome.simulator
            attempts += outcome.attempts
            try:
                pieces[index] = [
                    _decode(design, outcome.traces, plan, k, own, name=name) for k, name in enumerate(batches[index])
                ]
            except UncausedTransition as error:
                if finer == refine + MOST_REFINEMENTS:
                    raise
                attempts.append(f"again with a finer integration: {error}")
                continue
            if observe:
                observe(outcome.traces, plan, batches[index])
            if progress:
                progress(sum(lengths[i] for done in pieces for i in batches[done]), sum(lengths))
        if len(pieces) == len(batches):
            break
        # The table behind the designed thresholds is accurate to 0.5 % only where levels are far from thresholds.
        own = _own_thresholds(design, engine, network=network, devices=devices, vdd=supply, measure=True)
    ordered = [piece for index in range(len(batches)) for piece in pieces[index]]
    time, layers = sequences.inputs.shape[1], range(len(design.layers))
    return CurrentSimulation(
        response=Response(
            lengths=sequences.lengths,
            decisions=tuple(padded([piece.decisions[layer] for piece in ordered], time) for layer in layers),
            states=tuple(padded([piece.states[layer] for piece in ordered], time) for layer in layers),
            logits=padded([piece.logits for piece in ordered], time),
        ),
        cpu_seconds=seconds,
        simulator=simulator,
        attempts=tuple(attempts),
        candidates=tuple(padded([piece.candidates[layer] for piece in ordered], time) for layer in layers),
        charge={block: padded([piece.charge[block] for piece in ordered], time) for block in netlist.BLOCKS},
        vdd=supply,
        timestep=period,
        numerics=numerics.refined(finer),
        refine=finer,
        transitions_checked=own is not None,
    )


def _own_thresholds(
    design: CurrentDesign,
    engine: Engine,
    *,
    network: str | None,
    devices: device_models.Devices | None,
    vdd: float,
    measure: bool = False,
) -> tuple[Thresholds, ...] | None:
    """Thresholds of the cells in ``network``: designed if cells, devices and netlist are the design's, else measured.

    ``measure`` forces a measurement. None if the thresholds cannot be known: the netlist lacks elements of a cell, or
    its devices have the PDK's mismatch.
    """
    technology = design.technology
    drawn = netlist.network_text(design)
    if devices is not None and devices.mismatch is not None:
        return None
    same = (network is None or network == drawn) and not design.templates and devices is None
    if not measure and same and (technology.corner, technology.temperature) == MEASURED_AT:
        return thresholds.designed(design)
    found = devices or device_models.devices(
        technology.process, corner=technology.corner, temperature=technology.temperature
    )
    return thresholds.measured(design, engine, network=network or drawn, devices=found, vdd=vdd)


def waveforms(
    design: CurrentDesign, sequences: Sequences, engine: Engine, *, unit: tuple[int, int], network: str | None = None
) -> Waveforms:
    """Simulate the first of ``sequences`` again and return the waveforms of ``unit`` (layer, unit)."""
    layer, number = unit
    first = sequences.inputs[0, : sequences.lengths[0]].astype(np.float64)
    deck, plan = netlist.deck(design, [first], network=network)
    return Waveforms(layer=layer, unit=number, traces=engine.run(deck).traces, plan=plan)


# --- Steps of the above ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class _CurrentPiece:
    decisions: tuple[NDArray[np.int8], ...]
    states: tuple[Array, ...]
    candidates: tuple[Array, ...]
    logits: Array
    charge: Mapping[str, Array]


def _decode(
    design: CurrentDesign,
    traces: Traces,
    plan: Schedule,
    place: int,
    own: Sequence[Thresholds] | None,
    *,
    name: int,
) -> _CurrentPiece:
    """Decode the ``place``-th sequence of a deck; ``name`` is its number in messages.

    Raises ResultRejected for a state that is NaN, UncausedTransition for one that changed without a cause.
    """
    instants = plan.instants(place)
    decisions, states, candidates = [], [], []
    for index, layer in enumerate(design.layers):
        here = [f"{index}_{i}" for i in range(layer.units)]
        candidate = np.stack([traces.at(f"i(vc{name})", instants) for name in here], axis=1)
        state = np.stack([traces.at(f"i(vh{name})", instants) for name in here], axis=1) / layer.high
        if not np.isfinite(state).all():
            raise ResultRejected(f"a state of layer {index} is not a number")
        high = state > transitions.HIGH
        up, down = high & (candidate >= layer.upper), ~high & (candidate < layer.low)
        decisions.append(up.astype(np.int8) - down.astype(np.int8))
        states.append(state)
        candidates.append(candidate / layer.candidate.unit)
    if own is not None:
        transitions.require_causes(design, traces, plan, place, states, own, name=name)
    logits = np.stack([traces.at(f"i(v{name})", instants) for name in design.readout.names], axis=1)
    return _CurrentPiece(
        decisions=tuple(decisions),
        states=tuple(states),
        candidates=tuple(candidates),
        logits=logits / design.readout.unit,
        charge=netlist.charge(traces.values, traces.time, plan.edges(place)),
    )
