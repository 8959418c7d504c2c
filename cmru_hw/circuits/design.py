"""The interface that designs of all architectures share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from cmru_hw.core.errors import MappingError
from cmru_hw.nn.checkpoint import ModelConfig, Trained


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """One trained number that the circuit realizes differently. ``wanted`` and ``got`` are in ``unit``: F, A or 1.

    A part that the circuit adds and no trained number asks for, such as a trim tap, has ``wanted`` 0.
    """

    element: str
    wanted: float
    got: float
    unit: str
    reason: str


class AnyTechnology(Protocol):
    """``level`` is "macro" or "transistor"; ``source`` states where the numbers come from; ``sha256`` is their hash.
    ``trim_bits``: bits of every row's offset trim, 0 without."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def trim_bits(self) -> int: ...
    @property
    def sha256(self) -> str: ...


class AnyLayer(Protocol):
    @property
    def units(self) -> int: ...


class AnyDesign(Protocol):
    """A mapped network. ``architecture`` is the name of its kind of circuit; ``timestep`` is in s.

    ``templates`` are (name, netlist text) of a user's cells, which replace the cells of the package.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def architecture(self) -> str: ...
    @property
    def config(self) -> ModelConfig: ...
    @property
    def technology(self) -> AnyTechnology: ...
    @property
    def calibration(self) -> Any: ...
    @property
    def layers(self) -> Sequence[AnyLayer]: ...
    @property
    def deviations(self) -> Sequence[Deviation]: ...
    @property
    def templates(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def model_sha256(self) -> str: ...
    @property
    def timestep(self) -> float: ...


def changed_weights(design: AnyDesign) -> list[Deviation]:
    """The deviations of trained numbers, without the parts that the circuit adds."""
    return [deviation for deviation in design.deviations if deviation.wanted != 0]


def refuse_dead_layers(trained: Trained) -> None:
    """Raise MappingError for a layer whose decisions depend on nothing: all its weights are 0."""
    parts = ("candidate",) if trained.config.cell == "fq-bmru" else ("candidate", "threshold")
    for index in range(len(trained.config.units)):
        if not any(trained.arrays[f"layers.{index}.{part}.weight"].any() for part in parts):
            raise MappingError(
                f"layer {index} has no live weight: all its candidate and threshold weights are 0, so that its units "
                "do not depend on the input; train it again, or leave the layer out"
            )
