"""How the units of a network of transistors remember, and what that asks of the netlist around them.

An integrator holds its level on a capacitor and reads out through an amplifier: lines of switches, a packet's clocks. A
ladder holds it as bits: lines driven by logic, one for each bit, and two clocks less the amplifier's time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cmru_hw.circuits.charge.counter_memory import BIT_VALUES, end_template
from cmru_hw.circuits.charge.mapping import HEADROOM, Design, has_ladders
from cmru_hw.spice.deck import num


@dataclass(frozen=True, kw_only=True)
class Pins:
    """Nets of one unit: its name's place ``here``, precharge nodes of rows and packet, the power-on ``reference``."""

    here: str
    za: str
    zb: str
    zp: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One kind of unit.

    ``cells``: templates beside those of every network. ``supplies``: nodes of supplies that only it has, by account.
    ``driver`` makes the ``clocks`` of a layer from ``edges`` and init. ``unit(design, index, i, pins, sizes)``: netlist
    lines of one unit, ``sizes`` being the parameters of its rows. ``outputs(place)``: the nodes its readers see,
    ``digital`` if they are bits. ``inner``: nodes of a unit that start at V_cm, and ``leaning`` those at VDD.
    """

    cells: tuple[str, ...]
    supplies: Mapping[str, str]
    driver: str
    edges: tuple[str, ...]
    clocks: tuple[str, ...]
    unit: Callable[[Design, int, int, Pins, str], str]
    outputs: Callable[[str], list[str]]
    digital: bool
    inner: tuple[str, ...]
    leaning: tuple[str, ...]


def of(design: Design) -> Memory:
    """How the units of ``design`` remember."""
    return LADDER if has_ladders(design.technology) else INTEGRATOR


def templates(design: Design) -> dict[str, str]:
    """Templates that depend on the design: where a ladder ends."""
    return {"ladder_end": end_template(design.config.levels or 0)} if has_ladders(design.technology) else {}


def _integrator(design: Design, index: int, i: int, pins: Pins, sizes: str) -> str:
    layer, devices, here = design.layers[index], design.technology.transistor, pins.here
    assert devices is not None, "a design at this level has devices"
    clocks = " ".join(f"{clock}{index}" for clock in ("r", "rb", "ck", "pl", "en", "pb", "pc", "pcb", "en", "s"))
    ratio = layer.packet[i] / layer.integrator[i]
    highest = layer.levels if layer.levels else HEADROOM * design.calibration.states[index]
    return (
        f"xunit{here} a{here} b{here} o{here} qa{here} qb{here} {pins.za} {pins.zb} {pins.zp} "
        f"{pins.reference} {pins.reference}\n+ {clocks} init initb vcm vd vc va unit_accumulate\n"
        f"+ cs={num(layer.packet[i])} cint={num(layer.integrator[i])}{sizes}\n"
        f"+ cla={num(devices.limit)} clb={num(devices.limit * (highest - 0.5) * ratio)}"
    )


def _ladder(design: Design, index: int, i: int, pins: Pins, sizes: str) -> str:
    layer, here = design.layers[index], pins.here
    clocks = " ".join(f"{clock}{index}" for clock in ("r", "rb", "ck", "en", "pb"))
    bits = _bits(here)
    level = "+".join(f"{num(value)}*v({bit})" for bit, value in zip(bits, BIT_VALUES, strict=True))
    # an observer, not a part: the level as the voltage that an integrator would have
    return (
        f"xunit{here} a{here} b{here} {' '.join(bits)} qa{here} qb{here} {pins.za} {pins.zb} "
        f"{pins.reference} {pins.reference}\n+ {clocks} init vcm vd vc vm unit_ladder{sizes}\n"
        f"eo{here} o{here} 0 vol='v(vcm)+{num(layer.step[i])}*({level})/v(vm)'"
    )


def _bits(here: str) -> list[str]:
    return [f"q{here}_{place}" for place in range(len(BIT_VALUES))]


INTEGRATOR = Memory(
    cells=("amplifier", "integrator", "limit", "control", "unit_accumulate", "layer_clocks"),
    supplies={"amplifiers": "va"},
    driver="layer_clocks",
    edges=("kr", "ke", "kck", "kpl", "ken", "kpb", "kpc", "ks"),
    clocks=("r", "rb", "e", "eb", "f", "fb", "ck", "pl", "pb", "pc", "pcb", "en", "s"),
    unit=_integrator,
    outputs=lambda here: [f"o{here}"],
    digital=False,
    inner=("x", "rp", "fa", "fb"),
    leaning=("qab", "qbb", "lqb"),
)
LADDER = Memory(
    cells=("ladder_bit", "ladder_end", "ladder_count", "ladder_line", "unit_ladder", "ladder_clocks"),
    supplies={"lines": "vl", "memory": "vm"},
    driver="ladder_clocks",
    edges=("kr", "ke", "kck", "ken", "kpb"),
    clocks=("r", "rb", "e", "eb", "f", "fb", "ck", "en", "pb"),
    unit=_ladder,
    outputs=_bits,
    digital=True,
    inner=("fa", "fb"),
    leaning=("qab", "qbb"),
)
