"""Tables of a sweep: for people, CSV, Parquet and LaTeX. Every energy has its level in the same row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from cmru_hw.analysis.sweep.dies import DROP
from cmru_hw.analysis.sweep.result import SweepResult, SweepRow
from cmru_hw.core import latex
from cmru_hw.core.csv_text import csv_text
from cmru_hw.core.units import percent, si

YIELD_HEADER = ("network", "units", "architecture", "technology", "supply", "yield", "95 % interval", "dies", "level")
YIELD = f"share of dies whose accuracy is at most {percent(DROP)} below software's"
ABSENT = "\N{EN DASH}"
REFUSED_HEADER = ("network", "architecture", "supply", "reason")
_END = (r"\bottomrule", r"\end{tabular}", r"\end{table*}")

PAPER = rf"""% A two-column document with the table and the figure of this sweep. The table needs booktabs and siunitx.
\documentclass[twocolumn,10pt]{{article}}
{latex.PACKAGES}\begin{{document}}
\input{{sweep}}
\begin{{figure}}\centering
\IfFileExists{{sweep.pdf}}{{\includegraphics[width=\linewidth]{{sweep.pdf}}}}{{}}
\caption{{Energy per timestep. Open marks are estimates, filled marks are simulated.}}\label{{fig:sweep}}
\end{{figure}}
\end{{document}}
"""


def columns(result: SweepResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows for a terminal: one row for each network, architecture, technology and corner, with one column
    for each supply. The range of a digital estimate, the classes that stay and the area are those of the highest."""
    supplies = sorted({row.vdd_V for row in result.finished})
    places = len({(row.technology, row.corner) for row in result.finished}) > 1
    of_any = [row for row in result.finished if row.classes_agree is not None]
    top = f"at {supplies[-1]:g} V" if supplies else ""
    header = (
        "network",
        "units",
        "architecture",
        *(("technology", "corner") if places else ()),
        "level",
        *(f"{vdd:g} V" for vdd in supplies),
        f"range {top}",
        "best supply",
        *(("classes kept",) if of_any else ()),
        f"area {top}",
    )
    rows = []
    for group in _grouped(result.finished):
        first, last = group[0], group[-1]
        cells = {row.vdd_V: si(row.per_timestep_J or 0.0, "J", 3) for row in group}
        rows.append(
            (
                first.network,
                str(first.units),
                first.title,
                *((first.technology, first.corner) if places else ()),
                first.level,
                *(cells.get(vdd, ABSENT) for vdd in supplies),
                _range(last),
                _best(last),
                *(("" if last.classes_agree is None else percent(last.classes_agree),) if of_any else ()),
                "" if last.area_m2 is None else f"{last.area_m2 * 1e12:.0f} µm²",
            )
        )
    return header, rows


def refused(result: SweepResult) -> list[tuple[str, ...]]:
    """Rows for a terminal: what could not be computed, with the supplies and the reason."""
    found: dict[tuple[str, ...], list[str]] = {}
    for row in result.rows:
        if not row.done:
            found.setdefault((row.network, row.title, row.status), []).append(f"{row.vdd_V:g}")
    return [
        (network, title, f"{', '.join(dict.fromkeys(supplies))} V", status)
        for (network, title, status), supplies in found.items()
    ]


def _range(row: SweepRow) -> str:
    if row.low_J is None or row.high_J is None:
        return ""
    return f"{si(row.low_J, 'J', 3)} to {si(row.high_J, 'J', 3)}"


def _best(row: SweepRow) -> str:
    if row.least_J is None or row.least_vdd_V is None:
        return ""
    return f"{si(row.least_J, 'J', 3)} at {row.least_vdd_V:g} V"


def yields(result: SweepResult) -> list[tuple[str, ...]]:
    """Rows for a terminal: the yield of each row that has one."""
    return [
        (
            row.network,
            str(row.units),
            row.title,
            row.technology,
            f"{row.vdd_V:g} V",
            percent(row.yield_[0]),
            f"{percent(row.yield_[1])} to {percent(row.yield_[2])}",
            str(row.dies),
            str(row.yield_level),
        )
        for row in result.finished
        if row.yield_ is not None
    ]


def as_csv(result: SweepResult) -> str:
    names = [field.name for field in fields(SweepRow)]
    return csv_text(names, [["" if value is None else value for value in asdict(row).values()] for row in result.rows])


def write_parquet(result: SweepResult, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = [asdict(row) for row in result.rows]
    kinds = {name: pa.int64() for name in ("units", "transistors", "dies", "yield_k")}
    schema = pa.schema(
        [
            (
                field.name,
                kinds.get(field.name)
                or (pa.float64() if "float" in str(field.type) or _number(field.name) else pa.string()),
            )
            for field in fields(SweepRow)
        ]
    )
    pq.write_table(pa.Table.from_pylist(plain, schema=schema), path)


def _number(name: str) -> bool:
    return name.endswith(("_V", "_J", "_m2"))


def as_latex(result: SweepResult) -> str:
    """A ``table*`` with one column per supply, for a two-column paper with booktabs and siunitx.

    Energies of one network and architecture are one row, in one unit, with the level in words.
    """
    supplies = sorted({row.vdd_V for row in result.finished})
    volts = [latex.prose(f"{vdd:g} V") for vdd in supplies]
    top = f" at {volts[-1]}" if volts else ""
    header = ("network", "units", "architecture", "level", *volts, f"range{top}", "best supply")
    lines = [
        "% needs \\usepackage{booktabs,siunitx}; no other change",
        r"\begin{table*}\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{_caption(result)}}}\label{{tab:sweep}}",
        rf"\begin{{tabular}}{{lrll{'r' * len(supplies)}rr}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
    ]
    before = ""
    for group in _grouped(result.finished):
        if before and group[0].network != before:
            lines.append(r"\addlinespace")
        before = group[0].network
        lines.append(" & ".join(_latex_row(group, supplies)) + r" \\")
    return "\n".join([*lines, *_END, *_latex_yields(result), ""])


def _latex_yields(result: SweepResult) -> list[str]:
    """A second ``table*``: yields with their intervals, one column per supply; nothing without any."""
    found = [row for row in result.finished if row.yield_ is not None]
    if not found:
        return []
    supplies = sorted({row.vdd_V for row in found})
    dies = ", ".join(str(count) for count in sorted({row.dies or 0 for row in found}))
    lines = [
        r"\begin{table*}\centering\small",
        rf"\caption{{Yield ({_places(result)}): share of {dies} dies whose accuracy is at most \qty{{{100 * DROP:g}}}"
        r"{\percent} below that of software, and its 95\,\% interval (Clopper and Pearson).}\label{tab:sweep-yield}",
        rf"\begin{{tabular}}{{lrll{'r' * len(supplies)}}}",
        r"\toprule",
        " & ".join(("network", "units", "architecture", "dies by", *(latex.prose(f"{v:g} V") for v in supplies)))
        + r" \\",
        r"\midrule",
    ]
    for group in _grouped(found):
        first = group[0]
        cells = {row.vdd_V: _latex_yield(row) for row in group}
        row = [
            latex.escape(first.network),
            str(first.units),
            first.title,
            str(first.yield_level),
            *(cells.get(v, "--") for v in supplies),
        ]
        lines.append(" & ".join(row) + r" \\")
    return [*lines, *_END]


def _latex_yield(row: SweepRow) -> str:
    if row.yield_ is None:
        return "--"
    value, low, high = (f"{100 * share:.1f}" for share in row.yield_)
    return rf"{latex.prose(f'{value} %')} ({low}--{high})"


def _places(result: SweepResult) -> str:
    places = sorted({f"{row.technology}, {row.corner}" for row in result.finished})
    return latex.prose("; ".join(places))


def _caption(result: SweepResult) -> str:
    return (
        f"Energy per timestep ({_places(result)}) at each supply, with the range of a digital estimate, and of digital "
        "logic at its supply of least energy. A row is simulated only if all transistors of the network were. Wires "
        "and input drivers are not included."
    )


def _grouped(found: Sequence[SweepRow]) -> list[list[SweepRow]]:
    """Rows of one network, architecture, technology and corner, by supply."""
    groups: dict[tuple[str, ...], list[SweepRow]] = {}
    for row in found:
        key = (row.network, row.architecture, row.technology, row.corner)
        groups.setdefault(key, []).append(row)
    return [sorted(group, key=lambda row: row.vdd_V) for group in groups.values()]


def _latex_row(group: Sequence[SweepRow], supplies: Sequence[float]) -> list[str]:
    first, last = group[0], group[-1]
    cells = {row.vdd_V: latex.joules(row.per_timestep_J) for row in group}
    ranged = "" if last.low_J is None else f"{latex.joules(last.low_J)} to {latex.joules(last.high_J)}"
    best = ""
    if last.least_J is not None:
        best = f"{latex.joules(last.least_J)} at {latex.prose(f'{last.least_vdd_V:g} V')}"
    name = latex.escape(first.network)
    return [name, str(first.units), first.title, first.level, *(cells.get(vdd, "--") for vdd in supplies), ranged, best]
