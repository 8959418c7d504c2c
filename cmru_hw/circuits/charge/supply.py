"""A charge-domain technology at another supply voltage: measured again, never scaled.

Macromodels take gain, settling, leakage, parasitics and energies from testbenches at that supply. A netlist of
transistors keeps every device and every capacitor; inputs and references are ratios of the supply, as in a circuit
whose constant is a rail, and the simulation shows everything else.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cmru_hw.circuits.charge import measured_technology
from cmru_hw.circuits.corner import Corner
from cmru_hw.core.errors import InputError, TechnologyError
from cmru_hw.process.technology import Technology
from cmru_hw.spice import Engine

NOMINAL_TEMPERATURE = 27.0


def at_supply(technology: Technology, vdd: float, engine: Engine, folder: Path) -> Technology:
    """``technology`` at ``vdd`` [V]; ``folder`` stores measurements, which are used again by hash.

    Mismatch and comparator noise of a macromodel stay those of the nominal supply, and ``source`` says so. Raises
    TechnologyError for a trim bank, whose figures were measured at one supply only; InputError for a technology that
    was not measured on transistors; SimulationError if the transistors do not work at ``vdd``.
    """
    nominal = technology.supply.vdd
    if vdd == nominal:
        return technology
    if technology.trim_bits:
        raise TechnologyError(f"the trim bank was measured at {nominal:g} V only: leave out --vdd or --trim")
    if technology.level == "transistor":
        return _transistors(technology, vdd)
    if technology.energy is None:
        raise InputError(
            f"technology {technology.name} was not measured on transistors, so it is not known at {vdd:g} V: give "
            f"--technology gf180, or a file of cmru-hw characterize --vdd {vdd:g}"
        )
    corner = Corner(process="typical", temperature=NOMINAL_TEMPERATURE, vdd=vdd)
    measured = measured_technology.measured_at(corner, technology, engine, folder, comparator=True)
    found = measured_technology.at_corner(technology, corner, measured)
    source = f"{found.source}, at {vdd:g} V; mismatch and comparator noise as at {nominal:g} V"
    return replace(found, source=source, mismatch=technology.mismatch, noise=technology.noise)


def _transistors(technology: Technology, vdd: float) -> Technology:
    """The same devices and capacitors at ``vdd``. Voltages of signals keep their ratio to the supply."""
    ratio, chip = vdd / technology.supply.vdd, technology.power_gated
    return replace(
        technology,
        source=f"{technology.source}; the circuit drawn for {technology.supply.vdd:g} V, at {vdd:g} V",
        supply=replace(technology.supply, vdd=vdd, common_mode=ratio * technology.supply.common_mode),
        signal=technology.signal.times(ratio),
        power_gated=None
        if chip is None
        else replace(chip, swing=ratio * chip.swing, input_swing=ratio * chip.input_swing, zero=ratio * chip.zero),
    )
