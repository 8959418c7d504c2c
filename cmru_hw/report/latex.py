"""A report as LaTeX: a booktabs table for each section, the methods paragraph, and a document that includes all."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cmru_hw.core import latex
from cmru_hw.core.latex import escape
from cmru_hw.report.facts import Cell, Prose, Report, Section, plain

# Characters of a line that fit one column of a two-column paper at normal size of a table, and its page at a smaller.
_NARROW, _PAGE = 46, 88
# Characters of a column that is broken into lines; a shorter one never is. Characters between two columns.
_BROKEN, _GAP = 12, 2
# Columns that fit one column of a paper.
_COLUMNS = 3
# Paths, names and commands contain no hyphens at which LaTeX could break them.
_BREAK = re.compile(r"(?<=[/=_:])(?=.)|(?<=\d{4}\.)(?=\d)|(?<=[A-Z]\.)(?=\d)")


def prose(said: Prose) -> str:
    return latex.prose(plain(said))


def tables(section: Section) -> dict[str, str]:
    """The LaTeX tables of ``section`` by name: its table, or else its facts; with both, facts are ``NAME-facts``."""
    made: dict[str, str] = {}
    if section.table:
        made[section.name] = _table(section, section.name, section.table.header, section.table.rows)
    if section.facts:
        name = f"{section.name}-facts" if section.table else section.name
        made[name] = _table(section, name, ("quantity", "value"), [(fact.name, fact) for fact in section.facts])
    return made


def _table(section: Section, name: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table with the label ``tab:NAME``: as wide as a column of a two-column paper, or as the page."""
    longest = [max(len(one), *(len(plain(row[place])) for row in rows)) for place, one in enumerate(header)]
    wide = len(header) > _COLUMNS or sum(longest) > 2 * _NARROW
    star, size = ("*", r"\footnotesize") if wide else ("", r"\small")
    files = sorted({str(fact.source.path) for fact in section.every_fact()})
    lines = [
        rf"\begin{{table{star}}}[htbp]\centering{size}\setlength{{\tabcolsep}}{{4pt}}",
        rf"\caption{{{escape(section.title)}{_of(section)}.}}\label{{tab:{name}}}",
        *[f"% from {re.sub(r'[^ -~]', '?', file)}" for file in files],
        rf"\begin{{tabularx}}{{\linewidth}}{{{_columns(longest, _PAGE if wide else _NARROW)}}}",
        r"\toprule",
        " & ".join(map(latex.prose, header)) + r" \\",
        r"\midrule",
        *[" & ".join(_cell(cell) for cell in row) + r" \\" for row in rows],
        r"\bottomrule",
        r"\end{tabularx}",
        rf"\end{{table{star}}}",
    ]
    return "\n".join(lines) + "\n"


def _of(section: Section) -> str:
    """Clause that names the design of a table, with technology, supply and corner."""
    return f" ({escape(section.design)})" if section.design else ""


def document(report: Report, figures: Sequence[str]) -> str:
    """``report.tex``: the whole report, ready to compile or to copy from."""
    lines = [
        r"\documentclass[a4paper,11pt]{article}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage[margin=25mm]{geometry}",
        latex.PACKAGES.rstrip(),
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\title{{{escape(report.title)}}}\date{{}}",
        r"\begin{document}",
        r"\maketitle",
        r"\sloppy",
    ]
    for section in report.sections:
        lines.append(rf"\section{{{escape(section.title)}}}")
        lines += [prose(one) + "\n" for one in section.lead]
        if section.headlines and section.name == "summary":
            numbers = [rf"\item {latex.prose(fact.name)}: {latex.prose(fact.shown)}" for fact in section.headlines]
            lines += [r"\begin{itemize}", *numbers, r"\end{itemize}"]
        if section.points:
            lines += [r"\begin{itemize}", *[rf"\item {prose(one)}" for one in section.points], r"\end{itemize}"]
        lines += [rf"\input{{tables/{name}}}" for name in tables(section)]
        for figure in section.figures:
            if figure.name in figures:
                lines += [
                    r"\begin{figure}[htbp]\centering",
                    rf"\includegraphics[width=.8\linewidth]{{figures/{figure.name}.pdf}}",
                    rf"\caption{{{escape(figure.caption)}}}\label{{fig:{figure.name}}}",
                    r"\end{figure}",
                ]
    return "\n".join([*lines, r"\end{document}", ""])


def _cell(cell: Cell) -> str:
    return r"\allowbreak{}".join(map(latex.prose, _BREAK.split(plain(cell))))


def _columns(longest: Sequence[int], line: int) -> str:
    """Columns of short cells have their natural width; the others share the rest of the line.

    ``longest``: characters of the longest cell of each column; ``line``: characters of a line.
    """
    wide = [False] * len(longest)
    # The longest columns are broken first, at least one, until a line has room for all.
    for place in sorted(range(len(longest)), key=lambda place: -longest[place]):
        need = sum(_BROKEN if broken else length for broken, length in zip(wide, longest, strict=True))
        if any(wide) and (need + _GAP * len(longest) <= line or longest[place] <= _BROKEN):
            break
        wide[place] = True
    # Columns with longer texts get more of the line, but by the square root, so that shorter ones stay readable.
    shares = [length**0.5 if shared else 0.0 for length, shared in zip(longest, wide, strict=True)]
    scale = sum(wide) / sum(shares)
    return "".join(
        rf">{{\hsize={scale * share:.2f}\hsize\raggedright\arraybackslash}}X" if shared else "l"
        for share, shared in zip(shares, wide, strict=True)
    )
