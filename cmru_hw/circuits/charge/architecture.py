"""The charge-domain architecture (``sc``): its functions behind the common `Architecture` protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmru_hw.circuits import input_range
from cmru_hw.circuits.architecture import Architecture
from cmru_hw.circuits.charge import (
    certify,
    chip_dies,
    compare,
    corners,
    device_draws,
    dies,
    fidelity,
    handover,
    mapping,
    retention,
    row_errors,
    simulate,
    supply,
    tolerance,
    trim,
    variation,
)
from cmru_hw.circuits.charge import verify as verification
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.comparison import Reference
from cmru_hw.circuits.corner import Corner
from cmru_hw.circuits.design import changed_weights
from cmru_hw.circuits.dies import DieSimulator
from cmru_hw.circuits.energy import EnergyModel
from cmru_hw.circuits.simulation import Waveforms
from cmru_hw.core.errors import TechnologyError
from cmru_hw.core.units import si
from cmru_hw.process import device_count
from cmru_hw.process.device_count import Inventory
from cmru_hw.process.technology import Technology


def describe(design: Design) -> dict[str, object]:
    """Capacitor sizes, size of one level, and number of rounded and left-out weights of a design."""
    rows = [row for layer in design.layers for row in (layer.low, layer.high)]
    sizes = np.concatenate([np.abs(row.weights[row.weights != 0]) for row in rows])
    changed = changed_weights(design)
    dropped = sum(deviation.got == 0 for deviation in changed)
    excludes = list(fidelity.of(design).excludes(design))
    return {
        "smallest weight capacitor": si(float(sizes.min()), "F") if sizes.size else "none",
        "largest weight capacitor": si(float(sizes.max()), "F") if sizes.size else "none",
        "one level": [si(float(layer.step.min()), "V") + " or more" for layer in design.layers],
        "calibration": design.calibration.source,
        "input range": input_range.described(
            design.calibration.inputs, design.calibration.largest, design.calibration.percentile
        ),
        "rounded weights": len(changed) - dropped,
        "left-out weights": dropped,
        **_trim(design),
        **({"excludes": excludes} if excludes else {}),
    }


def _trim(design: Design) -> dict[str, object]:
    """The trim of a design; nothing without."""
    found = trim.figures(design)
    if found is None:
        return {}
    adds = (
        f"; {si(found.energy, 'J')} per timestep (at most {si(found.energy_most, 'J')}), {found.area * 1e12:.0f} µm² "
        "before layout"
        if found.energy
        else ""
    )
    return {
        "trim": f"{found.bits} bits on each of {found.rows} rows, {si(found.lowest, 'V')} to "
        f"{si(found.highest, 'V')} in steps of {si(found.step, 'V')}{adds}"
    }


def parts(design: Design) -> Inventory | None:
    """Devices of a transistor-level netlist, weight capacitors included."""
    devices = design.technology.transistor
    if not fidelity.in_transistors(design) or devices is None:
        return None
    return device_count.of_netlist(fidelity.network_text(design), fidelity.cell_files(design), process=devices.process)


def _draw_unit(design: Design, waveforms: Waveforms, expected: Reference, path: Path) -> None:
    # Importing matplotlib takes about a second. Commands without figures do not wait for it.
    from cmru_hw.circuits.charge import plots

    plots.unit(design, waveforms, expected, path)


def _die_simulator(design: Design) -> DieSimulator:
    if fidelity.in_transistors(design):
        chip_dies.require(design)
        return chip_dies.DIES
    return dies.DIES


def _leaves(design: Design) -> tuple[str, ...]:
    return device_draws.LEAVES if fidelity.in_transistors(design) else variation.leaves(design)


def _select_variations(
    design: Design, *, only: Sequence[str] = (), without: Sequence[str] = (), drift: Sequence[str] = ()
) -> frozenset[str]:
    if fidelity.in_transistors(design):
        return device_draws.select_variations(only=only, without=without, drift=drift)
    return variation.select_variations(design, only=only, without=without, drift=drift)


def _energy_model(design: Design) -> EnergyModel:
    return fidelity.of(design).energy_model(design)


def _operating_point(design: Design) -> Corner:
    at = design.operating
    return Corner(process=at.corner, temperature=at.temperature, vdd=design.supply)


def _with_parallel(technology: Technology, counts: Mapping[str, int]) -> Technology:
    raise TechnologyError("--parallel is an option of current mode: leave it out, or give --architecture cm")


def _with_unit_current(technology: Technology, ampere: float) -> Technology:
    raise TechnologyError("--unit-current is an option of current mode: leave it out, or give --architecture cm")


CHARGE = Architecture(
    name="sc",
    title="charge domain: comparators and capacitive integrators",
    unit="two weighted sums, two comparators and one memory, each weight a capacitor",
    cells=("cmru", "bmru", "eps", "acmru"),
    technology="macro",
    resolution=tolerance.RESOLUTION,
    margin_unit="V",
    random_weights="",
    load_technology=fidelity.load_technology,
    at_level=fidelity.at_level,
    with_trim=fidelity.with_trim,
    with_parallel=_with_parallel,
    technology_from=fidelity.technology_from,
    calibration_from=mapping.calibration,
    calibrate=mapping.calibrate,
    map_network=mapping.map_network,
    with_templates=lambda design, templates: replace(design, templates=templates),
    describe=describe,
    fingerprint=mapping.fingerprint,
    network_text=fidelity.network_text,
    cell_files=fidelity.cell_files,
    deck=fidelity.deck,
    parts=parts,
    reference=compare.reference,
    simulate=simulate.simulate,
    verify=verification.verify,
    certify=certify.certify,
    certificate_doubts=certify.doubts,
    waveforms=simulate.waveforms,
    draw_unit=_draw_unit,
    leaves=_leaves,
    select_variations=_select_variations,
    die_simulator=_die_simulator,
    energy_model=_energy_model,
    operating_point=_operating_point,
    at_supply=supply.at_supply,
    with_unit_current=_with_unit_current,
    supply=corners.supply,
    at_corner=corners.at_corner,
    row_errors=row_errors.errors,
    corner_fingerprint=corners.fingerprint,
    handover=handover.handover,
    retention_unit=retention.unit,
    require_retention=retention.require,
)
