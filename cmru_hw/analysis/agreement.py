"""Agreement of a circuit's decisions and classes with software."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cmru_hw.core.records import Count, Invalid, OneOf, Record

Level = Annotated[str, OneOf(("macro", "transistor"))]
Label = Annotated[str, OneOf(("estimate", "simulated"))]
"""How an energy is to be called: only one of transistors is simulated."""


@dataclass(frozen=True, kw_only=True)
class DecisionAgreement(Record):
    """Of ``total`` decisions, ``agree`` are those of software."""

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
    """Of ``total`` sequences, ``agree`` have the class that software gives, and ``correct_circuit`` the labelled one:
    None without labels."""

    total: Count
    agree: Count
    correct_circuit: Count | None

    def check(self) -> None:
        for name, value in (("agree", self.agree), ("correct_circuit", self.correct_circuit or 0)):
            if value > self.total:
                raise Invalid(name, f"is {value} of a total of {self.total}")
