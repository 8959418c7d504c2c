"""Result folders → runs of a report.

The table of all kinds of results (`cmru_hw.analysis.results`) identifies the contents of a folder. Each kind has one
function from its result to a :class:`Run`. Every result is checked before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmru_hw.analysis import results
from cmru_hw.core import records
from cmru_hw.core.errors import InputError
from cmru_hw.report.comparison import comparison
from cmru_hw.report.corners import corners
from cmru_hw.report.design import MANIFEST, design
from cmru_hw.report.energy import energy
from cmru_hw.report.facts import ResultFile
from cmru_hw.report.montecarlo import montecarlo
from cmru_hw.report.retention import retention
from cmru_hw.report.run import Run
from cmru_hw.report.sizing import sizing
from cmru_hw.report.sweep import sweep
from cmru_hw.report.versus import versus


@dataclass(frozen=True, kw_only=True)
class Maker:
    """``make(source, result of the class of its kind)``. ``absent``: sentence of a report that has neither
    such a run nor one of the kinds ``instead``."""

    make: Callable[[ResultFile, Any], Run]
    absent: str = ""
    instead: tuple[str, ...] = ()


# In the order in which a summary of several designs shows their numbers
MAKERS: Mapping[str, Maker] = {
    "energy": Maker(make=energy, absent="No energy was simulated."),
    "comparison": Maker(make=comparison),
    "montecarlo": Maker(make=montecarlo, absent="No variation between dies was simulated.", instead=("sizing",)),
    "sizing": Maker(make=sizing),
    "corners": Maker(make=corners),
    "retention": Maker(make=retention),
    "sweep": Maker(make=sweep),
    "versus": Maker(make=versus),
}
TAKEN = (
    "a folder of export, compare -o, demo, montecarlo, energy -o, corners, retention, size or sweep, or the file of "
    "versus -o"
)


def read(path: Path) -> list[Run]:
    """The runs in folder ``path``, including a design folder in it; or the run of a file that versus wrote.

    Raises InputError.
    """
    if path.is_file():
        found = _of_file(path)
    elif path.is_dir():
        found = _of_folder(path)
    else:
        raise InputError(f"{path} does not exist: give {TAKEN}")
    if not found:
        raise InputError(f"{path} contains no results for a report: give {TAKEN}")
    return found


def _of_file(path: Path) -> list[Run]:
    kind, content = results.KINDS["versus"], records.read(path)
    return [_made(kind, path, content)] if kind.fits(content) else []


def _of_folder(path: Path) -> list[Run]:
    # The demo writes its design into the same folder.
    designs = [design(folder / MANIFEST) for folder in (path / "design", path) if (folder / MANIFEST).is_file()]
    made = [_made(kind, file, content) for kind, file, content in results.in_folder(path) if kind.name in MAKERS]
    return [*designs, *made]


def _made(kind: results.Kind, path: Path, content: object) -> Run:
    result = kind.read(content, path)
    command = content.get("command") if isinstance(content, Mapping) else None
    return MAKERS[kind.name].make(ResultFile(path=path, command=str(command or "")), result)
