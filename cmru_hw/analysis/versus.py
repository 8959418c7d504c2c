"""Designs side by side: what they are, and what the runs of these very netlists say of each.

A result belongs to a design if it names the hash of its netlist. What nobody has run is said to be so, with the
command that would; nothing is estimated in its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmru_hw.circuits import registry
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.core.errors import InputError, MappingError, TechnologyError
from cmru_hw.core.units import percent, si
from cmru_hw.design_folder.folder import Exported
from cmru_hw.process import device_count
from cmru_hw.process.device_count import Inventory

# Kind of run → (file, keys that it has, command that makes it)
KINDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "compare": ("summary.json", ("decisions", "classification"), "cmru-hw compare {design} --input FILE.npz -o DIR"),
    "montecarlo": ("summary.json", ("yield", "dies"), "cmru-hw montecarlo {design} --input FILE.npz -o DIR"),
    "energy": ("energy.json", ("per_timestep_J",), "cmru-hw energy {design} --input FILE.npz -o DIR"),
    "corners": ("corners.json", ("worst",), "cmru-hw corners {design} --input FILE.npz -o DIR"),
    "retention": (
        "retention.json",
        ("worst_timesteps", "worst_at_least"),
        "cmru-hw retention {design} -o DIR",
    ),
}
# Kind of run → what raises InputError for a design that it is not for
REFUSALS: dict[str, Callable[[AnyDesign], object]] = {
    "montecarlo": lambda design: registry.of(design).die_simulator(design),
    "corners": lambda design: registry.of(design).supply(design),
    "retention": lambda design: registry.of(design).require_retention(design),
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One figure of one design: ``value`` in plain numbers, ``shown`` as people read it, ``source`` where it is from.

    ``value`` is None for what was not run; ``source`` is then the command that would, or why none does.
    """

    value: Any
    shown: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One property of all designs, in their order."""

    name: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What was found for one design, by kind: content and file. Of several, that of most dies, corners or sequences."""

    design: Exported
    found: dict[str, tuple[dict[str, Any], Path]]

    def entry(self, kind: str, value: Callable[[dict[str, Any]], Any], show: Callable[[Any], str]) -> Entry:
        """What ``value`` reads out of the run of this ``kind``, or that there is none."""
        # energy counts decisions and classes too, and of a chip in transistors one run takes hours
        instead = "energy" if kind == "compare" else kind
        run = self.found.get(kind) or self.found.get(instead)
        if run is None:
            return self._not_run(kind)
        content, path = run
        read = value(content)
        return Entry(value=read, shown=show(read), source=str(path))

    def _not_run(self, kind: str) -> Entry:
        try:
            if kind in REFUSALS:
                REFUSALS[kind](self.design.design)
        except InputError as error:
            return Entry(value=None, shown="not for this design", source=f"{self.design.path}: {error}")
        return Entry(value=None, shown="not run", source=KINDS[kind][2].format(design=self.design.path))


def find(design: Exported, folders: Sequence[Path]) -> Runs:
    """Results of ``design`` in ``folders`` and in the folders in them."""
    found: dict[str, tuple[dict[str, Any], Path]] = {}
    for kind, (name, keys, _) in KINDS.items():
        paths = {path for folder in folders for pattern in (name, f"*/{name}") for path in folder.glob(pattern)}
        fitting = []
        for path in sorted(paths):
            content = _read(path)
            if content.get("netlist_sha256") == design.netlist_sha256 and all(key in content for key in keys):
                fitting.append((content, path))
        if fitting:
            found[kind] = max(fitting, key=lambda one: _breadth(one[0]))
    return Runs(design=design, found=found)


def side_by_side(runs: Sequence[Runs]) -> list[Line]:
    """The table."""

    def line(name: str, entry: Callable[[Runs], Entry]) -> Line:
        return Line(name=name, entries=tuple(map(entry, runs)))

    def of_run(name: str, kind: str, value: Callable[[dict[str, Any]], Any], show: Callable[[Any], str]) -> Line:
        return line(name, lambda one: one.entry(kind, value, show))

    return [
        line("network", lambda one: _said(one, _network(one.design))),
        line("circuit", lambda one: _said(one, _circuit(one.design))),
        line("transistors", _transistors),
        line("area, estimated before layout", _area),
        of_run("energy per timestep", "energy", lambda r: [r["per_timestep_J"], r["label"]], _energy),
        of_run("energy per inference", "energy", lambda r: [r["per_inference_J"], r["label"]], _energy),
        of_run("decisions as in software", "compare", lambda r: r["decisions"], _decisions),
        of_run("classes as in software", "compare", lambda r: r["classification"], _classes),
        of_run("accuracy of the circuit", "compare", lambda r: r["classification"], _accuracy),
        of_run(
            "yield under mismatch",
            "montecarlo",
            lambda r: {**r["yield"], "drop": r["drop"], "engine": r["engine"]},
            _yield,
        ),
        of_run("accuracy of the median die", "montecarlo", lambda r: r["accuracy"]["median"], _share),
        of_run("worst corner, decisions", "corners", lambda r: _corner(r, "decisions", "agreement"), _worst),
        of_run("worst corner, energy", "corners", lambda r: _corner(r, "energy", "per_timestep_J"), _dearest),
        of_run("retention", "retention", _worst_kept, _kept),
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _breadth(content: dict[str, Any]) -> tuple[int, int, int]:
    """Dies, corners and sequences of a result: of several, the first of these counts most."""
    classified = content.get("classification")
    total = classified.get("total", 0) if isinstance(classified, dict) else 0
    return (int(content.get("dies") or 0), int(content.get("asked") or 0), int(content.get("sequences") or total))


def _said(one: Runs, what: str) -> Entry:
    return Entry(value=what, shown=what, source=str(one.design.path / "design.json"))


def _network(design: Exported) -> str:
    config = design.trained.config
    return f"{config.cell.upper()}, {config.features} inputs, {' + '.join(map(str, config.units))} units"


def _circuit(design: Exported) -> str:
    technology = design.design.technology
    return f"{design.design.architecture}, {technology.name}, {technology.level} level"


def _parts(design: Exported) -> tuple[Inventory | None, bool, str]:
    """What ``design`` is built of, whether that is of its transistor twin, and where it is counted.

    A macro-level design is counted as the same network of the same technology in transistors, where there is such a
    twin; where not, the last entry says why.
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


def _transistors(one: Runs) -> Entry:
    parts, twin, source = _parts(one.design)
    if parts is None:
        return Entry(value=None, shown="not known at macro level", source=source)
    capacitors = f", {si(parts.capacitance, 'F')} of capacitors" if parts.capacitance else ""
    return Entry(value=parts.transistors, shown=f"{parts.transistors}{capacitors}{_of_twin(twin)}", source=source)


def _area(one: Runs) -> Entry:
    parts, twin, source = _parts(one.design)
    if parts is None:
        return Entry(value=None, shown="not known at macro level", source=source)
    of_gates = f"{device_count.LAYOUT:g} times diffusion; {parts.gates * 1e12:.0f} µm² of gates"
    plates = f", {parts.plates * 1e12:.0f} µm² of capacitors" if parts.plates else ""
    shown = f"{parts.area * 1e12:.0f} µm² ({of_gates}{plates}){_of_twin(twin)}"
    return Entry(value=parts.area, shown=shown, source=source)


def _of_twin(twin: bool) -> str:
    return ", as its transistor twin" if twin else ""


def _energy(found: list[Any]) -> str:
    return f"{si(found[0], 'J')}, {found[1]}"


def _share(value: float | None) -> str:
    return "none" if value is None else percent(value)


def _decisions(found: dict[str, Any]) -> str:
    counted = found["total"] - found.get("excluded", 0)
    return f"{percent(found['agree'] / counted) if counted else 'none'} of {counted}"


def _classes(found: dict[str, Any]) -> str:
    return f"{found['agree']} of {found['total']}"


def _accuracy(found: dict[str, Any]) -> str:
    if found.get("correct_circuit") is None:
        return "no labels"
    software = f", software {found['correct_software']}" if "correct_software" in found else ""
    return f"{found['correct_circuit']} of {found['total']}{software}"


def _yield(found: dict[str, Any]) -> str:
    low, high = found["ci95"]
    interval = f"{percent(low)} to {percent(high)}"
    means = f"at most {percent(found['drop'])} worse, {found['engine']} engine"
    return f"{percent(found['value'])} of {found['n']} dies ({interval}), {means}"


def _corner(found: dict[str, Any], what: str, figure: str) -> dict[str, Any]:
    return {"corner": found["worst"][what], "value": found[f"worst_{figure}"], "of": found["asked"] - found["failed"]}


def _worst(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return "none could be simulated"
    where = "every decision right" if found["corner"] is None else f"{found['corner']}: {percent(found['value'])}"
    return f"{where}, of {found['of']} corners"


def _dearest(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return "none could be simulated"
    return f"{found['corner']}: {si(found['value'], 'J')}, of {found['of']} corners"


def _worst_kept(found: dict[str, Any]) -> dict[str, Any]:
    keys = ("worst_timesteps", "worst_temperature_C", "worst_at_least")
    return {"of": len(found["temperatures"])} | {key: found[key] for key in keys}


def _kept(found: dict[str, Any]) -> str:
    at_least = "at least " if found["worst_at_least"] else ""
    where = f"{found['worst_temperature_C']:g} °C, of {found['of']} temperatures"
    return f"{at_least}{found['worst_timesteps']:.3g} timesteps at {where}"
