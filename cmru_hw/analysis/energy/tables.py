"""An energy result in a folder: JSON, CSV, a LaTeX table and figures; and as the rows of a terminal's table."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from cmru_hw.core.errors import OutputError
from cmru_hw.core.units import json_text, percent, si

RESULT = "energy.json"
COLUMNS = ("static_J", "dynamic_J", "analytic_J")


def write(found: dict[str, Any], folder: Path) -> None:
    """``energy.json``, ``energy.csv``, ``energy.tex`` and ``energy.svg|pdf`` in ``folder``. Raises OutputError."""
    from cmru_hw.analysis.energy import plots

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULT).write_text(json_text(found) + "\n", encoding="utf-8")
        (folder / "energy.csv").write_text(as_csv(found), encoding="utf-8")
        (folder / "energy.tex").write_text(as_latex(found), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from error
    for suffix in ("svg", "pdf"):
        plots.over_time(found, folder / f"energy.{suffix}")


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Rows of the printed table: block, static, dynamic, analytic, source; the sum of all blocks is last."""
    lines = [
        (
            name.replace("_", " "),
            *("not modelled" if entry["static_J"] is None else _joule(entry[key]) for key in COLUMNS),
            entry["from"] or "",
        )
        for name, entry in found["blocks"].items()
    ]
    known = [entry for entry in found["blocks"].values() if entry["static_J"] is not None]
    sums = [sum(entry[key] or 0.0 for entry in known) for key in COLUMNS[:2]]
    return [*lines, ("all blocks", *map(_joule, sums), "", "")]


HEADER = ("per timestep", "static", "dynamic", "analytic", "from")


def summary_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures above the table."""
    gap, decisions = abs(found["ledger_gap"]), found["decisions"]
    agree = decisions["agree"] / decisions["total"]
    duty = found["duty_cycle"]
    switching = f"{percent(duty)} of a timestep; the rest is hold" if duty < 1 else "always on: nothing is clocked"
    closes = "blocks add up to it" if gap < 1e-6 else f"blocks differ by {percent(gap)}"
    return [
        (found["label"], f"{si(found['per_timestep_J'], 'J')} per timestep of {si(found['timestep_s'], 's')}, "
         f"{si(found['per_inference_J'], 'J')} per inference, {si(found['mean_power_W'], 'W')}"),
        ("on", f"{found['sequences']} sequences, {found['timesteps']} timesteps; "
         f"{percent(agree)} of decisions as in software"),
        ("from all supplies", f"{si(found['supply_total_J'], 'J')} per timestep; {closes}"),
        ("switching", switching),
        *[("not included" if not place else "", what) for place, what in enumerate(found["excludes"])],
    ]  # fmt: skip


def as_csv(found: dict[str, Any]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("block", *COLUMNS, "from", "note"))
    for name, entry in found["blocks"].items():
        writer.writerow((name, *(entry[key] for key in COLUMNS), entry["from"], entry["note"]))
    return out.getvalue()


def as_latex(found: dict[str, Any]) -> str:
    """A booktabs table in fJ."""
    scale = 1e15
    lines = [
        f"% {found['label']}, {found['level']} level, technology {found['technology']}; {found['timesteps']} timesteps",
        r"\begin{tabular}{lrrrl}",
        r"\toprule",
        r"block & static [fJ] & dynamic [fJ] & analytic [fJ] & from \\",
        r"\midrule",
    ]
    for name, entry in found["blocks"].items():
        numbers = ["--" if entry[key] is None else f"{scale * entry[key]:.4g}" for key in COLUMNS]
        lines.append(" & ".join([name.replace("_", " "), *numbers, entry["from"] or "not modelled"]) + r" \\")
    total = f"{scale * found['per_timestep_J']:.4g}"
    return "\n".join([*lines, r"\midrule", rf"all & \multicolumn{{2}}{{r}}{{{total}}} & & \\", r"\bottomrule",
                      r"\end{tabular}", ""])  # fmt: skip


def _joule(value: float | None) -> str:
    return "" if value is None else si(value, "J")
