"""Compare a design with its software in SPICE, and certify that the integration has converged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge import fidelity
from cmru_hw.circuits.charge.certify import CERTIFIED_FRAMES, certify
from cmru_hw.circuits.charge.compare import compare, reference
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.numerics import MOST_REFINEMENTS
from cmru_hw.circuits.charge.simulate import ChargeSimulation, simulate
from cmru_hw.circuits.charge.tolerance import RESOLUTION
from cmru_hw.circuits.comparison import Comparison
from cmru_hw.circuits.simulation import Verified
from cmru_hw.core.signals import Response
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.spice import Engine


def verify(
    design: Design,
    trained: Trained,
    sequences: Sequences,
    engine: Engine,
    *,
    network: str | None = None,
    resolution: float = RESOLUTION,
    progress: Callable[[int, int], None] | None = None,
    refine: int = 0,
    frames: int = CERTIFIED_FRAMES,
    seed: int = 0,
) -> Verified:
    """Simulate, compare with software, and halve the steps while the result still changes.

    Macromodels: while circuit and software differ, up to twice, in the sequences with decisions that differ. A
    difference that finer steps remove is an integration error; one that remains is real. Transistors: while a
    certificate (:func:`certify`) of ``frames`` frames shows that finer steps change a decision or a state. The first
    run already has its steps halved ``refine`` times. For ``resolution`` [V] see
    :func:`cmru_hw.circuits.charge.compare.compare`. ``progress(done, total)`` counts timesteps.
    Raises SimulationError, and DataError for sequences that do not fit.
    """
    expected = reference(design, trained, sequences)
    transistors = fidelity.in_transistors(design)
    previous: ChargeSimulation | None = None
    places = np.arange(len(sequences))
    for refined in range(refine, refine + MOST_REFINEMENTS + 1):
        some = simulate(
            design,
            sequences.take(places),
            engine,
            network=network,
            refine=refined,
            progress=progress,
            rows=True,
        )
        simulation = some if previous is None else previous.replaced(some, places)
        response = simulation.response
        comparison = compare(design, expected, response, labels=sequences.labels, resolution=resolution)
        last = refined == refine + MOST_REFINEMENTS
        still = comparison.holds() or (previous is not None and _same_decisions(previous.response, response))
        if transistors or still or last:
            found = certify(design, sequences, simulation, engine, network=network, frames=frames, seed=seed)
            if last or not transistors or not (found.decisions_changed or found.states_changed):
                break
        previous = simulation
        if not transistors:
            places = _differing(comparison, len(sequences))
    return Verified(
        comparison=comparison, simulation=simulation, expected=expected, refined=simulation.refine, certificate=found
    )


def _differing(comparison: Comparison, count: int) -> NDArray[np.int64]:
    """Sequences to simulate again: those with decisions that differ, all ``count`` if anything else differs too."""
    only = comparison.differ > 0 and len(comparison.failures()) == 1
    return np.array(sorted({one.sequence for one in comparison.divergences}) if only else range(count))


def _same_decisions(one: Response, other: Response) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.decisions, other.decisions, strict=True))
