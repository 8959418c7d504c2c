"""All kinds of results: the file of each, the class that reads and writes it, and the command that produces it.

``report`` and ``versus`` know results from this table only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cmru_hw.analysis.comparison import SUMMARY as COMPARISON
from cmru_hw.analysis.comparison import ComparisonResult
from cmru_hw.analysis.corners.result import RESULT as CORNERS
from cmru_hw.analysis.corners.result import CornersResult
from cmru_hw.analysis.energy.result import RESULT as ENERGY
from cmru_hw.analysis.energy.result import SCALING, EnergyResult, ScalingResult
from cmru_hw.analysis.montecarlo.result import SUMMARY as MONTECARLO
from cmru_hw.analysis.montecarlo.result import MonteCarloResult
from cmru_hw.analysis.retention.result import RESULT as RETENTION
from cmru_hw.analysis.retention.result import RetentionResult
from cmru_hw.analysis.sizing.result import RESULT as SIZING
from cmru_hw.analysis.sizing.result import SizingResult
from cmru_hw.analysis.sweep.result import RESULT as SWEEP
from cmru_hw.analysis.sweep.result import SweepResult
from cmru_hw.analysis.versus.result import VersusResult
from cmru_hw.circuits import registry
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.core import records

Result = (
    ComparisonResult
    | MonteCarloResult
    | EnergyResult
    | ScalingResult
    | CornersResult
    | RetentionResult
    | SizingResult
    | SweepResult
    | VersusResult
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of result.

    ``file``: the name of its file; "" if the user chooses the name. ``known_by``: keys that identify a file of this
    kind if the file does not name its kind. ``command`` produces the result of a ``{design}``, with the options
    ``more(design)``; ``require(design)`` raises InputError for a design to which the kind does not apply.
    """

    name: str
    file: str
    record: type[Result]
    known_by: tuple[str, ...]
    command: str
    require: Callable[[AnyDesign], object] = lambda design: None
    more: Callable[[AnyDesign], str] = lambda design: ""

    def fits(self, content: object) -> bool:
        """Whether JSON ``content`` is a result of this kind, valid or not."""
        if not isinstance(content, Mapping):
            return False
        if isinstance(stated := content.get("kind"), str):
            return stated == self.name
        return all(key in content for key in self.known_by)

    def read(self, content: object, path: Path) -> Result:
        """The result in ``content`` of ``path``. Raises InputError with the file, the field and the cause."""
        return self.record.from_plain(content, where=path)


def _engine(design: AnyDesign) -> str:
    """Options of ``montecarlo`` for a design that the fast engine cannot simulate."""
    return "" if "fast" in registry.of(design).die_simulator(design).engines else " --engine spice -n 5"


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="comparison",
            file=COMPARISON,
            record=ComparisonResult,
            known_by=("decisions", "classification"),
            command="cmru-hw compare {design} --input FILE.npz -o DIR",
        ),
        Kind(
            name="montecarlo",
            file=MONTECARLO,
            record=MonteCarloResult,
            known_by=("yield", "dies"),
            command="cmru-hw montecarlo {design} --input FILE.npz -o DIR",
            require=lambda design: registry.of(design).die_simulator(design),
            more=_engine,
        ),
        Kind(
            name="energy",
            file=ENERGY,
            record=EnergyResult,
            known_by=("per_timestep_J", "blocks"),
            command="cmru-hw energy {design} --input FILE.npz -o DIR",
        ),
        Kind(
            name="corners",
            file=CORNERS,
            record=CornersResult,
            known_by=("corners", "asked"),
            command="cmru-hw corners {design} --input FILE.npz -o DIR",
            require=lambda design: registry.of(design).supply(design),
        ),
        Kind(
            name="retention",
            file=RETENTION,
            record=RetentionResult,
            known_by=("temperatures", "worst_timesteps"),
            command="cmru-hw retention {design} -o DIR",
            require=lambda design: registry.of(design).require_retention(design),
        ),
        Kind(
            name="scaling",
            file=SCALING,
            record=ScalingResult,
            known_by=("points", "laws"),
            command="cmru-hw energy {design} --scaling -o DIR",
        ),
        Kind(
            name="sizing",
            file=SIZING,
            record=SizingResult,
            known_by=("goal", "proofs", "front"),
            command="cmru-hw size CHECKPOINT --input FILE.npz -o DIR",
        ),
        Kind(
            name="sweep",
            file=SWEEP,
            record=SweepResult,
            known_by=("rows", "excludes", "sequences"),
            command="cmru-hw sweep CHECKPOINT -o DIR",
        ),
        Kind(
            name="versus",
            file="",
            record=VersusResult,
            known_by=("designs", "lines"),
            command="cmru-hw versus {design} DESIGN -o FILE.json",
        ),
    )
}


def in_folder(folder: Path) -> Iterator[tuple[Kind, Path, object]]:
    """Each result in ``folder`` with its file and unchecked JSON content. Raises InputError for a file that has the
    name of a result but is not JSON."""
    for kind in KINDS.values():
        path = folder / kind.file
        if kind.file and path.is_file() and kind.fits(content := records.read(path)):
            yield kind, path, content
