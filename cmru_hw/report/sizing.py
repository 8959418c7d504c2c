"""Sizes for a yield in a report: the chosen sizes, their proof, and the limits."""

from __future__ import annotations

from cmru_hw.analysis.sizing import tables
from cmru_hw.analysis.sizing.result import FIGURE, Proof, SizingResult
from cmru_hw.core.units import count, percent
from cmru_hw.report.facts import Cell, Fact, Prose, ResultFile, Section, Table
from cmru_hw.report.run import Energy, Run, copied, netlist_of, part_of, versions

ABSENT = "\N{EN DASH}"


def sizing(source: ResultFile, found: SizingResult) -> Run:
    """A folder of ``cmru-hw size``."""
    goal = source.fact("yield to prove", "goal", percent)
    headlines = _headlines(source, found)
    trials = source.fact("trials", "trials", count)
    seed = source.fact("seed", "seed", str)
    return Run(
        source=source,
        kind="sizing",
        title="sizes",
        level=source.fact("level", "level", str) if source.has("level") else found.level,
        scope=(trials, " trials, seed ", seed),
        netlist=netlist_of(source),
        versions=versions(source),
        sections=(_sizes(source, found, goal, headlines), _limits(source, found)),
        methods=_methods(source, found, trials, seed),
        excludes=(("Energy and area of sizes are estimates of the macromodel and its laws.",),),
        verdict=_verdict(found, headlines, goal),
        clause=_clause(found, headlines),
        energy=None if found.figures is None else Energy(per_timestep_J=found.figures.energy_J, level="macro"),
    )


def _headlines(source: ResultFile, found: SizingResult) -> tuple[Fact, ...]:
    """Proven bound, good dies, energy; of a search without a proof, the highest yield of a trial."""
    if found.proof is None:
        return (source.fact("highest yield of a trial", "best_yield", percent),)
    last = f"proofs/{len(found.proofs) - 1}"
    bound = source.fact(
        "lower bound of the yield",
        f"{last}/bound",
        percent,
        meaning=f"Clopper-Pearson; it holds with {percent(found.confidence)} confidence for all proofs of the search",
    )
    good = source.fact("fresh dies that are good", (f"{last}/good", f"{last}/dies"), part_of)
    return (bound, good, *_costs(source, found)[:1])


def _costs(source: ResultFile, found: SizingResult) -> tuple[Fact, ...]:
    """Energy and area of the chosen sizes; nothing without any."""
    if found.figures is None:
        return ()
    names = {name: (label, show) for name, label, show in tables.FIGURES}
    return tuple(
        source.fact(f"{names[name][0]}, chosen sizes", f"figures/{name}", names[name][1])
        for name in ("energy_J", "area_m2")
    )


def _sizes(source: ResultFile, found: SizingResult, goal: Fact, headlines: tuple[Fact, ...]) -> Section:
    rows = _rows(source, found)
    chosen = "A star marks the chosen sizes. " if found.reached else ""
    drawn = copied(
        source.path.parent,
        FIGURE,
        source,
        f"Yield over energy of all trials. Larger points have a larger area. {chosen}The dotted line is the energy of "
        "the technology's own sizes.",
    )
    facts = (
        goal,
        source.fact("confidence", "confidence", percent),
        source.fact("accepted drop", "drop", percent),
        source.fact("minimised", "minimise", str),
        source.fact("dies of the search", "die_evaluations", count),
        source.fact("dies of a good trial", "search_dies", count),
        *(_proof(source, place, proof) for place, proof in enumerate(found.proofs)),
        *headlines,
        *_costs(source, found)[1:],
    )
    return Section(
        name="sizing",
        title="Sizes for a yield",
        lead=(
            ("All trials see the same dies. The chosen sizes are proven on fresh dies, which no trial has seen.",),
            ("Energy and area are estimates.",),
        ),
        headlines=headlines,
        facts=tuple(dict.fromkeys(facts)),
        table=Table(header=("size or figure", "own sizes", "chosen sizes"), rows=rows),
        figures=() if drawn is None else (drawn,),
        compared=tuple((str(row[0]), row[2]) for row in rows),
    )


def _rows(source: ResultFile, found: SizingResult) -> tuple[tuple[str, Cell, Cell], ...]:
    """Sizes and the figures that follow from them, of the technology and of the chosen trial."""
    chosen = {} if found.chosen is None else dict(found.chosen.sizes)
    rows: list[tuple[str, Cell, Cell]] = []
    for name in dict.fromkeys((*found.own_sizes, *chosen)):
        cells = [
            source.fact(f"{name}, {whose}", f"{at}/{name}", lambda value, name=name: tables.size(name, value))
            if name in sizes
            else ABSENT
            for whose, at, sizes in (
                ("own sizes", "own_sizes", found.own_sizes),
                ("chosen sizes", "chosen/sizes", chosen),
            )
        ]
        fixed = f"{name} (fixed)" if name in found.fixed else name
        rows.append((fixed, cells[0], cells[1]))
    for name, label, show in tables.figures(found.own):
        own, of_chosen = (
            ABSENT
            if figures is None
            else "none"
            if getattr(figures, name) is None
            else source.fact(f"{label}, {whose}", f"{at}/{name}", show)
            for whose, at, figures in (("own sizes", "own", found.own), ("chosen sizes", "figures", found.figures))
        )
        rows.append((label, own, of_chosen))
    return tuple(rows)


def _proof(source: ResultFile, place: int, proof: Proof) -> Fact:
    at = f"proofs/{place}"
    verdict = "passed" if proof.passed else "not passed"
    spice = f"; {proof.spice_dies} of them in ngspice too, {proof.spice_unexplained} decisions differ unexplained"
    return source.fact(
        f"proof {place + 1}, seed {proof.seed}",
        (f"{at}/good", f"{at}/dies", f"{at}/bound"),
        lambda good, dies, bound: (
            f"{part_of(good, dies)} fresh dies good, yield at least {percent(bound)}: {verdict}"
            f"{spice if proof.spice_dies else ''}"
        ),
    )


def _limits(source: ResultFile, found: SizingResult) -> Section:
    lead: list[Prose] = [
        ("Each class of elements is varied alone, and then all classes except it. The first limits the yield most.",)
    ]
    if found.limited_by:
        lead.append((f"The yield is limited by {'; then by '.join(found.limited_by)}.",))
    rows = tuple(
        (
            limit.law,
            source.fact(f"{limit.element} alone: decisions as in software", f"{at}/agreement_alone", percent),
            source.fact(f"{limit.element} not varied: yield", f"{at}/yield_without", percent),
        )
        for limit, at in ((limit, f"limits/{place}") for place, limit in enumerate(found.limits))
    )
    return Section(
        name="sizing-limits",
        title="Limits of the yield",
        lead=tuple(lead),
        table=Table(header=("law: sizes", "varied alone: decisions as in software", "not varied: yield"), rows=rows),
    )


def _methods(source: ResultFile, found: SizingResult, trials: Fact, seed: Fact) -> tuple[Prose, ...]:
    proof: Prose = (
        ("The exported sizes were simulated on ", _headlines(source, found)[1], " fresh dies.") if found.proof else ()
    )
    optimizer = source.fact("optuna", "versions/optuna", str) if source.has("versions/optuna") else "?"
    return (
        (
            "Sizes were searched in ",
            trials,
            " trials (seed ",
            seed,
            f") for the least {found.minimise}, by a tree-structured Parzen estimator (Optuna ",
            optimizer,
            ").",
        ),
        *((proof,) if proof else ()),
    )


def _verdict(found: SizingResult, headlines: tuple[Fact, ...], goal: Fact) -> Prose:
    if found.proof is None:
        return ("No sizes reach a yield of ", goal, ": the best trial has ", headlines[0], ". ")
    bound, good, *energy = headlines
    reached: Prose = () if found.reached else ("A yield of ", goal, " is not proven: ")
    said: Prose = ("the" if reached else "The", " yield is at least ", bound, ", from ", good, " fresh dies. ")
    if not energy:
        return (*reached, *said)
    return (*said, "The sizes take ", energy[0], " per timestep. Quote it as an estimate. ")


def _clause(found: SizingResult, headlines: tuple[Fact, ...]) -> Prose:
    if found.proof is None:
        return ()
    said: Prose = ("yield at least ", headlines[0])
    return (headlines[2], " per timestep, estimated; ", *said) if len(headlines) > 2 else said
