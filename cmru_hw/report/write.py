"""Write the folder of a report: page, tables, numbers and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cmru_hw
from cmru_hw.core import records
from cmru_hw.core.csv_text import csv_text
from cmru_hw.core.errors import InputError, OutputError
from cmru_hw.core.output_folder import atomic_folder, digests
from cmru_hw.core.units import json_text
from cmru_hw.report import html, latex, published, runs, summary
from cmru_hw.report.facts import Fact, Prose, Report, Section, Table, plain
from cmru_hw.report.run import Run

PAGE = "index.html"
NUMBERS = "numbers.csv"
FILES = ".files.json"
"""What a report consists of, so that --force removes nothing else."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """The contents of ``folder``: the number of traced ``numbers``, the kinds of ``runs``, the names of ``figures``."""

    folder: Path
    runs: tuple[str, ...]
    numbers: int
    figures: tuple[str, ...]

    @property
    def page(self) -> Path:
        return self.folder / PAGE


def write(paths: Sequence[str | Path], folder: str | Path, *, title: str = "", force: bool = False) -> Written:
    """Write the report of the runs in ``paths`` to ``folder``, completely or not at all.

    Raises InputError for a run that cannot be read, and OutputError if the folder exists (with ``force``: if it exists
    and is not a report).
    """
    folder = Path(folder)
    if folder.exists():
        if not force:
            raise OutputError(f"{folder} exists: choose another -o, or give --force to replace it")
        if not (folder / NUMBERS).is_file():
            raise OutputError(
                f"{folder} exists and is not a report, so --force does not replace it: remove it yourself"
            )
    report = make([run for path in paths for run in runs.read(Path(path))], title)
    figures = [figure for section in report.sections for figure in section.figures]
    with atomic_folder(folder, last=NUMBERS, earlier=_listed(folder)) as scratch:
        for name in ("figures", "tables"):
            (scratch / name).mkdir()
        for figure in figures:
            for suffix in ("svg", "pdf"):
                figure.draw(scratch / "figures" / f"{figure.name}.{suffix}")
        pictures = {figure.name: scratch / "figures" / f"{figure.name}.svg" for figure in figures}
        (scratch / PAGE).write_text(html.page(report, pictures), encoding="utf-8")
        for section in report.sections:
            if section.table or section.facts:
                (scratch / "tables" / f"{section.name}.tex").write_text(latex.table(section), encoding="utf-8")
        (scratch / "report.tex").write_text(latex.document(report, list(pictures)), encoding="utf-8")
        _numbers(report, scratch / NUMBERS)
        (scratch / FILES).write_text(json_text({"files": digests(scratch)}) + "\n", encoding="utf-8")
    return Written(
        folder=folder,
        runs=tuple(section.name for section in report.sections),
        numbers=len(report.every_fact()),
        figures=tuple(pictures),
    )


def _listed(folder: Path) -> dict[str, str]:
    """Files that an earlier report wrote to ``folder``, with their SHA-256."""
    try:
        content = records.read(folder / FILES)
    except InputError:
        return {}
    files = content.get("files") if isinstance(content, dict) else None
    return {name: str(digest) for name, digest in files.items()} if isinstance(files, dict) else {}


def make(found: Sequence[Run], title: str = "") -> Report:
    """The report: a table of the runs, their sections in the given order, published work, methods and exclusions."""
    if not found:
        raise InputError("no run is given: name at least one result folder")
    _require_one_circuit(found)
    own = [figure for run in found for figure in run.own]
    excluded = _excluded(found)
    first = summary.section(found, excluded)
    details = [section for run in found for section in _headed(run)]
    for figure in first.figures:
        details = summary.without(details, figure)
    sections = [first, _simulated(found), *details]
    if (comparison := published.section(own)) is not None:
        sections.append(comparison)
    sections += [
        Section(name="methods", title="Methods", lead=_methods(found)),
        Section(name="excluded", title="Not included", points=excluded),
    ]
    return Report(title=title or "From network to circuit", sections=tuple(_numbered(sections)))


def _headed(run: Run) -> list[Section]:
    """The sections of ``run``, whose tables name design, technology, supply and corner."""
    design = plain(summary.design_of(run.source)) if run.source.has("design_label") else ""
    return [replace(section, design=design) for section in run.sections]


def _require_one_circuit(found: Sequence[Run]) -> None:
    """Raise InputError, with the names of two of them, if the runs are of different circuits."""
    known = [(run.source.path, run.netlist) for run in found if run.netlist is not None]
    for path, netlist in known[1:]:
        first_path, first = known[0]
        if netlist.source.value(netlist.keys[0]) != first.source.value(first.keys[0]):
            raise InputError(
                f"{first_path} and {path} are of different circuits ({first.shown} and {netlist.shown}): report each "
                f"by itself, or compare the designs with cmru-hw versus"
            )


def _simulated(found: Sequence[Run]) -> Section:
    rows = tuple(
        (
            f"{run.title}{_edited(run)}",
            run.scope,
            run.level,
            run.netlist or "not stated",
            run.versions,
            run.source.command or "not kept",
        )
        for run in found
    )
    return Section(
        name="simulated",
        title="Simulations",
        lead=_simulators(found),
        table=Table(header=("run", "scope", "level", "netlist sha256", "versions", "command"), rows=rows),
    )


def _simulators(found: Sequence[Run]) -> tuple[Prose, ...]:
    """A warning if the runs are of several simulators or versions; nothing otherwise."""
    facts = [
        run.source.fact(f"simulator, {run.title}", "versions/simulator", str)
        for run in found
        if run.source.has("versions/simulator")
    ]
    if len({fact.shown for fact in facts}) < 2:
        return ()
    pieces: list[str | Fact] = ["The simulators of the runs differ, so numbers may differ for that reason: "]
    for place, fact in enumerate(facts):
        pieces += [*([", "] if place else []), fact, f" in {fact.source.path}"]
    return ((*pieces, "."),)


def _edited(run: Run) -> str:
    edited = run.source.value("edited") if run.source.has("edited") else []
    return f" (edited after export: {', '.join(map(str, edited))})" if edited else ""


def _methods(found: Sequence[Run]) -> tuple[Prose, ...]:
    pieces: list[str | Fact] = []
    for run in found:
        for sentence in run.methods:
            pieces += [*sentence, " "]
    return ((*pieces, f"Written by cmru_hw {cmru_hw.__version__}."),)


def _excluded(found: Sequence[Run]) -> tuple[Prose, ...]:
    prose = list(dict.fromkeys(sentence for run in found for sentence in run.excludes))
    made = {run.kind for run in found}
    return (*prose, *((kind.absent,) for name, kind in runs.MAKERS.items() if kind.absent and name not in made))


def _numbered(sections: Sequence[Section]) -> list[Section]:
    """Number the sections of the same kind, so that their tables and figures have different names."""
    seen: dict[str, int] = {}
    numbered = []
    for section in sections:
        place = seen[section.name] = seen.get(section.name, 0) + 1
        if place > 1:
            section = replace(
                section,
                name=f"{section.name}-{place}",
                title=f"{section.title} ({place})",
                figures=tuple(replace(figure, name=f"{figure.name}-{place}") for figure in section.figures),
            )
        numbered.append(section)
    return numbered


def _numbers(report: Report, path: Path) -> None:
    rows = [
        (section.name, fact.name, fact.shown, fact.source.path, fact.where, fact.rule, fact.source.command)
        for section, fact in report.every_fact()
    ]
    header = ("section", "name", "shown", "file", "keys", "rule", "command")
    path.write_text(csv_text(header, rows), encoding="utf-8", newline="")
