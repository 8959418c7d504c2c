"""A part of a network: the contents of one deck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from cmru_hw.circuits.charge.design import Design


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some ``units`` of each layer (by layer, rising) and some ``classes``, rows of the readout."""

    units: tuple[tuple[int, ...], ...]
    classes: tuple[int, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of lines that the part reads: ``"0"``, ``"1"``, … of layers, ``"r"`` of the readout."""
        layers = tuple(str(index) for index, units in enumerate(self.units) if units)
        return (*layers, "r") if self.classes else layers

    def among(self, nodes: Sequence[str]) -> tuple[str, ...]:
        """Those of ``nodes``, such as ``a0_3``, that belong to its units."""
        own = {f"{index}_{i}" for index, units in enumerate(self.units) for i in units}
        return tuple(node for node in nodes if node.lstrip(ascii_lowercase) in own)


def whole(design: Design) -> Part:
    """All of ``design``."""
    return Part(
        units=tuple(tuple(range(layer.units)) for layer in design.layers),
        classes=tuple(range(len(design.readout.bias))),
    )
