"""A Monte-Carlo in a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmru_hw.analysis.montecarlo.result import Effect, MonteCarloResult, PairedDies
from cmru_hw.core.units import count, percent
from cmru_hw.report.facts import Fact, Figure, Prose, ResultFile, Section, Table
from cmru_hw.report.run import Run, clamped, level_excludes, netlist_of, part_of, versions
from cmru_hw.report.variation_names import meaning

if TYPE_CHECKING:
    import pyarrow as pa

# Confidence of the statement on undetected flaws; the interval of the yield has 95 %, too.
CONFIDENCE = 0.95
# Number of classes of elements in the figure of the ranking. More would not be legible on a page.
DRAWN = 10
ENGINES = {"fast": "the fast engine (equations of the circuit)", "spice": "ngspice"}


def montecarlo(source: ResultFile, found: MonteCarloResult) -> Run:
    """A folder of ``cmru-hw montecarlo``."""
    dies = source.fact("dies", "dies", count)
    seed = source.fact("seed", "seed", str, meaning="together with its number it determines a die")
    sections = [_yield(source, found, dies, seed)]
    if found.sensitivity:
        sections.append(_sensitivity(source, found.sensitivity))
    varies = source.fact(
        "varied elements", "varies", lambda names: ", ".join(_classes(names)), rule="layers taken together"
    )
    engine = source.fact("engine", "engine", lambda name: str(ENGINES.get(name, name)))
    sequences = source.fact("sequences", "sequences", count)
    return Run(
        source=source,
        kind="montecarlo",
        title="Monte-Carlo",
        level=source.fact("level", "level", str),
        scope=(dies, " dies, seed ", seed, ", ", sequences, " sequences each, by ", engine),
        netlist=netlist_of(source),
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
            *level_excludes(found.level),
        ),
        verdict=("Under mismatch, the yield is ", sections[0].headlines[0], ". "),
        clause=("yield ", sections[0].headlines[0]),
    )


def _yield(source: ResultFile, found: MonteCarloResult, dies: Fact, seed: Fact) -> Section:
    yielded = source.fact("yield", "yield/value", percent, meaning="share of dies that do the task")
    interval = source.fact(
        "95 % interval of the yield",
        ("yield/ci95/0", "yield/ci95/1"),
        lambda low, high: f"{percent(low)} to {percent(high)}",
        meaning="Clopper-Pearson confidence interval for the yield of all such dies",
    )
    drop = source.fact("accepted drop", "drop", percent)
    software = source.fact("accuracy in software", "accuracy/software", percent)
    good = source.fact(
        "good dies",
        ("yield/k", "yield/n"),
        part_of,
        meaning="their accuracy is at most the accepted drop below software",
    )
    meant: Prose = (
        "Each die is the same design with its own mismatch and noise. A die is good if its accuracy is at most the "
        "accepted drop below that of software.",
    )
    lead: Prose = (
        "The accepted drop is ",
        drop,
        ", and software has ",
        software,
        ". Of ",
        dies,
        " dies, ",
        yielded,
        " are good.",
    )
    rows = ResultFile(path=source.path.with_name("dies.parquet"), command=source.command)
    return Section(
        name="montecarlo",
        title="Yield",
        lead=(meant, lead, _confidence(source, interval), *_paired(source, found)),
        headlines=(yielded, interval),
        facts=(dies, seed, good, yielded, interval, drop, software, *_scores(source, found), *clamped(source)),
        figures=_die_figures(found, rows) if rows.path.is_file() else (),
    )


def _confidence(source: ResultFile, interval: Fact) -> Prose:
    """The yield of all such dies, and the smallest flaw that would have been seen."""
    flaw = source.fact(
        "smallest flaw that would have been seen",
        "yield/n",
        lambda n: percent(_seen(n)),
        rule=f"1 − {1 - CONFIDENCE:.2g}^(1/n)",
    )
    return (
        "With 95 % confidence, the yield of all such dies lies in ",
        interval,
        ". A flaw that affects at least ",
        flaw,
        " of all dies would have been seen with 95 % probability. A rarer one may not have been seen.",
    )


def _scores(source: ResultFile, found: MonteCarloResult) -> list[Fact]:
    accuracy = found.accuracy
    facts = [
        source.fact(name, f"accuracy/{key}", percent)
        for name, key, value in (
            ("accuracy of the median die", "median", accuracy.median),
            ("accuracy exceeded by 95 % of dies", "p05", accuracy.p05),
            ("accuracy of the worst die", "min", accuracy.min),
        )
        if value is not None
    ]
    facts.append(source.fact("dies that failed to simulate", "failed", count, meaning="counted as bad"))
    if found.trim is not None:
        facts.append(
            source.fact(
                "rows out of the range of their trim code",
                ("trim/rows_beyond", "trim/dies_beyond"),
                lambda rows, dies: f"{count(rows)} on {count(dies)} dies",
                meaning="offset trim, found by each die's own comparators",
            )
        )
    if found.decision_agreement is not None:
        meant = "over all dies that ran"
        facts.append(source.fact("decisions as in software", "decision_agreement", percent, meaning=meant))
    return facts


def _paired(source: ResultFile, found: MonteCarloResult) -> list[Prose]:
    """The agreement of the fast engine with SPICE on the same dies."""
    if not isinstance(found.paired, PairedDies):
        return []
    return [
        (
            "On ",
            source.fact("dies in both engines", "paired/dies", count),
            " randomly chosen dies, ngspice and the fast engine agree in ",
            source.fact("decisions that agree in both engines", ("paired/agree", "paired/decisions"), part_of),
            " decisions. Of the others, ",
            source.fact("decisions that differ between engines, unexplained", "paired/unexplained", count),
            " are not explained by a small margin.",
        )
    ]


def _die_figures(found: MonteCarloResult, rows: ResultFile) -> tuple[Figure, ...]:
    def table() -> pa.Table:
        import pyarrow.parquet as pq

        return pq.read_table(rows.path)

    def histogram(path: Path) -> None:
        from cmru_hw.analysis.montecarlo import plots

        plots.dies(table(), found.accuracy.software, found.drop, found.yield_, path)

    def by_drop(path: Path) -> None:
        from cmru_hw.report import figures

        figures.yield_by_drop(table(), found.accuracy.software, found.drop, path)

    return (
        Figure(
            name="dies",
            caption="Accuracy of the dies, and the share of their decisions that agree with software.",
            sources=(rows,),
            draw=histogram,
        ),
        Figure(
            name="yield",
            caption="Yield of the same dies against the accepted loss of accuracy, with its 95 % interval.",
            sources=(rows,),
            draw=by_drop,
        ),
    )


def _sensitivity(source: ResultFile, effects: Sequence[Effect]) -> Section:
    def draw(path: Path) -> None:
        from cmru_hw.analysis.montecarlo import plots

        plots.sensitivity(effects[:DRAWN], path)

    lead: tuple[Prose, ...] = (
        (
            "Each class of elements is varied alone, and then all classes except it, on the same dies. Changed "
            "decisions are those that differ from software. In a technology with imperfect parts, some differ even "
            "without variation, about as many in every line.",
        ),
        (
            "The class with the largest effect is first, of ",
            source.fact("dies for the ranking", "sensitivity/0/alone/n", count),
            " dies.",
        ),
    )
    rows = tuple(_effect(source, *numbered) for numbered in enumerate(effects))
    header = (
        "elements",
        "meaning",
        "varied alone: changed decisions",
        "varied alone: yield",
        "not varied: changed decisions",
        "not varied: yield",
    )
    figure = Figure(
        name="sensitivity",
        caption="Changed decisions when one class of elements is varied alone, and when all except it are "
        f"varied. A short lower bar marks a class worth improving. The first {DRAWN}; the table has all.",
        sources=(source,),
        draw=draw,
    )
    return Section(
        name="sensitivity",
        title="Sensitivity",
        lead=lead,
        table=Table(header=header, rows=rows),
        figures=(figure,),
        compared=tuple(
            (f"{effect.name} varied alone: changed decisions", row[2])
            for effect, row in zip(effects, rows, strict=True)
        ),
    )


def _effect(source: ResultFile, place: int, effect: Effect) -> tuple[str | Fact, ...]:
    at = f"sensitivity/{place}"
    columns = (
        ("alone: decisions changed", "agreement_alone", _rest, "1 − agreement"),
        ("alone: yield", "alone/value", percent, ""),
        ("without: decisions changed", "agreement_without", _rest, "1 − agreement"),
        ("without: yield", "without/value", percent, ""),
    )
    numbers = (
        source.fact(f"{effect.name}, {label}", f"{at}/{key}", show, rule=rule) for label, key, show, rule in columns
    )
    return (source.fact("name", f"{at}/name", str), meaning(effect.name), *numbers)


def _rest(share: float) -> str:
    return percent(1 - share)


def _seen(dies: int) -> float:
    """The smallest share of bad dies for which a sample of ``dies`` contains one with probability CONFIDENCE."""
    return float(1 - (1 - CONFIDENCE) ** (1 / dies))


def _classes(names: Sequence[str]) -> list[str]:
    """The varied leaves, with those of all layers merged."""
    return sorted({name.split("/", 1)[1] if name.startswith("layer") else name for name in names})
