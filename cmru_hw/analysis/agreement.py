"""Agreement of a circuit's decisions and classes with software."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cmru_hw.core.records import Count, Invalid, OneOf, Record

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
class ClassAgreement(Record):
    """``agree`` of ``total`` sequences have the same class as in software, ``correct_circuit`` the labelled class (None
    without labels)."""

    total: Count
    agree: Count
    correct_circuit: Count | None

    def check(self) -> None:
        for name, value in (("agree", self.agree), ("correct_circuit", self.correct_circuit or 0)):
            if value > self.total:
                raise Invalid(name, f"is {value} of a total of {self.total}")
