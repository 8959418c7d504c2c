"""The job of a Monte-Carlo: everything that determines a die's row, and its identity."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

import cmru_hw
from cmru_hw import spice
from cmru_hw.circuits import registry
from cmru_hw.circuits.dies import DieSimulator
from cmru_hw.nn.checkpoint import ModelConfig, Sequences, Trained
from cmru_hw.nn.one_score import require_classes

EngineName = Literal["fast", "spice"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """The nominal design of every die, the task, the draws, and the engine.

    ``design`` is of any kind of circuit (`cmru_hw.circuits.design.AnyDesign`). ``varied`` are the sources of variation
    that differ from die to die. A die's row does not depend on the process or machine that computes it. Raises
    InputError for a design whose dies cannot be drawn, DataError for a network with one score.
    """

    design: Any
    trained: Trained
    sequences: Sequences
    seed: int
    varied: frozenset[str]
    engine: EngineName = "fast"
    backend: spice.Backend = "pyspice"
    timeout: float = 600.0

    def __post_init__(self) -> None:
        registry.of(self.design).die_simulator(self.design)
        require_classes(self.trained.config, "a yield")

    @cached_property
    def sha256(self) -> str:
        """Identity of the rows: two jobs with the same hash give the same rows."""
        data = self.sequences
        hashed = hashlib.sha256()
        kind = registry.of(self.design)
        for part in (cmru_hw.__version__, kind.fingerprint(self.design), kind.network_text(self.design)):
            hashed.update(f"{part}\n".encode())
        for array in (data.inputs, data.lengths, data.labels):
            hashed.update(b"none" if array is None else repr(array.shape).encode() + array.tobytes())
        hashed.update(f"{self.seed} {sorted(self.varied)} {self.engine}".encode())
        return hashed.hexdigest()

    @property
    def simulator(self) -> DieSimulator:
        """The simulator that draws and scores dies of this kind of circuit."""
        return registry.of(self.design).die_simulator(self.design)

    @cached_property
    def goal(self) -> Any:
        """The software run that dies are compared with (`cmru_hw.circuits.dies.Goal`)."""
        with one_thread():
            return self.simulator.goal(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # The read-only mapping of a checkpoint cannot be pickled, and derived values need not be.
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        trained = values.pop("trained")
        return _rebuilt, (values, trained.config, dict(trained.tensors))


def _rebuilt(values: dict[str, Any], config: ModelConfig, tensors: dict[str, Tensor]) -> Job:
    return Job(trained=Trained(config=config, tensors=tensors), **values)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread: its matrix products depend on the number of threads in the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
