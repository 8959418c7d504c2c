"""Compare a design with its software in SPICE, and certify that the integration has converged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits import certificate
from cmru_hw.circuits.certificate import NumericalCertificate
from cmru_hw.circuits.current.compare import compare, reference
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.current.simulate import MOST_REFINEMENTS, CurrentSimulation, simulate
from cmru_hw.circuits.current.transitions import HIGH
from cmru_hw.circuits.simulation import Verified
from cmru_hw.core.signals import Array
from cmru_hw.core.units import percent
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import device_models
from cmru_hw.spice import Engine

# Default number of certified frames. Each is simulated from the beginning of its sequence, because the circuit has a
# state, and all timesteps up to it are compared.
CERTIFIED_FRAMES = 4
# Largest relative change of currents and energy in a converged result.
LIMIT = 0.01


def verify(
    design: CurrentDesign,
    trained: Trained,
    sequences: Sequences,
    engine: Engine,
    *,
    network: str | None = None,
    resolution: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
    refine: int = 0,
    frames: int = CERTIFIED_FRAMES,
    seed: int = 0,
) -> Verified:
    """Simulate, compare, and simulate some frames again with a finer integration (:func:`certify`).

    If that changes a decision or a state, everything is simulated again with that integration. ``refined`` of the
    result is the number of refinements; its certificate shows whether the last result still changed. Raises
    SimulationError.
    """
    expected = reference(design, trained, sequences)
    for refined in range(refine, refine + MOST_REFINEMENTS + 1):
        simulation = simulate(design, sequences, engine, network=network, refine=refined, progress=progress)
        found = certify(design, sequences, simulation, engine, network=network, frames=frames, seed=seed)
        if not (found.decisions_changed or found.states_changed):
            break
    comparison = compare(design, trained, sequences, simulation, expected=expected, resolution=resolution)
    return Verified(
        comparison=comparison, simulation=simulation, expected=expected, refined=simulation.refine, certificate=found
    )


# long: one run of the refined deck, then one report
def certify(
    design: CurrentDesign,
    sequences: Sequences,
    simulation: CurrentSimulation,
    engine: Engine,
    *,
    network: str | None = None,
    devices: device_models.Devices | None = None,
    frames: int = CERTIFIED_FRAMES,
    seed: int = 0,
    refine: int = 1,
) -> NumericalCertificate:
    """Certificate of ``simulation``, a result on ``sequences``, against an integration refined ``refine`` more times.

    ``network`` and ``devices`` are those of the result. ``frames`` frames are chosen with ``seed``, always including
    the one with the smallest margin. The certificate covers all timesteps up to each frame. A candidate's margin is its
    distance from the nearer threshold of the cell's design. Raises SimulationError.
    """
    candidates = [seen * layer.candidate.unit for seen, layer in zip(simulation.candidates, design.layers, strict=True)]
    margins = [
        np.minimum(np.abs(seen - layer.low), np.abs(seen - layer.upper))
        for seen, layer in zip(candidates, design.layers, strict=True)
    ]
    chosen = certificate.choose_frames(sequences.lengths, margins, count=frames, seed=seed)
    last = certificate.last_frames(chosen)
    places = np.array(list(last))
    some = sequences.take(places)
    some = Sequences(inputs=some.inputs, lengths=np.array([timestep + 1 for timestep in last.values()]))
    numerics = simulation.numerics
    finer = simulate(
        design,
        some,
        engine,
        network=network,
        refine=refine,
        numerics=numerics,
        devices=devices,
        vdd=simulation.vdd,
        timestep=simulation.timestep,
    )
    valid = finer.response.valid[:, :, None]

    def pairs(of: str) -> list[tuple[Array, Array]]:
        one, other = getattr(simulation.response, of), getattr(finer.response, of)
        return [(a[places], b) for a, b in zip(one, other, strict=True)]

    moved = [
        np.where(valid, np.abs(seen[places] - again * layer.candidate.unit), 0.0)
        for seen, again, layer in zip(candidates, finer.candidates, design.layers, strict=True)
    ]
    row = max(float(m.max()) for m in moved)
    inside, of = certificate.margins_inside(sequences.lengths, margins, row)
    used = sum(float(charge.sum()) for charge in finer.charge.values())
    before = sum(float(np.where(valid[:, :, 0], charge[places], 0.0).sum()) for charge in simulation.charge.values())
    return NumericalCertificate(
        architecture=design.architecture,
        simulator=simulation.simulator,
        options=numerics.text(simulation.timestep),
        refined_options=(
            finer.numerics.text(simulation.timestep) if finer.simulator == simulation.simulator else finer.simulator
        ),
        frames=tuple((sequence, timestep) for sequence, end in last.items() for timestep in range(end + 1)),
        row_difference=row,
        row_unit="A",
        state_difference=max(float(np.abs(np.where(valid, a - b, 0.0)).max()) for a, b in pairs("states")),
        current_difference=max(float((m / layer.upper).max()) for m, layer in zip(moved, design.layers, strict=True)),
        energy_difference=abs(before / used - 1),
        decisions_changed=sum(int((valid & (a != b)).sum()) for a, b in pairs("decisions")),
        states_changed=sum(int((valid & ((a > HIGH) != (b > HIGH))).sum()) for a, b in pairs("states")),
        margins_inside=inside,
        margins=of,
        seed=seed,
        blocks=_blocks(simulation, finer, places),
    )


def _blocks(
    simulation: CurrentSimulation, finer: CurrentSimulation, places: NDArray[np.int64]
) -> dict[str, tuple[float, float]]:
    """Energy per timestep by block [J], of the result and of the finer run, which has its sequences ``places``."""
    valid = finer.response.valid
    # Voltage at which the supplies deliver their charge.
    return {
        name: (
            float(charge[places][:, : valid.shape[1]][valid].mean()) * simulation.vdd,
            float(finer.charge[name][valid].mean()) * simulation.vdd,
        )
        for name, charge in simulation.charge.items()
    }


def doubts(design: CurrentDesign, found: NumericalCertificate) -> tuple[str, ...]:
    """One clause for each quantity of ``found`` that changes by more than 1 %; () for a converged result."""
    said = [
        f"{what} by {percent(moved)}, more than {percent(LIMIT)}"
        for what, moved in (("currents move", found.current_difference), ("energy moves", found.energy_difference))
        if moved is not None and moved > LIMIT
    ]
    changed = (("decisions", found.decisions_changed), ("states", found.states_changed))
    return (*said, *(f"{count} {what} change" for what, count in changed if count))
