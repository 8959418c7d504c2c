"""The job of a Monte-Carlo: everything that determines a die's row, and its identity."""

from __future__ import annotations

import hashlib
import math
import platform
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args

from numpy.typing import NDArray

import cmru_hw
from cmru_hw import spice
from cmru_hw.analysis.montecarlo.engines import Engines
from cmru_hw.circuits import registry
from cmru_hw.circuits.dies import DieSimulator
from cmru_hw.circuits.identity import simulated_sha256
from cmru_hw.core.errors import InputError
from cmru_hw.core.units import MOST_SEED
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.one_score import require_classes
from cmru_hw.nn.sequences import Sequences

EngineName = Literal["fast", "spice"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """The nominal design of every die, the task, the draws, and the engine.

    ``design`` is of any kind of circuit (`cmru_hw.circuits.design.AnyDesign`). ``varied`` are the sources of variation
    that differ from die to die. The simulator's time steps are halved ``refine`` times. A die's row does not depend on
    the process or machine that computes it. Raises InputError for a design whose dies cannot be drawn, DataError for a
    network with one score.
    """

    design: Any
    trained: Trained
    sequences: Sequences
    seed: int
    varied: frozenset[str]
    engine: EngineName = "fast"
    backend: spice.Backend = "pyspice"
    timeout: float = 600.0
    refine: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("engine", self.engine, get_args(EngineName)),
            ("backend", self.backend, get_args(spice.Backend)),
        ):
            if value not in known:
                raise InputError(f"{name} is {value!r}: give one of {', '.join(known)}")
        if not 0 <= self.seed <= MOST_SEED:
            raise InputError(f"seed is {self.seed}: give a whole number from 0 to {MOST_SEED}")
        if not 0 < self.timeout < math.inf:
            raise InputError(f"timeout is {self.timeout} s: give a positive number")
        kind = registry.of(self.design)
        if self.engine not in kind.die_simulator(self.design).engines:
            raise InputError(
                "the dies of a chip in transistors are simulated in SPICE only: give --engine spice, or export the "
                "network with --level macro for the fast engine"
            )
        leaves = sorted(kind.leaves(self.design))
        if unknown := sorted(self.varied - set(leaves)):
            raise InputError(f"{', '.join(unknown)} does not vary in this design: give some of {', '.join(leaves)}")
        require_classes(self.trained.config, "a yield")

    @cached_property
    def sha256(self) -> str:
        """Identity of the rows: two jobs with the same hash give the same rows.

        With the engine "spice", the version of the simulator is part of it. Raises SimulatorMissing.
        """
        data = self.sequences
        hashed = hashlib.sha256()
        kind = registry.of(self.design)
        simulated = simulated_sha256(self.design, kind.network_text(self.design))
        for part in (cmru_hw.__version__, kind.fingerprint(self.design), simulated):
            hashed.update(f"{part}\n".encode())
        for array in (data.inputs, data.lengths, data.labels):
            hashed.update(b"none" if array is None else repr(array.shape).encode() + array.tobytes())
        hashed.update(f"{self.seed} {sorted(self.varied)} {self.engine}".encode())
        hashed.update(f" {self.spice_version}".encode())
        if self.engine == "spice" and self.refine:
            hashed.update(f" refine {self.refine}".encode())
        return hashed.hexdigest()

    @cached_property
    def spice_version(self) -> str:
        """Name and version of the simulator that computes the rows; "" for the fast engine. Raises SimulatorMissing."""
        return spice.installed(self.backend) if self.engine == "spice" else ""

    @cached_property
    def engines(self) -> Engines:
        """The SPICE engines of this process for this job."""
        return Engines(backend=self.backend, timeout=self.timeout)

    def require_same_simulator(self) -> None:
        """Raise InputError if this machine has another version of the simulator than the one that started the job."""
        if self.engine == "spice" and (found := spice.installed(self.backend)) != self.spice_version:
            raise InputError(
                f"{platform.node()} has {found}, and the job was started with {self.spice_version}: "
                f"install the same version on every machine"
            )

    @property
    def simulator(self) -> DieSimulator:
        """The simulator that draws and scores dies of this kind of circuit."""
        return registry.of(self.design).die_simulator(self.design)

    @cached_property
    def goal(self) -> Any:
        """The software run that dies are compared with (`cmru_hw.circuits.dies.Goal`)."""
        return self.simulator.goal(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # The read-only mapping of a checkpoint cannot be pickled, and derived values need not be.
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        trained = values.pop("trained")
        return _rebuilt, (values, trained.config, dict(trained.arrays), self.spice_version)


def _rebuilt(values: dict[str, Any], config: ModelConfig, tensors: dict[str, NDArray[Any]], spice_version: str) -> Job:
    job = Job(trained=Trained.of_arrays(config, tensors), **values)
    # Another machine may have another version, which must not become part of this job.
    vars(job)["spice_version"] = spice_version
    return job
