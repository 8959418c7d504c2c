"""The section of the page on cells that were trained for longer: :mod:`benchmarks.recipe`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims.verdicts import Records

RESULT = Path(__file__).parent.parent / "results" / "recipe.json"


def results(path: Path = RESULT) -> list[dict[str, Any]]:
    """What :mod:`benchmarks.recipe` wrote; nothing if it did not run."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return found


def section(records: Records, path: Path = RESULT) -> list[str]:
    """Paragraphs for the page; none if nothing was trained for longer."""
    found = results(path)
    if not found:
        return []
    steps, hours = found[0]["budget"]["steps"], sum(one["cpu_s"] for one in found) / 3600
    return [
        "## Trained for longer",
        f"`python -m benchmarks.recipe` trains some cells again, for {steps} steps with a moving average of the "
        f"weights ({hours:.2f} CPU hours; `--quick`: a tenth of the steps). *cmru-mixed* is a cmru with fixed "
        "thresholds, normalised candidates and K of 1, 2, 4, 8 and 31. The normalisation is folded into its weights, "
        "so its units are still those of a circuit. lru and mingru are not normalised. The learning rate is selected "
        "as in the study. Last columns: median over seeds, and seeds that answer every test sequence.",
        _table(records, found),
        *_longer(found),
        *_wrong(records, found),
    ]


def _table(records: Records, found: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| problem | cell | parameters | in the study | trained for longer | all right |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        before = _before(records, one, one["cell"])
        low, high = one["ci95"]
        lines.append(
            f"| {one['problem']}, {one['size']} | {one['cell']} | {one['parameters']} | "
            f"{'–' if before is None else f'{before:.3f}'} | {one['median']:.3f} [{low:.3f}, {high:.3f}] | "
            f"{one['perfect']} of {len(one['seeds'])} |"
        )
    return "\n".join(lines)


def _longer(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Trained short, tested long: the problem whose cells were also scored at other lengths."""
    tested = [one for one in found if "lengths" in one]
    if not tested:
        return []
    lengths = list(tested[0]["lengths"])
    lines = [f"| cell | {' | '.join(lengths)} |", f"|---|{'---|' * len(lengths)}"]
    lines += [
        f"| {one['cell']} | {' | '.join(f'{value:.3f}' for value in one['lengths'].values())} |" for one in tested
    ]
    return [
        f"**Trained short, tested long.** {tested[0]['problem']} is trained on holds of 50 to 100 timesteps. Median "
        "score of the same networks, when the last pulse is so many timesteps back:",
        "\n".join(lines),
    ]


def _wrong(records: Records, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The problems on which the study's cmru was limited by its training, and the verdicts that count them."""
    places = []
    for one in found:
        before = _before(records, one, "cmru")
        if one["cell"] == "cmru-mixed" and before is not None and one["ci95"][0] > before:
            places.append(f"{one['problem']} ({before:.3f} there, {one['median']:.3f} here)")
    if not places:
        return []
    return [
        f"**Correction.** On {', '.join(places)}, the study's result for the cmru was limited by its training: "
        "a few hundred steps, the same K = 7 in all units, no normalisation. Where the plain cmru gains as much here, "
        "the steps alone explain it. Verdicts 1 and 4 count these problems against the cmru, and to that extent they "
        "measure the training and not the cell. The other problems were not trained again."
        + (" lru and mingru gain by longer training too." if any(one["cell"] == "lru" for one in found) else ""),
    ]


def _before(records: Records, one: Mapping[str, Any], cell: str) -> float | None:
    """The median score of ``cell`` in the study, on the problem and size of ``one``; None if it was not in it."""
    for record in records.all:
        job = record["job"]
        if (job["kind"], job["problem"], job["size"], job["cell"], job["scale"]) == (
            "score", one["problem"], one["size"], cell, 1.0,
        ):  # fmt: skip
            scores = sorted(record["result"]["score"])
            return float(sum(scores[(len(scores) - 1) // 2 : len(scores) // 2 + 1]) / (2 - len(scores) % 2))
    return None
