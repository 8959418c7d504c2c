"""The sizing problem: a network, a task, a technology with its laws, and a yield to reach at the least cost."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

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
class Problem:
    """``fixed`` are the sizes that stay, by name. Raises InputError or TechnologyError if nothing can be sized."""

    trained: Trained
    sequences: Sequences
    technology: Technology
    laws: Laws
    goal: Goal
    seed: int
    fixed: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if registry.fitting(self.trained).name != "sc":
            raise InputError(f"only charge-domain circuits are sized, and a {self.trained.config.cell} has none")
        sizing.fixed(self.fixed, self.base)

    @cached_property
    def base(self) -> Sizes:
        return sizing.of(self.technology, self.laws)

    @cached_property
    def free(self) -> tuple[str, ...]:
        """Names of the sizes that are searched. The supply is, like the fixed ones, the technology's unless given."""
        return tuple(name for name in sizing.RANGES if name not in self.fixed and name != "supply")

    @cached_property
    def calibration(self) -> Any:
        return registry.get("sc").calibrate(self.trained, self.sequences)

    def technology_at(self, sizes: Sizes) -> Technology:
        return sizing.applied(self.technology, sizes, self.laws)

    def design(self, sizes: Sizes) -> Any:
        """Raises MappingError for sizes that the network cannot be built with."""
        return registry.get("sc").map_network(self.trained, self.technology_at(sizes), self.calibration)

    def costs(self, design: Any, sizes: Sizes) -> Costs:
        """Energy by the analytic estimate and the technology's measured unit: see the energy model of the design."""
        kind = registry.get("sc")
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
        return Costs(energy=sum(blocks.values()), blocks=blocks, area=area(design, sizes, self.laws))

    @cached_property
    def sha256(self) -> str:
        """Identity of the search: the same problem gives the same trials."""
        data = self.sequences
        hashed = hashlib.sha256()
        for part in (cmru_hw.__version__, self.trained.sha256, self.technology.sha256, self.laws, self.goal):
            hashed.update(f"{part}\n".encode())
        hashed.update(f"{self.seed} {sorted(self.fixed.items())} {asdict(self.base)}".encode())
        for array in (data.inputs, data.lengths, data.labels):
            hashed.update(b"none" if array is None else repr(array.shape).encode() + array.tobytes())
        return hashed.hexdigest()
