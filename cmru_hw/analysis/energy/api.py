"""A whole energy estimate in one call, from an exported design to a folder that a report can be made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import cmru_hw
from cmru_hw.circuits import registry
from cmru_hw.circuits.comparison import Reference, classes_of
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.circuits.energy import APART, TOLERANCE, EnergyBreakdown, EnergyModel, measure
from cmru_hw.core.signals import Array, Response, Traces
from cmru_hw.design_folder.folder import Exported
from cmru_hw.nn.checkpoint import Sequences
from cmru_hw.spice import Engine
from cmru_hw.spice.schedule import Schedule

# Hand calculation and simulation of a block should agree this well; where not, the table says why.
AGREEMENT = 0.25


def run_energy(
    exported: Exported,
    data: Sequences,
    engine: Engine,
    *,
    folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Energy of ``exported`` on ``data``, by block; returns what ``energy.json`` says, and writes it to ``folder``.

    All energies in J. ``per_timestep_J`` is the mean over all timesteps, ``per_inference_J`` that over sequences;
    every block has its ``static_J`` and ``dynamic_J`` per timestep and, where there is a hand calculation,
    ``analytic_J``. ``label`` is ``"estimate"`` at macro level. Power-on frames are not counted. Raises CheckFailed if
    blocks and supplies differ by more than 1 %, after everything was written; SimulationError, OutputError.
    """
    # drawing takes a second to load, which is not everybody's
    from cmru_hw.analysis.energy import tables

    design = exported.design
    kind = registry.of(design)
    model = kind.energy_model(design)
    ledgers: dict[int, EnergyBreakdown] = {}

    def observe(traces: Traces, plan: Schedule, sequences: Sequence[int]) -> None:
        for place, number in enumerate(sequences):
            ledgers[number] = measure(traces, model.meters, model.total, model.frames(plan, place))

    simulation = kind.simulate(design, data, engine, network=exported.network, observe=observe, progress=progress)
    expected = kind.reference(design, exported.trained, data)
    kept = [ledgers[number] for number in range(len(data))]
    hand = [
        model.analytic(expected, data.inputs[number, :length].astype(np.float64), number)
        for number, length in enumerate(data.lengths)
    ]
    whole = _joined(kept)
    entries = _entries(whole, model, {name: np.concatenate([one[name] for one in hand]) for name in hand[0]})
    _add_unit(entries, model)
    total = sum(entry["static_J"] + entry["dynamic_J"] for entry in entries.values() if entry["static_J"] is not None)
    # a measured unit is on both sides: what can be missed is charge of the netlist
    replaced = sum(float(whole.blocks[name].mean()) for name in model.unit if name in whole.blocks)
    supply = float(whole.supply.mean()) - replaced + sum(sum(parts) for parts in model.unit.values())
    found = {
        "kind": "energy",
        "level": design.technology.level,
        "label": model.label,
        "architecture": design.architecture,
        "technology": design.technology.name,
        "timestep_s": design.timestep,
        "per_timestep_J": total,
        "per_inference_J": total * float(data.lengths.mean()),
        "mean_power_W": total / design.timestep,
        "frame_rate_Hz": 1 / design.timestep,
        "duty_cycle": model.duty,
        "sequences": len(data),
        "timesteps": int(data.lengths.sum()),
        "blocks": entries,
        "supply_total_J": supply,
        "ledger_gap": whole.gap,
        "ledger_tolerance": TOLERANCE,
        "excludes": list(model.excludes),
        "decisions": decisions_alike(expected.response, simulation.response),
        "classification": _classes_alike(design, expected, simulation.response, data),
        "series": {"sequence": 0, "blocks_J": _series(kept[0], model)},
        "versions": {"cmru_hw": cmru_hw.__version__, "simulator": simulation.simulator},
        "netlist_sha256": exported.netlist_sha256,
        "design_sha256": kind.fingerprint(design),
        "technology_sha256": design.technology.sha256,
        "cpu_seconds": simulation.cpu_seconds,
        "attempts": list(simulation.attempts),
        "command": command,
    }
    if folder is not None:
        tables.write(found, Path(folder))
    whole.check()
    return found


def decisions_alike(expected: Response, found: Response) -> dict[str, int]:
    """``total`` decisions, and how many ``agree``: all count, however small their margin."""
    valid = expected.valid[:, :, None]
    pairs = list(zip(expected.decisions, found.decisions, strict=True))
    return {
        "total": sum(int(valid.sum()) * wanted.shape[2] for wanted, _ in pairs),
        "agree": sum(int((valid & (wanted == got)).sum()) for wanted, got in pairs),
    }


def _classes_alike(design: AnyDesign, expected: Reference, found: Response, data: Sequences) -> dict[str, int | None]:
    """``total`` sequences, how many ``agree`` with software, and how many of them the circuit gets right."""
    classes = classes_of(found, design.config.decision)
    return {
        "total": len(classes),
        "agree": int((classes == expected.classes).sum()),
        "correct_circuit": None if data.labels is None else int((classes == data.labels).sum()),
    }


def _joined(ledgers: Sequence[EnergyBreakdown]) -> EnergyBreakdown:
    """All timesteps of all sequences."""

    def join(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return EnergyBreakdown(
        blocks=join([ledger.blocks for ledger in ledgers]),
        static=join([ledger.static for ledger in ledgers]),
        supply=np.concatenate([ledger.supply for ledger in ledgers]),
    )


def _entries(ledger: EnergyBreakdown, model: EnergyModel, estimates: Mapping[str, Array]) -> dict[str, dict[str, Any]]:
    """Block → its row of the table, for what the netlist moves."""
    found: dict[str, dict[str, Any]] = {}
    for name in ledger.blocks:
        energy, static = float(ledger.blocks[name].mean()), float(ledger.static[name].mean())
        analytic = float(estimates[name].mean()) if name in estimates else None
        found[name] = {
            "static_J": static,
            "dynamic_J": energy - static,
            "analytic_J": analytic,
            "from": "netlist",
            "note": _apart(energy, analytic, model.apart.get(name, APART)),
        }
    return found


def _add_unit(entries: dict[str, dict[str, Any]], model: EnergyModel) -> None:
    """What only a measured unit knows takes the place of what ideal parts show."""
    for name in model.modelled:
        load = entries.get(name)
        if name not in model.unit:
            missing = {"static_J": None, "dynamic_J": None, "analytic_J": None, "from": None, "note": "not modelled"}
            entries[name] = load or missing
            continue
        static, dynamic = model.unit[name]
        entries[name] = {"static_J": static, "dynamic_J": dynamic, "analytic_J": None, "from": "measured unit"}
        entries[name]["note"] = "a simulated unit times the number of units: no hand calculation"
        if load:
            entries[name]["load_J"] = load["static_J"] + load["dynamic_J"]
            entries[name]["load_analytic_J"] = load["analytic_J"]
            entries[name]["note"] += "; its bias also delivers the charge of the states (load)"


def _apart(simulated: float, analytic: float | None, why: str) -> str:
    if analytic is None:
        return "no hand calculation"
    if analytic and abs(simulated / analytic - 1) <= AGREEMENT:
        return ""
    if not analytic and simulated < 1e-18:
        return ""
    return why


def _series(ledger: EnergyBreakdown, model: EnergyModel) -> dict[str, list[float]]:
    """Energy of each block in each timestep of one sequence."""
    found = {name: values.tolist() for name, values in ledger.blocks.items() if name not in model.unit}
    return found | {name: [sum(parts)] * len(ledger.supply) for name, parts in model.unit.items()}
