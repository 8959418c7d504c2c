"""A comparison of software with SPICE in a report."""

from __future__ import annotations

from cmru_hw.analysis.comparison import ComparisonResult
from cmru_hw.core.units import count, percent, plain, si
from cmru_hw.nn.one_score import ONE_SCORE
from cmru_hw.report.facts import Fact, Figure, Prose, ResultFile, Section
from cmru_hw.report.published import Own
from cmru_hw.report.run import Run, clamped, copied, level_excludes, netlist_of, part_of, versions


def comparison(source: ResultFile, found: ComparisonResult) -> Run:
    """A folder of ``cmru-hw compare -o``."""
    agree = source.fact("decisions as in software", ("decisions/agree", "decisions/total"), part_of)
    alike = _classes(source)
    excluded = source.fact(
        "too close to call",
        "decisions/excluded",
        count,
        meaning="closer to a threshold than the resolution and the errors of the states that the unit reads; counted "
        "neither as agreement nor as difference",
    )
    unit = "V" if found.decisions.resolution_V is not None else "A"
    resolution = source.fact("resolution", f"decisions/resolution_{unit}", lambda v: si(v, unit))
    errors = _errors(source, found)
    sequences = source.fact("sequences", "classification/total", count)
    lead: tuple[Prose, ...] = (
        (
            "At every timestep, every unit (a recurrent neuron) moves its state up, holds it, or moves it down. "
            "Circuit and software are the same network if all these decisions and all states agree.",
        ),
        ("Here ", agree, " decisions agree. ", *_class_sentence(found, alike)),
    )
    scope = (
        f"{found.level} level, technology {found.technology}, "
        f"{found.provenance.versions.get('simulator', 'simulator not stated')}"
    )
    classes: tuple[Fact, ...] = () if found.classification.one_score else (alike,)
    section = Section(
        name="comparison",
        title="Software compared with SPICE",
        lead=lead,
        headlines=(agree, *classes, *errors[:1]),
        facts=(agree, _differ(source), excluded, resolution, *_tolerance(source), *_margin(source, found, unit),
               *errors, alike, *_not_judged(source, found), *_others(source, found), *clamped(source)),
        figures=_figures(source),
    )  # fmt: skip
    return Run(
        source=source,
        kind="comparison",
        title="software compared with SPICE",
        level=source.fact("level", "level", str),
        scope=(sequences, " sequences"),
        netlist=netlist_of(source),
        versions=versions(source),
        sections=(section,),
        methods=(_methods(source, sequences, resolution),),
        excludes=(
            (excluded, " decisions were too close to call and are not counted."),
            *level_excludes(found.level),
        ),
        verdict=("The circuit makes ", agree, " decisions as the software does. "),
        clause=(agree, " decisions as in software"),
        own=(*(Own(measure="classes", fact=fact, scope=scope) for fact in classes), *_suppression(source, scope)),
    )


def _classes(source: ResultFile) -> Fact:
    keys = ("classification/agree", "classification/total")
    if source.has("classification/one_score") and source.value("classification/one_score"):
        return source.fact(
            "sequences classified as in software", "classification/one_score", lambda _: "not judged", meaning=ONE_SCORE
        )
    return source.fact("sequences classified as in software", keys, part_of)


def _class_sentence(found: ComparisonResult, alike: Fact) -> Prose:
    if found.classification.one_score:
        return ("The network has one score, which is no classification.",)
    return (alike, " sequences get the same class.")


def _not_judged(source: ResultFile, found: ComparisonResult) -> list[Fact]:
    if not found.classification.not_judged or found.classification.one_score:
        return []
    keys = ("classification/close", "classification/followed")
    meaning = "two scores closer than the readout's error, or a class that follows from a decision too close to call"
    return [
        source.fact("sequences not judged", keys, lambda a, b: count(a + b), rule="close + followed", meaning=meaning)
    ]


def _tolerance(source: ResultFile) -> list[Fact]:
    key = "decisions/largest_tolerance_V"
    if not source.has(key):
        return []
    meaning = "resolution, and how far the errors of states move the row that they move most"
    return [source.fact("largest tolerance of a row", key, lambda v: si(v, "V"), meaning=meaning)]


def _differ(source: ResultFile) -> Fact:
    return source.fact(
        "decisions that differ",
        ("decisions/total", "decisions/agree", "decisions/excluded"),
        lambda total, same, out: count(total - same - out),
        rule="total − agree − excluded",
    )


def _margin(source: ResultFile, found: ComparisonResult, unit: str) -> list[Fact]:
    if found.decisions.smallest_margin_V is None and found.decisions.smallest_margin_A is None:
        return []
    meaning = "smallest distance of a decision from its threshold, in software"
    place = f"decisions/smallest_margin_{unit}"
    return [source.fact("smallest margin that counted", place, lambda v: si(v, unit), meaning=meaning)]


def _errors(source: ResultFile, found: ComparisonResult) -> list[Fact]:
    """The largest errors of a state and of a readout, where they are finite."""
    facts = []
    if found.level_error_max is not None:
        unit = "of the swing" if found.level_error_unit.startswith("share") else "of a level"
        facts.append(
            source.fact(
                "largest state error",
                "level_error_max",
                lambda v: f"{percent(v)} {unit}",
                meaning="between the stored state and its level in software, over all units and timesteps",
            )
        )
    if found.logit_error_max is not None:
        meaning = "of the largest readout"
        facts.append(source.fact("largest readout error", "logit_error_max", percent, meaning=meaning))
    return facts


def _others(source: ResultFile, found: ComparisonResult) -> list[Fact]:
    facts = []
    for who, correct in (
        ("software", found.classification.correct_software),
        ("circuit", found.classification.correct_circuit),
    ):
        if correct is not None:
            keys = (f"classification/correct_{who}", "classification/total")
            facts.append(source.fact(f"classified correctly by {who}", keys, part_of))
    if found.first_divergence is not None:
        places = tuple(f"first_divergence/{name}" for name in ("sequence", "timestep", "layer", "unit"))
        facts.append(source.fact("first difference", places, _divergence))
    if found.swing_used is not None:
        meaning = "largest state, as a share of the intended swing"
        facts.append(source.fact("swing used", "swing_used", percent, meaning=meaning))
    return facts


def _methods(source: ResultFile, sequences: Fact, resolution: Fact) -> Prose:
    return (
        "It was simulated in ",
        source.fact("simulator", "versions/simulator", str),
        " on ",
        sequences,
        " sequences and compared with the same network in double precision, decision by decision; decisions with a "
        "margin below ",
        resolution,
        ", or below the effect of state errors on the row, are too close to call.",
    )


def _figures(source: ResultFile) -> tuple[Figure, ...]:
    folder = source.path.parent
    unit = "One unit in SPICE: its candidate and thresholds, its rows, its decisions, and its state, compared with " \
        "software."  # fmt: skip
    states = "All units over one sequence, and the difference between circuit and software."
    figures = (copied(folder, "unit", source, unit), copied(folder, "states", source, states))
    return tuple(figure for figure in figures if figure is not None)


def _suppression(source: ResultFile, scope: str) -> list[Own]:
    key = "error_rms/suppression"
    if not source.has(key):
        return []
    fact = source.fact(
        "error suppression",
        key,
        lambda v: f"{plain(v)} times",
        meaning="relative rms error of candidates over that of outputs",
    )
    return [Own(measure="suppression", fact=fact, scope=scope)]


def _divergence(sequence: int, timestep: int, layer: int, unit: int) -> str:
    return f"sequence {sequence}, timestep {timestep}, layer {layer}, unit {unit}"
