"""Tables of a sweep: for people, CSV, Parquet and LaTeX. Every energy has its level in the same row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from cmru_hw.analysis.sweep.dies import DROP
from cmru_hw.analysis.sweep.result import SweepResult, SweepRow
from cmru_hw.core.csv_text import csv_text
from cmru_hw.core.units import percent, si

HEADER = ("network", "units", "architecture", "technology", "corner", "supply", "energy per timestep", "level", "area")
YIELD_HEADER = ("network", "units", "architecture", "technology", "supply", "yield", "95 % interval", "dies", "level")
YIELD = f"share of dies whose accuracy is at most {percent(DROP)} below software's"
MARKS = {"estimate": "e", "simulated": "s"}
_END = (r"\bottomrule", r"\end{tabular}", r"\end{table*}")
# (1e15, "femto") and so on: the largest unit that keeps the largest energy of a table above 1
_SCALES = ((1e15, r"\femto\joule"), (1e12, r"\pico\joule"), (1e9, r"\nano\joule"))

PAPER = r"""% A two-column document with the table and the figure of this sweep. The table needs booktabs and siunitx.
\documentclass[twocolumn,10pt]{article}
\usepackage{booktabs,graphicx}
\IfFileExists{siunitx.sty}{\usepackage{siunitx}}{% without siunitx: the two commands that the table uses
  \newcommand{\unit}[1]{\ensuremath{\mathrm{##1}}}\newcommand{\qty}[2]{##1\,\unit{##2}}%
  \newcommand{\femto}{f}\newcommand{\pico}{p}\newcommand{\nano}{n}\newcommand{\joule}{J}\newcommand{\volt}{V}%
  \newcommand{\percent}{\%}}
\begin{document}
\input{sweep}
\begin{figure}\centering
\IfFileExists{sweep.pdf}{\includegraphics[width=\linewidth]{sweep.pdf}}{}
\caption{Energy per timestep.}\label{fig:sweep}
\end{figure}
\end{document}
"""


def rows(result: SweepResult) -> list[tuple[str, ...]]:
    """Rows for a terminal."""
    return [
        (
            row.network,
            str(row.units),
            row.title,
            row.technology,
            row.corner,
            f"{row.vdd_V:g} V",
            _energy(row),
            row.level if row.done else "",
            "" if row.area_m2 is None else f"{row.area_m2 * 1e12:.0f} µm²",
        )
        for row in result.rows
    ]


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


def _energy(row: SweepRow) -> str:
    if row.per_timestep_J is None:
        return row.status
    text = si(row.per_timestep_J, "J", 3)
    if row.low_J is not None and row.high_J is not None:
        text += f" ({si(row.low_J, 'J', 3)} to {si(row.high_J, 'J', 3)})"
    if row.least_J is not None and row.least_vdd_V is not None:
        text += f"; at best {si(row.least_J, 'J', 3)}, {row.least_vdd_V:g} V"
    if row.classes_agree is not None:
        text += f"; {percent(row.classes_agree)} of classes stay"
    return text


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
    lines = [
        "% needs \\usepackage{booktabs,siunitx}; no other change",
        r"\begin{table*}\centering\small",
        rf"\caption{{{_caption(result)}}}\label{{tab:sweep}}",
        rf"\begin{{tabular}}{{lrll{'r' * len(supplies)}r}}",
        r"\toprule",
        " & ".join(
            ("network", "units", "architecture", "level", *(rf"\qty{{{vdd:g}}}{{\volt}}" for vdd in supplies), "least")
        )
        + r" \\",
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
        " & ".join(("network", "units", "architecture", "dies by", *(rf"\qty{{{v:g}}}{{\volt}}" for v in supplies)))
        + r" \\",
        r"\midrule",
    ]
    for group in _grouped(found):
        first = group[0]
        cells = {row.vdd_V: _latex_yield(row) for row in group}
        name = first.network.replace("_", r"\_")
        row = [name, str(first.units), first.title, str(first.yield_level), *(cells.get(v, "--") for v in supplies)]
        lines.append(" & ".join(row) + r" \\")
    return [*lines, *_END]


def _latex_yield(row: SweepRow) -> str:
    if row.yield_ is None:
        return "--"
    value, low, high = (f"{100 * share:.1f}" for share in row.yield_)
    return rf"\qty{{{value}}}{{\percent}} ({low}--{high})"


def _places(result: SweepResult) -> str:
    places = sorted({f"{row.technology}, {row.corner}" for row in result.finished})
    return "; ".join(places).replace("_", r"\_").replace("°", r"\ensuremath{^\circ}")


def _caption(result: SweepResult) -> str:
    return (
        f"Energy per timestep ({_places(result)}) at each supply, and of digital logic at its supply of least energy. "
        "Estimates and simulations of all transistors are marked; wires and input drivers are not included."
    )


def _grouped(found: Sequence[SweepRow]) -> list[list[SweepRow]]:
    groups: dict[tuple[str, ...], list[SweepRow]] = {}
    for row in found:
        key = (row.network, row.architecture, row.technology, row.corner)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _latex_row(group: Sequence[SweepRow], supplies: Sequence[float]) -> list[str]:
    first = group[0]
    cells = {row.vdd_V: _quantity(row.per_timestep_J) for row in group}
    least = [row for row in group if row.least_J is not None]
    best = ""
    if least:
        best = rf"{_quantity(least[0].least_J)} at \qty{{{least[0].least_vdd_V:g}}}{{\volt}}"
    name = first.network.replace("_", r"\_")
    return [name, str(first.units), first.title, first.level, *(cells.get(vdd, "--") for vdd in supplies), best]


def _quantity(joules: float | None) -> str:
    if joules is None:
        return "--"
    scale, unit = next(((scale, unit) for scale, unit in _SCALES if joules * scale < 1000), _SCALES[-1])
    return rf"\qty{{{float(f'{joules * scale:.3g}'):g}}}{{{unit}}}"
