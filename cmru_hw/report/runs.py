"""Result folders → sections of a report.

A kind of run is one function from a folder to a :class:`Run`, and one line in KINDS with the keys that identify it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cmru_hw.core.errors import InputError
from cmru_hw.core.units import count, percent, si
from cmru_hw.report.facts import Fact, Figure, Prose, Section, Source, Table
from cmru_hw.report.power import corners, energy, retention
from cmru_hw.report.published import Own
from cmru_hw.report.run import Run, copied, level_excludes, short, versions
from cmru_hw.report.variation_names import meaning
from cmru_hw.report.versus import versus

# Confidence of the statement on undetected flaws; the interval of the yield has 95 % as well.
CONFIDENCE = 0.95
# Number of classes of elements in the figure of the ranking: more are not legible on a page.
DRAWN = 10


def read(path: Path) -> list[Run]:
    """The runs in folder ``path``, including a design folder in it; or the run of a file that versus wrote.

    Raises InputError.
    """
    candidates: list[tuple[Path, tuple[str, ...], Callable[[Source], Run]]]
    if path.is_file():
        candidates = [(path, SIDE_BY_SIDE, versus)]
    elif path.is_dir():
        candidates = [(path / name, known_by, make) for name, known_by, make in KINDS]
    else:
        raise InputError(f"{path} does not exist: give {TAKEN}")
    found = []
    for file, known_by, make in candidates:
        source = Source(path=file, command="")
        if file.is_file() and all(source.has(key) for key in known_by):
            command = source.value("command") if source.has("command") else ""
            found.append(make(replace(source, command=str(command))))
    if (path / "design" / "design.json").is_file():
        # the demo writes its design into the same folder
        (inner,) = read(path / "design")
        found.insert(0, inner)
    if not found:
        raise InputError(f"{path} contains no results for a report: give {TAKEN}")
    return found


# --- design ------------------------------------------------------------------------------------------------------


def _design(source: Source) -> Run:
    folder = source.path.parent
    model = Source(path=folder / "model.safetensors", command=source.command)
    cell = model.fact("cell", "cell", str.upper, meaning="kind of recurrent unit")
    units = model.fact("units", "units", _sizes, meaning="recurrent units in each layer")
    facts = [
        cell,
        model.fact("inputs", "features", str, meaning="features per timestep"),
        units,
        model.fact("levels", ("levels", "cell"), _levels, meaning="values of a state"),
        model.fact("classes", "classes", lambda names: str(len(names)), rule="number of names"),
        model.fact("decision", "decision", str, meaning="how the readouts of all timesteps give one class"),
    ]
    if model.has("task/data"):
        facts.append(model.fact("data", "task/data", str))
    if model.has("task/split"):
        facts.append(model.fact("split", "task/split", str))
    if model.has("scores/test"):
        facts.append(model.fact("test score in software", "scores/test", percent, meaning="whole test split"))
    if model.has("training/command") and model.value("training/command"):
        facts.append(model.fact("trained by", "training/command", str))
    technology = source.fact("technology", "technology/name", str)
    # a technology with a single level has no entry for it; the folder then has one
    place = "technology/level" if source.has("technology/level") else "level"
    level = source.fact("level", place, str, meaning=LEVELS.get(source.value(place), ""))
    digest = source.fact("model sha256", "model_sha256", short, rule="first 12 digits")
    facts += [
        digest,
        source.fact("architecture", "architecture", _title),
        technology,
        level,
        source.fact("source of its numbers", "technology/source", str),
    ]
    for key in ("technology/timing/timestep", "technology/timestep"):
        if source.has(key):
            seconds = "one input vector, one step of every unit"
            facts.append(source.fact("timestep", key, lambda s: si(s, "s"), meaning=seconds))
    if source.has("deviations"):
        meaning = "rounded or left out; listed in mapping.csv"
        facts.append(source.fact("changed weights", "deviations", count, meaning=meaning))
    netlist = source.fact("netlist sha256", "files/network.cir", short, rule="first 12 digits")
    facts.append(netlist)
    lead: Prose = (
        "A trained network whose states have few levels, and its circuit",
        _unit(source.value("architecture")),
        ". The netlist is network.cir in ",
        str(folder),
        "; to run it, use ngspice deck.cir.",
    )
    methods: Prose = (
        "A ",
        cell,
        " network with layers of ",
        units,
        " units was mapped to a circuit in technology ",
        technology,
        " (",
        level,
        " level).",
    )
    return Run(
        source=source,
        kind="design",
        title="design",
        level=level,
        scope=(cell, ", ", units, " units, in technology ", technology, "; model ", digest),
        netlist=netlist,
        versions=source.fact("cmru_hw", "cmru_hw", lambda v: f"cmru_hw {v}"),
        sections=(Section(name="design", title="The network and its circuit", lead=(lead,), facts=tuple(facts)),),
        methods=(methods,),
        excludes=level_excludes(source.value(place)),
    )


# --- software against SPICE --------------------------------------------------------------------------------------


def _comparison(source: Source) -> Run:
    agree = source.fact("decisions as in software", ("decisions/agree", "decisions/total"), _of)
    alike = source.fact("sequences classified as in software", ("classification/agree", "classification/total"), _of)
    differ = source.fact(
        "decisions that differ",
        ("decisions/total", "decisions/agree", "decisions/excluded"),
        lambda total, same, out: count(total - same - out),
        rule="total − agree − excluded",
    )
    excluded = source.fact(
        "too close to call",
        "decisions/excluded",
        count,
        meaning="margin below the resolution, or a consequence of such a decision; counted neither as agreement nor as "
        "difference",
    )
    volts = "V" if source.has("decisions/resolution_V") else "A"
    resolution = source.fact("resolution", f"decisions/resolution_{volts}", lambda v: si(v, volts))
    unit = "of the swing" if source.value("level_error_unit").startswith("share") else "of a level"
    error = source.fact(
        "largest state error",
        "level_error_max",
        lambda v: f"{percent(v)} {unit}",
        meaning="between the stored state and its level in software, over all units and timesteps",
    )
    facts = [
        agree,
        differ,
        excluded,
        resolution,
        source.fact(
            "smallest margin that counted",
            f"decisions/smallest_margin_{volts}",
            lambda v: si(v, volts),
            meaning="smallest distance of a decision from its threshold, in software",
        ),
        error,
        source.fact("largest readout error", "logit_error_max", lambda v: f"{v:.2g}", meaning="of the largest readout"),
        alike,
    ]
    if source.has("classification/correct_circuit"):
        for who in ("software", "circuit"):
            keys = (f"classification/correct_{who}", "classification/total")
            facts.append(source.fact(f"classified correctly by {who}", keys, _of))
    if source.has("first_divergence"):
        facts.append(source.fact("first difference", "first_divergence", _divergence))
    facts.append(
        source.fact("swing used", "swing_used", percent, meaning="largest state, as a share of the intended swing")
    )
    level = source.fact("level", "level", str)
    simulator = source.fact("simulator", "versions/simulator", str)
    sequences = source.fact("sequences", "classification/total", count)
    netlist = source.fact("netlist sha256", "netlist_sha256", short, rule="first 12 digits")
    folder = source.path.parent
    figures = (
        copied(
            folder,
            "unit",
            source,
            "One unit in SPICE: its candidate and thresholds, its rows, its decisions, and its state, compared with "
            "software.",
        ),
        copied(
            folder, "states", source, "All units over one sequence, and the difference between circuit and software."
        ),
    )
    lead: Prose = (
        "At every timestep, every unit (a recurrent neuron) moves its state up, holds it, or moves it down. Circuit "
        "and software are the same network if all these decisions and all states agree. Here ",
        agree,
        " decisions agree, and ",
        alike,
        " sequences get the same class.",
    )
    methods: Prose = (
        "It was simulated in ",
        simulator,
        " on ",
        sequences,
        " sequences and compared with the same network in double precision, decision by decision; decisions with a "
        "margin below ",
        resolution,
        " are too close to call.",
    )
    left_out: Prose = (excluded, " decisions were too close to call and are not counted.")
    scope = (
        f"the design of this report; {source.value('level')} level, technology {source.value('technology')}, "
        f"{source.value('versions/simulator')}"
    )
    return Run(
        source=source,
        kind="comparison",
        title="software compared with SPICE",
        level=level,
        scope=(sequences, " sequences"),
        netlist=netlist,
        versions=versions(source),
        sections=(
            Section(
                name="comparison",
                title="Software compared with SPICE",
                lead=(lead,),
                headlines=(agree, alike, error),
                facts=tuple(facts),
                figures=tuple(figure for figure in figures if figure is not None),
            ),
        ),
        methods=(methods,),
        excludes=(left_out, *level_excludes(source.value("level"))),
        own=(Own(measure="classes", fact=alike, scope=scope), *_suppression(source, scope)),
    )


def _suppression(source: Source, scope: str) -> list[Own]:
    key = "error_rms/suppression"
    if not source.has(key):
        return []
    fact = source.fact(
        "error suppression",
        key,
        lambda v: f"{v:.3g} times",
        meaning="relative rms error of candidates over that of outputs",
    )
    return [Own(measure="suppression", fact=fact, scope=scope)]


# --- Monte-Carlo -------------------------------------------------------------------------------------------------


def _montecarlo(source: Source) -> Run:
    yielded = source.fact("yield", "yield/value", percent, meaning="share of dies that do the task")
    interval = source.fact(
        "95 % interval of the yield",
        ("yield/ci95/0", "yield/ci95/1"),
        lambda low, high: f"{percent(low)} to {percent(high)}",
        meaning="Clopper-Pearson confidence interval for the yield of all such dies",
    )
    dies = source.fact("dies", "dies", count)
    seed = source.fact("seed", "seed", str, meaning="together with its number it determines a die")
    drop = source.fact("accepted drop", "drop", percent)
    software = source.fact("accuracy in software", "accuracy/software", percent)
    agreement = "decision_agreement"
    facts = [
        dies,
        seed,
        source.fact(
            "good dies",
            ("yield/k", "yield/n"),
            _of,
            meaning="their accuracy is at most the accepted drop below software",
        ),
        yielded,
        interval,
        drop,
        software,
        *(
            source.fact(name, f"accuracy/{key}", percent)
            for name, key in (
                ("accuracy of the median die", "median"),
                ("accuracy exceeded by 95 % of dies", "p05"),
                ("accuracy of the worst die", "min"),
            )
            if source.has(f"accuracy/{key}")
        ),
        source.fact("dies that failed to simulate", "failed", count, meaning="counted as bad"),
    ]
    if source.has(agreement):
        facts.append(source.fact("decisions as in software", agreement, percent, meaning="over all dies that ran"))
    flaw = source.fact(
        "smallest flaw that would have been seen",
        "yield/n",
        lambda n: percent(_seen(n)),
        rule=f"1 − {1 - CONFIDENCE:.2g}^(1/n)",
    )
    lead: list[Prose] = [
        (
            "Each die is the same design with its own mismatch and noise. A die is good if its accuracy is at most ",
            drop,
            " below software's ",
            software,
            ". Of ",
            dies,
            " dies, ",
            yielded,
            " are good.",
        ),
        (
            "With 95 % confidence, the yield of all such dies lies in ",
            interval,
            ". A flaw that affects at least ",
            flaw,
            " of all dies would have been seen with 95 % probability. A rarer one may not have been seen.",
        ),
    ]
    paired = _paired(source)
    level = source.fact("level", "level", str)
    netlist = source.fact("netlist sha256", "netlist_sha256", short, rule="first 12 digits")
    rows = Source(path=source.path.with_name("dies.parquet"), command=source.command)
    sections = [
        Section(
            name="montecarlo",
            title="Yield",
            lead=(*lead, *paired),
            headlines=(yielded, interval),
            facts=tuple(facts),
            figures=_die_figures(source, rows) if rows.path.is_file() else (),
        )
    ]
    if source.has("sensitivity/0"):
        sections.append(_sensitivity(source))
    varies = source.fact(
        "varied elements", "varies", lambda names: ", ".join(_classes(names)), rule="layers taken together"
    )
    engine = source.fact("engine", "engine", lambda name: str(ENGINES.get(name, name)))
    sequences = source.fact("sequences", "sequences", count)
    return Run(
        source=source,
        kind="montecarlo",
        title="Monte-Carlo",
        level=level,
        scope=(dies, " dies, seed ", seed, ", ", sequences, " sequences each, by ", engine),
        netlist=netlist,
        versions=versions(source),
        sections=tuple(sections),
        methods=(
            (
                dies,
                " dies (seed ",
                seed,
                ") were computed by ",
                engine,
                " on ",
                sequences,
                " sequences. Varied elements: ",
                varies,
                ". The interval of the yield is that of Clopper and Pearson (Biometrika 26, 404, 1934).",
            ),
        ),
        excludes=(
            (
                "Dies differ by mismatch and noise only. Temperature, supply voltage, process corner, ageing and "
                "layout are nominal.",
            ),
            (
                "Coefficients of mismatch and noise come from the technology file, which gives their sources and "
                "assumptions.",
            ),
            *level_excludes(source.value("level")),
        ),
    )


def _paired(source: Source) -> list[Prose]:
    """The agreement of the fast engine with SPICE on the same dies."""
    if not source.has("paired/agree"):
        return []
    return [
        (
            "On ",
            source.fact("dies in both engines", "paired/dies", count),
            " randomly chosen dies, ngspice and the fast engine agree in ",
            source.fact("decisions that agree in both engines", ("paired/agree", "paired/decisions"), _of),
            " decisions. Of the others, ",
            source.fact("unexplained", "paired/unexplained", count),
            " are not explained by a small margin.",
        )
    ]


def _die_figures(source: Source, rows: Source) -> tuple[Figure, ...]:
    def table() -> Any:
        import pyarrow.parquet as pq

        return pq.read_table(rows.path)

    def histogram(path: Path) -> None:
        from cmru_hw.analysis.montecarlo import plots, statistics

        interval = statistics.clopper_pearson(source.value("yield/k"), source.value("yield/n"))
        plots.dies(table(), source.value("accuracy/software"), source.value("drop"), interval, path)

    def by_drop(path: Path) -> None:
        from cmru_hw.report import figures

        figures.yield_by_drop(table(), source.value("accuracy/software"), source.value("drop"), path)

    return (
        Figure(
            name="dies",
            caption="Accuracy of the dies, and the share of their decisions that agree with software.",
            source=rows,
            draw=histogram,
        ),
        Figure(
            name="yield",
            caption="Yield of the same dies against the accepted loss of accuracy, with its 95 % interval.",
            source=rows,
            draw=by_drop,
        ),
    )


def _sensitivity(source: Source) -> Section:
    rows: list[tuple[str | Fact, ...]] = []
    for place, effect in enumerate(source.value("sensitivity")):
        at = f"sensitivity/{place}"
        rows.append(
            (
                source.fact("name", f"{at}/name", str),
                meaning(effect["name"]),
                *(
                    source.fact(f"{effect['name']}, {label}", f"{at}/{key}", show, rule=rule)
                    for label, key, show, rule in (
                        ("alone: decisions changed", "agreement_alone", _rest, "1 − agreement"),
                        ("alone: yield", "alone/value", percent, ""),
                        ("without: decisions changed", "agreement_without", _rest, "1 − agreement"),
                        ("without: yield", "without/value", percent, ""),
                    )
                ),
            )
        )

    def draw(path: Path) -> None:
        from cmru_hw.analysis.montecarlo import plots, statistics

        def effect(found: dict[str, Any]) -> statistics.Effect:
            sides = {
                side: statistics.clopper_pearson(found[side]["k"], found[side]["n"]) for side in ("alone", "without")
            }
            return statistics.Effect(**{**found, **sides})

        plots.sensitivity([effect(found) for found in source.value("sensitivity")[:DRAWN]], path)

    return Section(
        name="sensitivity",
        title="Sensitivity",
        lead=(
            (
                "Each class of elements is varied alone, and then all classes except it, on the same ",
                source.fact("dies for the ranking", "sensitivity/0/alone/n", count),
                " dies. The class with the largest effect is first. Changed decisions are those that differ from "
                "software. In a technology with imperfect parts, some differ even without variation, about as many in "
                "every line.",
            ),
        ),
        table=Table(
            header=(
                "elements",
                "meaning",
                "varied alone: changed decisions",
                "varied alone: yield",
                "not varied: changed decisions",
                "not varied: yield",
            ),
            rows=tuple(rows),
        ),
        figures=(
            Figure(
                name="sensitivity",
                caption="Changed decisions when one class of elements is varied alone, and when all except it are "
                f"varied. A short lower bar marks a class worth improving. The first {DRAWN}; the table has all.",
                source=source,
                draw=draw,
            ),
        ),
    )


KINDS: tuple[tuple[str, tuple[str, ...], Callable[[Source], Run]], ...] = (
    ("design.json", ("model_sha256", "technology"), _design),
    ("summary.json", ("decisions/agree", "classification"), _comparison),
    ("summary.json", ("yield/n", "dies"), _montecarlo),
    ("energy.json", ("per_timestep_J", "blocks"), energy),
    ("corners.json", ("corners", "asked"), corners),
    ("retention.json", ("temperatures", "worst_timesteps"), retention),
)
"""(file, keys that identify it, reader) of each kind of folder."""

SIDE_BY_SIDE = ("designs", "lines")
TAKEN = "a folder of export, compare -o, demo, montecarlo, energy -o, corners or retention, or the file of versus -o"

LEVELS = {
    "macro": "ideal switches, capacitors and comparators; their imperfections are parameters",
    "transistor": "MOSFETs of a real process",
}
ENGINES = {"fast": "the fast engine (equations of the circuit)", "spice": "ngspice"}


# --- how things are written --------------------------------------------------------------------------------------


def _title(architecture: str) -> str:
    from cmru_hw.circuits import registry

    return registry.get(architecture).title if architecture in registry.names() else architecture


def _unit(architecture: str) -> str:
    from cmru_hw.circuits import registry

    return f": each unit {registry.get(architecture).unit}" if architecture in registry.names() else ""


def _of(part: int, whole: int) -> str:
    return f"{count(part)} of {count(whole)}"


def _rest(share: float) -> str:
    return percent(1 - share)


def _seen(dies: int) -> float:
    """The smallest share of bad dies for which a sample of ``dies`` contains one with probability CONFIDENCE."""
    return float(1 - (1 - CONFIDENCE) ** (1 / dies))


def _sizes(units: Sequence[int]) -> str:
    return " + ".join(map(str, units))


def _levels(levels: int | None, cell: str) -> str:
    if cell == "fq-bmru":
        return "0 or 1"
    return "integers, unbounded" if levels is None else f"−{levels} to +{levels}"


def _classes(names: Sequence[str]) -> list[str]:
    """The varied leaves, with those of all layers merged."""
    return sorted({name.split("/", 1)[1] if name.startswith("layer") else name for name in names})


def _divergence(found: dict[str, Any]) -> str:
    return "sequence {sequence}, timestep {timestep}, layer {layer}, unit {unit}".format(**found)
