"""Every figure is a column of a paper: 8.5 cm wide, letters of 7 pt or more, and no text beyond its edge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from cmru_hw.analysis.corners import plots as corners
from cmru_hw.analysis.energy import plots as energy
from cmru_hw.analysis.energy.result import EnergySeries
from cmru_hw.analysis.montecarlo import plots as montecarlo
from cmru_hw.analysis.montecarlo.result import Effect, Interval
from cmru_hw.analysis.retention import plots as retention
from cmru_hw.analysis.sizing import plots as sizing
from cmru_hw.analysis.sweep import plots as sweep
from cmru_hw.core.figures import CIRCUIT, SECOND, SOFTWARE
from cmru_hw.report import figures as report
from tests import results

BLOCKS = ("weighted_sums", "amplifiers", "comparators", "clocks", "inputs", "logic", "readout", "references")
YIELD = Interval(k=190, n=200, value=0.95, ci95=(0.91, 0.98))


def _energy(path: Path) -> None:
    series = EnergySeries(sequence=0, blocks_J=dict.fromkeys(BLOCKS, (1e-12, 2e-12, 4e-12)))
    energy.over_time(results.energy(series=series), path)


def _corners(path: Path) -> None:
    """Five processes, three supplies and three temperatures."""
    one = results.corners(failed=0).good[0]
    every = tuple(
        replace(one, corner=f"{process}/{warm:g}/{vdd:g}", process=process, temperature_C=warm, vdd_V=vdd,
                per_timestep_J=(3 + vdd + place) * 1e-10, decisions=replace(one.decisions, agree=49 - place))
        for place, process in enumerate(("typical", "ff", "ss", "fs", "sf"))
        for vdd in (1.62, 1.8, 1.98)
        for warm in (-40.0, 27.0, 125.0)
    )  # fmt: skip
    found = results.corners(failed=0)
    corners.heat_map(replace(found, corners=every, asked=45), path)


def _dies(path: Path) -> None:
    rows = [
        {"status": "ok", "accuracy": 0.9 + 0.001 * (die % 50), "decisions": 1000, "decisions_agree": 980 + die % 20}
        for die in range(200)
    ]
    montecarlo.dies(pa.Table.from_pylist(rows), 0.95, 0.01, YIELD, path)


def _sensitivity(path: Path) -> None:
    effects = [
        Effect(name=name, alone=YIELD, without=YIELD, accuracy_alone=0.94, accuracy_without=0.95, agreement_alone=0.98,
               agreement_without=0.99)
        for name in ("readout/injection", "offset", "noise/decision")
    ]  # fmt: skip
    montecarlo.sensitivity(effects, path)


def _yields(path: Path) -> None:
    table = pa.Table.from_pylist([{"status": "ok", "accuracy": 0.9 + 0.0005 * die} for die in range(100)])
    report.yield_by_drop(table, 0.95, 0.01, path)


def _sweep(path: Path) -> None:
    row = results.sweep().rows[0]
    kinds = ("charge", "current", "digital-8", "digital-ternary")
    rows = tuple(
        replace(row, architecture=kind, units=units, vdd_V=vdd, per_timestep_J=units * vdd * 10.0**-place)
        for place, kind in enumerate(kinds, 9)
        for units in (8, 32, 128)
        for vdd in (1.5, 1.62, 1.8)
    )
    sweep.energies(replace(results.sweep(), rows=rows), path)


FIGURES: dict[str, Callable[[Path], None]] = {
    "energy": _energy,
    "scaling": lambda path: energy.scaling(results.scaling(), path),
    "corners": _corners,
    "retention": lambda path: retention.over_temperature(results.retention(), path),
    "dies": _dies,
    "sensitivity": _sensitivity,
    "yield": _yields,
    "sizes": lambda path: sizing.front(results.sizing(), results.sizing().front, path),
    "sweep": _sweep,
    "designs": lambda path: report.energies(
        [("charge domain", 24.4e-12, False), ("chip", 19.7e-12, True), ("current mode, 1 nA", 1.52e-9, True)], path
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_legible_in_a_column(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig

    def saved(figure: Figure, *given: Any, **options: Any) -> None:
        drawn.append(figure)
        save(figure, *given, **options)
        _legible(figure)

    monkeypatch.setattr(Figure, "savefig", saved)
    FIGURES[name](tmp_path / f"{name}.svg")
    assert len(drawn) == 1 and (tmp_path / f"{name}.svg").stat().st_size > 1000


def _legible(figure: Figure) -> None:
    width, height = figure.get_size_inches() * 72
    assert width <= 8.5 / 2.54 * 72 + 0.5
    texts = [one for one in figure.findobj(Text) if isinstance(one, Text) and one.get_text().strip()]
    assert texts
    for text in texts:
        # Exponents of a formula are smaller than its letters.
        assert float(text.get_fontsize()) >= 7 and "$" not in text.get_text(), text.get_text()
    inches = figure.get_tightbbox()
    assert inches.x0 >= -0.02 and inches.y0 >= -0.02, "text is cut off on the left or below"
    assert 72 * inches.x1 <= width + 1.5 and 72 * inches.y1 <= height + 1.5, "text is cut off on the right or above"


def _seen(colour: str, kind: str) -> tuple[float, float, float]:
    """``colour`` as people with deuteranopia or protanopia see it (Viénot, Brettel and Mollon 1999), as RGB."""
    red, green, blue = (value**2.2 for value in to_rgb(colour))
    share, rest = (0.11238, 0.00401) if kind == "protan" else (0.29275, -0.02234)
    mixed = share * red + (1 - share) * green
    shown = [max(value, 0.0) ** (1 / 2.2) for value in (mixed, mixed, rest * (red - green) + blue)]
    return shown[0], shown[1], shown[2]


@pytest.mark.parametrize("kind", ["protan", "deutan"])
def test_colours_differ_for_people_with_colour_blindness(kind: str) -> None:
    blocks = list(dict.fromkeys(energy.COLOURS.values()))
    for colours in (blocks, list(sweep.COLOURS), [CIRCUIT, SOFTWARE, SECOND]):
        seen = [_seen(colour, kind) for colour in colours]
        for place, one in enumerate(seen):
            for other, against in zip(seen[:place], colours[:place], strict=True):
                distance = sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
                assert distance > 0.08, (colours[place], against)
