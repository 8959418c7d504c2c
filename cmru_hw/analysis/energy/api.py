"""Estimate or simulate the energy of an exported design, and write a result folder for a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from cmru_hw.analysis.agreement import ClassAgreement, DecisionAgreement
from cmru_hw.analysis.energy import tables
from cmru_hw.analysis.energy.result import BlockEnergy, EnergyResult, EnergySeries
from cmru_hw.analysis.provenance import provenance
from cmru_hw.circuits import registry
from cmru_hw.circuits.certificate import NumericalCertificate
from cmru_hw.circuits.class_verdict import judge
from cmru_hw.circuits.comparison import Reference, classes_of
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.circuits.energy import DIFFERENCE, TOLERANCE, EnergyBreakdown, EnergyModel, measure
from cmru_hw.circuits.simulation import Simulation
from cmru_hw.core.signals import Array, Response, Traces
from cmru_hw.design_folder.folder import Exported
from cmru_hw.nn.sequences import Sequences
from cmru_hw.spice import Engine
from cmru_hw.spice.schedule import Schedule

# Expected agreement of analytic estimate and simulation of a block. Where it is missed, the table gives the reason.
AGREEMENT = 0.25


def run_energy(
    exported: Exported,
    data: Sequences,
    engine: Engine,
    *,
    folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
    refine: int = 0,
    frames: int | None = None,
) -> EnergyResult:
    """Energy of ``exported`` on ``data``, by block; written to ``folder`` as ``energy.json`` with tables and figures.

    All energies in J. ``per_timestep_J`` is the mean over all timesteps, ``per_inference_J`` the mean over sequences.
    Every block has ``static_J`` and ``dynamic_J`` per timestep and, if there is an analytic estimate, ``analytic_J``.
    ``label`` is ``"estimate"`` at macro level. Power-on frames are not counted. ``refine`` is how often time steps are
    halved; the numerical certificate covers ``frames`` frames. Raises CheckFailed if blocks and supplies differ by more
    than 1 %, after all files are written; InputError before the simulation; SimulationError, OutputError.
    """
    design = exported.design
    kind = registry.of(design)
    model = kind.energy_model(design)
    # Before the simulation, which may take hours: templates whose devices cannot be counted are refused here.
    expected = kind.reference(design, exported.trained, data)
    analytic = _analytic(model, expected, data)
    simulation, each = _metered(exported, data, engine, model, refine, progress)
    certificate = _certificate(exported, data, simulation, engine, frames)
    joined = _joined(each)
    entries = _entries(joined, model, analytic)
    total = sum(entry.total for entry in entries.values() if entry.total is not None)
    result = EnergyResult(
        level=design.technology.level,
        label=model.label,
        architecture=design.architecture,
        technology=design.technology.name,
        timestep_s=design.timestep,
        per_timestep_J=total,
        per_inference_J=total * float(data.lengths.mean()),
        mean_power_W=total / design.timestep,
        frame_rate_Hz=1 / design.timestep,
        duty_cycle=model.duty,
        sequences=len(data),
        timesteps=int(data.lengths.sum()),
        blocks=entries,
        supply_total_J=_supply(joined, model),
        ledger_gap=joined.closure_error,
        ledger_tolerance=TOLERANCE,
        excludes=tuple(model.excludes),
        decisions=decisions_alike(expected.response, simulation.response),
        classification=_classes_alike(design, expected, simulation.response, data),
        series=EnergySeries(sequence=0, blocks_J=_series(each[0], model)),
        cpu_seconds=simulation.cpu_seconds,
        attempts=tuple(simulation.attempts),
        provenance=provenance(exported, simulator=simulation.simulator, command=command, certificate=certificate),
        inputs_clamped=expected.clamped,
    )
    if folder is not None:
        tables.write(result, Path(folder))
    joined.check()
    return result


def _metered(
    exported: Exported,
    data: Sequences,
    engine: Engine,
    model: EnergyModel,
    refine: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[Simulation, list[EnergyBreakdown]]:
    """The simulation of ``data``, and the energy breakdown of each sequence."""
    found: dict[int, EnergyBreakdown] = {}

    def observe(traces: Traces, plan: Schedule, sequences: Sequence[int]) -> None:
        for place, number in enumerate(sequences):
            found[number] = measure(traces, model.meters, model.total, model.frames(plan, place))

    simulate = exported.architecture.simulate
    simulation = simulate(
        exported.design, data, engine, network=exported.network, observe=observe, progress=progress, refine=refine
    )
    return simulation, [found[number] for number in range(len(data))]


def _certificate(
    exported: Exported, data: Sequences, simulation: Simulation, engine: Engine, frames: int | None
) -> NumericalCertificate:
    count = {} if frames is None else {"frames": frames}
    certify = exported.architecture.certify
    return certify(exported.design, data, simulation, engine, network=exported.network, **count)


def _analytic(model: EnergyModel, expected: Reference, data: Sequences) -> dict[str, Array]:
    """Block → (timesteps,) [J]: the analytic estimate of each timestep of all sequences."""
    each = [
        model.analytic(expected, data.inputs[number, :length].astype(np.float64), number)
        for number, length in enumerate(data.lengths)
    ]
    return {name: np.concatenate([one[name] for one in each]) for name in each[0]}


def _supply(breakdown: EnergyBreakdown, model: EnergyModel) -> float:
    """Energy from all supplies [J per timestep].

    A measured unit counts here as in the blocks, because only charge of the netlist can be missed.
    """
    replaced = sum(float(breakdown.blocks[name].mean()) for name in model.unit if name in breakdown.blocks)
    return float(breakdown.supply.mean()) - replaced + sum(sum(parts) for parts in model.unit.values())


def decisions_alike(expected: Response, found: Response) -> DecisionAgreement:
    """Agreement of all decisions, however small their margin."""
    valid = expected.valid[:, :, None]
    pairs = list(zip(expected.decisions, found.decisions, strict=True))
    return DecisionAgreement(
        total=sum(int(valid.sum()) * wanted.shape[2] for wanted, _ in pairs),
        agree=sum(int((valid & (wanted == got)).sum()) for wanted, got in pairs),
    )


def _classes_alike(design: AnyDesign, expected: Reference, found: Response, data: Sequences) -> ClassAgreement:
    rule = design.config.decision
    classes = classes_of(found, rule)
    verdict = judge(classes, expected.classes, expected.response.logits, data.lengths, rule)
    scored = data.labels is not None and not verdict.one_score
    return ClassAgreement(**asdict(verdict), correct_circuit=int((classes == data.labels).sum()) if scored else None)


def _joined(breakdowns: Sequence[EnergyBreakdown]) -> EnergyBreakdown:
    """All timesteps of all sequences."""

    def join(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return EnergyBreakdown(
        blocks=join([breakdown.blocks for breakdown in breakdowns]),
        static=join([breakdown.static for breakdown in breakdowns]),
        supply=np.concatenate([breakdown.supply for breakdown in breakdowns]),
    )


def _entries(breakdown: EnergyBreakdown, model: EnergyModel, estimates: Mapping[str, Array]) -> dict[str, BlockEnergy]:
    """Block → its energy: from the netlist, or from the measured unit if only that models the block."""
    found: dict[str, BlockEnergy] = {}
    for name in breakdown.blocks:
        energy, static = float(breakdown.blocks[name].mean()), float(breakdown.static[name].mean())
        analytic = float(estimates[name].mean()) if name in estimates else None
        found[name] = BlockEnergy(
            static_J=static,
            dynamic_J=energy - static,
            analytic_J=analytic,
            source="netlist",
            note=_difference(energy, analytic, model.estimate_differences.get(name, DIFFERENCE)),
        )
    for name in model.modelled:
        if name in model.unit:
            found[name] = _measured(model.unit[name], found.get(name))
        elif name not in found:
            found[name] = BlockEnergy(
                static_J=None, dynamic_J=None, analytic_J=None, source=None, note="not modelled"
            )  # fmt: skip
    return found


def _measured(unit: tuple[float, float], load: BlockEnergy | None) -> BlockEnergy:
    """A block of measured units, which replaces ``load``, the charge that ideal parts moved."""
    note = "a simulated unit times the number of units: no analytic estimate"
    return BlockEnergy(
        static_J=unit[0],
        dynamic_J=unit[1],
        analytic_J=None,
        source="measured unit",
        note=note + ("; its bias also delivers the charge of the states (load)" if load else ""),
        load_J=load.total if load else None,
        load_analytic_J=load.analytic_J if load else None,
    )


def _difference(simulated: float, analytic: float | None, why: str) -> str:
    if analytic is None:
        return "no analytic estimate"
    if analytic and abs(simulated / analytic - 1) <= AGREEMENT:
        return ""
    if not analytic and simulated < 1e-18:
        return ""
    return why


def _series(breakdown: EnergyBreakdown, model: EnergyModel) -> dict[str, tuple[float, ...]]:
    """Energy of each block in each timestep of one sequence."""
    found = {name: tuple(values.tolist()) for name, values in breakdown.blocks.items() if name not in model.unit}
    return found | {name: (sum(parts),) * len(breakdown.supply) for name, parts in model.unit.items()}
