"""The protocol of a kind of circuit: one function for each thing that a command needs to know about a design."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmru_hw.circuits.certificate import NumericalCertificate
from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.corner import Corner, CornerFacts
from cmru_hw.circuits.design import AnyDesign, AnyTechnology
from cmru_hw.circuits.dies import DieSimulator
from cmru_hw.circuits.energy import EnergyModel
from cmru_hw.circuits.handover import Handover
from cmru_hw.circuits.retention import RetentionUnit
from cmru_hw.circuits.row_errors import NetworkErrors
from cmru_hw.circuits.simulation import Simulation, Verified, Waveforms
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process.device_count import Inventory
from cmru_hw.spice import Engine
from cmru_hw.spice.deck import Deck

AtCorner = Callable[[Any, Trained, Corner, Engine, Path], tuple[AnyDesign, CornerFacts]]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One kind of circuit. Designs, technologies and calibrations of different kinds do not mix.

    Facts:

    * ``name``; for people ``title``, and ``unit``, a clause that describes one unit
    * ``cells``: the software cells that it can build
    * ``technology``: the default technology of a design
    * ``resolution`` [``margin_unit``]: the margin below which a decision is too close to call
    * ``random_weights``: how a scaling study draws the weights of random networks, or ""

    From a network to a design. ``load_technology(name_or_path)``, ``technology_from(data, where=…)``,
    ``calibration_from(data)``, ``at_level(technology, level, memory)``, ``with_trim(technology, bits)`` (with a trim
    code of that many bits for every row) and ``with_parallel(technology, counts)`` (with numbers of devices in parallel
    by size class) raise TechnologyError, or KeyError, TypeError and ValueError for damaged data.
    ``calibrate(trained, sequences, percentile=…)`` and ``map_network(trained, technology, calibration)`` raise
    MappingError for a network that this kind of circuit cannot realize.
    ``with_templates(design, templates)``: the design with the user's own cells as (name, text).

    From a design to a netlist: ``describe(design)`` for people, ``fingerprint(design)``, ``network_text(design)``,
    ``cell_files(design)``, ``deck(design, inputs, network=…)``, and ``parts(design)``: its devices, or None if its
    level has none.

    Simulation: ``reference(design, trained, sequences)`` in software; ``simulate``, ``verify`` and ``waveforms`` in an
    engine; ``draw_unit(design, waveforms, expected, path)`` draws one unit. ``certify(design, sequences, simulation,
    engine, network=…, frames=…, seed=…, refine=1)`` simulates some frames of a result again with finer steps, or with
    ``refine=0`` in another simulator; ``certificate_doubts(design, certificate)`` has one clause for each limit that
    the certificate exceeds.

    Analyses. Each raises InputError with the reason if it does not apply to the design:

    * ``leaves(design)``: the names of all sources of variation, as leaves of a tree; ``select_variations(design,
      only=…, without=…, drift=…)``: those of a run. ``drift`` ("temperature", "supply") adds what moves after the
      calibration of a trim
    * ``die_simulator(design)``: functions that draw and score dies
    * ``energy_model(design)``: conversion of a simulation to energies
    * ``operating_point(design)``: process corner, temperature and supply; never raises
    * ``at_supply(technology, vdd, engine, folder)``: the technology at another supply, measured where ``folder`` has no
      measurement; ``with_unit_current(technology, ampere)``: with another current of one software unit. Both raise
      TechnologyError where they do not apply
    * ``supply(design)`` [V], and ``at_corner(design, trained, corner, engine, folder)``: the design at a corner and
      facts about it; ``folder`` caches the measurements for that
    * ``row_errors(design, trained, sequences)``: errors of the rows and states of a design, for a verdict without
      simulation
    * ``corner_fingerprint(design, corner)``: hash of the device files and testbenches that determine the design at a
      corner
    * ``handover(design, trained, sequences, network=…)``: the netlist for a circuit designer, with a test deck
    * ``retention_unit(design, engine, corner)``: the unit that loses its state first; ``require_retention(design)``
      only raises
    """

    name: str
    title: str
    unit: str
    cells: tuple[str, ...]
    technology: str
    resolution: float
    margin_unit: str
    random_weights: str
    load_technology: Callable[[str | Path], AnyTechnology]
    at_level: Callable[[Any, str | None, str | None], AnyTechnology]
    with_trim: Callable[[Any, int], AnyTechnology]
    with_parallel: Callable[[Any, Mapping[str, int]], AnyTechnology]
    technology_from: Callable[..., AnyTechnology]
    calibration_from: Callable[[Mapping[str, Any]], Any]
    calibrate: Callable[..., Any]
    map_network: Callable[[Trained, Any, Any], AnyDesign]
    with_templates: Callable[[Any, tuple[tuple[str, str], ...]], AnyDesign]
    describe: Callable[[Any], dict[str, object]]
    fingerprint: Callable[[Any], str]
    network_text: Callable[[Any], str]
    cell_files: Callable[[Any], dict[str, bytes]]
    deck: Callable[..., tuple[Deck, Any]]
    parts: Callable[[Any], Inventory | None]
    reference: Callable[[Any, Trained, Sequences], Reference]
    simulate: Callable[..., Simulation]
    verify: Callable[..., Verified]
    certify: Callable[..., NumericalCertificate]
    certificate_doubts: Callable[[Any, NumericalCertificate], tuple[str, ...]]
    waveforms: Callable[..., Waveforms]
    draw_unit: Callable[[Any, Waveforms, Reference, Path], None]
    leaves: Callable[[Any], tuple[str, ...]]
    select_variations: Callable[..., frozenset[str]]
    die_simulator: Callable[[Any], DieSimulator]
    energy_model: Callable[[Any], EnergyModel]
    operating_point: Callable[[Any], Corner]
    at_supply: Callable[[Any, float, Engine, Path], AnyTechnology]
    with_unit_current: Callable[[Any, float], AnyTechnology]
    supply: Callable[[Any], float]
    at_corner: AtCorner
    row_errors: Callable[..., NetworkErrors]
    corner_fingerprint: Callable[[Any, Corner], str]
    handover: Callable[..., Handover]
    retention_unit: Callable[[Any, Engine, str], RetentionUnit]
    require_retention: Callable[[Any], None]
