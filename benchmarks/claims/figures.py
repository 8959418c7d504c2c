"""Figures of the study: SVG for the page, PNG for viewing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.claims import intervals
from benchmarks.claims.cells import CELLS
from benchmarks.claims.verdicts import Records
from cmru_hw.core.figures import STYLE

COLOURS = dict(zip(CELLS, ("#1f4e79", "#4c9be8", "#66a182", "#a7c957", "#d1495b", "#edae49", "#8d6a9f"), strict=True))
MARKERS = dict(zip(CELLS, "osD^vPX", strict=True))


def draw_all(records: Records, folder: Path) -> list[str]:
    """Draw every figure for which there are records. Returns their names without suffix."""
    found = []
    for name, draw in (
        ("scores", _scores),
        ("initialisation", _initialisation),
        ("noise", _noise),
        ("lengths", _lengths),
        ("gradients", _gradients),
    ):
        with plt.style.context([STYLE]):
            figure = draw(records)
            if figure is None:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
            plt.close(figure)
        found.append(name)
    return found


def _scores(records: Records) -> Figure | None:
    """A dot for every seed and a bar for every median, with one panel per problem and size."""
    settings = records.settings()
    if not settings:
        return None
    columns = 4
    figure, axes = _panels(len(settings), columns, height=1.9)
    for axis, (problem, size) in zip(axes, settings, strict=False):
        for place, cell in enumerate(CELLS):
            found = records.scores(cell, problem, size)
            if found is not None:
                shift = np.linspace(-0.25, 0.25, len(found))
                axis.plot(place + shift, np.maximum(found, 0), "o", color=COLOURS[cell], markersize=2)
                axis.hlines(max(0.0, float(np.median(found))), place - 0.35, place + 0.35, color=COLOURS[cell])
        axis.set_title(f"{problem}, {size} parameters", fontsize=8)
        axis.set_xticks(range(len(CELLS)), CELLS, rotation=60, ha="right", fontsize=6.5)
        axis.set_ylim(top=1.03)
    for axis in axes[::columns]:
        axis.set_ylabel("test score")
    return figure


def _initialisation(records: Records) -> Figure | None:
    settings = [
        (problem, size)
        for problem, size in records.settings()
        if len({r["job"]["scale"] for r in records.of("score", problem=problem, size=size)}) > 1
    ]
    if not settings:
        return None
    figure, axes = _panels(len(settings), len(settings), height=2.6)
    for axis, (problem, size) in zip(axes, settings, strict=False):
        scales = sorted({r["job"]["scale"] for r in records.of("score", problem=problem, size=size)})
        for cell in CELLS:
            points = [
                (scale, intervals.median(found))
                for scale in scales
                if (found := records.scores(cell, problem, size, scale)) is not None
            ]
            _line(axis, cell, points)
        axis.set_xscale("log")
        axis.set_xticks(scales, [f"{scale:g}" for scale in scales])
        axis.minorticks_off()
        axis.set_xlabel("starting scale")
        axis.set_title(f"{problem}, {size} parameters", fontsize=8)
    return _with_legend(figure, axes, "test score")


def _noise(records: Records) -> Figure | None:
    found = [record for record in records.of("score", scale=1.0) if "noise" in record["result"]]
    asked = list(dict.fromkeys(record["job"]["problem"] for record in found))
    if not asked:
        return None
    figure, axes = _panels(3 * len(asked), 3, height=1.9)
    for row, problem in enumerate(asked):
        for record in (one for one in found if one["job"]["problem"] == problem):
            for column, (kind, curve) in enumerate(record["result"]["noise"].items()):
                axis = axes[3 * row + column]
                points = [(float(deviation), intervals.median(scores)) for deviation, scores in curve.items()]
                _line(axis, record["job"]["cell"], points)
                axis.set_title(f"{problem}: noise on {kind}s", fontsize=8)
    for axis in axes[-3:]:
        axis.set_xlabel("relative deviation")
    return _with_legend(figure, axes, "test score", columns=3)


def _lengths(records: Records) -> Figure | None:
    """Scores over sequence lengths, with the noise of training and without noise."""
    found = [
        (f"{record['job']['problem']}, in {where}", record["job"]["cell"], record["result"][asked])
        for kind, asked, where in (("score", "length", "noise"), ("hold", "quiet", "silence"))
        for record in records.of(kind, scale=1.0)
        if asked in record["result"]
    ]
    titles = list(dict.fromkeys(title for title, _, _ in found))
    if not titles:
        return None
    figure, axes = _panels(len(titles), 2, height=2.1)
    for axis, title in zip(axes, titles, strict=False):
        for cell, lengths in ((cell, lengths) for own, cell, lengths in found if own == title):
            _line(axis, cell, [(float(n), intervals.median(scores)) for n, scores in lengths.items()])
        axis.set_xscale("log")
        axis.set_title(title, fontsize=8)
    for axis in axes[-2:]:
        axis.set_xlabel("timesteps back")
    return _with_legend(figure, axes, "test score", columns=2)


def _gradients(records: Records) -> Figure | None:
    record = records.one("gradient")
    if record is None:
        return None
    figure, (axis,) = _panels(1, 1, height=3.0)
    floor = 1e-12
    for (name, rows), colour in zip(record["result"].items(), COLOURS.values(), strict=False):
        values = np.maximum(np.array(rows), floor)
        axis.plot(np.median(values, axis=0), color=colour, label=name)
        axis.fill_between(range(values.shape[1]), *np.percentile(values, (25, 75), axis=0), color=colour, alpha=0.15)
    axis.set_yscale("log")
    axis.set_xlabel("timesteps before the last")
    return _with_legend(figure, [axis], "gradient, relative")


def _line(axis: Axes, cell: str, points: Sequence[tuple[float, intervals.Estimate]]) -> None:
    x = [at for at, _ in points]
    axis.plot(x, [one.value for _, one in points], color=COLOURS[cell], marker=MARKERS[cell], markersize=3, label=cell)
    axis.fill_between(x, [p.low for _, p in points], [p.high for _, p in points], color=COLOURS[cell], alpha=0.12)


def _panels(count: int, columns: int, *, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(max(4.6, 2.1 * columns), height * rows), layout="constrained", squeeze=False
    )
    flat = list(axes.flat)
    for spare in flat[count:]:
        spare.set_axis_off()
    return figure, flat[:count]


def _with_legend(figure: Figure, axes: Sequence[Axes], label: str, columns: int | None = None) -> Figure:
    for axis in axes[:: columns or len(axes)]:
        axis.set_ylabel(label)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    return figure
