"""The job of a Monte-Carlo: everything that a die's row follows from, and its identity."""

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

EngineName = Literal["fast", "spice"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """The design that every die is one of, the task, the draws, and the engine.

    ``design`` is of any kind of circuit (`cmru_hw.circuits.design.AnyDesign`); ``varied`` are the sources of variation
    that differ from die to die. A die's row is the same whichever process on whichever machine computes it. Raises
    InputError for a design that no dies can be drawn of.
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

    @cached_property
    def sha256(self) -> str:
        """Identity of a die's row: two jobs that share it give the same rows."""
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
        # A checkpoint's read-only mapping cannot be pickled, and what follows from the rest need not be.
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        trained = values.pop("trained")
        return _rebuilt, (values, trained.config, dict(trained.tensors))


def _rebuilt(values: dict[str, Any], config: ModelConfig, tensors: dict[str, Tensor]) -> Job:
    return Job(trained=Trained(config=config, tensors=tensors), **values)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: with more, matrix products are split by their number, and last bits change."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
