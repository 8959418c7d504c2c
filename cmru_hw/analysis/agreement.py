"""Agreement of a circuit's decisions and classes with software."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cmru_hw.circuits.class_verdict import ClassVerdict
from cmru_hw.core.records import Count, Invalid, OneOf, Record
from cmru_hw.nn.one_score import ONE_SCORE

Level = Annotated[str, OneOf(("macro", "transistor"))]
Label = Annotated[str, OneOf(("estimate", "simulated"))]
"""The label of an energy, by level: only transistor-level energies are simulated."""


@dataclass(frozen=True, kw_only=True)
class DecisionAgreement(Record):
    """``agree`` of ``total`` decisions equal those of software."""

    total: Count
    agree: Count

    @property
    def share(self) -> float:
        return self.agree / self.total

    def check(self) -> None:
        if not 0 < self.total >= self.agree:
            raise Invalid("agree", f"is {self.agree} of a total of {self.total}")


@dataclass(frozen=True, kw_only=True)
class ClassAgreement(ClassVerdict, Record):
    """A `ClassVerdict` as it is written. ``correct_circuit`` of all sequences have the labelled class; None without
    labels."""

    correct_circuit: Count | None

    def __str__(self) -> str:
        if self.one_score:
            return f"not judged: {ONE_SCORE}"
        rest = f", {self.not_judged} not judged" if self.not_judged else ""
        return f"{self.agree} of {self.total}{rest}"

    def check(self) -> None:
        if self.agree + self.not_judged > self.total:
            raise Invalid("agree", f"is {self.agree}, and {self.not_judged} are not judged, of a total of {self.total}")
        for name, value in (("agree", self.agree), ("correct_circuit", self.correct_circuit or 0)):
            if value > self.total:
                raise Invalid(name, f"is {value} of a total of {self.total}")
