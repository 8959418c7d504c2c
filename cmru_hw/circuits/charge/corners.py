"""A charge-domain design at a corner: macromodels use parameters measured there, transistors that operating point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cmru_hw.circuits.charge import measured_technology
from cmru_hw.circuits.charge.design import Design, Operating
from cmru_hw.circuits.charge.mapping import map_network
from cmru_hw.circuits.corner import Corner, CornerFacts
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.process import device_models
from cmru_hw.spice import Engine


def supply(design: Design) -> float:
    """VDD [V]. Raises InputError for a technology that was not measured on transistors."""
    measured_technology.process_of(design.technology)
    return design.technology.supply.vdd


def at_corner(
    design: Design, trained: Trained, corner: Corner, engine: Engine, folder: Path
) -> tuple[Design, CornerFacts]:
    """The same capacitors at ``corner``, and facts about it. ``folder`` caches a measured technology."""
    if design.technology.level == "transistor":
        at = Operating(corner=corner.process, temperature=corner.temperature, vdd=corner.vdd)
        return replace(design, operating=at), CornerFacts(source=str(corner))
    measured = measured_technology.measured_at(corner, design.technology, engine, folder)
    technology = measured_technology.at_corner(design.technology, corner, measured)
    moved = map_network(trained, technology, design.calibration)
    facts = CornerFacts(
        source=technology.source, gain=technology.amplifier.gain, leakage_A=technology.leakage.integrator
    )
    return replace(moved, templates=design.templates), facts


def fingerprint(design: Design, corner: Corner) -> str:
    """Hash of the device files at ``corner`` and, for a macromodel, of the testbenches that measure them."""
    devices = design.technology.transistor
    if design.technology.level == "transistor" and devices is not None:
        return device_models.devices(devices.process, corner=corner.process).sha256
    return measured_technology.fingerprint(design.technology, corner)
