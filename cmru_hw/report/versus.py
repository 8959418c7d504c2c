"""The table of several designs in a report."""

from __future__ import annotations

from cmru_hw.analysis.versus.result import VersusResult
from cmru_hw.report.facts import Cell, Prose, ResultFile, Section, Table
from cmru_hw.report.run import Run, versions


def versus(source: ResultFile, found: VersusResult) -> Run:
    """The file that ``cmru-hw versus -o`` wrote."""
    designs = found.designs
    rows: list[tuple[Cell, ...]] = []
    missing: dict[str, None] = {}
    for place, line in enumerate(found.lines):
        row: list[Cell] = [line.name]
        for column, (name, entry) in enumerate(zip(found.headings, line.entries, strict=True)):
            row.append(source.fact(f"{line.name}, {name}", f"lines/{place}/entries/{column}/shown", str))
            if entry.value is None:
                missing[entry.source] = None
        rows.append(tuple(row))
    lead: list[Prose] = [
        ("Each figure comes from a run whose netlist hash matches the design. The designs may differ in architecture, "
         "level and network: see the first lines.",)
    ]  # fmt: skip
    if missing:
        lead.append(("Missing results, with the command that produces them: ", "; ".join(missing), "."))
    return Run(
        source=source,
        kind="versus",
        title="comparison of designs",
        level="of each design",
        scope=(source.fact("designs", "designs", lambda names: str(len(names))), " designs: ", ", ".join(designs)),
        netlist=None,
        versions=versions(source) if found.versions else "not stated",
        sections=(
            Section(
                name="versus",
                title="Comparison of designs",
                lead=tuple(lead),
                table=Table(header=("", *found.headings), rows=tuple(rows)),
            ),
        ),
        methods=(),
        excludes=(),
    )
