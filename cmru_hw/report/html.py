"""A report as one self-contained HTML page: no scripts, no network, figures embedded."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from cmru_hw.report.facts import Cell, Fact, Figure, Prose, Report, ResultFile, Section, Table, pieces, plain

# Figures may come from other people's folders. As images they can neither run nor fetch anything, and the policy
# forbids both to the page, too.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
# In characters: a longer cell is a sentence; a shorter number is not broken into lines.
_SENTENCE, _SHORT = 40, 12
# Characters that are neither printable nor controls: line breaks, and the spaces in numbers.
_SPACES = "\n\u202f\N{NO-BREAK SPACE}"
# Number of columns that fit the width of a phone.
_COLUMNS = 4


def escape(text: str) -> str:
    """``text`` for HTML, without control characters that a result may hold."""
    return html.escape("".join(c if c.isprintable() or c in _SPACES else "\ufffd" for c in text))


def page(report: Report, pictures: Mapping[str, Path]) -> str:
    """The page as text; ``pictures`` maps the name of each figure to its SVG file."""
    style = (resources.files("cmru_hw.report") / "style.css").read_text(encoding="utf-8")
    # Each number is explained once, even if it occurs several times.
    numbers = {fact: place for place, fact in enumerate(dict.fromkeys(fact for _, fact in report.every_fact()), 1)}
    summary, details = report.sections[0], report.sections[1:]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{escape(report.title)}</title><style>{style}</style></head><body><main>",
        f"<header><h1>{escape(report.title)}</h1>",
        "<p>The circuit of a trained network, and its simulated behaviour. Every number links to the file that it was "
        "read from and to the command that makes this file.</p>",
        "</header>",
        *_summary(summary, numbers, pictures),
        "<nav><ul>",
        *[f'<li><a href="#{section.name}">{escape(section.title)}</a></li>' for section in details],
        '<li><a href="#numbers">Sources of the numbers</a></li></ul></nav>',
    ]
    for section in details:
        parts += _section(section, numbers, pictures)
    parts += _origins(numbers)
    parts.append("</main></body></html>\n")
    return "\n".join(parts)


def _summary(section: Section, numbers: Mapping[Fact, int], pictures: Mapping[str, Path]) -> Iterator[str]:
    """The first screen: design and verdict, numbers, the figure next to what is not included."""
    yield f'<section id="{section.name}" class="summary">'
    for prose in section.lead:
        yield f"<p>{_prose(prose, numbers)}</p>"
    yield '<div class="tiles">'
    for fact in section.headlines:
        yield f'<div class="tile"><b>{_fact(fact, numbers)}</b><span>{escape(fact.name)}</span></div>'
    yield '</div><div class="pair">'
    for figure in section.figures:
        yield _figure(figure, pictures[figure.name])
    yield "<div><p>Not included:</p><ul>"
    yield "".join(f"<li>{_prose(point, numbers)}</li>" for point in section.points)
    yield "</ul></div></div></section>"


def _section(section: Section, numbers: Mapping[Fact, int], pictures: Mapping[str, Path]) -> Iterator[str]:
    yield f'<section id="{section.name}"><h2>{escape(section.title)}</h2>'
    if section.design:
        yield f'<p class="what">{escape(section.design)}</p>'
    for prose in section.lead:
        yield f"<p>{_prose(prose, numbers)}</p>"
    if section.points:
        yield "<ul>" + "".join(f"<li>{_prose(point, numbers)}</li>" for point in section.points) + "</ul>"
    if section.figures:
        yield '<div class="figures">'
        for figure in section.figures:
            yield _figure(figure, pictures[figure.name])
        yield "</div>"
    if section.facts:
        yield '<table class="facts"><tbody>'
        for fact in section.facts:
            yield (
                f"<tr><td>{escape(fact.name)}</td><td>{_fact(fact, numbers)}</td>"
                f'<td class="what">{escape(fact.meaning)}</td></tr>'
            )
        yield "</tbody></table>"
    if section.table:
        yield from _table(section.table, numbers)
    yield "</section>"


def _table(table: Table, numbers: Mapping[Fact, int]) -> Iterator[str]:
    """A table. With sentences or many columns it cannot be read on a phone, so there its rows become cards."""
    heads = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    wide = len(table.header) > _COLUMNS or any(len(plain(cell)) > _SENTENCE for row in table.rows for cell in row)
    yield f'<div class="scroll"><table class="{"cards" if wide else "plain"}"><thead><tr>{heads}</tr></thead><tbody>'
    meanings = table.meanings or ("",) * len(table.rows)
    for row, meaning in zip(table.rows, meanings, strict=True):
        cells = [_cell(name, cell, numbers) for name, cell in zip(table.header, row, strict=True)]
        if meaning:
            cells[0] = cells[0].replace("</td>", f'<span class="what meaning">{escape(meaning)}</span></td>')
        yield "<tr>" + "".join(cells) + "</tr>"
    yield "</tbody></table></div>"


def _cell(name: str, cell: Cell, numbers: Mapping[Fact, int]) -> str:
    short = isinstance(cell, Fact) and len(cell.shown) <= _SHORT
    kind = ' class="short"' if short else ' class="command"' if name == "command" else ""
    return f'<td{kind} data-label="{escape(name)}">{_prose(pieces(cell), numbers)}</td>'


def _figure(figure: Figure, picture: Path) -> str:
    data = base64.b64encode(picture.read_bytes()).decode()
    caption = escape(figure.caption)
    paths = ", ".join(f"<code>{escape(str(source.path))}</code>" for source in figure.sources)
    return (
        f'<figure id="figure-{figure.name}"><img alt="{caption}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{caption} From {paths}; also as figures/{figure.name}.pdf."
        "</figcaption></figure>"
    )


def _origins(numbers: Mapping[Fact, int]) -> Iterator[str]:
    """For each number: the file, the place in it, and the command that reproduces the file."""
    yield '<section id="numbers"><h2>Sources of the numbers</h2>'
    yield (
        "<p>Commands are shown as typed; run them in the same directory. "
        "<code>numbers.csv</code> has the same table.</p>"
    )
    sources: dict[ResultFile, list[Fact]] = {}
    for fact in numbers:
        sources.setdefault(fact.source, []).append(fact)
    for source, facts in sources.items():
        command = source.command or "a Python program, or a version that did not store its command"
        yield f'<p class="source"><code>{escape(str(source.path))}</code> was made by</p><pre>{escape(command)}</pre>'
        yield '<div class="scroll"><table class="origins"><thead><tr>'
        yield "<th>number</th><th>shown</th><th>place in the file</th></tr></thead><tbody>"
        for fact in facts:
            rule = f"; {fact.rule}" if fact.rule else ""
            values = [fact.source.value(key) for key in fact.keys]
            yield (
                f'<tr id="n{numbers[fact]}" data-file="{escape(str(source.path))}" '
                f'data-keys="{escape(json.dumps(fact.keys))}" data-values="{escape(json.dumps(values))}">'
                f"<td>{escape(fact.name)}</td><td>{escape(fact.shown)}</td>"
                f"<td><code>{escape(fact.where)}</code>{escape(rule)}</td></tr>"
            )
        yield "</tbody></table></div>"
    yield "</section>"


def _prose(prose: Prose, numbers: Mapping[Fact, int]) -> str:
    return "".join(_piece(piece, numbers) for piece in prose)


def _piece(piece: str | Fact, numbers: Mapping[Fact, int]) -> str:
    return escape(piece) if isinstance(piece, str) else _fact(piece, numbers)


def _fact(fact: Fact, numbers: Mapping[Fact, int]) -> str:
    title = escape(f"{fact.source.path}: {fact.where}")
    return f'<a class="n" href="#n{numbers[fact]}" title="{title}">{_together(escape(fact.shown))}</a>'


def _together(text: str) -> str:
    """A number and its unit stay on one line."""
    return re.sub(r"(?<=\d) (?=(%|[afpnµmk]?[VAFJWs]|°C)(\W|$))", "\N{NO-BREAK SPACE}", text)
