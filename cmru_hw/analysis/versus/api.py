"""Tabulate designs: their properties, and the results of runs of exactly these netlists.

A result belongs to a design if it names the hash of its netlist. Missing results are listed with the command that
produces them. No estimate takes their place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cmru_hw
from cmru_hw.analysis import results
from cmru_hw.analysis.comparison import ComparedClasses, ComparedDecisions, ComparisonResult
from cmru_hw.analysis.corners.result import CornersResult
from cmru_hw.analysis.energy.result import EnergyResult
from cmru_hw.analysis.montecarlo.result import MonteCarloResult
from cmru_hw.analysis.results import KINDS, Result
from cmru_hw.analysis.retention.result import RetentionResult
from cmru_hw.analysis.sizing.result import SizingResult
from cmru_hw.analysis.sweep.result import SweepResult
from cmru_hw.analysis.versus.result import TableEntry, TableRow, VersusResult
from cmru_hw.core.errors import InputError, MappingError, TechnologyError
from cmru_hw.core.units import percent, plain, si
from cmru_hw.design_folder.folder import MANIFEST, Exported
from cmru_hw.process import device_count
from cmru_hw.process.device_count import Inventory

R = TypeVar("R", bound=Result)
Said = tuple[object, str]
"""A value as plain numbers, and as formatted text."""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Results of one design and their files, by kind. Of several, the one with the most dies, corners or sequences."""

    design: Exported
    found: Mapping[str, tuple[Result, Path]]

    def of(self, record: type[R]) -> tuple[R, Path] | None:
        """The result of class ``record``, if there is one."""
        return next(((result, path) for result, path in self.found.values() if isinstance(result, record)), None)

    def simulators(self) -> dict[str, str]:
        """Name and version of the simulator of each result that has one, by kind: ``{"energy": "ngspice 44"}``."""
        found = {
            name: result
            for name, (result, _) in self.found.items()
            if not isinstance(result, VersusResult | SweepResult)
        }
        versions = {name: result.provenance.versions.get("simulator") for name, result in found.items()}
        return {name: version for name, version in versions.items() if version is not None}

    def counted(self) -> tuple[ComparisonResult | EnergyResult, Path] | None:
        """The result with decisions and classes. An energy run counts them too, which saves a second simulation of a
        transistor-level chip of hours."""
        return self.of(ComparisonResult) or self.of(EnergyResult)

    def energy(self, say: Callable[[EnergyResult], Said]) -> TableEntry:
        """The energy of a run, or the estimate of the search that sized the design."""
        run, sized = self.of(EnergyResult), self.of(SizingResult)
        if run is None and sized is not None and sized[0].figures is not None:
            joules = sized[0].figures.energy_J
            shown = f"{si(joules, 'J')}, estimate of the sizes"
            return TableEntry(value=[joules, "estimate"], shown=shown, source=str(sized[1]))
        return self.entry("energy", run, say)

    def yielded(self) -> TableEntry:
        """The yield of a Monte-Carlo, or of the dies that proved the sizes."""
        run, sized = self.of(MonteCarloResult), self.of(SizingResult)
        if run is None and sized is not None and sized[0].proof is not None:
            value, shown = _proven(sized[0])
            return TableEntry(value=value, shown=shown, source=str(sized[1]))
        return self.entry("montecarlo", run, _yield)

    def proven(self) -> TableEntry:
        """The proof of the sizes."""
        sized = self.of(SizingResult)
        if sized is None:
            return TableEntry(value=None, shown="not sized", source=KINDS["sizing"].command)
        if sized[0].proof is None:
            return TableEntry(value=None, shown="no sizes reach the yield", source=str(sized[1]))
        return self.entry("sizing", sized, _proven)

    def entry(self, kind: str, found: tuple[R, Path] | None, say: Callable[[R], Said]) -> TableEntry:
        """The output of ``say`` for a result; without a result, the command that produces one of this ``kind``."""
        if found is None:
            return self._not_run(kind)
        value, shown = say(found[0])
        return TableEntry(value=value, shown=shown, source=str(found[1]))

    def _not_run(self, kind: str) -> TableEntry:
        try:
            KINDS[kind].require(self.design.design)
        except InputError as error:
            return TableEntry(value=None, shown="not for this design", source=f"{self.design.path}: {error}")
        command = KINDS[kind].command.format(design=self.design.path) + KINDS[kind].more(self.design.design)
        return TableEntry(value=None, shown="not run", source=command)


def versus(designs: Sequence[Exported], folders: Sequence[Path], *, command: str = "") -> VersusResult:
    """The table of ``designs``, with their results in ``folders``. Raises InputError for a damaged result of one."""
    return VersusResult(
        designs=tuple(str(design.path) for design in designs),
        lines=tuple(side_by_side([find(design, folders) for design in designs])),
        versions={"cmru_hw": cmru_hw.__version__},
        command=command,
        labels=_headings(designs),
    )


def _headings(designs: Sequence[Exported]) -> tuple[str, ...]:
    """Label and operating point of each design; its path instead of a label that two of them share."""
    titles = [design.title for design in designs]
    return tuple(
        f"{title if titles.count(title) == 1 else design.path}: {design.point}"
        for title, design in zip(titles, designs, strict=True)
    )


def find(design: Exported, folders: Sequence[Path]) -> Runs:
    """Results of ``design`` in ``folders`` and in their subfolders.

    Raises InputError for a damaged result of this design, and for a result file that is not JSON.
    """
    places = sorted({place for folder in folders for place in (folder, *_inside(folder))})
    found: dict[str, tuple[Result, Path]] = {}
    for folder in places:
        for kind, path, content in results.in_folder(folder):
            if not (isinstance(content, Mapping) and content.get("netlist_sha256") == design.netlist_sha256):
                continue
            result = kind.read(content, path)
            if kind.name not in found or _breadth(result) > _breadth(found[kind.name][0]):
                found[kind.name] = (result, path)
    return Runs(design=design, found=found)


def design_in(path: Path) -> Path:
    """The design folder ``path``, or the one in a folder of ``size`` or ``demo``."""
    inner = path / "design"
    return inner if (inner / MANIFEST).is_file() and not (path / MANIFEST).is_file() else path


def require_own(designs: Sequence[Exported], folder: Path) -> None:
    """Raise InputError, with one name, if all results in ``folder`` are of other circuits than ``designs``."""
    strangers = []
    for place in (folder, *_inside(folder)):
        for _, path, content in results.in_folder(place):
            digest = content.get("netlist_sha256") if isinstance(content, Mapping) else None
            if any(digest == design.netlist_sha256 for design in designs):
                return
            strangers.append((path, str(digest)))
    if strangers:
        path, digest = strangers[0]
        hashes = ", ".join(f"{design.path} {design.netlist_sha256[:12]}" for design in designs)
        raise InputError(
            f"{path} is a run of another circuit (netlist {digest[:12]}) than the designs ({hashes}): give runs of "
            "these designs"
        )


def _inside(folder: Path) -> list[Path]:
    """Folders in ``folder``, without hidden ones: a killed command may leave those."""
    return sorted(place for place in folder.glob("*/") if not place.name.startswith("."))


def _breadth(result: Result) -> int:
    """Number of dies, corners or sequences of a result. Of several results, the largest number wins."""
    if isinstance(result, MonteCarloResult):
        return result.dies
    if isinstance(result, CornersResult):
        return result.asked
    if isinstance(result, ComparisonResult | EnergyResult):
        return result.classification.total
    return 0


def side_by_side(runs: Sequence[Runs]) -> list[TableRow]:
    """The rows of the table."""

    def line(name: str, entry: Callable[[Runs], TableEntry]) -> TableRow:
        return TableRow(name=name, entries=tuple(map(entry, runs)))

    def of_run(name: str, kind: str, record: type[R], say: Callable[[R], Said]) -> TableRow:
        return line(name, lambda one: one.entry(kind, one.of(record), say))

    def of_decisions(name: str, say: Callable[[ComparisonResult | EnergyResult], Said]) -> TableRow:
        return line(name, lambda one: one.entry("comparison", one.counted(), say))

    versions = {version for one in runs for version in one.simulators().values()}
    simulators = [line("simulators, which differ", _simulators)] if len(versions) > 1 else []
    edited = [line("edited after export", lambda one: _said(one, ", ".join(one.design.edited) or "nothing"))]
    return [
        line("network", lambda one: _said(one, _network(one.design))),
        line("circuit", lambda one: _said(one, _circuit(one.design))),
        *(edited if any(one.design.edited for one in runs) else []),
        line("transistors", _transistors),
        line("area, estimated before layout", _area),
        line("energy per timestep", lambda one: one.energy(lambda r: _energy(r, r.per_timestep_J))),
        of_run("energy per inference", "energy", EnergyResult, lambda r: _energy(r, r.per_inference_J)),
        of_decisions("decisions as in software", _decisions),
        of_decisions("classes as in software", _classes),
        of_decisions("accuracy of the circuit", _accuracy),
        line("yield under mismatch", Runs.yielded),
        *([line("yield, proven for the sizes", Runs.proven)] if any(one.of(SizingResult) for one in runs) else []),
        of_run("accuracy of the median die", "montecarlo", MonteCarloResult, _median),
        of_run("worst corner, decisions", "corners", CornersResult, _worst),
        of_run("worst corner, energy", "corners", CornersResult, _dearest),
        of_run("retention", "retention", RetentionResult, _retention),
        *simulators,
    ]


def _said(one: Runs, what: str) -> TableEntry:
    return TableEntry(value=what, shown=what, source=str(one.design.path / "design.json"))


def _network(design: Exported) -> str:
    config = design.trained.config
    return f"{config.cell.upper()}, {config.features} inputs, {' + '.join(map(str, config.units))} units"


def _circuit(design: Exported) -> str:
    return f"{design.design.architecture}, {design.point}"


def parts_of(design: Exported) -> tuple[Inventory | None, bool, str]:
    """Devices of ``design``, whether they are those of its transistor twin, and the source of the count.

    A macro-level design is counted as the same network and technology at transistor level, if that twin exists; if not,
    the last entry is the reason.
    """
    kind = design.architecture
    own = kind.parts(design.design)
    if own is not None:
        return own, False, str(design.path / "network.cir")
    try:
        technology = kind.at_level(design.design.technology, "transistor", None)
        twin = kind.map_network(design.trained, technology, design.design.calibration)
        return kind.parts(twin), True, "the same network exported with --level transistor"
    except (TechnologyError, MappingError) as error:
        return None, False, str(error)


def _transistors(one: Runs) -> TableEntry:
    parts, twin, source = parts_of(one.design)
    if parts is None:
        return TableEntry(value=None, shown="not known at macro level", source=source)
    capacitors = f", {si(parts.capacitance, 'F')} of capacitors" if parts.capacitance else ""
    return TableEntry(value=parts.transistors, shown=f"{parts.transistors}{capacitors}{_of_twin(twin)}", source=source)


def _area(one: Runs) -> TableEntry:
    parts, twin, source = parts_of(one.design)
    sized = one.of(SizingResult)
    if parts is None and sized is not None and (figures := sized[0].figures) is not None:
        shown = f"{figures.area_m2 * 1e12:.0f} µm², estimate of the sizes"
        return TableEntry(value=figures.area_m2, shown=shown, source=str(sized[1]))
    if parts is None:
        return TableEntry(value=None, shown="not known at macro level", source=source)
    of_gates = f"{device_count.LAYOUT:g} times diffusion; {parts.gates * 1e12:.0f} µm² of gates"
    plates = f", {parts.plates * 1e12:.0f} µm² of capacitors" if parts.plates else ""
    shown = f"{parts.area * 1e12:.0f} µm² ({of_gates}{plates}){_of_twin(twin)}"
    return TableEntry(value=parts.area, shown=shown, source=source)


def _of_twin(twin: bool) -> str:
    return ", as its transistor twin" if twin else ""


def _energy(found: EnergyResult, joules: float) -> Said:
    return [joules, found.label], f"{si(joules, 'J')}, {found.label}"


def _median(found: MonteCarloResult) -> Said:
    value = found.accuracy.median
    return value, "none" if value is None else percent(value)


def _decisions(found: ComparisonResult | EnergyResult) -> Said:
    decisions = found.decisions
    counted = decisions.counted if isinstance(decisions, ComparedDecisions) else decisions.total
    shown = f"{percent(decisions.agree / counted) if counted else 'none'} of {counted}"
    return decisions.to_plain(), shown


def _classes(found: ComparisonResult | EnergyResult) -> Said:
    classes = found.classification
    return classes.to_plain(), str(classes)


def _accuracy(found: ComparisonResult | EnergyResult) -> Said:
    classes = found.classification
    if classes.correct_circuit is None:
        return classes.to_plain(), "no labels"
    software = f", software {classes.correct_software}" if isinstance(classes, ComparedClasses) else ""
    return classes.to_plain(), f"{classes.correct_circuit} of {classes.total}{software}"


def _yield(found: MonteCarloResult) -> Said:
    yielded = found.yield_
    interval = f"{percent(yielded.low)} to {percent(yielded.high)}"
    means = f"at most {percent(found.drop)} worse, {found.engine} engine"
    value = {**yielded.to_plain(), "drop": found.drop, "engine": found.engine}
    return value, f"{percent(yielded.value)} of {yielded.n} dies ({interval}), {means}"


def _proven(found: SizingResult) -> Said:
    """The last proof: lower bound of the yield, with its confidence."""
    proof = found.proof
    if proof is None:
        return None, "none"
    value = {**proof.to_plain(), "goal": found.goal, "confidence": found.confidence, "drop": found.drop}
    passed = "" if proof.passed else f", not {percent(found.goal)}"
    shown = (
        f"at least {percent(proof.bound)}{passed} ({percent(found.confidence)} confidence), {proof.good} of "
        f"{proof.dies} fresh dies, at most {percent(found.drop)} worse"
    )
    return value, shown


def _worst(found: CornersResult) -> Said:
    corner, value, count = found.worst.decisions, found.worst_agreement, len(found.good)
    plain = {"corner": corner, "value": value, "of": count}
    if value is None:
        return plain, "none could be simulated"
    where = "every decision right" if corner is None else f"{corner}: {percent(value)}"
    return plain, f"{where}, of {count} corners"


def _dearest(found: CornersResult) -> Said:
    corner, value, count = found.worst.energy, found.worst_per_timestep_J, len(found.good)
    plain = {"corner": corner, "value": value, "of": count}
    if value is None:
        return plain, "none could be simulated"
    return plain, f"{corner}: {si(value, 'J')}, of {count} corners"


def _simulators(one: Runs) -> TableEntry:
    found = one.simulators()
    shown = ", ".join(f"{version} ({kind})" for kind, version in found.items())
    return TableEntry(value=found, shown=shown or "none", source=str(one.design.path))


def _retention(found: RetentionResult) -> Said:
    facts = {
        "of": len(found.temperatures),
        "worst_timesteps": found.worst_timesteps,
        "worst_temperature_C": found.worst_temperature_C,
        "worst_at_least": found.worst_at_least,
    }
    at_least = "at least " if found.worst_at_least else ""
    where = f"{found.worst_temperature_C:g} °C, of {len(found.temperatures)} temperatures"
    return facts, f"{at_least}{plain(found.worst_timesteps)} timesteps at {where}"
