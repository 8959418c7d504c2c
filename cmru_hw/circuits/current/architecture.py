"""Current mode (``cm``)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from cmru_hw.circuits.architecture import Architecture
from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.current import mapping, netlist, simulate, technology, variation
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.circuits.current.technology import CurrentTechnology
from cmru_hw.circuits.simulation import Waveforms
from cmru_hw.core.errors import TechnologyError
from cmru_hw.core.units import si
from cmru_hw.process import device_count
from cmru_hw.process.device_count import Inventory


def describe(design: CurrentDesign) -> dict[str, Any]:
    """The sizes of a design, and what of the trained network it does not hold."""
    counts = netlist.transistors(design)
    upper = [layer.upper for layer in design.layers]
    found = {
        "transistors": {"total": sum(counts.values()), **counts},
        "gate area": f"{netlist.gate_area(design) * 1e12:.0f} µm²",
        "one software unit": si(design.technology.unit, "A"),
        "thresholds": [f"{si(float(u.min()), 'A')} to {si(float(u.max()), 'A')}" for u in upper],
    }
    reasons = Counter(clip.reason for clip in design.clips)
    rounded = reasons.pop("rounded to the drawing grid", 0)
    left_out = sum(clip.got == 0 for clip in design.clips)
    return {
        **found,
        "calibration": design.calibration.source,
        "rounded weights": rounded,
        "left-out weights": left_out,
        "limited weights and levels": len(design.clips) - rounded - left_out,
    }


def parts(design: CurrentDesign) -> Inventory:
    """Devices of the netlist, without the readers that a simulation looks through."""
    lines = netlist.network_text(design).splitlines()
    chip = "\n".join(line for line in lines if not line.lstrip().startswith("xprobe"))
    return device_count.of_netlist(chip, netlist.cell_files(design))


def _draw_unit(design: CurrentDesign, waveforms: Waveforms, expected: Reference, path: Path) -> None:
    # drawing takes a second to load, which commands without figures need not wait for
    from cmru_hw.circuits.current import plots

    plots.unit(design, waveforms, expected, path)


def _at_level(technology: CurrentTechnology, level: str) -> CurrentTechnology:
    if level != technology.level:
        raise TechnologyError(f"current mode has no {level} level: its netlists are of transistors")
    return technology


CURRENT = Architecture(
    name="cm",
    cells=("fq-bmru",),
    technology="gf180",
    resolution=0.0,
    margin_unit="A",
    load_technology=technology.load,
    at_level=_at_level,
    technology_from=technology.from_dict,
    calibration_from=mapping.calibration,
    calibrate=mapping.calibrate,
    map_network=mapping.map_network,
    describe=describe,
    fingerprint=mapping.fingerprint,
    network_text=netlist.network_text,
    cell_files=netlist.cell_files,
    deck=netlist.deck,
    parts=parts,
    choose=variation.choose,
    reference=simulate.reference,
    simulate=simulate.simulate,
    verify=simulate.verify,
    waveforms=simulate.waveforms,
    draw_unit=_draw_unit,
)
