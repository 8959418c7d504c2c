"""``benchmarks/results/README.md``, generated from the records."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.claims import answer, cells, checkpoints, fitting, networks, probes, problems, retrained, tables
from benchmarks.claims.study import Plan
from benchmarks.claims.verdicts import MATCH, Records, Verdict

CAPTIONS = {
    "scores": "Each dot is one seed, each bar a median.",
    "initialisation": "Bands are 95 % intervals of the median, also in the figures below.",
    "noise": "Noise on inputs, on weights, and on the states of every timestep.",
    "lengths": "Recall over longer times than in training, with noise in between as in training, and without.",
    "gradients": "Median and quartiles over seeds of untrained layers. Values below the axis are drawn at its edge.",
}


# long: one page, paragraph after paragraph
def write(plan: Plan, records: Records, verdicts: Sequence[Verdict], figures: Sequence[str], command: str) -> str:
    planned = len(plan.jobs())
    seconds = sum(record["cpu_s"] for record in records.all)
    problem_list = ", ".join(dict.fromkeys(problem for problem, _ in plan.settings))
    described = re.sub(r":\w+:`(\w+\.)*(\w+)`", r"\2", cells.__doc__ or "").replace("±LEVELS", f"±{cells.LEVELS:g}")
    recurrences = described[described.index("=====") : described.index("All run on")].strip()
    questions = problems.__doc__ or ""
    questions = questions[questions.index("=====") : questions.index("Validation")].strip()
    budgets = "; ".join(
        f"{name} {budget.steps} steps of {budget.batch} sequences"
        for name, budget in plan.budgets.items()
        if name in {problem for problem, _ in plan.settings}
    )
    rates = " or ".join(f"{rate:g}" for rate in next(iter(plan.budgets.values())).rates)
    whole = len(records.all) == planned
    deviations = "; ".join(f"{kind} {', '.join(map(str, found))}" for kind, found in probes.NOISES.items())
    parts = [
        "# The claims of the abstracts, tested in software",
        f"Made by `{command}` from {len(records.all)} of {planned} planned jobs ({seconds / 60:.0f} minutes on one "
        f"core). `records.json` has all records, and `{command} --report` writes this page from them. "
        + ("" if whole else "**Results of missing jobs are missing below.** ")
        + "Intervals are 95 %: bootstrap over seeds for medians and their differences, Clopper-Pearson for shares, "
        "Newcombe for differences of shares.",
        f"The study compares {len(cells.CELLS)} recurrent cells of equal parameter count in one backbone, with equal "
        f"budget and tuning and {plan.seeds} seeds each, on {problem_list}. This package builds circuits of cmru, "
        "acmru and bmru. [Method](#method) describes cells and problems.",
        *answer.section(records, verdicts, retrained.results() if plan.name == "full" else []),
        "## Verdicts",
        _summary(verdicts),
        '"Holds": the interval excludes the opposite in every comparison. "In part": it does so in some. "Does not '
        'hold": it excludes the claim in at least one, and supports it in none. "Undecided": no interval excludes '
        "anything. "
        f"Two cells match if the interval excludes a deficit of more than {100 * MATCH:g} points. A point is 1 % of "
        f"accuracy, or 0.01 of R² for a regression. `{command}` produces every line. `python -m benchmarks.scan` "
        "compares the speed of the scan with other implementations. `pytest tests/test_claims.py -k ten_thousand` "
        "shows that a flip-flop of models/ is exact over 10 000 timesteps.",
        *(retrained.section(records) if plan.name == "full" else ()),
        "## Figures",
        *(f"{CAPTIONS[name]}\n\n![{name}]({name}.svg)" for name in figures),
        "## Medians",
        tables.matrix(records).markdown(),
        "## Claim by claim",
        *(_section(number, verdict) for number, verdict in enumerate(verdicts, 1)),
        *checkpoint_section(records),
        "## Training step, by form of the recurrence",
        "*scan* is the compiled loop that networks use on a CPU, *parallel* is the form of logarithmic depth that they "
        f"use elsewhere, and *loop* is the definition in torch operations. {tables.throughput(records).title}:",
        tables.throughput(records).markdown(),
        "[scan.txt](scan.txt) is the output of `python -m benchmarks.scan`: the recurrence compared with "
        "`torch.cumsum` and with JAX's `lax.scan` and `lax.associative_scan`.",
        "## Method",
        f"**Cells.**\n\n```text\n{recurrences}\n```",
        f"The levels of cmru have the same limit on every problem. lru starts with |λ| from {cells.RING[0]:g} to "
        f"{cells.RING[1]:g} and phases below π/10. mingru starts with gate biases for memories of 1 to "
        f"{cells.LONGEST:g} timesteps. Both are therefore initialised for long memory. This package cannot build "
        "circuits of lru, mingru and hybrid.",
        f"**Backbone.** Linear projection, {networks.LAYERS} × (cell, linear, ReLU, added to its input), linear "
        "readout at every timestep, the same for all cells. One rule selects widths and units for equal numbers of "
        "parameters (see the table of scores).",
        f"**Problems.**\n\n```text\n{questions}\n```",
        f"This page has {problem_list}. vowels and digits are decided by the mean of the readout over time, flipflop "
        "and recall by the last timestep.",
        f"**Budget.** {budgets}. AdamW, weight decay {fitting.DECAY:g}, gradients clipped to {fitting.CLIP:g}, "
        f"warm-up and cosine schedule. **Tuning.** For every cell, the learning rate is {rates}, by the better median "
        f"over {plan.seeds} seeds on validation sequences. Nothing else is tuned. Test sequences are scored once. "
        "Another starting scale multiplies every weight matrix at its start; the learning rate is that of scale 1.",
        "**Noise.** On inputs, relative to their standard deviation. On weights and biases, relative to each (linear "
        "units keep exact eigenvalues). On the states of every timestep, relative to their root mean square; cmru and "
        f"bmru then restore the nearest level, as their circuits can. {probes.NOISY} test sequences, mean of 3 draws. "
        f"The shares above are means over the deviations {deviations}.",
        "**Scope.** The networks have a few hundred parameters, and budgets and data are small: the study does not "
        "cover large models. The papers use other benchmarks, hyperparameters and sizes. That α of the αCMRU is an "
        "affine function of the input is our reading of its abstract.",
        "## All numbers",
        "Tables as CSV: " + ", ".join(f"[{t.name}]({t.name}.csv)" for t in tables.every(records)) + ".",
        tables.scores(records).title + ":",
        tables.chosen_columns(
            tables.scores(records),
            ("problem", "size", "cell", "parameters", "rate", "median", "low", "high", "interquartile", "learnt"),
        ).markdown(),
    ]
    return "\n\n".join(parts) + "\n"


def checkpoint_section(records: Records) -> list[str]:
    """The section on the checkpoints of models/."""
    table = tables.checkpoints(records)
    if not table.rows:
        return []
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    rates = " or ".join(f"{rate:g}" for rate in fitting.Budget.rates)
    return [
        "## Checkpoints of models/",
        "The backbone above has layers between its cells that have no charge-domain circuit. The networks of models/ "
        "come from `cmru-hw train`, and `cmru-hw export` builds them. The study trains each of them again, by the "
        f"recipe in its file, from {rows[0]['seeds']} seeds. The learning rate ({rates}) is selected by "
        f"{checkpoints.FOLDS}-fold cross-validation on the training sequences; that of the recipe is kept unless the "
        "other is significantly better. The seed is selected by validation loss on fresh variations of the training "
        "sequences, as in `cmru-hw train --best-of`. A checkpoint stays unless the loss of the best seed is "
        "significantly lower (95 %, paired over sequences, corrected for the number of seeds). Test scores are listed, "
        "and not used for any selection.",
        "\n".join(f"- {_kept(row)}" for row in rows),
        tables.chosen_columns(
            table, ("checkpoint", *table.columns[2:6], *table.columns[10:13], *table.columns[13:])
        ).markdown(),
    ]


def _kept(row: Mapping[str, Any]) -> str:
    """The result for one checkpoint."""
    name, best, same = row["checkpoint"], row["best seed"], row["identical seed"]
    found = "is not identical to any seed." if same == "none" else f"is identical to seed {same}, bit for bit."
    if same == best:
        judged = f"None of the {row['seeds']} seeds has a lower loss."
    else:
        gain = f"{row['gain']:.2g} [{row['gain low']:.2g}, {row['gain high']:.2g}]"
        chance = row["gain low"] <= 0
        judged = f"Seed {best} has the lowest loss, lower by {gain}: " + (
            "not significant, so the checkpoint stays." if chance else "significant: **to be replaced**."
        )
    tuned = f" **To be trained at rate {row['rate']:g}.**" if row["rate"] != row["recipe's rate"] else ""
    return f"[{name}](../../models/{name}.md) {found} {judged}{tuned}"


def _summary(verdicts: Sequence[Verdict]) -> str:
    lines = ["| | claim | verdict | main result |", "|---|---|---|---|"]
    for number, verdict in enumerate(verdicts, 1):
        lines.append(f"| {number} | {verdict.claim} | **{verdict.holds}** | {verdict.number} |")
    return "\n".join(lines)


def _section(number: int, verdict: Verdict) -> str:
    points = "\n".join(f"- {line}" for line in verdict.evidence)
    word = f"**{verdict.holds.capitalize()}.** Source of the claim: {verdict.source}."
    return f"### {number}. {verdict.claim}\n\n{word}\n\n{points}"
