"""Numerical certificate of a charge-domain result: some frames are simulated again, finer or in another simulator.

A state depends on all packets before it. Each frame is therefore simulated from power-on, and all timesteps up to it
are compared. At macro level parts are exact, and the certificate states how far halved steps move the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits import certificate
from cmru_hw.circuits.certificate import NumericalCertificate
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.simulate import ChargeSimulation, simulate
from cmru_hw.core.units import percent, si
from cmru_hw.nn.sequences import Sequences
from cmru_hw.spice import Engine

# Limits of a converged result: rows and states [V], energy (relative). ANOTHER [V] is for states in another simulator.
ROW, STATE, ENERGY, ANOTHER = 0.3e-3, 0.3e-3, 0.01, 0.5e-3
# Default number of certified frames. At transistor level each timestep up to a frame takes seconds.
CERTIFIED_FRAMES = 2


def certify(
    design: Design,
    sequences: Sequences,
    simulation: ChargeSimulation,
    engine: Engine,
    *,
    network: str | None = None,
    frames: int = CERTIFIED_FRAMES,
    seed: int = 0,
    refine: int = 1,
) -> NumericalCertificate:
    """Certify ``simulation``, a result on ``sequences``, with a run whose steps are halved ``refine`` more times.

    ``network`` is the netlist text that gave the result. ``frames`` frames are chosen with ``seed``, always including
    the one whose row comes nearest to its threshold. The certificate covers all timesteps up to each frame. With
    another simulator as ``engine`` and ``refine=0`` it is a second opinion. Raises SimulationError.
    """
    if not simulation.rows:
        # A macro-level result has no saved rows. It is cheap to simulate again.
        simulation = simulate(design, sequences, engine, network=network, refine=simulation.refine, rows=True)
    margins = [np.abs(rows).min(axis=3) for rows in simulation.rows]
    chosen = certificate.choose_frames(sequences.lengths, margins, count=frames, seed=seed)
    last = certificate.last_frames(chosen)
    places = np.array(list(last))
    some = sequences.take(places)
    lengths = np.array([timestep + 1 for timestep in last.values()], dtype=np.int64)
    some = replace(some, inputs=some.inputs[:, : int(lengths.max())], lengths=lengths)
    finer = simulate(design, some, engine, network=network, refine=simulation.refine + refine, rows=True)
    return compared(design, sequences, simulation, finer, places, seed=seed)


def compared(
    design: Design,
    sequences: Sequences,
    simulation: ChargeSimulation,
    finer: ChargeSimulation,
    places: NDArray[np.int64],
    *,
    seed: int,
) -> NumericalCertificate:
    """Certificate of ``simulation`` (on ``sequences``) from ``finer``, which holds the sequences ``places`` of it."""
    valid = finer.response.valid
    here = slice(0, valid.shape[1])

    def pairs(ones: Sequence[NDArray[Any]], others: Sequence[NDArray[Any]]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        return [(a[places][:, here][valid], b[valid]) for a, b in zip(ones, others, strict=True)]

    one, other = simulation.response, finer.response
    row = max(float(np.abs(a - b).max()) for a, b in pairs(simulation.rows, finer.rows))
    states = pairs(one.states, other.states)
    margins = [np.abs(rows).min(axis=3) for rows in simulation.rows]
    inside, total = certificate.margins_inside(sequences.lengths, margins, row)
    energy = current = None
    blocks: dict[str, tuple[float, float]] = {}
    if simulation.blocks:
        ((before, after),) = pairs([simulation.delivered], [finer.delivered])
        means = zip(before.mean(axis=0).tolist(), after.mean(axis=0).tolist(), strict=True)
        blocks = dict(zip(simulation.blocks, means, strict=True))
        energy = abs(float(before.sum() / after.sum()) - 1)
        # Largest change of one supply in one timestep, relative to the total of all supplies per timestep.
        current = float(np.abs(before - after).max()) / float(after.sum() / len(after))
    return NumericalCertificate(
        architecture=design.architecture,
        simulator=simulation.simulator,
        options=simulation.options,
        refined_options=finer.options if finer.simulator == simulation.simulator else finer.simulator,
        frames=tuple(
            (sequence, timestep)
            for sequence, length in zip(places.tolist(), finer.response.lengths.tolist(), strict=True)
            for timestep in range(length)
        ),
        row_difference=row,
        row_unit="V",
        state_difference=max(float(np.abs(a - b).max()) for a, b in states),
        current_difference=current,
        energy_difference=energy,
        blocks=blocks,
        decisions_changed=sum(int((a != b).sum()) for a, b in pairs(one.decisions, other.decisions)),
        states_changed=sum(int((np.rint(a) != np.rint(b)).sum()) for a, b in states),
        margins_inside=inside,
        margins=total,
        seed=seed,
    )


def doubts(design: Design, found: NumericalCertificate) -> tuple[str, ...]:
    """One clause for each quantity of ``found`` outside of this module's limits; () for a converged result."""
    another = not found.refined_options.startswith(("method", "exact"))
    volts = found.state_difference * max(float(layer.step.max()) for layer in design.layers)
    limits = [
        ("states", volts, ANOTHER if another else STATE, "V"),
        ("rows", found.row_difference, math.inf if another else ROW, "V"),
    ]
    said = [
        f"{what} move by {si(moved, unit)}, more than {si(limit, unit)}"
        for what, moved, limit, unit in limits
        if moved > limit
    ]
    if found.energy_difference is not None and found.energy_difference > ENERGY:
        said.append(f"energy moves by {percent(found.energy_difference)}, more than {percent(ENERGY)}")
    changed = (("decisions", found.decisions_changed), ("states", found.states_changed))
    return (*said, *(f"{count} {what} change" for what, count in changed if count))
