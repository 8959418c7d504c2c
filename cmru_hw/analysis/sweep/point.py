"""One point of a sweep: a network mapped, moved to its supply and corner, and its energy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import cmru_hw
from cmru_hw import spice
from cmru_hw.analysis.digital import counts
from cmru_hw.analysis.digital import energy as digital
from cmru_hw.analysis.energy.api import run_energy
from cmru_hw.analysis.energy.scaling import random_network
from cmru_hw.analysis.sweep.dies import yield_of
from cmru_hw.analysis.sweep.grid import ARCHITECTURES, Column, NetworkSource, Point
from cmru_hw.analysis.sweep.result import StoredRow, SweepRow
from cmru_hw.analysis.versus.api import parts_of
from cmru_hw.characterize import digital_gates
from cmru_hw.characterize.testbench import Conditions
from cmru_hw.circuits import registry
from cmru_hw.circuits.corner import Corner
from cmru_hw.core.errors import DataError, InputError, MappingError, SimulationError, TechnologyError
from cmru_hw.design_folder.folder import Exported
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.sequences import Sequences, load_sequences
from cmru_hw.nn.training import predict
from cmru_hw.process import pdk
from cmru_hw.spice import Engine

RANDOM_TIMESTEPS = 16
LEVELS = 7
# Frames of a digital datapath: those of the shipped technologies.
TIMESTEP = 0.01
# Supplies at which the package ships measured gates; the search for the least energy uses all of them.
SEARCHED = (0.5, 0.6, 0.7, 0.9, 1.2, 1.5, 1.8)


@dataclass(frozen=True, kw_only=True)
class SweepJob:
    """What all points share. Results of points are in ``folder``, measured technologies and gates in ``measured``.

    ``sequences``: number of evaluation sequences of a checkpoint, at equal distances in its file. ``dies``: number of
    dies for a yield, on all evaluation sequences; 0 for none.
    """

    folder: Path
    measured: Path
    simulator: str
    sequences: int = 2
    dies: int = 0
    backend: spice.Backend = "pyspice"
    timeout: float = 600.0

    def identity(self, point: Point, trained: Trained, data: Sequences) -> str:
        """Hash of everything that determines the row of ``point``, whose network and stimulus are given."""
        digest = hashlib.sha256(f"{cmru_hw.__version__} {self.simulator} {self.sequences} ".encode())
        digest.update(repr(replace(point, network=replace(point.network, checkpoint=None, data=None))).encode())
        digest.update(trained.sha256.encode() + data.inputs.tobytes())
        path = Path(point.technology)
        if path.suffix == ".toml" and path.is_file():
            digest.update(path.read_bytes())
        if self.dies and point.network.sequences is not None:
            digest.update(f"dies {self.dies}".encode() + point.network.sequences.read_bytes())
        return digest.hexdigest()


def row_of(job: SweepJob, point: Point) -> SweepRow:
    """The row of ``point``: the stored one, or a new one, which is then stored. A failed one is not stored."""
    column = ARCHITECTURES[point.architecture]
    trained, data = _network(point, job.sequences)
    if trained.config.cell not in column.cells:
        reason = f"a {trained.config.cell} network has no {column.title} circuit; it takes {' or '.join(column.cells)}"
        if column.circuit:
            reason += ", which cmru-hw train --counterpart trains for the same task and size"
        return _row(point, trained, status=f"refused: {reason}")
    identity = job.identity(point, trained, data)
    path = job.folder / "points" / f"{identity[:24]}.json"
    if path.is_file():
        try:
            stored = StoredRow.load(path)
            if stored.job_sha256 == identity:
                return replace(stored.row, network=point.network.name)
        except InputError:
            pass
    try:
        with spice.open_engine(backend=job.backend, timeout=job.timeout) as engine:
            found = _computed(job, point, column, trained, data, engine)
            if job.dies and column.circuit and point.nominal and point.network.sequences is not None:
                found = replace(found, **_yield(job, point, column, trained, engine))
    except (MappingError, TechnologyError) as error:
        return _row(point, trained, status=f"refused: {error}")
    except SimulationError as error:
        return _row(point, trained, status=f"failed: {error}")
    path.parent.mkdir(parents=True, exist_ok=True)
    StoredRow(row=found, job_sha256=identity).save(path)
    return found


@lru_cache(maxsize=16)
def _loaded(path: Path) -> Trained:
    return checkpoint.load(path)


def _network(point: Point, sequences: int) -> tuple[Trained, Sequences]:
    """The network and its stimulus."""
    source, column = point.network, ARCHITECTURES[point.architecture]
    if source.checkpoint is None:
        return _random(source.numbers(), column.cells[0])
    trained = _loaded(source.checkpoint)
    path = source.sequences
    if path is None:
        return trained, _noise(trained.config.features)
    data = load_sequences(path)
    try:
        trained.check(data)
    except DataError as error:
        raise DataError(f"{path} is not for {source.checkpoint}: {error}") from None
    chosen = np.linspace(0, len(data) - 1, min(sequences, len(data))).round().astype(np.int64)
    return trained, data.take(chosen)


def _random(numbers: tuple[int, tuple[int, ...], int], cell: str) -> tuple[Trained, Sequences]:
    features, units, classes = numbers
    config = ModelConfig(
        cell=cell,
        epsilon=1.0,
        levels=LEVELS if cell == "cmru" else None,
        skip=False,
        decision="mean",
        classes=tuple(f"class {place}" for place in range(classes)),
        features=features,
        units=units,
        widths=(units[0], *units) if cell == "fq-bmru" else (),
    )
    return random_network(config, units, 0), _noise(features)


def _noise(features: int) -> Sequences:
    inputs = np.random.default_rng(0).normal(size=(1, RANDOM_TIMESTEPS, features)).astype(np.float32)
    return Sequences(inputs=inputs)


def _computed(
    job: SweepJob, point: Point, column: Column, trained: Trained, data: Sequences, engine: Engine
) -> SweepRow:
    if not column.circuit:
        return _digital(job, point, column, trained, engine)
    exported = _mapped(job, point, column, trained, data, engine)
    kind, design = exported.architecture, exported.design
    inventory = parts_of(exported)[0]
    row = _row(point, trained, source=design.technology.source)
    size = {
        "timestep_s": design.timestep,
        "area_m2": None if inventory is None else inventory.area,
        "transistors": None if inventory is None else inventory.transistors,
    }
    if column.static:
        expected, model = kind.reference(design, trained, data), kind.energy_model(design)
        each = [
            sum(float(values.mean()) for values in model.analytic(expected, inputs, place).values())
            for place, inputs in enumerate(data.inputs[k, :length].astype(np.float64) for k, length in _lengths(data))
        ]
        return _done(row, per_timestep_J=float(np.mean(each)), **size)
    found = run_energy(exported, data, engine, frames=1)
    agree = found.decisions.agree / found.decisions.total if found.decisions.total else None
    return _done(row, per_timestep_J=found.per_timestep_J, decisions_agree=agree, **size)


def _yield(job: SweepJob, point: Point, column: Column, trained: Trained, engine: Engine) -> dict[str, Any]:
    """Dies of the design that ``export`` would make of all evaluation sequences; {} if none can be drawn of it."""
    assert point.network.sequences is not None
    data = load_sequences(point.network.sequences)
    exported = _mapped(job, point, column, trained, data, engine)
    try:
        simulator = exported.architecture.die_simulator(exported.design)
    except InputError:
        return {}
    if "fast" not in simulator.engines:
        return {}
    found = yield_of(exported, data, job.dies)
    return {
        "dies": found.n,
        "yield_k": found.k,
        "yield_low": found.low,
        "yield_high": found.high,
        "yield_level": f"fast engine, {exported.design.technology.level} level",
    }


def _lengths(data: Sequences) -> list[tuple[int, int]]:
    return [(place, int(length)) for place, length in enumerate(data.lengths)]


def _mapped(job: SweepJob, point: Point, column: Column, trained: Trained, data: Sequences, engine: Engine) -> Exported:
    """The design of ``point``, measured or moved to its supply and corner; it has no folder."""
    kind = registry.get(column.circuit)
    technology = kind.at_level(kind.load_technology(point.technology), column.level, None)
    if point.nominal:
        technology = kind.at_supply(technology, point.vdd, engine, job.measured)
    design = kind.map_network(trained, technology, kind.calibrate(trained, data))
    if not point.nominal:
        corner = Corner(process=point.process, temperature=point.temperature, vdd=point.vdd)
        design, _ = kind.at_corner(design, trained, corner, engine, job.measured / "corners")
    return Exported(
        path=Path(point.network.name), trained=trained, design=design, network=kind.network_text(design), edited=()
    )


def _digital(job: SweepJob, point: Point, column: Column, trained: Trained, engine: Engine) -> SweepRow:
    if point.technology not in pdk.names():
        known = " or ".join(pdk.names())
        raise TechnologyError(
            f"{point.technology} is not a process, whose gates a digital datapath needs: give --technology {known}"
        )
    operations = counts.count(trained, column.bits)
    here = _conditions(point)
    gates = [digital_gates.cached(engine, here, job.measured)]
    for vdd in _searched(point):
        try:
            gates.append(digital_gates.cached(engine, replace(here, vdd=vdd), job.measured))
        except SimulationError:
            # Gates that do not work at a supply do not work below it either, and are no candidates.
            continue
    found = digital.baseline(operations, gates, point.vdd, TIMESTEP)
    at, least = found.at_supply, found.least
    return _done(
        _row(point, trained, source=at.source),
        timestep_s=TIMESTEP,
        per_timestep_J=at.typical,
        low_J=at.low,
        high_J=at.high,
        least_J=least.typical,
        least_vdd_V=least.vdd,
        lowest_J=found.lowest_J,
        classes_agree=_classes(point.network, column.bits),
    )


@lru_cache(maxsize=64)
def _classes(source: NetworkSource, bits: int) -> float | None:
    """Share of a checkpoint's evaluation sequences whose class stays with weights of ``bits``; None without any."""
    if source.checkpoint is None or source.sequences is None:
        return None
    trained, data = _loaded(source.checkpoint), load_sequences(source.sequences)
    return float(np.mean(predict(counts.rounded_network(trained, bits), data) == predict(trained, data)))


def _searched(point: Point) -> Sequence[float]:
    """Supplies for the search of the least energy: where measured gates are shipped; none at other corners."""
    others = [replace(_conditions(point), vdd=vdd) for vdd in SEARCHED if vdd != point.vdd]
    return [one.vdd for one in others if digital_gates.is_shipped(one)]


def _conditions(point: Point) -> Conditions:
    return Conditions(process=point.technology, corner=point.process, temperature=point.temperature, vdd=point.vdd)


def _row(point: Point, trained: Trained, *, status: str = "", source: str = "") -> SweepRow:
    column = ARCHITECTURES[point.architecture]
    return SweepRow(
        network=point.network.name,
        units=sum(trained.config.units),
        cell=trained.config.cell,
        architecture=point.architecture,
        title=column.title,
        technology=point.technology,
        vdd_V=point.vdd,
        corner=point.corner,
        level="simulated" if column.simulated else "estimate",
        timestep_s=None,
        per_timestep_J=None,
        low_J=None,
        high_J=None,
        least_J=None,
        least_vdd_V=None,
        lowest_J=None,
        area_m2=None,
        transistors=None,
        decisions_agree=None,
        classes_agree=None,
        status=status,
        source=source,
    )


def _done(row: SweepRow, **figures: float | int | None) -> SweepRow:
    return replace(row, status="done", **figures)  # type: ignore[arg-type]  # every figure is a number or None
