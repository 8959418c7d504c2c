"""A fabrication process: parameters of its devices, and the location of their models.

A process is data: a TOML file (from ``processes`` in the package, or given by its path) and a netlist with the devices
``nf pf cmim cmom``. The path of such a netlist is also a process, with the numbers and corner parameters of the
stand-in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from cmru_hw.core import package_data, toml_file
from cmru_hw.core.errors import TechnologyError, reason
from cmru_hw.core.regular_file import read_text
from cmru_hw.process import CORNERS

# Suffixes of a process that is given by its path: its description, or its devices alone.
FILE, DEVICES = ".toml", ".lib"
# The process whose parameters and corners apply to devices without a description.
STAND_IN = "generic180"
# The default process of testbenches and device counts.
DEFAULT = "gf180"
# The devices that a process defines.
DEVICE_NAMES = {"nf", "pf", "cmim", "cmom"}
# The parameter of the devices that sets the size of MIM capacitors.
MIM = "mim_corner"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A Python package with model files: ``include``, and ``library`` with one section for each corner.

    ngspice needs ``settings`` before it reads the deck.
    """

    name: str
    include: str
    library: str
    settings: tuple[str, ...]

    @property
    def remedy(self) -> str:
        """The command that installs it without its dependencies."""
        return f"pip install --no-deps {self.name}"


@dataclass(frozen=True, kw_only=True)
class Fet:
    """Mismatch of a pair, ``threshold`` A_VT [V m] and ``gain`` A_beta [m]; smallest ``width`` and ``length`` [m]."""

    threshold: float
    gain: float
    width: float
    length: float


@dataclass(frozen=True, kw_only=True)
class CapacitorModel:
    """``density`` [F/m²], ``mismatch`` A_C [m], and the smallest drawable capacitance, ``minimum`` [F].

    ``bottom`` and ``top`` are the capacitances of the plates to the substrate, relative to the capacitor's.
    """

    density: float
    mismatch: float
    minimum: float
    bottom: float
    top: float


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process. ``devices`` is the netlist with the subcircuits ``nf pf cmim cmom`` that every template uses.

    ``shipped``: the package contains that netlist. ``contact`` [m] is the contacted diffusion of a device along its
    length, both sides of the gate together. ``corners``: parameters of the devices at each of
    `cmru_hw.process.CORNERS`, including the factor ``mim_corner`` of MIM capacitors. ``layout``: names of the devices
    in the foundry's layout-versus-schematic rules, where they differ.
    """

    name: str
    title: str
    devices: Path
    shipped: bool
    contact: float
    package: Package | None
    nf: Fet
    pf: Fet
    cmim: CapacitorModel
    cmom: CapacitorModel
    corners: Mapping[str, Mapping[str, float]]
    layout: Mapping[str, str]

    @property
    def capacitors(self) -> dict[str, CapacitorModel]:
        """Capacitors by the name of their subcircuit."""
        return {"cmim": self.cmim, "cmom": self.cmom}

    def mim(self, corner: str) -> float:
        """Size of MIM capacitors at ``corner``, relative to the typical one."""
        return self.corners[corner][MIM]


def names() -> tuple[str, ...]:
    """Names of the shipped processes, the default first."""
    found = sorted(entry.name[: -len(FILE)] for entry in _folder().iterdir() if entry.name.endswith(FILE))
    return tuple(sorted(found, key=lambda name: name != DEFAULT))


def is_path(process: str) -> bool:
    """True if ``process`` is the path of a file."""
    return process.endswith((FILE, DEVICES))


def get(process: str) -> Process:
    """A process by its name, or by the path of its TOML file or its devices.

    Raises TechnologyError, with file and key, if there is no such process or its file is damaged.
    """
    if process.endswith(DEVICES):
        path = Path(process)
        return replace(get(STAND_IN), name=path.stem, title=path.name, devices=path, shipped=False)
    if process.endswith(FILE):
        path = Path(process)
        try:
            content = read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            raise TechnologyError(f"process {process!r} cannot be read ({reason(error)}): check the path") from error
        return _parse(content, path.stem, path.parent, shipped=False, where=f"process {process!r}")
    if process not in names():
        raise TechnologyError(
            f"no process is called {process!r}: choose one of {', '.join(names())}, or give the path of a .lib file "
            "with its devices or of a .toml file that describes it"
        )
    return _shipped(process)


@lru_cache
def _shipped(name: str) -> Process:
    content = (_folder() / f"{name}{FILE}").read_text(encoding="utf-8")
    return _parse(content, name, package_data.folder("netlists") / "devices", shipped=True, where=f"process {name!r}")


def _folder() -> Any:
    return resources.files("cmru_hw.process") / "processes"


def _parse(content: str, name: str, folder: Path, *, shipped: bool, where: str) -> Process:
    try:
        data = toml_file.parse(content)
    except ValueError as error:
        raise TechnologyError(f"{where} is not valid TOML ({error}): correct it") from error
    _same_keys(
        data, {"title", "devices", "contact", "nf", "pf", "cmim", "cmom", "corners"}, where, also={"package", "layout"}
    )
    _same_keys(data.get("layout", {}), set(), f"{where}, [layout]", also=DEVICE_NAMES)
    _same_keys(data["corners"], set(CORNERS), f"{where}, [corners]")
    corners = {corner: _numbers(values, where, f"corners.{corner}") for corner, values in data["corners"].items()}
    if lacking := [corner for corner, values in corners.items() if values.get(MIM, 0.0) <= 0]:
        raise TechnologyError(f"{where}: corners.{lacking[0]} must have a positive {MIM}")
    return Process(
        name=name,
        title=_word(data["title"], where, "title"),
        devices=folder / _word(data["devices"], where, "devices"),
        shipped=shipped,
        contact=_positive({"contact": data["contact"]}, {"contact"}, where, "")["contact"],
        package=_package(data["package"], where) if "package" in data else None,
        nf=_fet(data["nf"], where, "nf"),
        pf=_fet(data["pf"], where, "pf"),
        cmim=_capacitor(data["cmim"], where, "cmim"),
        cmom=_capacitor(data["cmom"], where, "cmom"),
        corners=corners,
        layout={name: _word(word, where, f"layout.{name}") for name, word in data.get("layout", {}).items()},
    )


def _package(values: Any, where: str) -> Package:
    _same_keys(values, {"name", "include", "library", "settings"}, f"{where}, [package]")
    settings = values["settings"]
    if not isinstance(settings, list):
        raise TechnologyError(f"{where}: package.settings must be a list of ngspice settings")
    words = {key: _word(values[key], where, f"package.{key}") for key in ("name", "include", "library")}
    return Package(settings=tuple(_word(one, where, "package.settings") for one in settings), **words)


def _fet(values: Any, where: str, name: str) -> Fet:
    return Fet(**_positive(values, set(Fet.__annotations__), where, name))


def _capacitor(values: Any, where: str, name: str) -> CapacitorModel:
    return CapacitorModel(**_positive(values, set(CapacitorModel.__annotations__), where, name))


def _positive(values: Any, keys: set[str], where: str, section: str) -> dict[str, float]:
    _same_keys(values, keys, f"{where}, [{section}]")
    found = _numbers(values, where, section)
    if wrong := [key for key, value in found.items() if value <= 0]:
        raise TechnologyError(f"{where}: {f'{section}.{wrong[0]}'.lstrip('.')} must be positive, in SI units")
    return {key: float(value) for key, value in found.items()}


def _numbers(values: Any, where: str, section: str) -> dict[str, float]:
    if not isinstance(values, dict):
        raise TechnologyError(f"{where}: {section} must be a table of numbers")
    for key, value in values.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise TechnologyError(f"{where}: {section}.{key} is {repr(value)[:40]}, must be a number in SI units")
    return dict(values)


def _word(value: Any, where: str, key: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise TechnologyError(f"{where}: {key} must be one line of text")
    return value


def _same_keys(found: Any, wanted: set[str], where: str, *, also: frozenset[str] | set[str] = frozenset()) -> None:
    if not isinstance(found, dict):
        raise TechnologyError(f"{where}: must be a table")
    if missing := sorted(wanted - set(found)):
        raise TechnologyError(f"{where}: missing {', '.join(missing)}")
    if unknown := sorted(set(found) - wanted - also):
        raise TechnologyError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(wanted | also))}")
