"""Energy over the size of a network: units per layer, and layers, with a fitted power law.

The networks have random weights and the cell, levels, features and technology of a given design. Only their size
differs. The law is E = a n^b. Its exponent is fitted to logarithms, with a Student's t interval.

In current mode weights are currents, and a sum of any number of terms n must stay within the range of the cells.
Weights there have size 1/√n, and n² of them draw n^1.5: see docs/current-mode.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy import stats

from cmru_hw.analysis.energy.api import run_energy
from cmru_hw.analysis.energy.result import SCALING, EnergyResult, Law, ScalingPoint, ScalingResult
from cmru_hw.analysis.provenance import provenance
from cmru_hw.circuits import registry
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.core.atomic_write import write_text
from cmru_hw.core.csv_text import csv_text
from cmru_hw.core.output_folder import atomic_folder
from cmru_hw.design_folder.folder import Exported
from cmru_hw.nn import levels
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.spice import Engine

Axis = Literal["units", "layers"]
WIDTHS = (2, 4, 8, 16, 32)
DEPTHS = (1, 2, 3, 4, 6)
TIMESTEPS = 16
# Networks of each size, so that the interval of a fit contains the effect of the weights.
NETWORKS = 3
CONFIDENCE = 0.95
GROWS = {"estimate": ", and clocks: blocks of a measured unit grow with the units by construction"}


def run_scaling(
    exported: Exported,
    engine: Engine,
    *,
    folder: str | Path | None = None,
    widths: Sequence[int] = WIDTHS,
    depths: Sequence[int] = DEPTHS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
) -> ScalingResult:
    """Energy per timestep of random networks like ``exported``: over ``widths`` of one layer, and over ``depths``.

    Networks of several layers have four units per layer. The result is written to ``folder``.
    Raises SimulationError, OutputError.
    """
    design = exported.design
    shapes: list[tuple[Axis, int, tuple[int, ...]]] = [("units", width, (width,)) for width in widths]
    shapes += [("layers", depth, (4,) * depth) for depth in depths]
    points: list[ScalingPoint] = []
    simulator = ""
    for axis, size, units in shapes:
        for number in range(NETWORKS):
            found = _one(exported, design, units, seed + number, engine)
            simulator = found.provenance.versions["simulator"]
            points.append(_point(found, axis, size, number))
            if progress:
                progress(len(points), len(shapes) * NETWORKS)
    axes: tuple[Axis, ...] = ("units", "layers")
    result = ScalingResult(
        level=design.technology.level,
        label=points[0].label,
        technology=design.technology.name,
        timestep_s=design.timestep,
        features=design.config.features,
        networks_per_size=NETWORKS,
        points=tuple(points),
        laws={axis: _laws([point for point in points if point.axis == axis]) for axis in axes},
        law="E = factor n^exponent, 95 % interval of the exponent",
        excludes=(
            "everything that the energy of a design excludes",
            "trained weights: these are random" + registry.of(design).random_weights,
            "wires that grow with the area" + GROWS.get(points[0].label, ""),
        ),
        provenance=provenance(exported, simulator=simulator, seed=seed, command=command),
    )
    if folder is not None:
        _write(result, Path(folder))
    return result


def random_network(config: ModelConfig, units: tuple[int, ...], seed: int) -> Trained:
    """A network like ``config`` with layers of ``units``: normal weights, every alpha 1, both initial states.

    The values of an FQ-BMRU have an absolute scale. It gets weights of variance 1/n in sums of n terms, and thresholds
    that such sums cross.
    """
    scaled = config.cell == "fq-bmru"
    widths = (units[0], *units) if scaled else ()
    shape = replace(config, units=units, widths=widths, levels=levels.resized(config.levels, units))
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in shape.network().state_dict().items():
        values = torch.randn(tensor.shape, generator=generator)
        if name.endswith("initial_state"):
            values = torch.where(values > 0, 1.0, 0.0 if scaled else -1.0)
        elif name.endswith(".alpha") or name == "input.scale":
            values = torch.ones_like(values)
        elif scaled and name.endswith((".low", ".width")):
            values = torch.full_like(values, 0.3)
        elif scaled:
            values = values / tensor.shape[1] ** 0.5 if name.endswith("weight") else 0.3 * values
        tensors[name] = values
    return Trained(config=shape, tensors=tensors)


def fit(sizes: Sequence[float], energies: Sequence[float]) -> Law:
    """Fit a law to ``energies`` [J] at ``sizes``, at least three of them."""
    found = stats.linregress(np.log(sizes), np.log(energies))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(sizes) - 2) * found.stderr)
    slope = float(found.slope)
    return Law(factor=math.exp(found.intercept), exponent=slope, low=slope - reach, high=slope + reach)


def _one(exported: Exported, design: AnyDesign, units: tuple[int, ...], seed: int, engine: Engine) -> EnergyResult:
    kind = registry.of(design)
    trained = random_network(design.config, units, seed)
    inputs = np.random.default_rng(seed).normal(size=(1, TIMESTEPS, design.config.features)).astype(np.float32)
    data = Sequences(inputs=inputs)
    mapped = kind.map_network(trained, design.technology, kind.calibrate(trained, data))
    here = Exported(path=exported.path, trained=trained, design=mapped, network=kind.network_text(mapped), edited=())
    return run_energy(here, data, engine)


def _point(found: EnergyResult, axis: Axis, size: int, number: int) -> ScalingPoint:
    blocks = {name: entry.total for name, entry in found.blocks.items() if entry.total is not None}
    return ScalingPoint(
        axis=axis, size=size, network=number, per_timestep_J=found.per_timestep_J, label=found.label, blocks_J=blocks
    )


def _laws(points: Sequence[ScalingPoint]) -> dict[str, Law]:
    """Laws of the total and of every block."""
    sizes = [point.size for point in points]
    series = {"all": [point.per_timestep_J for point in points]}
    series |= {name: [point.blocks_J[name] for point in points] for name in points[0].blocks_J}
    return {name: fit(sizes, energies) for name, energies in series.items() if min(energies) > 0}


def law_rows(found: ScalingResult) -> list[tuple[str, str, str]]:
    """Block, exponent over units, exponent over layers, as formatted text."""

    def shown(axis: str, name: str) -> str:
        law = found.laws[axis].get(name)
        return f"{law.exponent:.2f} ({law.low:.2f} to {law.high:.2f})" if law else ""

    names = ["all", *found.points[0].blocks_J]
    return [(name.replace("_", " "), shown("units", name), shown("layers", name)) for name in names]


def _write(found: ScalingResult, folder: Path) -> None:
    from cmru_hw.analysis.energy import plots

    names = list(found.points[0].blocks_J)
    header = ("axis", "size", "network", "per_timestep_J", *(f"{name}_J" for name in names))
    rows = [
        (point.axis, point.size, point.network, point.per_timestep_J, *(point.blocks_J[name] for name in names))
        for point in found.points
    ]
    with atomic_folder(folder, last=SCALING) as scratch:
        found.save(scratch / SCALING)
        write_text(scratch / "scaling.csv", csv_text(header, rows))
        for suffix in ("svg", "pdf"):
            plots.scaling(found, scratch / f"scaling.{suffix}")
