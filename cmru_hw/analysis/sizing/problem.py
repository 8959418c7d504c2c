"""The sizing problem: a network, a task, a technology, and a yield to reach at the least cost.

`AnyProblem` has all that a search needs; `Problem` sizes the charge domain by its laws, and
`cmru_hw.analysis.sizing.current_problem` current mode.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import betaincinv

import cmru_hw
from cmru_hw.circuits import registry
from cmru_hw.circuits.charge.area import area
from cmru_hw.core.errors import InputError
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import sizes as sizing
from cmru_hw.process.sizes import Sizes
from cmru_hw.process.sizing_laws import Laws
from cmru_hw.process.technology import Technology

Minimise = Literal["energy", "area"]
# Designs that may be proven on fresh dies before the command gives up. Each bound has a third of the error.
ATTEMPTS = 3
# Confidence with which a trial is expected to pass the proof, from the dies of the search.
EXPECTED = 0.7
# The same after a proof that did not pass.
STRICT = 0.95
# Trim codes that are tried before the study proposes anything.
BITS = (5, 6)
# Sequences whose states give the analytic energy.
_ENERGY_SEQUENCES = 16


@dataclass(frozen=True, kw_only=True)
class Goal:
    """``yield_`` to prove with ``confidence``, and the cost to ``minimise``. A die is good if its accuracy is at most
    ``drop`` below software's. ``search`` and ``proof``: numbers of dies, by the yield unless given."""

    yield_: float
    confidence: float = 0.95
    minimise: Minimise = "energy"
    drop: float = 0.01
    search: int = 0
    proof: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.yield_ < 1:
            raise InputError(f"yield is {self.yield_:g}: give a share above 0 and below 1; no number of dies proves 1")
        if not 0.5 <= self.confidence < 1:
            raise InputError(f"confidence is {self.confidence:g}: give a share from 0.5 and below 1")
        if self.most_failures < 0:
            raise InputError(
                f"{self.proof_dies} fresh dies cannot prove a yield of {self.yield_:g} with confidence "
                f"{self.confidence:g}, even if all are good: give more"
            )

    @property
    def search_dies(self) -> int:
        return self.search or max(64, math.ceil(5 / (1 - self.yield_)))

    @property
    def proof_dies(self) -> int:
        return self.proof or max(400, math.ceil(20 / (1 - self.yield_)))

    def bound(self, good: int, dies: int) -> float:
        """Lower bound of the yield (Clopper and Pearson) that holds for each of ATTEMPTS designs together."""
        return float(betaincinv(good, dies - good + 1, (1 - self.confidence) / ATTEMPTS)) if good else 0.0

    @cached_property
    def most_failures(self) -> int:
        """Failed dies of a proof that passes; -1 if none passes."""
        dies, failures = self.proof_dies, -1
        while failures + 1 < dies and self.bound(dies - failures - 1, dies) >= self.yield_:
            failures += 1
        return failures

    def allowed(self, dies: int, expected: float = EXPECTED) -> int:
        """Failed dies of ``dies`` in a search with which a trial is expected to pass the proof, with that confidence;
        at least 0."""
        share, failures = 1 - self.most_failures / self.proof_dies, 0
        while failures + 1 < dies and betaincinv(dies - failures - 1, failures + 2, 1 - expected) >= share:
            failures += 1
        return failures


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Estimated ``energy`` [J per timestep], by block as well, and ``area`` [m²] of a design."""

    energy: float
    blocks: Mapping[str, float]
    area: float

    def of(self, minimise: Minimise) -> float:
        return self.energy if minimise == "energy" else self.area


@dataclass(frozen=True, kw_only=True, eq=False)
class AnyProblem(ABC):
    """``fixed`` are the sizes that stay, by name. Raises InputError or TechnologyError if nothing can be sized.

    Sizes are a frozen dataclass of the kind of circuit: ``base`` are those of the technology, ``of(values)`` those with
    these values by name, and ``values(sizes)`` the inverse. ``free`` names those that are searched. ``starts()`` are
    tried first.
    """

    architecture: ClassVar[str]
    trained: Trained
    sequences: Sequences
    technology: Any
    goal: Goal
    seed: int
    fixed: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if registry.fitting(self.trained).name != self.architecture:
            title = registry.get(self.architecture).title
            raise InputError(f"a {self.trained.config.cell} has no circuit in {title}, so it cannot be sized there")
        self.checked(self.fixed)

    @property
    @abstractmethod
    def base(self) -> Any: ...
    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]: ...
    @property
    @abstractmethod
    def free(self) -> tuple[str, ...]: ...
    @abstractmethod
    def bounds(self, name: str) -> tuple[float, float]: ...
    @abstractmethod
    def whole(self, name: str) -> bool:
        """Whether size ``name`` is a whole number."""

    @abstractmethod
    def unit(self, name: str) -> str: ...
    @abstractmethod
    def of(self, values: Mapping[str, float]) -> Any: ...
    @abstractmethod
    def values(self, sizes: Any) -> dict[str, float]: ...
    @abstractmethod
    def checked(self, values: Mapping[str, float]) -> Any:
        """``base`` with the sizes ``values``. Raises InputError for one that is unknown or out of its range."""

    @abstractmethod
    def starts(self) -> Iterable[Any]: ...
    @abstractmethod
    def technology_at(self, sizes: Any) -> Any: ...
    @abstractmethod
    def area(self, design: Any, sizes: Any) -> float: ...
    @abstractmethod
    def identity(self) -> str:
        """Everything besides network, technology, goal and data that the trials depend on."""

    def moved(self, sizes: Any, name: str, factor: float) -> Any:
        """``sizes`` with one of them changed by ``factor``, within its bounds; a whole number by 1 at least."""
        low, high = self.bounds(name)
        values = self.values(sizes)
        own = values[name]
        if self.whole(name):
            found = max(math.ceil(own * factor), own + 1) if factor > 1 else min(math.floor(own * factor), own - 1)
        else:
            found = float(f"{own * factor:.4g}")
        return self.of({**values, name: min(max(found, low), high)})

    @cached_property
    def calibration(self) -> Any:
        return registry.get(self.architecture).calibrate(self.trained, self.sequences)

    def design(self, sizes: Any) -> Any:
        """Raises MappingError for sizes that the network cannot be built with."""
        kind = registry.get(self.architecture)
        return kind.map_network(self.trained, self.technology_at(sizes), self.calibration)

    def costs(self, design: Any, sizes: Any) -> Costs:
        """Energy by the analytic estimate and the technology's measured unit: see the energy model of the design."""
        kind = registry.get(self.architecture)
        model = kind.energy_model(design)
        some = self.sequences.take(
            np.unique(np.linspace(0, len(self.sequences) - 1, _ENERGY_SEQUENCES).round().astype(np.int64))
        )
        expected = kind.reference(design, self.trained, some)
        each = [
            model.analytic(expected, some.inputs[number, :length].astype(np.float64), number)
            for number, length in enumerate(some.lengths)
        ]
        blocks = {name: float(np.concatenate([one[name] for one in each]).mean()) for name in each[0]}
        blocks |= {name: sum(parts) for name, parts in model.unit.items()}
        return Costs(energy=sum(blocks.values()), blocks=blocks, area=self.area(design, sizes))

    @cached_property
    def sha256(self) -> str:
        """Identity of the search: the same problem gives the same trials."""
        data = self.sequences
        hashed = hashlib.sha256()
        for part in (cmru_hw.__version__, self.trained.sha256, self.technology.sha256, self.identity(), self.goal):
            hashed.update(f"{part}\n".encode())
        hashed.update(f"{self.seed} {sorted(self.fixed.items())} {self.values(self.base)}".encode())
        for array in (data.inputs, data.lengths, data.labels):
            hashed.update(b"none" if array is None else repr(array.shape).encode() + array.tobytes())
        return hashed.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem(AnyProblem):
    """Sizes of a charge-domain circuit (`cmru_hw.process.sizes`), by the ``laws`` of its process."""

    architecture: ClassVar[str] = "sc"
    technology: Technology
    laws: Laws

    @cached_property
    def base(self) -> Sizes:
        return sizing.of(self.technology, self.laws)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sizing.RANGES)

    @cached_property
    def free(self) -> tuple[str, ...]:
        """The supply is, like the fixed ones, the technology's unless given."""
        return tuple(name for name in sizing.RANGES if name not in self.fixed and name != "supply")

    def bounds(self, name: str) -> tuple[float, float]:
        return sizing.bounds(name, self.base)

    def whole(self, name: str) -> bool:
        return name == "trim_bits"

    def unit(self, name: str) -> str:
        return sizing.RANGES[name].unit

    def of(self, values: Mapping[str, float]) -> Sizes:
        return sizing.changed(self.base, values)

    def values(self, sizes: Sizes) -> dict[str, float]:
        return asdict(sizes)

    def checked(self, values: Mapping[str, float]) -> Sizes:
        return sizing.fixed(values, self.base)

    def starts(self) -> Iterable[Sizes]:
        """The technology's own sizes, without and with trim, and the sizes of the highest yield."""
        start = self.checked(self.fixed)
        yield start
        if "trim_bits" in self.free:
            yield from (replace(start, trim_bits=bits) for bits in BITS)
        largest = {
            name: self.bounds(name)[name != "trim_bits"]
            for name in self.free
            if name not in ("trim_bits", "trim_reach", "pair_length", "tail")
        }
        bits = {"trim_bits": 6} if "trim_bits" in self.free else {}
        yield sizing.changed(start, {**largest, **bits})

    def moved(self, sizes: Sizes, name: str, factor: float) -> Sizes:
        if name != "trim_bits":
            found: Sizes = super().moved(sizes, name, factor)
            return found
        low, high = self.bounds(name)
        bits = sizes.trim_bits + (1 if factor > 1 else -1)
        return replace(sizes, trim_bits=int(min(max(bits, low), high)))

    def technology_at(self, sizes: Sizes) -> Technology:
        return sizing.applied(self.technology, sizes, self.laws)

    def area(self, design: Any, sizes: Sizes) -> float:
        return area(design, sizes, self.laws)

    def identity(self) -> str:
        return f"{self.laws}"
