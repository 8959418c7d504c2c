"""Write the folder of a report: page, tables, numbers and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cmru_hw
from cmru_hw.core import records
from cmru_hw.core.csv_text import csv_text
from cmru_hw.core.errors import InputError
from cmru_hw.core.output_folder import atomic_folder, digests, require_replaceable
from cmru_hw.core.units import json_text
from cmru_hw.report import columns, html, latex, published, runs, summary
from cmru_hw.report.columns import Group
from cmru_hw.report.facts import Fact, Prose, Report, Section, Table
from cmru_hw.report.published import Own
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
    require_replaceable(folder, NUMBERS, "not a report", force=force)
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
            for name, text in latex.tables(section).items():
                (scratch / "tables" / f"{name}.tex").write_text(text, encoding="utf-8")
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
    """The report: a table of the runs, their sections in the given order, published work, methods and exclusions.

    Several designs are columns of each table (`cmru_hw.report.columns`).
    """
    if not found:
        raise InputError("no run is given: name at least one result folder")
    groups = columns.groups(found)
    excluded = _excluded(groups)
    hidden = summary.figure(groups)
    sections = [summary.section(groups, excluded), _simulated(groups)]
    sections += columns.sections(groups, [] if hidden is None else [hidden])
    if (comparison := published.section(_own(groups))) is not None:
        sections.append(comparison)
    sections += [
        Section(name="methods", title="Methods", lead=_methods(groups)),
        Section(name="excluded", title="Not included", points=excluded),
    ]
    return Report(title=title or "From network to circuit", sections=tuple(sections))


def _several(groups: Sequence[Group]) -> bool:
    return sum(bool(group.name) for group in groups) > 1


def _own(groups: Sequence[Group]) -> list[Own]:
    """The figures to compare with published ones, with the name of their design if there are several."""
    if not _several(groups):
        return [own for group in groups for run in group.runs for own in run.own]
    return [
        replace(own, work=group.name, fact=columns.named(own.fact, group.name))
        for group in groups
        for run in group.runs
        for own in run.own
    ]


def _simulated(groups: Sequence[Group]) -> Section:
    rows = tuple(
        (
            *([group.name] if _several(groups) else []),
            f"{run.title}{_edited(run)}",
            run.scope,
            run.level,
            run.netlist or "not stated",
            run.versions,
            run.source.command or "not kept",
        )
        for group in groups
        for run in group.runs
    )
    design = ("design",) if _several(groups) else ()
    return Section(
        name="simulated",
        title="Simulations",
        lead=_simulators([run for group in groups for run in group.runs]),
        table=Table(header=(*design, "run", "scope", "level", "netlist sha256", "versions", "command"), rows=rows),
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


def _methods(groups: Sequence[Group]) -> tuple[Prose, ...]:
    """One paragraph for each design."""
    paragraphs: list[Prose] = []
    for group in groups:
        pieces: list[str | Fact] = [f"{group.name}: "] if _several(groups) and group.name else []
        for run in group.runs:
            for sentence in run.methods:
                pieces += [*sentence, " "]
        paragraphs += [tuple(pieces)] if any(run.methods for run in group.runs) else []
    written = f"Written by cmru_hw {cmru_hw.__version__}."
    if len(paragraphs) == 1:
        return ((*paragraphs[0], written),)
    return (*paragraphs, (written,))


def _excluded(groups: Sequence[Group]) -> tuple[Prose, ...]:
    """What the figures of each design leave out, and the kinds of runs that it lacks."""
    designs = [group for group in groups if group.name] or list(groups)
    said = []
    for group in designs:
        prose = [sentence for run in group.runs for sentence in run.excludes]
        prose += [
            (kind.absent,)
            for name, kind in runs.MAKERS.items()
            if kind.absent and all(group.of(one) is None for one in (name, *kind.instead))
        ]
        said.append((group.name, prose))
    others = [sentence for group in groups if group not in designs for run in group.runs for sentence in run.excludes]
    return (*columns.common(said), *dict.fromkeys(others))


def _numbers(report: Report, path: Path) -> None:
    rows = [
        (section.name, fact.name, fact.shown, fact.source.path, fact.where, fact.rule, fact.source.command)
        for section, fact in report.every_fact()
    ]
    header = ("section", "name", "shown", "file", "keys", "rule", "command")
    path.write_text(csv_text(header, rows), encoding="utf-8", newline="")
