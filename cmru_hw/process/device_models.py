"""Transistor models for a deck: those of the GF180MCU PDK, the stand-in card, or a user's file.

All define the same device names (``nf pf cmim cmom``), so every template of ``netlists/cells/transistor`` runs on any
of them. A deck refers to the PDK's model files in their Python package by path and copies nothing. The same holds for
files that a user's file includes.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmru_hw.core.errors import InputError, TechnologyError, reason
from cmru_hw.core.regular_file import read_regular
from cmru_hw.process import CORNERS, pdk
from cmru_hw.process.pdk import Package
from cmru_hw.spice import deck_safety, lexer
from cmru_hw.spice.doctor import ModelFiles

# Names of the section of the typical corner, which the section of another corner replaces.
TYPICAL = ("typical", "tt")

# Devices that the templates use, and their pins.
_PINS = {"nf": ("d", "g", "s", "b"), "pf": ("d", "g", "s", "b"), "cmim": ("t", "b"), "cmom": ("t", "b")}


@dataclass(frozen=True, kw_only=True)
class Models:
    """The PDK's model files: ``version`` of their package, ``sha256`` of both files together."""

    package: str
    version: str
    switches: Path
    models: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Devices:
    """Device models for one deck: one process, corner, temperature and draw of mismatch.

    ``text`` goes first into the deck, which then needs ``files``, ``libraries`` and ``settings`` (see
    `cmru_hw.spice.deck_safety`). ``version`` and ``sha256`` identify the models.
    """

    process: str
    corner: str
    temperature: float
    mismatch: int | None
    version: str
    sha256: str
    text: str
    files: Mapping[str, bytes]
    libraries: tuple[str, ...]
    settings: tuple[str, ...]


def packages() -> tuple[ModelFiles, ...]:
    """The Python packages that contain the model files of the shipped processes."""
    found = (pdk.get(name) for name in pdk.names())
    return tuple(
        ModelFiles(title=one.title, package=one.package.name, files=(one.package.include, one.package.library))
        for one in found
        if one.package is not None
    )


def find(package: Package) -> Models:
    """The installed model files of ``package``. Raises TechnologyError with the remedy if they are missing."""
    name = package.name
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise TechnologyError(f"the models of {name} are not installed: {package.remedy}") from None
    wanted, found = (package.include, package.library), {}
    for file in distribution.files or ():
        if file.name in wanted:
            found[file.name] = Path(str(file.locate())).resolve()
    missing = [file for file in wanted if file not in found or not found[file].is_file()]
    if missing:
        raise TechnologyError(
            f"{name} {distribution.version} has no file {missing[0]}: {package.remedy} --force-reinstall"
        )
    switches, models = (found[file] for file in wanted)
    # ngspice has no way to escape a quote in the name of an included file.
    if not all(str(path).isprintable() and '"' not in str(path) for path in (switches, models)):
        raise TechnologyError(f"ngspice cannot read files in {str(models.parent)!r}: install {name} elsewhere")
    digest = _sha256(switches, models)
    return Models(package=name, version=distribution.version, switches=switches, models=models, sha256=digest)


def devices(
    process: str,
    *,
    corner: str = "typical",
    temperature: float = 27.0,
    mismatch: int | None = None,
) -> Devices:
    """Models of ``process`` at ``corner`` and ``temperature`` [degrees Celsius].

    ``mismatch`` is the seed from which every device draws its own deviation; None makes all devices equal.
    Raises TechnologyError.
    """
    described = pdk.get(process)
    if corner not in CORNERS:
        raise TechnologyError(f"no corner is called {corner!r}: choose one of {', '.join(CORNERS)}")
    if not -55 <= temperature <= 150:
        raise TechnologyError(f"{temperature} degrees Celsius is outside the range of the models (-55 to 150)")
    if mismatch is not None and mismatch < 1:
        # ngspice takes 0 and negative numbers for "no seed".
        raise TechnologyError(f"a mismatch seed of {mismatch} is not positive")
    own, libraries = "devices/own.lib", tuple[str, ...]()
    settings, before = tuple[str, ...](), list[str]()
    if described.shipped:
        wrapper, own = described.devices.read_bytes(), f"devices/{described.devices.name}"
    else:
        # devices with models from a package take their corner from the package
        text, libraries = _own(
            described.devices, corner if described.package is None else "typical", described.corners[corner]
        )
        wrapper = text.encode()
    version, digest = described.title, _sha256_of(wrapper, libraries)
    if described.package is not None:
        models = find(described.package)
        version, digest = f"{models.package} {models.version}", models.sha256
        before = [f'.include "{models.switches}"', f'.lib "{models.models}" {corner}']
        libraries, settings = (str(models.switches), str(models.models), *libraries), described.package.settings
    lines = [*before, f".include {own}", *_parameters(described.corners[corner], drawn=mismatch is not None)]
    lines.insert(len(before) + 2, f".temp {temperature!r}")
    if mismatch is not None:
        lines.insert(len(before) + 3, f".option seed={mismatch}")
    return Devices(
        process=process,
        corner=corner,
        temperature=temperature,
        mismatch=mismatch,
        version=version,
        sha256=digest,
        text="\n".join(lines) + "\n",
        files={own: wrapper},
        libraries=libraries,
        settings=settings,
    )


def _parameters(corner: Mapping[str, float], *, drawn: bool) -> list[str]:
    """Parameters of the devices at a corner: size of MIM capacitors and whether mismatch is drawn, then the others."""
    others = " ".join(f"{name}={value}" for name, value in corner.items() if name != pdk.MIM)
    first = f".param mim_corner={corner[pdk.MIM]} sw_cap_mismatch={drawn:d} sw_stat_mismatch={drawn:d}"
    return [first, *([f".param {others}"] if others else [])]


def _own(path: Path, corner: str, parameters: Mapping[str, float]) -> tuple[str, tuple[str, ...]]:
    """Text of a user's file of devices at ``corner`` for a deck, and the absolute paths of the files that it includes.

    The text of a file with sections has the lines outside of all sections and the corner's section. Lines keep their
    numbers. Raises TechnologyError for a file that cannot be read, that is not only a circuit, that lacks a device or
    gives it other pins, or that neither has sections for corners nor uses the corner's ``parameters``.
    """
    try:
        text = lexer.decode(read_regular(path))
        lines = list(lexer.sections(lexer.logical_lines(text, where=str(path))))
        chosen = _own_section(path, corner, lines)
        inside = [line for line, name in lines if name in (None, chosen)]
        content = [line for line in inside if line.card != ".endl" and not lexer.section(line)]
        _check_devices(path, lexer.subcircuits(content))
        physical = [raw.rstrip("\r") for raw in text.split("\n")]
        for first, last in _left_out(lines, chosen):
            physical[first - 1 : last] = [""] * (last - first + 1)
        libraries: dict[str, None] = {}
        corners = chosen is not None or any(
            name in line.text.lower() for line in content for name in parameters if name != pdk.MIM
        )
        for line in content:
            if reference := lexer.file_reference(line):
                library, section = _library(path, line, reference, corner)
                libraries[library] = None
                corners |= reference.section in TYPICAL
                physical[line.first - 1] = " ".join([line.card, f'"{library}"', *([section] if section else [])])
        found = "\n".join(physical).rstrip("\n") + "\n"
        deck_safety.refuse_code(found, libraries=tuple(libraries), where=str(path))
    except OSError as error:
        raise TechnologyError(f"{path} cannot be read ({reason(error)}): check the path of the devices") from error
    except TechnologyError:
        raise
    except InputError as error:
        raise TechnologyError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    if corner != "typical" and not corners:
        raise TechnologyError(
            f"{path} does not depend on the corner, so {corner!r} is unknown: let it read a section "
            f"'typical' of a library, which the corner replaces, or a parameter of the corner: "
            f"{', '.join(name for name in parameters if name != pdk.MIM)}"
        )
    return found, tuple(libraries)


def _check_devices(path: Path, found: Mapping[str, lexer.Subcircuit]) -> None:
    for name, pins in _PINS.items():
        if name not in found:
            raise TechnologyError(f"{path} has no subcircuit {name}: it must define {', '.join(_PINS)}")
        if len(found[name].pins) != len(pins):
            raise TechnologyError(
                f"{path}: {name} has {len(found[name].pins)} pins; they must be {' '.join(pins)}, in this order"
            )


def _own_section(path: Path, corner: str, lines: Sequence[tuple[lexer.LogicalLine, str | None]]) -> str | None:
    """The file's section for ``corner``; None for a file without sections, or one that includes its own by name."""
    names = {name for _, name in lines if name is not None}
    references = [lexer.file_reference(line) for line, name in lines if name is None]
    if not names or any(one and (path.parent / one.file).resolve() == path.resolve() for one in references):
        return None
    fitting = [name for name in (TYPICAL if corner == "typical" else (corner,)) if name in names]
    if not fitting:
        raise TechnologyError(
            f"{path} has the sections {', '.join(sorted(names))} and none for corner {corner!r}: "
            f"call it {' or '.join(TYPICAL if corner == 'typical' else (corner,))}"
        )
    return fitting[0]


def _left_out(lines: Sequence[tuple[lexer.LogicalLine, str | None]], chosen: str | None) -> Iterator[tuple[int, int]]:
    """Physical lines, first and last, to omit from a deck: other sections, and the first line of the chosen one."""
    begin = 0
    for line, name in lines:
        if lexer.section(line):
            begin = line.first
            if name == chosen:
                yield line.first, line.last
        elif line.card == ".endl":
            yield (line.first if name == chosen else begin), line.last


def _library(
    path: Path, line: lexer.LogicalLine, reference: lexer.FileReference, corner: str
) -> tuple[str, str | None]:
    """Absolute path and section for ``corner`` of the file that ``line`` of ``path`` reads. Raises TechnologyError."""
    library = str((path.parent / reference.file).resolve())
    if not Path(library).exists():
        quoted = " (ngspice ends the name at a blank, even in quotes)" if reference.section and '"' in line.text else ""
        raise TechnologyError(f"{path} reads {library}, which does not exist{quoted}: correct the path in it")
    section = reference.section
    # ngspice cannot escape a quote in the name of an included file, or a blank in the name of a .lib file.
    if not library.isprintable() or '"' in library or (section and any(c in library for c in " '")):
        raise TechnologyError(f"ngspice cannot read {library!r}, which {path} does: rename it or its folder")
    if section is None:
        return library, None
    if section in TYPICAL and corner != "typical":
        section = corner
    if section not in deck_safety.library(library).sections:
        raise TechnologyError(f"{library} has no section {section}, which {path} reads for corner {corner!r}")
    return library, section


def _sha256_of(own: bytes, libraries: Sequence[str]) -> str:
    """SHA-256 over the file ``own`` and every file that ``libraries`` read."""
    digest = hashlib.sha256(own)
    for library in libraries:
        digest.update(deck_safety.library_sha256(library).encode())
    return digest.hexdigest()


@functools.lru_cache(maxsize=4)
def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
