"""What it takes to be an architecture: one function for each step from a checkpoint to a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.design import AnyDesign, AnyTechnology
from cmru_hw.circuits.simulation import Simulation, Verified, Waveforms
from cmru_hw.nn.checkpoint import Sequences, Trained
from cmru_hw.process.device_count import Inventory
from cmru_hw.spice.deck import Deck


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One kind of circuit. Designs, technologies and calibrations of different kinds do not mix.

    ``cells`` are the names of the cells that it is for. ``technology`` names the one that a design is mapped to unless
    another is asked for, ``resolution`` is the margin [``margin_unit``] below which a decision is too close to call.
    The functions, whose keyword arguments are those of
    the functions of the same names in the charge domain:

    * ``load_technology(name_or_path)``, ``technology_from(data, where=…)``, ``calibration_from(data)``: raise
      TechnologyError, or KeyError, TypeError and ValueError for a damaged calibration
    * ``at_level(technology, level)``: the same for macros or transistors; raises TechnologyError for what there is not
    * ``calibrate(trained, sequences)``, ``map_network(trained, technology, calibration)``: raise MappingError for a
      network that this kind of circuit cannot be
    * ``describe(design)``: what ``inspect`` and ``export`` say of it
    * ``fingerprint(design)``, ``network_text(design)``, ``cell_files(design)``, ``deck(design, inputs)``
    * ``parts(design)``: what it is built of, None at a level that has no devices
    * ``choose(design, only=…, without=…)``: what varies from die to die, as leaves of a tree of names
    * ``simulate``, ``verify`` and ``waveforms`` in an engine, ``reference(design, trained, sequences)`` in software
    * ``draw_unit(design, waveforms, expected, path)``: a figure
    """

    name: str
    cells: tuple[str, ...]
    technology: str
    resolution: float
    margin_unit: str
    load_technology: Callable[[str | Path], AnyTechnology]
    at_level: Callable[[Any, str], AnyTechnology]
    technology_from: Callable[..., AnyTechnology]
    calibration_from: Callable[[Mapping[str, Any]], Any]
    calibrate: Callable[[Trained, Sequences | None], Any]
    map_network: Callable[[Trained, Any, Any], AnyDesign]
    describe: Callable[[Any], dict[str, Any]]
    fingerprint: Callable[[Any], str]
    network_text: Callable[[Any], str]
    cell_files: Callable[[Any], dict[str, bytes]]
    deck: Callable[[Any, Any], tuple[Deck, Any]]
    parts: Callable[[Any], Inventory | None]
    choose: Callable[..., frozenset[str]]
    reference: Callable[[Any, Trained, Sequences], Reference]
    simulate: Callable[..., Simulation]
    verify: Callable[..., Verified]
    waveforms: Callable[..., Waveforms]
    draw_unit: Callable[[Any, Waveforms, Reference, Path], None]
