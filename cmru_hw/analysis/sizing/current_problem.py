"""Sizes of a current-mode circuit: numbers of devices in parallel by size class, at the least area."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from cmru_hw.analysis.sizing.problem import AnyProblem
from cmru_hw.circuits import registry
from cmru_hw.circuits.current import mapping, parallel
from cmru_hw.circuits.current.technology import CurrentTechnology, with_parallel
from cmru_hw.core.errors import InputError

# Most devices in parallel that are searched, and the numbers that all classes have in the first trials.
MOST = 32
STARTS = (1, 4, 16)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Devices in parallel by name of the size class, in the order of signal flow."""

    counts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class CurrentProblem(AnyProblem):
    """Power does not depend on these sizes, so ``goal.minimise`` must be "area"."""

    architecture: ClassVar[str] = "cm"
    technology: CurrentTechnology

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.goal.minimise != "area":
            raise InputError("power in current mode does not depend on sizes: give --minimise area")

    @cached_property
    def base(self) -> Counts:
        given = self.technology.parallel
        return Counts(counts=tuple((name, parallel.count(given, name)) for name in self.names))

    @cached_property
    def names(self) -> tuple[str, ...]:
        return mapping.classes(self.trained.config)

    @cached_property
    def free(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in self.fixed)

    def bounds(self, name: str) -> tuple[float, float]:
        return 1, MOST

    def whole(self, name: str) -> bool:
        return True

    def unit(self, name: str) -> str:
        return ""

    def of(self, values: Mapping[str, float]) -> Counts:
        merged = {**dict(self.base.counts), **{name: int(value) for name, value in values.items()}}
        return Counts(counts=tuple(merged.items()))

    def values(self, sizes: Counts) -> dict[str, float]:
        return dict(sizes.counts)

    def checked(self, values: Mapping[str, float]) -> Counts:
        for name, value in values.items():
            if name not in self.names:
                raise InputError(f"no size class is called {name!r}: choose from {', '.join(self.names)}")
            if value != int(value) or not 1 <= value <= MOST:
                raise InputError(f"{name} is {value:g}, must be a whole number of devices from 1 to {MOST}")
        return self.of(values)

    def starts(self) -> Iterable[Counts]:
        """The technology's own sizes, and equal numbers of devices for all classes."""
        tried = set()
        for sizes in (self.base, *(self.of(dict.fromkeys(self.free, number)) for number in STARTS)):
            found = self.checked({**self.values(sizes), **self.fixed})
            if found not in tried:
                tried.add(found)
                yield found

    def technology_at(self, sizes: Counts) -> CurrentTechnology:
        return with_parallel(self.technology, dict(sizes.counts))

    def area(self, design: Any, sizes: Counts) -> float:
        found = registry.get(self.architecture).parts(design)
        assert found is not None
        return found.area

    def identity(self) -> str:
        return self.architecture
