"""The records as tables: CSV for programs, Markdown for readers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.claims import intervals, problems
from benchmarks.claims.cells import CELLS, RECURRENCES
from benchmarks.claims.fitting import Budget
from benchmarks.claims.verdicts import Records


@dataclass(frozen=True, kw_only=True)
class Table:
    """``rows`` have the length of ``columns``; only :meth:`markdown` formats numbers."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return out.getvalue()

    def markdown(self) -> str:
        lines = [self.columns, tuple("---" for _ in self.columns), *(tuple(map(_shown, row)) for row in self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def every(records: Records) -> list[Table]:
    made = [scores(records), initialisation(records), noise(records), lengths(records), gradients(records)]
    return [table for table in (*made, throughput(records), checkpoints(records)) if table.rows]


def scores(records: Records) -> Table:
    rows = []
    for record in records.of("score", scale=1.0):
        job, result = record["job"], record["result"]
        found = result["score"]
        middle = intervals.median(found)
        bound = problems.get(job["problem"]).learnt
        learnt = intervals.share(sum(value >= bound for value in found), len(found))
        quartiles = np.percentile(found, (25, 75))
        shape = (result["parameters"], f"{result['width']}, {'+'.join(map(str, result['units']))}", result["rate"])
        rows.append(
            (
                *(job["problem"], job["size"], job["cell"], *shape, len(found)),
                *(middle.value, middle.low, middle.high, float(quartiles[1] - quartiles[0]), min(found), max(found)),
                *(bound, learnt.value, learnt.low, learnt.high),
            )
        )
    return Table(
        name="scores",
        title="Test score (accuracy; of leaky R²) over seeds, at the tuned learning rate",
        columns=(
            *("problem", "size", "cell", "parameters", "width, units", "rate", "seeds", "median", "low", "high"),
            *("interquartile", "min", "max", "learnt from", "learnt", "learnt low", "learnt high"),
        ),
        rows=tuple(rows),
    )


def matrix(records: Records) -> Table:
    """Medians only, with a row for each cell: the overview."""
    settings = records.settings()
    rows = []
    for cell in CELLS:
        found = [records.scores(cell, problem, size) for problem, size in settings]
        rows.append((cell, *("" if one is None else f"{np.median(one):.3f}" for one in found)))
    return Table(
        name="medians",
        title="Median test score",
        columns=("cell", *(f"{problem}, {size}" for problem, size in settings)),
        rows=tuple(rows),
    )


def initialisation(records: Records) -> Table:
    rows = []
    for problem, size in records.settings():
        scales = sorted({r["job"]["scale"] for r in records.of("score", problem=problem, size=size)})
        for cell in CELLS if len(scales) > 1 else ():
            for scale in scales:
                found = records.scores(cell, problem, size, scale)
                if found is not None:
                    middle = intervals.median(found)
                    count = sum(value >= problems.get(problem).learnt for value in found)
                    learnt = intervals.share(count, len(found))
                    row = (problem, size, cell, scale, len(found), middle.value, middle.low, middle.high)
                    rows.append((*row, learnt.value, learnt.low, learnt.high))
    return Table(
        name="initialisation",
        title="Test score over seeds, started from weights of other sizes",
        columns=(
            *("problem", "size", "cell", "scale", "seeds", "median", "low", "high"),
            *("learnt", "learnt low", "learnt high"),
        ),
        rows=tuple(rows),
    )


def noise(records: Records) -> Table:
    rows = []
    for record in records.of("score", scale=1.0):
        job = record["job"]
        for kind, curve in record["result"].get("noise", {}).items():
            for deviation, found in curve.items():
                middle = intervals.median(found)
                row = (job["problem"], job["size"], job["cell"], kind, float(deviation), len(found))
                rows.append((*row, middle.value, middle.low, middle.high))
    return Table(
        name="noise",
        title="Test score of the trained models under noise",
        columns=("problem", "size", "cell", "noise on", "deviation", "seeds", "median", "low", "high"),
        rows=tuple(rows),
    )


def lengths(records: Records) -> Table:
    rows = []
    for kind, asked, where in (("score", "length", "noise"), ("hold", "quiet", "silence")):
        for record in records.of(kind, scale=1.0):
            job = record["job"]
            for length, found in record["result"].get(asked, {}).items():
                middle = intervals.median(found)
                row = (job["problem"], job["size"], job["cell"], where, int(length), len(found))
                rows.append((*row, middle.value, middle.low, middle.high))
    return Table(
        name="lengths",
        title="Test score where the answer lies further back than in training (about 100 timesteps)",
        columns=("problem", "size", "cell", "held in", "timesteps", "seeds", "median", "low", "high"),
        rows=tuple(rows),
    )


def gradients(records: Records) -> Table:
    rows = []
    for record in records.of("gradient"):
        for name, found in record["result"].items():
            for lag in (1, 3, 10, 30, len(found[0]) - 1):
                middle = intervals.median([row[lag] for row in found])
                rows.append((name, lag, len(found), middle.value, middle.low, middle.high))
    return Table(
        name="gradients",
        title="Gradient of the last output by an earlier input, relative to that by the last input",
        columns=("layer", "timesteps back", "seeds", "median", "low", "high"),
        rows=tuple(rows),
    )


def throughput(records: Records) -> Table:
    rows = []
    for record in records.of("throughput"):
        job, found = record["job"], record["result"]
        times = tuple(1e3 * found[form] for form in RECURRENCES)
        rows.append((job["cell"], job["size"], *times, found["loop"] / found["scan"]))
    return Table(
        name="throughput",
        title="Processor time [ms] of one training step of one network of 600 parameters, 32 sequences, one thread",
        columns=("cell", "timesteps", *RECURRENCES, "loop over scan"),
        rows=tuple(rows),
    )


def checkpoints(records: Records) -> Table:
    """The checkpoints of models/, and the results of training again with their recipes."""
    rows, rates = [], Budget.rates
    for record in records.of("kept"):
        name, ours = record["job"]["problem"], record["result"]
        seeds = {one["job"]["size"]: one["result"] for one in records.of("again", problem=name)}
        same = [seed for seed, one in seeds.items() if one["sha256"] == ours["sha256"]]
        best, gain = ours["best"]["seed"], ours["best"]["gain"]
        tuned = records.one("tune", problem=name)
        held = None if tuned is None else tuned["result"]
        rows.append(
            (
                *(name, len(seeds), same[0] if same else "none", ours["loss"], best, seeds[best]["loss"]),
                *(gain["value"], gain["low"], gain["high"]),
                *(["", ""] if held is None else (held["own"], held["rate"])),
                *("" if held is None else held["right"][str(rate)] / held["sequences"] for rate in rates),
                *(float(np.median([one["test"] for one in seeds.values()])), seeds[best]["test"], ours["test"]),
            )
        )
    return Table(
        name="checkpoints",
        title="Checkpoints of models/ beside those that their recipes make here",
        columns=(
            *("checkpoint", "seeds", "identical seed", "loss", "best seed", "loss of best", "gain", "gain low"),
            *("gain high", "recipe's rate", "rate", *(f"held out at {rate:g}" for rate in rates)),
            *("median test", "test of best", "test"),
        ),
        rows=tuple(rows),
    )


def chosen_columns(table: Table, names: Sequence[str]) -> Table:
    """Selected columns of ``table``, for a page that is too narrow for all of them."""
    places = [table.columns.index(name) for name in names]
    rows = tuple(tuple(row[place] for place in places) for row in table.rows)
    return Table(name=table.name, title=table.title, columns=tuple(names), rows=rows)
