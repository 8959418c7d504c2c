"""Claims of the abstracts, each tested on the records. A claim that does not reproduce is reported as such.

The verdicts: "holds" if the 95 % interval of the claimed quantity excludes the opposite in every named comparison;
"does not hold" if it excludes the claim in one comparison and supports it in none; "in part" if some comparisons
support it and others do not; "undecided" if no interval excludes anything. The score above which a model counts as
having learnt was fixed before the study was run.
"""

# long: one function for each claim, all alike
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.claims import intervals, problems
from benchmarks.claims.intervals import Estimate
from benchmarks.claims.probes import LENGTHS
from benchmarks.claims.study import Record

MATCH = 0.02
"""Two cells match if their medians differ by at most this, within the interval."""
HELD = 0.05
"""Tolerance for "no worse" where each length has its own 50 sequences: about their sampling error."""
FEWEST = 3
"""Smallest number of runs that must have learnt before their noise is compared."""
RETENTION = ("flipflop", "recall")
BASELINES, QUANTISED = ("lru", "mingru"), ("cmru", "bmru")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``number``: the main result over all comparisons; ``evidence``: one sentence for each of them."""

    claim: str
    source: str
    holds: str
    number: str
    evidence: tuple[str, ...]


class Records:
    """The records of a study, with lookup by their properties."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.all = tuple(records)

    def of(self, kind: str, **wanted: Any) -> list[Record]:
        return [
            record
            for record in self.all
            if record["job"]["kind"] == kind and all(record["job"][name] == value for name, value in wanted.items())
        ]

    def one(self, kind: str, **wanted: Any) -> Record | None:
        found = self.of(kind, **wanted)
        return found[0] if found else None

    def settings(self) -> list[tuple[str, int]]:
        """(problem, size) of every score at the starting scale of 1, in order."""
        return list(dict.fromkeys((r["job"]["problem"], r["job"]["size"]) for r in self.of("score", scale=1.0)))

    def scores(self, cell: str, problem: str, size: int, scale: float = 1.0) -> list[float] | None:
        """One test score per seed, at the learning rate that the validation sequences chose."""
        record = self.one("score", cell=cell, problem=problem, size=size, scale=scale)
        return None if record is None else record["result"]["score"]

    def at_best_scale(self, cell: str, problem: str, size: int) -> tuple[float, list[float]] | None:
        """Of several starting scales, the one with the best median on validation sequences, and its test scores."""
        found = self.of("score", cell=cell, problem=problem, size=size)
        if len(found) < 2:
            return None
        best = max(found, key=lambda record: max(np.median(row) for row in record["result"]["validation"]))
        return best["job"]["scale"], best["result"]["score"]

    def learnt(self, cell: str, settings: Iterable[tuple[str, int]], *, every_rate: bool = False) -> tuple[int, int]:
        """Number of runs at a starting scale of 1 that learnt, and number of all of them."""
        count = total = 0
        for problem, size in settings:
            record = self.one("score", cell=cell, problem=problem, size=size, scale=1.0)
            if record is not None:
                rates = record["result"]["test"] if every_rate else [record["result"]["score"]]
                scores = [value for row in rates for value in row]
                count += sum(value >= problems.get(problem).learnt for value in scores)
                total += len(scores)
        return count, total


def judge(records: Records) -> list[Verdict]:
    """Every claim that these records can test."""
    found = [make(records) for make in _CLAIMS]
    return [verdict for verdict in found if verdict is not None and verdict.evidence]


def _decided(supports: Sequence[bool | None]) -> str:
    """The verdict from comparisons that support a claim (True), exclude it (False) or leave it open (None)."""
    if supports and all(supports):
        return "holds"
    if any(supports):
        return "in part"
    return "does not hold" if False in supports else "undecided"


def _mean(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> str:
    """Mean difference over all comparisons of a claim, with equal weights; an R² of 1 is 100 points."""
    return f"{intervals.mean_difference(pairs).percent('+')} points" if pairs else "not tested"


def _above(estimate: Estimate, bound: float = 0.0) -> bool | None:
    return True if estimate.low > bound else False if estimate.high <= bound else None


def _convergence(records: Records) -> Verdict:
    supports, evidence = [], []
    names = ("cmru", "acmru", "bmru")
    # If no run ever learns, there is no convergence whose stability could be compared.
    settings = [
        place
        for place in records.settings()
        if any(records.learnt(name, [place], every_rate=True)[0] for name in names)
    ]
    idle = [f"{problem}, {size}" for problem, size in records.settings() if (problem, size) not in settings]
    cases = [("all together", settings, False), ("all together, at every learning rate", settings, True)]
    cases += [(f"{problem}, {size} parameters", [(problem, size)], False) for problem, size in settings]
    for label, places, every in cases:
        for cell in ("cmru", "acmru"):
            (one, of_one), (other, of_other) = (records.learnt(n, places, every_rate=every) for n in (cell, "bmru"))
            if not of_one or not of_other:
                continue
            gap = intervals.share_difference((one, of_one), (other, of_other))
            supports.append(_above(gap))
            evidence.append(
                f"{label}, {cell} learnt in {one} of {of_one} runs, bmru (ε = 0) in {other} of {of_other}: "
                f"{gap.percent('+')} points"
            )
    number = f"runs that learn: {evidence[0].removeprefix('all together, ')}" if evidence else ""
    for cell in ("cmru", "acmru"):
        widths = [
            [
                np.subtract(*np.percentile(found, [75, 25]))
                for name in (cell, "bmru")
                if (found := records.scores(name, *place)) is not None
            ]
            for place in settings
        ]
        widths = [pair for pair in widths if len(pair) == 2]
        if widths:
            one, two = np.mean(widths, axis=0)
            wider = sum(a > b for a, b in widths)
            evidence.append(
                f"interquartile range of test scores, mean of {len(widths)} settings: {cell} {one:.3f}, bmru "
                f"{two:.3f}; {cell}'s is the wider in {wider}"
            )
    if idle:
        evidence.append(f"not included, because no run of any of the three learns: {'; '.join(idle)}")
    return Verdict(
        claim="The cumulative update makes convergence more stable than the BMRU's.",
        source="arXiv:2605.11855",
        holds=_decided(supports),
        number=number,
        evidence=tuple(evidence),
    )


def _initialisation(records: Records) -> Verdict:
    supports, evidence = [], []
    gaps: dict[str, list[Estimate]] = {}
    scales = sorted({record["job"]["scale"] for record in records.of("score")})
    for problem, size in records.settings():
        groups = {
            cell: [found for scale in scales if (found := records.scores(cell, problem, size, scale)) is not None]
            for cell in ("cmru", "acmru", "bmru")
        }
        if len(groups["bmru"]) < 3:
            continue
        for cell in ("cmru", "acmru"):
            if len(groups[cell]) == len(groups["bmru"]):
                gap = intervals.spread_difference(groups["bmru"], groups[cell])
                supports.append(_above(gap))
                gaps.setdefault(cell, []).append(gap)
                shown = (
                    f"{name} {', '.join(f'{np.median(group):.3f}' for group in groups[name])}"
                    for name in (cell, "bmru")
                )
                evidence.append(
                    f"{problem}, {size} parameters, medians started at scales {', '.join(f'{s:g}' for s in scales)}: "
                    f"{'; '.join(shown)}; range of bmru minus range of {cell} {gap.percent('+')} points"
                )
    return Verdict(
        claim="The cumulative update makes the result depend less on initialisation than the BMRU's.",
        source="arXiv:2605.11855",
        holds=_decided(supports),
        number="range over starting scales, of bmru minus that of: "
        + "; ".join(
            f"{cell} " + ", ".join(f"{gap.percent('+')}" for gap in found) + " points" for cell, found in gaps.items()
        ),
        evidence=tuple(evidence),
    )


def _compared(one: Sequence[float], other: Sequence[float]) -> tuple[str, bool | None]:
    """The comparison in words, with a placeholder for the other cell; and whether ``one`` matches or exceeds it."""
    gap = intervals.difference(one, other)
    match = _above(gap, -MATCH)
    if gap.low > 0:
        word = "outperforms {}"
    elif match is None:
        behind = f"is behind, perhaps by less than {100 * MATCH:g} points, {{}}"
        word = behind if gap.high < 0 else "is not distinguishable from {}"
    else:
        word = "matches {}" if match else "is behind {}"
    return (
        f"{word}, medians {np.median(one):.3f} and {np.median(other):.3f}, difference {gap.percent('+')} points",
        match,
    )


def _against_baselines(records: Records, cell: str) -> Verdict:
    supports: list[bool | None] = []
    evidence = []
    pairs = []
    for problem, size in records.settings():
        for baseline in BASELINES:
            one, other = (records.scores(name, problem, size) for name in (cell, baseline))
            if one is None or other is None:
                continue
            pairs.append((one, other))
            word, match = _compared(one, other)
            supports.append(match)
            evidence.append(f"{problem}, {size} parameters: {cell} {word.format(baseline)}")
            tuned, rival = (records.at_best_scale(name, problem, size) for name in (cell, baseline))
            if tuned is not None and rival is not None and (tuned[0], rival[0]) != (1.0, 1.0):
                word, match = _compared(tuned[1], rival[1])
                supports.append(match)
                evidence.append(
                    f"{problem}, {size} parameters, each at its best starting scale, {tuned[0]:g} and "
                    f"{rival[0]:g}: {cell} {word.format(baseline)}"
                )
    name = {"cmru": "CMRU", "acmru": "αCMRU"}[cell]
    return Verdict(
        claim=f"At small sizes the {name} matches or outperforms LRU and minGRU.",
        source="arXiv:2605.11855",
        holds=_decided(supports),
        number=f"it does in {supports.count(True)} of {len(supports)} comparisons and is behind in "
        f"{supports.count(False)}; mean difference {_mean(pairs)}",
        evidence=tuple(evidence),
    )


def _retention(records: Records) -> Verdict:
    supports, evidence = [], []
    pairs = []
    furthest = str(max(LENGTHS))
    for record in records.of("score", cell="cmru", scale=1.0):
        problem, size = record["job"]["problem"], record["job"]["size"]
        if "length" not in record["result"]:
            continue
        for baseline in BASELINES:
            other = records.one("score", cell=baseline, problem=problem, size=size, scale=1.0)
            if other is not None:
                one, two = (found["result"]["length"][furthest] for found in (record, other))
                pairs.append((one, two))
                gap = intervals.difference(one, two)
                supports.append(_above(gap))
                evidence.append(
                    f"{problem}, trained on about 100 timesteps, tested at {furthest}: cmru median "
                    f"{np.median(one):.3f}, {baseline} {np.median(two):.3f}, difference {gap.percent('+')} points"
                )
    for problem, size in records.settings():
        if problem.startswith("recall"):
            for baseline in BASELINES:
                one, two = (records.scores(name, problem, size) for name in ("cmru", baseline))
                if one is not None and two is not None:
                    gap = intervals.difference(one, two)
                    supports.append(_above(gap))
                    evidence.append(
                        f"{problem}, tested as trained: cmru median {np.median(one):.3f}, {baseline} "
                        f"{np.median(two):.3f}, difference {gap.percent('+')} points"
                    )
                tuned, rival = (records.at_best_scale(name, problem, size) for name in ("cmru", baseline))
                if tuned is not None and rival is not None and (tuned[0], rival[0]) != (1.0, 1.0):
                    gap = intervals.difference(tuned[1], rival[1])
                    supports.append(_above(gap))
                    evidence.append(
                        f"the same, each at its best starting scale, {tuned[0]:g} and {rival[0]:g}: cmru "
                        f"median {np.median(tuned[1]):.3f}, {baseline} {np.median(rival[1]):.3f}, difference "
                        f"{gap.percent('+')} points"
                    )
    return Verdict(
        claim="The CMRU has an advantage where discrete information is stored for long times.",
        source="arXiv:2605.11855",
        holds=_decided(supports),
        number=f"at {furthest} timesteps: mean difference to LRU and minGRU {_mean(pairs)}",
        evidence=tuple(evidence),
    )


def _noise(records: Records, kind: str) -> Verdict:
    supports, evidence = [], []
    pairs = []
    words = {"input": "inputs", "weight": "weights and biases"}
    words["state"] = "states, restored to the nearest level if quantised"
    asked = dict.fromkeys(
        (r["job"]["problem"], r["job"]["size"]) for r in records.of("score", scale=1.0) if "noise" in r["result"]
    )
    for problem, size in asked:
        bound = problems.get(problem).learnt
        for cell in QUANTISED:
            for baseline in BASELINES:
                pair = [records.one("score", cell=n, problem=problem, size=size, scale=1.0) for n in (cell, baseline)]
                if None in pair:
                    continue
                one, two = (_kept(record["result"]["noise"][kind], bound) for record in pair if record is not None)
                if min(len(one), len(two)) < FEWEST:
                    evidence.append(f"{problem}: {cell} learnt in {len(one)} runs, {baseline} in {len(two)}: too few")
                    continue
                pairs.append((one, two))
                gap = intervals.difference(one, two)
                supports.append(_above(gap))
                evidence.append(
                    f"{problem}: {cell} keeps {100 * np.median(one):.1f} % of its score ({len(one)} runs that learnt), "
                    f"{baseline} {100 * np.median(two):.1f} % ({len(two)} runs), difference {gap.percent('+')} points"
                )
    return Verdict(
        claim=f"Quantised states withstand noise better than continuous ones: noise on {words[kind]}.",
        source="arXiv:2605.11855, 2601.09495",
        holds=_decided(supports),
        number=f"remaining share of the score: mean difference to LRU and minGRU {_mean(pairs)}",
        evidence=tuple(evidence),
    )


def _kept(curve: Mapping[str, Sequence[float]], bound: float) -> list[float]:
    """Mean score of each model that learnt, over all noises, relative to its score without noise."""
    clean = np.array(curve["0"])
    noisy = np.mean([values for deviation, values in curve.items() if deviation != "0"], axis=0)
    shares: list[float] = (noisy[clean >= bound] / clean[clean >= bound]).tolist()
    return shares


def _persistence(records: Records, *, quiet: bool) -> Verdict:
    supports, evidence = [], []
    held = asked_of = 0
    near, far = str(min(LENGTHS)), str(max(LENGTHS))
    kind, asked = ("hold", "quiet") if quiet else ("score", "length")
    for record in records.of(kind, scale=1.0):
        job, lengths = record["job"], record["result"].get(asked)
        if lengths is None:
            continue
        pairs = [(a, b) for a, b in zip(lengths[near], lengths[far], strict=True) if a >= 0.95]
        if not pairs:
            evidence.append(f"{job['problem']}: no run of {job['cell']} answers 95 % at {near} timesteps")
            continue
        kept = sum(b >= a - HELD for a, b in pairs)
        found = intervals.share(kept, len(pairs))
        if job["cell"] in QUANTISED:
            held, asked_of = held + kept, asked_of + len(pairs)
            supports.append(True if found.low > 0.5 else None if found.high > 0.5 else False)
        evidence.append(
            f"{job['problem']}: of {len(pairs)} runs of {job['cell']} that answer at least 95 % at {near} timesteps, "
            f"{kept} are within {100 * HELD:g} points of that at {far}: {found.percent()}"
        )
    if asked_of:
        whole = intervals.share(held, asked_of)
        # With few runs each, a single cell is seldom decisive; all of them together are.
        supports = [True if whole.low > 0.5 else None if whole.high > 0.5 else False] + [
            found for found in supports if found is not None
        ]
    silence = "silence" if quiet else "the noise it was trained in"
    return Verdict(
        claim=f"Memory is persistent: a quantised state that holds in {silence} holds for any time.",
        source="arXiv:2601.09495",
        holds=_decided(supports),
        number=f"at {far} timesteps, {held} of {asked_of} runs of cmru and bmru answer as at {near}: "
        f"{intervals.share(held, asked_of).percent()}"
        if asked_of
        else "",
        evidence=tuple(evidence),
    )


def _parallel(records: Records) -> Verdict:
    supports: list[bool | None] = []
    evidence = []
    largest = 0.0
    for cell in dict.fromkeys(record["job"]["cell"] for record in records.of("score")):
        found = [record["result"]["scan_error"] for record in records.of("score", cell=cell)]
        errors = [error for one in found for error in one if error is not None]
        worst = max(errors)
        supports.append(worst < 1e-3)
        largest = max(largest, worst)
        evidence.append(
            f"{cell}: over {len(errors)} trained models, the outputs of both forms differ by at most "
            + ("0: bit for bit the same" if worst == 0 else f"{worst:.1e} of the largest")
        )
    return Verdict(
        claim="The parallel recurrence equals the sequential one.",
        source="arXiv:2601.09495, 2605.11855",
        holds=_decided(supports),
        number=f"largest difference of any output, of any trained model: {largest:.1e} of the largest output",
        evidence=tuple(evidence),
    )


def _gradients(records: Records) -> Verdict | None:
    record = records.one("gradient")
    if record is None:
        return None
    evidence = []
    last: dict[str, list[float]] = {}
    for name, rows in record["result"].items():
        last[name] = [row[-1] for row in rows]
        share, back = intervals.median(last[name]), len(rows[0]) - 1
        evidence.append(f"{name}: {share} of the gradient of the last input, {back} timesteps back")
    forward = intervals.difference(last["epsilon 1"], last["epsilon 0"])
    return Verdict(
        claim="State updates block the gradient at ε = 0 and pass it at ε = 1.",
        source="arXiv:2605.11855",
        holds=_decided([_above(forward)]),
        number=f"gradient {len(next(iter(record['result'].values()))[0]) - 1} timesteps back, relative to the last "
        f"one: {intervals.median(last['epsilon 1'])} at ε = 1, {intervals.median(last['epsilon 0'])} at ε = 0",
        evidence=tuple(evidence),
    )


def _fading(records: Records) -> Verdict:
    supports, evidence = [], []
    pairs = []
    for problem, size in records.settings():
        if problem == "leaky":
            for cell in ("cmru", "acmru", "bmru"):
                one, other = (records.scores(name, problem, size) for name in ("lru", cell))
                if one is not None and other is not None:
                    pairs.append((one, other))
                    gap = intervals.difference(one, other)
                    supports.append(_above(gap))
                    evidence.append(
                        f"{problem}, {size} parameters: R² of lru {np.median(one):.3f}, of {cell} "
                        f"{np.median(other):.3f}, difference {gap}"
                    )
    return Verdict(
        claim="Where memory must fade, linear units are better (as expected: the task is linear).",
        source="arXiv:2601.09495",
        holds=_decided(supports),
        number=f"R² of the LRU minus that of cmru, acmru and bmru: mean {intervals.mean_difference(pairs)}"
        if pairs
        else "",
        evidence=tuple(evidence),
    )


def _hybrid(records: Records) -> Verdict:
    supports, evidence = [], []
    pairs = []
    for problem, size in records.settings():
        kept, other = ("lru", "bmru") if problem == "leaky" else ("bmru", "lru")
        if problem != "leaky" and not problem.startswith(RETENTION):
            continue
        hybrid, better, worse = (records.scores(name, problem, size) for name in ("hybrid", kept, other))
        if hybrid is None or better is None or worse is None:
            continue
        pairs.append((hybrid, better))
        gap = intervals.difference(hybrid, better)
        supports.append(_above(gap, -MATCH))
        evidence.append(
            f"{problem}, {size} parameters: hybrid {np.median(hybrid):.3f}, {kept} {np.median(better):.3f}, "
            f"{other} {np.median(worse):.3f}; hybrid minus {kept} {gap.percent('+')} points"
        )
    return Verdict(
        claim="A hybrid of a memory unit and a linear unit has both persistent and fading memory.",
        source="arXiv:2601.09495",
        holds=_decided(supports),
        number=f"hybrid minus the half that suits the problem: mean difference {_mean(pairs)}",
        evidence=tuple(evidence),
    )


_CLAIMS: Sequence[Callable[[Records], Verdict | None]] = (
    _convergence,
    _initialisation,
    _gradients,
    lambda records: _against_baselines(records, "cmru"),
    lambda records: _against_baselines(records, "acmru"),
    _retention,
    lambda records: _persistence(records, quiet=True),
    lambda records: _persistence(records, quiet=False),
    lambda records: _noise(records, "input"),
    lambda records: _noise(records, "weight"),
    lambda records: _noise(records, "state"),
    _parallel,
    _hybrid,
    _fading,
)
