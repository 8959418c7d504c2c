"""The study: all trials in their order, kept in a file from which an interrupted search goes on.

The next trial is a function of the seed and of the trials before it. Optuna's tree-structured Parzen estimator
(Bergstra et al., NeurIPS 2011) proposes it; its generator starts anew for each trial, so a search that was
interrupted ends with the same result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cmru_hw.analysis.sizing.problem import AnyProblem, Minimise
from cmru_hw.core import counter_rng
from cmru_hw.core.errors import InputError, OutputError, reason
from cmru_hw.core.records import Count, NotNegative, Record
from cmru_hw.core.regular_file import read_text
from cmru_hw.process.sizes import Sizes

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

STUDY = "study.jsonl"
State = Literal["good", "fails", "dearer", "no circuit", "not proven"]


@dataclass(frozen=True, kw_only=True)
class Trial(Record):
    """Sizes that were tried, their costs, and the dies that they were tried on.

    ``state``: "good" if no more than the allowed dies failed, "fails" if more did, "dearer" than a good one (no die was
    simulated), "no circuit"; "not proven" repeats a good one whose proof did not pass, with the dies of the proof as
    its sample. ``sample`` are the ``good_of_sample`` of the first dies, in which no choice was made; ``dies`` all that
    were simulated, of which ``failed``, ``failed_dies``, failed.
    """

    sizes: Mapping[str, float]
    state: State
    energy_J: NotNegative | None
    area_m2: NotNegative | None
    sample: Count = 0
    good_of_sample: Count = 0
    dies: Count = 0
    failed: Count = 0
    failed_dies: tuple[Count, ...] = ()

    def cost(self, minimise: Minimise) -> float:
        found = self.energy_J if minimise == "energy" else self.area_m2
        return math.inf if found is None else found

    @property
    def yield_(self) -> float:
        """Of the sample."""
        return self.good_of_sample / self.sample if self.sample else 0.0

    def typed(self) -> Sizes:
        """Of a charge-domain circuit."""
        values = dict(self.sizes)
        return Sizes(trim_bits=int(values.pop("trim_bits")), **values)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Trials in the order in which they were tried, kept in ``path`` unless it is None."""

    problem: AnyProblem
    path: Path | None
    trials: list[Trial]

    @classmethod
    def open(cls, problem: AnyProblem, folder: Path | None, *, force: bool = False) -> Study:
        """The study kept in ``folder``, or a new one. Raises OutputError if it belongs to another problem, unless
        ``force``."""
        if folder is None:
            return cls(problem=problem, path=None, trials=[])
        path = folder / STUDY
        kept: list[str] = []
        if path.exists() and not force:
            kept = read_text(path).splitlines()
            if not kept or _header(kept[0]) != problem.sha256:
                raise OutputError(f"{folder} holds another search: choose another -o, or give --force to replace it")
        study = cls(problem=problem, path=path, trials=_read(kept[1:], path))
        # a line that was cut off by an interruption is written again
        text = "".join(f"{_line(one)}\n" for one in study.trials)
        study._write("w", json.dumps({"problem": problem.sha256}) + "\n" + text)
        return study

    def add(self, trial: Trial) -> None:
        self.trials.append(trial)
        self._write("a", f"{_line(trial)}\n")

    def _write(self, mode: str, text: str) -> None:
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written ({reason(error)}): choose another -o") from error

    def good(self) -> list[Trial]:
        """The good trials that were not judged otherwise later."""
        return [one for one in standing(self.trials) if one.state == "good"]

    def best(self) -> Trial | None:
        """The cheapest good trial, the first of equals."""
        return min(self.good(), key=lambda one: one.cost(self.problem.goal.minimise), default=None)

    def proposed(self) -> Any:
        """The sizes to try next, by the trials so far."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        problem, number = self.problem, len(self.trials)
        spaces = {name: _distribution(name, problem) for name in problem.free}
        key = counter_rng.keys(problem.seed, "sizing/candidate", [number])
        sampler = optuna.samplers.TPESampler(
            seed=int(key[0]) % 2**32, multivariate=True, n_startup_trials=0, constant_liar=False
        )
        study = optuna.create_study(sampler=sampler)
        for one in self.trials:
            if one.state != "no circuit":
                inside = {name: _inside(name, float(one.sizes[name]), problem) for name in spaces}
                study.add_trial(
                    optuna.trial.create_trial(params=inside, distributions=spaces, value=_merit(one, problem))
                )
        found = {
            name: _inside(name, float(f"{value:.4g}"), problem) for name, value in study.ask(spaces).params.items()
        }
        return problem.checked({**problem.fixed, **found})


def standing(trials: Sequence[Trial]) -> list[Trial]:
    """``trials``, of those with the same sizes the last one."""
    return list({tuple(sorted(one.sizes.items())): one for one in trials}.values())


def _merit(one: Trial, problem: AnyProblem) -> float:
    """Smaller is better: the logarithm of the cost, and for a trial that fails its share of bad dies as well."""
    cost = math.log(one.cost(problem.goal.minimise))
    return cost + (0.5 + 3 * (1 - one.yield_) if one.state in ("fails", "not proven") else 0.0)


def _distribution(name: str, problem: AnyProblem) -> BaseDistribution:
    import optuna

    low, high = problem.bounds(name)
    if problem.whole(name):
        return optuna.distributions.IntDistribution(int(low), int(high), log=low > 0)
    return optuna.distributions.FloatDistribution(low, high, log=True)


def _inside(name: str, value: float, problem: AnyProblem) -> float | int:
    low, high = problem.bounds(name)
    return int(value) if problem.whole(name) else min(max(value, low), high)


def _line(one: Trial) -> str:
    return json.dumps(one.to_plain())


def _header(line: str) -> str:
    try:
        return str(json.loads(line)["problem"])
    except (ValueError, KeyError, TypeError):
        return ""


def _read(lines: Sequence[str], path: Path) -> list[Trial]:
    found = []
    for place, line in enumerate(lines):
        try:
            found.append(Trial.from_plain(json.loads(line), where=path))
        except (ValueError, InputError) as error:
            if place == len(lines) - 1:
                break
            raise OutputError(f"{path} is damaged in line {place + 2}: give --force to search again") from error
    return found
