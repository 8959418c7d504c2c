"""Corners in a report."""

from __future__ import annotations

from cmru_hw.analysis.corners.result import CornersResult
from cmru_hw.core.units import count, percent
from cmru_hw.report.facts import Fact, Prose, ResultFile, Section
from cmru_hw.report.run import ENERGY_IS, Run, copied, joule, netlist_of, part_of, versions

CORNER = "process/temperature/supply"


def corners(source: ResultFile, found: CornersResult) -> Run:
    """A folder of ``cmru-hw corners``."""
    asked = source.fact("corners", "asked", count)
    sequences = source.fact("sequences at each corner", "sequences", count)
    return Run(
        source=source,
        kind="corners",
        netlist=netlist_of(source),
        title="corners",
        level=source.fact("level", "level", str),
        scope=(asked, " corners, ", sequences, " sequences at each"),
        versions=versions(source),
        sections=(_section(source, found, asked),),
        methods=(
            (
                "Corners are process (typical, ff, ss, fs, sf), supply (±10 %) and temperature (−40, 27, 125 °C), on ",
                sequences,
                " sequences each.",
            ),
        ),
        excludes=tuple((f"The corners do not include {what}.",) for what in found.excludes),
    )


def _section(source: ResultFile, found: CornersResult, asked: Fact) -> Section:
    right = source.fact("corners with all decisions right", ("all_right", "asked"), part_of)
    failed = source.fact("corners that failed to simulate", "failed", count)
    decisions, energy = _worst(source, found)
    lead: tuple[Prose, ...] = (
        ("A corner is a combination of process, supply and temperature.",),
        ("All decisions agree with software at ", right, " corners."),
        (
            "The transistors of each corner were measured in testbenches, and the network was simulated with these."
            if found.level == "macro"
            else "At every corner, all transistors were simulated.",
        ),
    )
    drawn = copied(
        source.path.parent,
        "corners",
        source,
        "Decisions and energy at each corner: one row for each process; supply and temperature in columns. The worst "
        "of each has a frame. Grey corners were not simulated.",
    )
    return Section(
        name="corners",
        title="Corners",
        lead=lead,
        headlines=(right, *energy[1:]),
        facts=(asked, right, failed, *decisions, *energy),
        figures=() if drawn is None else (drawn,),
    )


def _worst(source: ResultFile, found: CornersResult) -> tuple[tuple[Fact, ...], tuple[Fact, ...]]:
    """The worst corner and its value, for decisions and for energy; () where there is none."""
    decisions: tuple[Fact, ...] = ()
    energy: tuple[Fact, ...] = ()
    if found.worst.decisions is not None:
        decisions = (
            source.fact("worst corner for decisions", "worst/decisions", str, meaning=CORNER),
            source.fact("decisions as in software at that corner", "worst_agreement", percent),
        )
    if found.worst.energy is not None:
        word = ENERGY_IS[found.level]
        energy = (
            source.fact("worst corner for energy", "worst/energy", str, meaning=CORNER),
            source.fact(f"energy per timestep at the worst corner, {word}", "worst_per_timestep_J", joule),
        )
    return decisions, energy
