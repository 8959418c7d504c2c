"""The current-mode architecture (``cm``): its functions behind the common `Architecture` protocol."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from cmru_hw.circuits import input_range
from cmru_hw.circuits.architecture import Architecture
from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.corner import Corner, CornerFacts
from cmru_hw.circuits.current import (
    compare,
    dies,
    energy,
    mapping,
    netlist,
    retention,
    row_errors,
    simulate,
    technology,
    variation,
    verify,
)
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.current.technology import CurrentTechnology
from cmru_hw.circuits.handover import Handover
from cmru_hw.circuits.simulation import Waveforms
from cmru_hw.core.errors import InputError, TechnologyError
from cmru_hw.core.units import si
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import device_count, device_models
from cmru_hw.process.device_count import Inventory
from cmru_hw.spice import Engine


def describe(design: CurrentDesign) -> dict[str, object]:
    """Key sizes of a design, and number of rounded and left-out weights."""
    counts = netlist.transistors(design)
    upper = [layer.upper for layer in design.layers]
    found = {
        "transistors": {"total": sum(counts.values()), **counts},
        "gate area": f"{netlist.gate_area(design) * 1e12:.0f} µm²",
        "one software unit": si(design.technology.unit, "A"),
        "thresholds": [f"{si(float(u.min()), 'A')} to {si(float(u.max()), 'A')}" for u in upper],
    }
    if design.technology.parallel:
        found["devices in parallel"] = dict(design.technology.parallel)
        found["area before layout, estimate"] = f"{parts(design).area * 1e12:.0f} µm²"
    reasons = Counter(deviation.reason for deviation in design.deviations)
    rounded = reasons.pop("rounded to the drawing grid", 0)
    left_out = sum(deviation.got == 0 for deviation in design.deviations)
    return {
        **found,
        "calibration": design.calibration.source,
        "input range": input_range.described(
            design.calibration.inputs, design.calibration.largest, design.calibration.percentile
        ),
        "rounded weights": rounded,
        "left-out weights": left_out,
        "limited weights and levels": len(design.deviations) - rounded - left_out,
    }


def parts(design: CurrentDesign) -> Inventory:
    """Devices of the netlist, without the readers that only a simulation needs."""
    lines = netlist.network_text(design).splitlines()
    chip = "\n".join(line for line in lines if not line.lstrip().startswith("xprobe"))
    return device_count.of_netlist(chip, netlist.cell_files(design), process=design.technology.process)


def _draw_unit(design: CurrentDesign, waveforms: Waveforms, expected: Reference, path: Path) -> None:
    # Importing matplotlib takes about a second. Commands without figures do not wait for it.
    from cmru_hw.circuits.current import plots

    plots.unit(design, waveforms, expected, path)


def _at_level(technology: CurrentTechnology, level: str | None, memory: str | None = None) -> CurrentTechnology:
    if memory is not None:
        raise TechnologyError("--memory is an option of the charge domain: give --architecture sc, or leave it out")
    if level not in (None, technology.level):
        raise TechnologyError(f"current mode has no {level} level: its netlists are of transistors")
    return technology


def _with_trim(technology: CurrentTechnology, bits: int) -> CurrentTechnology:
    raise TechnologyError(
        "--trim is an option of the charge domain, whose rows have comparators: leave it out, or give --architecture sc"
    )


def _at_supply(kind: CurrentTechnology, vdd: float, engine: Engine, folder: Path) -> CurrentTechnology:
    """The same drawn circuit at ``vdd`` [V]. Its transistors are simulated there, so nothing has to be measured."""
    if vdd == kind.vdd:
        return kind
    source = f"{kind.source}; the circuit drawn for {kind.vdd:g} V, at {vdd:g} V"
    return replace(kind.at(corner=kind.corner, temperature=kind.temperature, vdd=vdd), source=source)


def _handover(design: CurrentDesign, trained: Trained, sequences: Sequences, *, network: str) -> Handover:
    raise InputError("a handover is of designs of the charge domain: in current mode, hand over network.cir and cells/")


def _at_corner(
    design: CurrentDesign, trained: Trained, corner: Corner, engine: Engine, folder: Path
) -> tuple[CurrentDesign, CornerFacts]:
    """The same drawn circuit with the devices of ``corner``."""
    moved = mapping.at_corner(design, corner=corner.process, temperature=corner.temperature, vdd=corner.vdd)
    return moved, CornerFacts(source=str(corner))


CURRENT = Architecture(
    name="cm",
    title="current mode",
    unit="a cell of nine transistors with hysteresis, each weight the width of a current mirror",
    cells=("fq-bmru",),
    technology="gf180",
    resolution=0.0,
    margin_unit="A",
    random_weights=", of size 1/√n in sums of n terms",
    load_technology=technology.load,
    at_level=_at_level,
    with_trim=_with_trim,
    with_parallel=technology.with_parallel,
    technology_from=technology.from_dict,
    calibration_from=mapping.calibration,
    calibrate=mapping.calibrate,
    map_network=mapping.map_network,
    with_templates=lambda design, templates: replace(design, templates=templates),
    describe=describe,
    fingerprint=mapping.fingerprint,
    network_text=netlist.network_text,
    cell_files=netlist.cell_files,
    deck=netlist.deck,
    parts=parts,
    reference=compare.reference,
    simulate=simulate.simulate,
    verify=verify.verify,
    certify=verify.certify,
    certificate_doubts=verify.doubts,
    waveforms=simulate.waveforms,
    draw_unit=_draw_unit,
    leaves=variation.leaves,
    select_variations=variation.select_variations,
    die_simulator=lambda design: dies.DIES,
    energy_model=energy.energy_model,
    operating_point=lambda design: Corner(
        process=design.technology.corner, temperature=design.technology.temperature, vdd=design.technology.vdd
    ),
    at_supply=_at_supply,
    with_unit_current=technology.with_unit_current,
    supply=lambda design: float(design.technology.vdd),
    at_corner=_at_corner,
    row_errors=row_errors.errors,
    corner_fingerprint=lambda design, corner: (
        device_models.devices(design.technology.process, corner=corner.process).sha256
    ),
    handover=_handover,
    retention_unit=retention.unit,
    require_retention=lambda design: None,
)
