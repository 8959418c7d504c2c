"""Write the results of testbenches as a technology file."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import tomlkit

from cmru_hw.characterize.blocks import BLOCKS, Characterization, ChipBlocks
from cmru_hw.characterize.transistor_noise import ComparatorNoise
from cmru_hw.process import pdk
from cmru_hw.process.technology import Technology

# Sections of a technology for its transistor level: sizes and times of circuits, which no testbench measures.
DEVICE_SECTIONS = ("transistor", "power_gated", "long_channel")


def technology_toml(
    measured: Characterization,
    base: Technology,
    chip: ChipBlocks | None = None,
    noise: ComparatorNoise | None = None,
    devices: Technology | None = None,
) -> str:
    """``base`` as a technology file, in which measured numbers replace those of ``base``, with their source as comment.

    A number without a comment is from ``base``. Mismatch is from ``chip`` and the noise of a decision from ``noise``,
    if they are given. ``devices`` gives the sections of the transistor level, for the process that was measured.
    """
    table: dict[str, Any] = asdict(base)
    if devices is not None:
        table |= {name: asdict(devices)[name] for name in DEVICE_SECTIONS}
    table["energy"] = {}
    measurements = _measured(measured, base, chip)
    if noise is not None:
        measurements["noise.comparator"] = (noise.sigma, f"V rms, thermal, at the row; {noise.provenance}")
    for key, (number, _) in measurements.items():
        section, name = key.split(".")
        table[section][name] = number
    document = tomlkit.document()
    document["name"] = pdk.get(measured.conditions.process).name
    document["level"] = base.level
    document["source"] = f"measured on {measured.comparator.provenance.models}; the rest from {base.name}"
    for section, values in table.items():
        if isinstance(values, dict):
            document[section] = tomlkit.table()
            if devices is not None and section in DEVICE_SECTIONS:
                document[section].comment(f"of {devices.name}: check them for your process")
            for name, value in values.items():
                # The devices of a transistor level are chosen by name, not measured.
                item = tomlkit.item(value if isinstance(value, str) else float(value))
                if measurement := measurements.get(f"{section}.{name}"):
                    item.comment(measurement[1])
                document[section].append(name, item)
    return tomlkit.dumps(document)


def _measured(measured: Characterization, base: Technology, chip: ChipBlocks | None) -> dict[str, tuple[float, str]]:
    """Numbers of a technology file and their comments, by ``section.key``."""
    at = measured.conditions
    process = pdk.get(at.process)
    # An always-on comparator has an NMOS input pair, the chip's a PMOS pair.
    threshold, kind = (process.nf.threshold, "NMOS") if chip is None else (process.pf.threshold, "PMOS")
    # a file of devices alone has no coefficients
    whose = f"{pdk.get(pdk.STAND_IN).title}, assumed" if at.process.endswith(pdk.DEVICES) else process.title
    pair = threshold / math.sqrt(base.mismatch.pair_width * base.mismatch.pair_length)
    comparator, packets = measured.comparator.provenance, measured.integrator.provenance
    numbers = {
        "supply.vdd": (at.vdd, "V"),
        "supply.common_mode": (at.vdd / 2, "V"),
        "amplifier.gain": (measured.integrator.gain, f"V/V; {packets}"),
        "amplifier.time_constant": (measured.integrator.settling / math.log(100), f"s, from 1 % settling; {packets}"),
        "leakage.integrator": (
            measured.droop * measured.cint / 10e-3,
            f"A, from the droop of a held packet; {packets}",
        ),
        "capacitor.integrator": (measured.cint, f"F, the one that was measured; {packets}"),
        # The packet's plate is a logic node that swings from rail to rail, which is the largest possible reference.
        "signal.reference": (at.vdd / 2, f"V; {packets}"),
        "capacitor.parasitic": (measured.comparator.parasitic, f"F; {comparator}"),
        "mismatch.threshold": (threshold, f"V m, A_VT of {kind} pairs; {whose}"),
    }
    unknown = f"not measured: {process.title} draws no mismatch"
    offset, where = (measured.offset, comparator) if chip is None else (chip.offset, chip.provenance)
    if offset is not None and offset.varies:
        numbers["mismatch.comparator_rest"] = (
            math.sqrt(max(offset.sigma**2 - pair**2, 0.0)) or 1e-9,
            f"V; offset sigma {offset.sigma:.3g} V, {offset}; {where}",
        )
    elif offset is not None:
        numbers["mismatch.comparator_rest"] = (base.mismatch.comparator_rest, f"V; of {base.name}; {unknown}")
    if chip is not None:
        for name, sigma in (("limit", chip.limit), ("amplifier", chip.amplifier)):
            own = getattr(base.mismatch, name)
            numbers[f"mismatch.{name}"] = (
                (sigma.sigma, f"V; {sigma}; {where}") if sigma.varies else (own, f"V; of {base.name}; {unknown}")
            )
        numbers |= {
            # All capacitors of a chip are of this kind.
            "mismatch.density": (process.cmom.density, "F/m2, of metal fingers: netlists/devices"),
        }
    unit = measured.unit
    for block in BLOCKS:
        # The first frame is power-on.
        frames = unit.dynamic[block][1:]
        numbers[f"energy.{block}"] = (
            max(float(np.mean(frames)), 0.0),
            f"J per timestep, mean of {len(frames)}; {unit.provenance}",
        )
        numbers[f"energy.{block}_leakage"] = (
            max(unit.static[block] / unit.frame, 0.0),
            f"W in the hold; {unit.provenance}",
        )
    return numbers
