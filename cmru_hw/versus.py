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

from cmru_hw import inventory
from cmru_hw.current import hold
from cmru_hw.current.mapping import CurrentDesign
from cmru_hw.design_folder import Exported
from cmru_hw.quantity import percent, si
from cmru_hw.spice import Engine

# Kind of run → (file, keys that it has, command that makes it)
KINDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "compare": ("summary.json", ("decisions", "classification"), "cmru-hw compare {design} --input FILE.npz -o DIR"),
    "montecarlo": ("summary.json", ("yield", "dies"), "cmru-hw montecarlo {design} --input FILE.npz -o DIR"),
    "energy": ("energy.json", ("per_timestep_J",), "cmru-hw energy {design} --input FILE.npz -o DIR"),
    "corners": ("corners.json", ("worst",), "cmru-hw corners {design} --input FILE.npz -o DIR"),
    "retention": ("retention.json", ("worst_timesteps",), "cmru-hw retention {design} -o DIR"),
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One figure of one design: ``value`` in plain numbers, ``shown`` as people read it, ``source`` where it is from.

    ``value`` is None for what was not run; ``source`` is then the command that would.
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
    """What was found for one design, by kind: content and file. Of several, the one on most sequences or dies."""

    design: Exported
    found: dict[str, tuple[dict[str, Any], Path]]

    def entry(self, kind: str, value: Callable[[dict[str, Any]], Any], show: Callable[[Any], str]) -> Entry:
        """What ``value`` reads out of the run of this ``kind``, or that there is none."""
        if kind not in self.found:
            command = KINDS[kind][2].format(design=self.design.path)
            return Entry(value=None, shown="not run", source=command)
        content, path = self.found[kind]
        read = value(content)
        return Entry(value=read, shown=show(read), source=str(path))


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
            found[kind] = max(fitting, key=lambda one: (one[0].get("dies", 0), _sequences(one[0])))
    return Runs(design=design, found=found)


def side_by_side(runs: Sequence[Runs], engine: Engine | None = None) -> list[Line]:
    """The table. With an ``engine`` a current-mode cell is left alone in it, which takes seconds."""

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
        of_run("yield under mismatch", "montecarlo", lambda r: {**r["yield"], "drop": r["drop"]}, _yield),
        of_run("accuracy of the median die", "montecarlo", lambda r: r["accuracy"]["median"], _share),
        of_run("worst corner, decisions", "corners", lambda r: (r["worst"]["decisions"], r["worst_agreement"]), _worst),
        of_run(
            "worst corner, energy", "corners", lambda r: (r["worst"]["energy"], r["worst_per_timestep_J"]), _dearest
        ),
        line("retention", lambda one: _retention(one, engine)),
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _sequences(content: dict[str, Any]) -> int:
    classified = content.get("classification")
    total = classified.get("total", 0) if isinstance(classified, dict) else 0
    return int(content.get("sequences") or total)


def _said(one: Runs, what: str) -> Entry:
    return Entry(value=what, shown=what, source=str(one.design.path / "design.json"))


def _network(design: Exported) -> str:
    config = design.trained.config
    return f"{config.cell.upper()}, {config.features} inputs, {' + '.join(map(str, config.units))} units"


def _circuit(design: Exported) -> str:
    technology = design.design.technology
    return f"{design.design.architecture}, {technology.name}, {technology.level} level"


def _transistors(one: Runs) -> Entry:
    parts = one.design.architecture.parts(one.design.design)
    source = str(one.design.path / "network.cir")
    if parts is None:
        return Entry(value=None, shown="none at macro level", source="cmru-hw export … --level transistor")
    capacitors = f", {si(parts.capacitance, 'F')} of capacitors" if parts.capacitance else ""
    return Entry(value=parts.transistors, shown=f"{parts.transistors}{capacitors}", source=source)


def _area(one: Runs) -> Entry:
    parts = one.design.architecture.parts(one.design.design)
    if parts is None:
        return Entry(value=None, shown="none at macro level", source="cmru-hw export … --level transistor")
    shown = f"{parts.area * 1e12:.0f} µm² ({inventory.LAYOUT:g} times diffusion; {parts.gates * 1e12:.0f} µm² of gates)"
    return Entry(value=parts.area, shown=shown, source=str(one.design.path / "network.cir"))


def _retention(one: Runs, engine: Engine | None) -> Entry:
    design = one.design.design
    if not isinstance(design, CurrentDesign):
        return one.entry("retention", lambda r: [r["worst_timesteps"], r["worst_temperature_C"]], _lost)
    if engine is None:
        return Entry(value=None, shown="not run", source="netlists/testbenches/current_hold.cir")
    found = hold.hold(design, engine)
    shown = f"unit {found.unit} {'holds' if found.held else 'is lost'} over {found.timesteps:.3g} timesteps, simulated"
    return Entry(
        value={"timesteps": found.timesteps, "held": found.held, "moved": found.moved},
        shown=shown + (": a cell restores its state" if found.held else ""),
        source=f"netlists/testbenches/current_hold.cir in {found.simulator}",
    )


def _energy(found: list[Any]) -> str:
    return f"{si(found[0], 'J')}, {found[1]}"


def _share(value: float | None) -> str:
    return "none" if value is None else percent(value)


def _decisions(found: dict[str, Any]) -> str:
    counted = found["total"] - found["excluded"]
    return f"{percent(found['agree'] / counted) if counted else 'none'} of {counted}"


def _classes(found: dict[str, Any]) -> str:
    return f"{found['agree']} of {found['total']}"


def _accuracy(found: dict[str, Any]) -> str:
    if found.get("correct_circuit") is None:
        return "no labels"
    return f"{found['correct_circuit']} of {found['total']}, software {found['correct_software']}"


def _yield(found: dict[str, Any]) -> str:
    low, high = found["ci95"]
    interval = f"{percent(low)} to {percent(high)}"
    return f"{percent(found['value'])} of {found['n']} dies ({interval}), at most {percent(found['drop'])} worse"


def _worst(found: tuple[str, float | None]) -> str:
    return "none" if found[1] is None else f"{found[0]}: {percent(found[1])}"


def _dearest(found: tuple[str, float | None]) -> str:
    return "none" if found[1] is None else f"{found[0]}: {si(found[1], 'J')}"


def _lost(found: list[Any]) -> str:
    return f"{found[0]:.3g} timesteps at {found[1]:g} °C until the first level is lost"
