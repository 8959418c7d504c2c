"""A report as LaTeX: a booktabs table for each section, the methods paragraph, and a document that includes all."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cmru_hw.report.facts import Cell, Prose, Report, Section, plain

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "µ": r"\ensuremath{\mu}", "α": r"\ensuremath{\alpha}", "β": r"\ensuremath{\beta}", "ε": r"\ensuremath{\epsilon}",
    "σ": r"\ensuremath{\sigma}", "±": r"\ensuremath{\pm}", "−": r"\ensuremath{-}", "→": r"\ensuremath{\to}",
    "²": r"\ensuremath{^2}", "×": r"\ensuremath{\times}", "·": r"\ensuremath{\cdot}", "\u202f": r"\,", "–": "--",
    "—": "---", "\0": "{}",  # between hyphens, which LaTeX would join to a dash
    "…": r"\dots{}", "é": r"\'e", "°": r"\ensuremath{^\circ}",
}  # fmt: skip
# Largest width, in characters, of a column that is not broken into lines.
_SHORT = 18
# Number of columns that fit at normal font size.
_COLUMNS = 3
# Paths and commands contain no hyphens at which LaTeX could break them.
_BREAK = re.compile(r"(?<=[/=])(?=.)")


def escape(text: str) -> str:
    """``text`` escaped for LaTeX; a character that plain LaTeX may lack becomes a question mark."""
    separated = text.replace("--", "-\0-").replace("--", "-\0-")
    return "".join(_SPECIAL.get(c, c if c.isascii() else "?") for c in separated)


def prose(said: Prose) -> str:
    return escape(plain(said))


def table(section: Section) -> str:
    """The facts or the table of ``section``; its label is ``tab:NAME``."""
    if section.table:
        header, rows = section.table.header, section.table.rows
    else:
        header, rows = ("quantity", "value"), tuple((fact.name, fact) for fact in section.facts)
    size = r"\small" if len(header) <= _COLUMNS else r"\footnotesize"
    files = sorted({str(fact.source.path) for fact in section.every_fact()})
    lines = [
        rf"\begin{{table}}[htbp]\centering{size}\setlength{{\tabcolsep}}{{4pt}}",
        rf"\caption{{{escape(section.title)}{_of(section)}.}}\label{{tab:{section.name}}}",
        *[f"% from {re.sub(r'[^ -~]', '?', name)}" for name in files],
        rf"\begin{{tabularx}}{{\linewidth}}{{{_columns(header, rows)}}}",
        r"\toprule",
        " & ".join(map(escape, header)) + r" \\",
        r"\midrule",
        *[" & ".join(_cell(cell) for cell in row) + r" \\" for row in rows],
        r"\bottomrule",
        r"\end{tabularx}",
        r"\end{table}",
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
        r"\usepackage{booktabs,tabularx,graphicx}",
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
            numbers = [rf"\item {escape(fact.name)}: {escape(fact.shown)}" for fact in section.headlines]
            lines += [r"\begin{itemize}", *numbers, r"\end{itemize}"]
        if section.points:
            lines += [r"\begin{itemize}", *[rf"\item {prose(one)}" for one in section.points], r"\end{itemize}"]
        if section.table or section.facts:
            lines.append(rf"\input{{tables/{section.name}}}")
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
    return r"\allowbreak{}".join(map(escape, _BREAK.split(plain(cell))))


def _columns(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Columns of short cells have their natural width; the others share the rest of the line."""
    longest = [max(len(name), *(len(plain(row[place])) for row in rows)) for place, name in enumerate(header)]
    wide = [length > _SHORT for length in longest]
    if not any(wide):
        wide[-1] = True
    # Columns with longer texts get more of the line, but by the square root, so that shorter ones stay readable.
    shares = [length**0.5 if shared else 0.0 for length, shared in zip(longest, wide, strict=True)]
    scale = sum(wide) / sum(shares)
    return "".join(
        rf">{{\hsize={scale * share:.2f}\hsize\raggedright\arraybackslash}}X" if shared else "l"
        for share, shared in zip(shares, wide, strict=True)
    )
