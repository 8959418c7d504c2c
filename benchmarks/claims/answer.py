"""The first section of the page: the answer in ten lines, from the records and from :mod:`benchmarks.recipe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.claims.verdicts import Records, Verdict

CELLS = ("cmru-mixed", "cmru", "lru", "mingru")


def section(records: Records, verdicts: Sequence[Verdict], longer: Sequence[Mapping[str, Any]]) -> list[str]:
    """Heading and list; ``longer``: results of :mod:`benchmarks.recipe`."""
    counted = ", ".join(
        f"{sum(verdict.holds == kind for verdict in verdicts)} {words}"
        for kind, words in (
            ("holds", "hold"),
            ("in part", "hold in part"),
            ("does not hold", "do not hold"),
            ("undecided", "are undecided"),
        )
        if any(verdict.holds == kind for verdict in verdicts)
    )
    lines = [f"Of {len(verdicts)} claims, {counted}."]
    lines += [f"{verdict.claim} **{verdict.holds.capitalize()}**: {verdict.number}." for verdict in _chosen(verdicts)]
    lines += [line for setting in records.settings() if setting[0] == "digits" for line in _behind(records, setting)]
    settings = list(dict.fromkeys((one["problem"], one["size"]) for one in longer))
    lines += [line for setting in settings if (line := _longer(records, longer, setting))]
    if longer:
        seconds = sum(record["cpu_s"] for record in records.all)
        lines.append(
            "Tried: in the study two learning rates for each cell, K = 7 in all units, no normalisation, and 400 to "
            f"2000 steps; then {longer[0]['budget']['steps']} steps with a moving average, normalised candidates, "
            "fixed thresholds and K from 1 to 31. Not tried: normalised LRU and minGRU, more than two layers, longer "
            "budgets, and digits with the longer training. [Errors of the study](#trained-for-longer)."
        )
        lines.append(
            f"Cost: {seconds / 3600:.1f} and {sum(one['cpu_s'] for one in longer) / 3600:.2f} CPU hours. `python -m "
            "benchmarks.claims --quick` and `python -m benchmarks.recipe --quick` repeat a part of it in ten minutes."
        )
    return ["## The answer", "\n".join(f"- {line}" for line in lines)]


def _chosen(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those on gradients, on persistence in silence, and on small sizes."""
    starts = (
        "State updates block",
        "Memory is persistent: a quantised state that holds in silence",
        "At small sizes the",
    )
    return [verdict for start in starts for verdict in verdicts if verdict.claim.startswith(start)]


def _behind(records: Records, setting: tuple[str, int]) -> list[str]:
    found = {cell: records.scores(cell, *setting) for cell in CELLS}
    medians = ", ".join(f"{cell} {np.median(scores):.3f}" for cell, scores in found.items() if scores is not None)
    return [f"{setting[0]}, one pixel at a time, {setting[1]} parameters, with the study's training: {medians}."]


def _longer(records: Records, longer: Sequence[Mapping[str, Any]], setting: tuple[str, int]) -> str:
    by_cell = {one["cell"]: one for one in longer if (one["problem"], one["size"]) == setting}
    medians = ", ".join(
        f"{cell} {by_cell[cell]['median']:.3f} [{by_cell[cell]['ci95'][0]:.3f}, {by_cell[cell]['ci95'][1]:.3f}]"
        for cell in CELLS
        if cell in by_cell
    )
    before = records.scores("cmru", *setting)
    study = "" if before is None else f" (the study's cmru: {np.median(before):.3f})"
    return f"{setting[0]}, {setting[1]} parameters, trained for longer: {medians}{study}."
