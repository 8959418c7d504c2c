"""The technology at a corner, from transistor testbenches at that corner.

The testbenches measure amplifier gain and settling, leakage, parasitics and the energy of a unit at the corner; none of
these is scaled. Inputs, the constant 1 and the packet's reference stay constant ratios of the supply, as in a circuit
whose constant is a rail. Every capacitor keeps its drawn size; MIM capacitance follows the process.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from cmru_hw.characterize import blocks, technology_file
from cmru_hw.characterize.testbench import Conditions
from cmru_hw.circuits.corner import Corner
from cmru_hw.core import package_data
from cmru_hw.core.atomic_write import write_text
from cmru_hw.core.errors import InputError, SimulationError
from cmru_hw.core.regular_file import read_text
from cmru_hw.process import device_models, pdk, technology
from cmru_hw.process.technology import Technology
from cmru_hw.spice import Engine, lexer

KELVIN = 273.15


def process_of(nominal: Technology) -> str:
    """The process that ``nominal`` was measured on, a name or a path.

    Raises InputError if it was not measured on transistors.
    """
    devices = nominal.transistor
    if devices is not None and pdk.is_path(devices.process):
        return devices.process
    if nominal.name not in pdk.names():
        raise InputError(
            f"technology {nominal.name} was measured on none of the processes {', '.join(pdk.names())}, and it names "
            "no file of devices, so its corners are not known: export with --technology gf180, or a file of cmru-hw "
            "characterize"
        )
    return nominal.name


def measured_at(corner: Corner, nominal: Technology, engine: Engine, folder: Path, *, comparator: bool = False) -> str:
    """Measurements of the testbenches at ``corner``, as a technology file; cached in ``folder``.

    Raises SimulationError if a unit decides wrongly there, because macromodels do not show that. With ``comparator``,
    so does a comparator that decides wrongly at 1 mV or more, which is a systematic offset. Nothing is cached then.
    """
    path = place(corner, nominal, folder, engine.simulator, comparator=comparator)
    if (cached := _cached(path)) is not None:
        return cached
    conditions = Conditions(
        process=process_of(nominal), corner=corner.process, temperature=corner.temperature, vdd=corner.vdd
    )
    measured = blocks.characterize(engine, conditions, dies=0, levels=2)
    pairs = zip(measured.comparator.overdrive, measured.comparator.right, strict=True)
    offset = comparator and not all(right for overdrive, right in pairs if abs(overdrive) > 0.9e-3)
    if offset or not measured.unit.right:
        failed = (measured.comparator if offset else measured.unit).provenance.testbench
        raise SimulationError(
            f"testbench {failed}.cir: the transistors of {pdk.get(process_of(nominal)).name} decide wrongly at "
            f"{corner}: choose a higher supply"
        )
    text = technology_file.technology_toml(measured, nominal)
    store(text, path)
    return text


def store(text: str, path: Path) -> None:
    """Write the measurement ``text`` to ``path``, with a hash by which it is known again. Raises OutputError."""
    write_text(path, f"{text}{_mark(path, text)}")


def _mark(path: Path, text: str) -> str:
    """Last line of a cached measurement: a hash of its name and its text."""
    return f"# sha256 {hashlib.sha256(f'{path.name}{chr(10)}{text}'.encode()).hexdigest()}\n"


def _cached(path: Path) -> str | None:
    """The measurement in ``path``; None if there is none, or if it is another one, damaged or edited."""
    try:
        lines = read_text(path).splitlines(keepends=True)
    except (OSError, UnicodeDecodeError):
        return None
    text = "".join(lines[:-1])
    return text if lines[-1:] == [_mark(path, text)] else None


def place(corner: Corner, nominal: Technology, folder: Path, simulator: str, *, comparator: bool = False) -> Path:
    """Path of the cached measurement in ``folder``, named after the hash of everything that determines it.

    ``simulator`` is its name and version, such as ``"ngspice 44"``; ``comparator``: see `measured_at`.
    """
    digest = hashlib.sha256(f"{fingerprint(nominal, corner)} {simulator}".encode()).hexdigest()
    checked = "_checked" if comparator else ""
    return folder / f"{pdk.get(process_of(nominal)).name}_{corner.stem}_{digest[:12]}{checked}.toml"


def at_corner(nominal: Technology, corner: Corner, measured: str) -> Technology:
    """``nominal`` at ``corner``, with the values ``measured`` there (the text of a technology file)."""
    found = technology.parse(measured, where=f"technology at {corner}")
    supply = corner.vdd / nominal.supply.vdd
    size = pdk.get(process_of(nominal)).mim(corner.process)
    capacitor = nominal.capacitor
    return replace(
        found,
        signal=nominal.signal.times(supply),
        capacitor=replace(
            capacitor,
            row=size * capacitor.row,
            integrator=size * capacitor.integrator,
            sample=size * capacitor.sample,
            parasitic=found.capacitor.parasitic,
        ),
        noise=replace(nominal.noise, temperature=corner.temperature + KELVIN),
    )


def fingerprint(nominal: Technology, corner: Corner) -> str:
    """Hash of models, testbenches, templates and ``nominal``, which determine a measurement at ``corner``.

    Comments and blanks of the netlists do not enter it.
    """
    models = device_models.devices(process_of(nominal), corner=corner.process)
    digest = hashlib.sha256(f"{models.sha256} {nominal.sha256}".encode())
    folder = package_data.folder("netlists")
    for path in sorted([*folder.glob("testbenches/transistor_*.cir"), *folder.glob("cells/transistor/*.cir")]):
        lines = lexer.logical_lines(lexer.decode(path.read_bytes()), where=path.name)
        digest.update("\n".join([path.name, *(line.text for line in lines)]).encode() + b"\0")
    return digest.hexdigest()
