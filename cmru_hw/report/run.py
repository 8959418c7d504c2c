"""One folder of results in a report, and the functions that all readers of folders share."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from cmru_hw.analysis.agreement import Level
from cmru_hw.core.errors import OutputError
from cmru_hw.core.units import count, si
from cmru_hw.report.facts import Fact, Figure, Prose, ResultFile, Section
from cmru_hw.report.published import Own

# Level → participle for its energies
ENERGY_IS: dict[Level, str] = {"macro": "estimated", "transistor": "simulated"}


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The energy per timestep of a design. ``level``: it is simulated at transistor level, an estimate otherwise."""

    per_timestep_J: float
    level: Level


@dataclass(frozen=True, kw_only=True)
class Run:
    """One folder. ``title``, ``level``, ``scope``, ``netlist`` and ``versions`` are its row in the table of runs.

    ``scope`` states the amount: sequences, dies, seed, corners. ``verdict`` is its sentence in the summary of one
    design, ``clause`` its part of the sentence on a design in a summary of several. ``methods`` are its sentences of
    the methods paragraph, ``excludes`` the items that its numbers do not include. ``energy``: that of its design.
    """

    source: ResultFile
    kind: str
    title: str
    level: str | Fact
    scope: Prose
    netlist: Fact | None
    versions: str | Fact
    sections: tuple[Section, ...]
    methods: tuple[Prose, ...]
    excludes: tuple[Prose, ...]
    verdict: Prose = ()
    clause: Prose = ()
    energy: Energy | None = None
    own: tuple[Own, ...] = ()

    @property
    def headline(self) -> Fact | None:
        """The first number of the run."""
        return next((section.headlines[0] for section in self.sections if section.headlines), None)


def copied(folder: Path, name: str, source: ResultFile, caption: str) -> Figure | None:
    """A copy of a figure that the run drew; None if it drew none."""
    if not (folder / f"{name}.svg").is_file():
        return None

    def draw(path: Path) -> None:
        drawn = folder / f"{name}{path.suffix}"
        if not drawn.is_file():
            raise OutputError(f"{drawn} is missing, although there is {name}.svg: make the run again")
        shutil.copyfile(drawn, path)

    return Figure(name=name, caption=caption, sources=(source,), draw=draw)


def versions(source: ResultFile) -> Fact:
    return source.fact(
        "versions",
        "versions",
        lambda found: ", ".join(value if name == "simulator" else f"{name} {value}" for name, value in found.items()),
    )


def level_excludes(level: str) -> tuple[Prose, ...]:
    if level != "macro":
        return ()
    return (("The macro level has no transistors and no layout parasitics.",),)


def netlist_of(source: ResultFile, key: str = "netlist_sha256") -> Fact:
    return source.fact("netlist sha256", key, short, rule="first 12 digits")


def clamped(source: ResultFile) -> list[Fact]:
    """The inputs beyond the range of the design; nothing for a result that does not count them."""
    at = "inputs_clamped"
    if not source.has(at):
        return []
    found = [
        source.fact(
            "inputs clamped",
            (f"{at}/clamped", f"{at}/samples"),
            part_of,
            meaning="samples beyond the range of the design, clamped by its drivers and in its software model",
        )
    ]
    if source.value(f"{at}/clamped"):
        found += [
            source.fact("sequences with clamped inputs", (f"{at}/sequences_clamped", f"{at}/sequences"), part_of),
            source.fact(
                "largest input",
                (f"{at}/largest", f"{at}/limit", f"{at}/feature"),
                lambda value, limit, feature: f"{value:.3g} of feature {feature}, range to {limit:.3g}",
                meaning="relative to the range of its feature; scaled inputs",
            ),
            source.fact(
                "classes that clamping changes in software", (f"{at}/classes_changed", f"{at}/sequences"), part_of
            ),
        ]
    return found


def part_of(part: int, total: int) -> str:
    return f"{count(part)} of {count(total)}"


def joule(value: float) -> str:
    return si(value, "J")


def short(digest: str) -> str:
    return digest[:12]
