"""``benchmarks/results/README.md``: written from the records, never by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.claims import cells, checkpoints, fitting, networks, probes, problems, tables
from benchmarks.claims.study import Plan
from benchmarks.claims.verdicts import MATCH, Records, Verdict

CAPTIONS = {
    "scores": "Every dot is a seed, every bar a median.",
    "initialisation": "Bands are 95 % intervals of the median, here and below.",
    "noise": "Noise on inputs, on weights, and on states at every timestep.",
    "lengths": "Answers further back than any in training, with noise in between as in training and without.",
    "gradients": "Median and quartiles over seeds of untrained layers; what is less is drawn at the lower edge.",
}


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
        "# The claims of the abstracts, held against software",
        f"Made by `{command}` from {len(records.all)} of {planned} planned jobs ({seconds / 60:.0f} minutes of one "
        f"core); `records.json` has them all, and `{command} --report` writes this page from it again. "
        + ("" if whole else "**Jobs that are missing are missing below; nothing stands in for them.** ")
        + "Intervals are 95 %: bootstrap over seeds for medians and their differences, Clopper-Pearson for shares, "
        "Newcombe for differences of shares.",
        f"{len(cells.CELLS)} recurrent cells of equal parameter count in one backbone, with one budget and one tuning, "
        f"{plan.seeds} seeds each, on {problem_list}. This package builds circuits of cmru, acmru and bmru. "
        "[How it was done](#how-it-was-done) says what each cell and problem is.",
        "## Verdicts",
        _summary(verdicts),
        '"Holds": the interval excludes the contrary in every comparison; "in part": in some; "does not hold": it '
        'excludes the claim in at least one and supports it in none; "undecided": no interval excludes anything. '
        f"Two cells match if the interval excludes being behind by more than {100 * MATCH:g} points. Points are of "
        "accuracy in percent, or hundredths of R² where the problem is a regression. Every line follows from "
        f"`{command}`; the speed of the scan beside others' from `python -m benchmarks.scan`, and that a flip-flop of "
        "models/ is exact over 10 000 timesteps from `pytest tests/test_claims.py -k ten_thousand`.",
        "## Figures",
        *(f"{CAPTIONS[name]}\n\n![{name}]({name}.svg)" for name in figures),
        "## Medians",
        tables.matrix(records).markdown(),
        "## Claim by claim",
        *(_section(number, verdict) for number, verdict in enumerate(verdicts, 1)),
        *checkpoint_section(records),
        "## Training step, by form of the recurrence",
        "*scan* is the compiled loop that networks use on a processor, *parallel* the form in log depth that they use "
        f"elsewhere, *loop* the definition in torch operations. {tables.throughput(records).title}:",
        tables.throughput(records).markdown(),
        "The recurrence alone beside others' implementations, `torch.cumsum` and JAX's `lax.scan` and "
        "`lax.associative_scan`, as `python -m benchmarks.scan` printed it: [scan.txt](scan.txt).",
        "## How it was done",
        f"**Cells.**\n\n```text\n{recurrences}\n```",
        f"The ladder of cmru saturates at the same level on every problem. lru starts with |λ| in "
        f"{cells.RING[0]:g} to {cells.RING[1]:g} and phases below π/10; mingru with gate biases for memories of 1 to "
        f"{cells.LONGEST:g} timesteps: both are prepared for long memory. lru, mingru and hybrid cannot be built by "
        "this package.",
        f"**Backbone.** Linear projection, {networks.LAYERS} × (cell, linear, ReLU, added to its input), linear "
        "readout at every timestep; the same for all. Widths and units are chosen by one rule for the same number of "
        "parameters (the table of scores has each).",
        f"**Problems.**\n\n```text\n{questions}\n```",
        f"Here: {problem_list}. vowels and digits are decided by the mean of the readout over time, flipflop and "
        "recall by the last timestep.",
        f"**Budget.** {budgets}. AdamW, weight decay {fitting.DECAY:g}, gradients clipped to {fitting.CLIP:g}, "
        f"warm-up and cosine. **Tuning.** The same for every cell: learning rate {rates}, whichever has the better "
        f"median over {plan.seeds} seeds on validation sequences; nothing else is tuned. Test sequences are scored "
        "once. Other starting scales multiply every weight matrix at its start and keep the rate that was chosen at 1.",
        "**Noise.** On inputs, in their own deviation; on weights and biases, relative (linear units keep their "
        "eigenvalues exact); on states at every timestep, relative to their root mean square, after which cmru and "
        f"bmru restore the nearest level, as their circuits can. {probes.NOISY} test sequences, mean of 3 draws; the "
        f"shares above are means over the deviations {deviations}.",
        "**What this does not say.** Networks of a few hundred parameters, short budgets, small data: no word on "
        "large models. The papers' own benchmarks, hyperparameters and sizes are others; that α of αCMRU is an affine "
        "function of the input is a reading of its abstract.",
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
    """The section on what models/ ships."""
    table = tables.checkpoints(records)
    if not table.rows:
        return []
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    rates = " or ".join(f"{rate:g}" for rate in fitting.Budget.rates)
    return [
        "## Checkpoints of models/",
        "The backbone above has layers between its cells that the charge domain has no circuit for. The networks of "
        "models/ are those that `cmru-hw train` makes and `cmru-hw export` builds. Each is made again here by its own "
        f"recipe, which its file carries, from {rows[0]['seeds']} seeds, and its tuning is what every cell above had: "
        f"learning rate {rates}, here by {checkpoints.FOLDS}-fold cross-validation on the training sequences; its "
        "recipe's, unless the other is better by more than chance. A seed is chosen by its validation loss, on fresh "
        "variations of the training sequences, as `cmru-hw train --best-of` does. A checkpoint stays unless the best "
        "seed's loss is lower by more than chance (95 %, paired over sequences, corrected for the number of seeds). No "
        "test sequence has a say: test scores are listed, not used.",
        "\n".join(f"- {_kept(row)}" for row in rows),
        tables.chosen_columns(
            table, ("checkpoint", *table.columns[2:6], *table.columns[10:13], *table.columns[13:])
        ).markdown(),
    ]


def _kept(row: Mapping[str, Any]) -> str:
    """What became of one checkpoint."""
    name, best, same = row["checkpoint"], row["best seed"], row["identical seed"]
    found = "is none of these bit for bit." if same == "none" else f"is seed {same}, bit for bit."
    if same == best:
        judged = f"No other of the {row['seeds']} has a lower loss: it is the one."
    else:
        gain = f"{row['gain']:.2g} [{row['gain low']:.2g}, {row['gain high']:.2g}]"
        chance = row["gain low"] <= 0
        judged = f"Least loss: seed {best}, lower by {gain}, " + (
            "which is not more than chance: it stays." if chance else "more than chance: **to be replaced**."
        )
    tuned = f" **To be trained at rate {row['rate']:g}.**" if row["rate"] != row["recipe's rate"] else ""
    return f"[{name}](../../models/{name}.md) {found} {judged}{tuned}"


def _summary(verdicts: Sequence[Verdict]) -> str:
    lines = ["| | claim | here | what it comes down to |", "|---|---|---|---|"]
    for number, verdict in enumerate(verdicts, 1):
        lines.append(f"| {number} | {verdict.claim} | **{verdict.holds}** | {verdict.number} |")
    return "\n".join(lines)


def _section(number: int, verdict: Verdict) -> str:
    points = "\n".join(f"- {line}" for line in verdict.evidence)
    word = f"**{verdict.holds.capitalize()}.** Source of the claim: {verdict.source}."
    return f"### {number}. {verdict.claim}\n\n{word}\n\n{points}"
