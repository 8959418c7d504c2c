"""Write an energy result to a folder (JSON, CSV, LaTeX table, figures), and format it as rows of a table."""

from __future__ import annotations

from pathlib import Path

from cmru_hw.analysis.energy.result import RESULT, BlockEnergy, EnergyResult
from cmru_hw.core import latex
from cmru_hw.core.atomic_write import write_text
from cmru_hw.core.csv_text import csv_text
from cmru_hw.core.output_folder import atomic_folder
from cmru_hw.core.units import joules, percent, plain, si

COLUMNS = ("static_J", "dynamic_J", "analytic_J")


def write(found: EnergyResult, folder: Path) -> None:
    """``energy.json``, ``energy.csv``, ``energy.tex`` and ``energy.svg|pdf`` in ``folder``. Raises OutputError."""
    # Importing matplotlib takes about a second. Only a result in a folder needs it.
    from cmru_hw.analysis.energy import plots

    with atomic_folder(folder, last=RESULT) as scratch:
        found.save(scratch / RESULT)
        for suffix, text in (("csv", as_csv(found)), ("tex", as_latex(found))):
            write_text(scratch / f"energy.{suffix}", text)
        for suffix in ("svg", "pdf"):
            plots.over_time(found, scratch / f"energy.{suffix}")


def rows(found: EnergyResult) -> list[tuple[str, ...]]:
    """Rows of the printed table: block, static, dynamic, analytic, source. The last row is the sum of all blocks."""
    lines = [
        (
            name.replace("_", " "),
            *("not modelled" if entry.static_J is None else _joule(value) for value in _numbers(entry)),
            entry.source or "",
        )
        for name, entry in found.blocks.items()
    ]
    sums = [sum(part or 0.0 for part in parts) for parts in zip(*map(_numbers, found.blocks.values()), strict=True)]
    return [*lines, ("all blocks", *map(_joule, sums[:2]), "", "")]


HEADER = ("per timestep", "static", "dynamic", "analytic", "from")


def summary_rows(found: EnergyResult) -> list[tuple[str, str]]:
    """The summary above the table: (name, value)."""
    closure, duty = abs(found.ledger_gap), found.duty_cycle
    switching = f"{percent(duty)} of a timestep; the rest is hold" if duty < 1 else "always on: nothing is clocked"
    closes = "blocks add up to it" if closure < 1e-6 else f"blocks differ by {percent(closure)}"
    return [
        (found.label, f"{si(found.per_timestep_J, 'J')} per timestep of {si(found.timestep_s, 's')}, "
         f"{si(found.per_inference_J, 'J')} per inference, {si(found.mean_power_W, 'W')}"),
        ("on", f"{found.sequences} sequences, {found.timesteps} timesteps; "
         f"{percent(found.decisions.share)} of decisions as in software"),
        *(found.inputs_clamped.rows() if found.inputs_clamped else []),
        ("from all supplies", f"{si(found.supply_total_J, 'J')} per timestep; {closes}"),
        ("switching", switching),
        *[("not included" if not place else "", what) for place, what in enumerate(found.excludes)],
    ]  # fmt: skip


def as_csv(found: EnergyResult) -> str:
    rows = [(name, *_numbers(entry), entry.source, entry.note) for name, entry in found.blocks.items()]
    return csv_text(("block", *COLUMNS, "from", "note"), rows)


def as_latex(found: EnergyResult) -> str:
    """A booktabs ``table`` for a column of a two-column paper, with siunitx; all numbers are in the unit of the total.

    The caption has level, design, supply and corner. Its label is ``tab:energy``.
    """
    scale, unit = joules(found.per_timestep_J)
    lines = [
        "% needs \\usepackage{booktabs,siunitx}; no other change",
        r"\begin{table}[htbp]\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_caption(found)}}}\label{{tab:energy}}",
        r"\begin{tabular}{lrrrl}",
        r"\toprule",
        rf"block [\unit{{{latex.JOULES[unit]}}}] & static & dynamic & analytic & from \\",
        r"\midrule",
    ]
    for name, entry in found.blocks.items():
        numbers = ["--" if value is None else plain(scale * value, 4) for value in _numbers(entry)]
        source = latex.escape(entry.source or "not modelled")
        lines.append(" & ".join([latex.escape(name.replace("_", " ")), *numbers, source]) + r" \\")
    total = plain(scale * found.per_timestep_J, 4)
    return "\n".join([*lines, r"\midrule", rf"all & \multicolumn{{2}}{{r}}{{{total}}} & & \\", r"\bottomrule",
                      r"\end{tabular}", r"\end{table}", ""])  # fmt: skip


def _caption(found: EnergyResult) -> str:
    own = found.provenance
    at = [f"{own.supply_V:g} V"] if own.supply_V is not None else []
    at += [own.operating_corner] if own.operating_corner is not None else []
    design = f" of {own.design_label}" if own.design_label is not None else ""
    place = ", ".join([f"{found.technology}, {found.level} level", *at])
    word = "An estimate" if found.level == "macro" else "Simulated in transistors, before layout"
    return latex.prose(f"Energy per timestep by block{design} ({place}). {word}.")


def _numbers(entry: BlockEnergy) -> tuple[float | None, float | None, float | None]:
    """The values of COLUMNS."""
    return entry.static_J, entry.dynamic_J, entry.analytic_J


def _joule(value: float | None) -> str:
    return "" if value is None else si(value, "J")
