"""The interface of a handover to a circuit designer, for every kind of circuit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cmru_hw.core.signals import Array
from cmru_hw.spice.elaborate import Elaborated

# Name of the top cell.
TOP = "cmru_chip"
# Folder of the model files of a package.
MODELS = "models"


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port of the top cell: its ``meaning``, with voltage levels and timing, for a person.

    ``node``: its name in network.cir, "0" for ground and substrate.
    """

    name: str
    kind: Literal["supply", "ground", "input", "output"]
    node: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A decision in software: ``measure`` names the line of the test deck, which is near VDD for 1 and near 0 V for 0.

    ``margin`` [V]: distance of the row from its threshold.
    """

    measure: str
    value: int
    margin: float


@dataclass(frozen=True, kw_only=True)
class Handover:
    """A circuit for a designer.

    ``netlist``: its last cell has the ``ports`` as pins. ``directions``: of each port, a letter of CDL's PININFO.
    ``names``: the process's name of each device; ``sides``: side of a square capacitor [m], by its size [F]. ``files``
    of the test ``deck``, and ``libraries``: absolute path of each model file → its name in the handover; ``copied``:
    whether their licence allows to copy them. ``settings`` of ngspice. ``vdd`` [V] separates 0 and 1 by its half.
    ``timing`` and ``excludes`` are sentences. ``versions`` of models.
    """

    netlist: Elaborated
    ports: tuple[Port, ...]
    directions: Mapping[str, str]
    names: Mapping[str, str]
    sides: Mapping[float, float]
    deck: str
    files: Mapping[str, bytes]
    libraries: Mapping[str, str]
    copied: bool
    settings: tuple[str, ...]
    expected: tuple[Expected, ...]
    inputs: Array
    vdd: float
    timing: tuple[str, ...]
    excludes: tuple[str, ...]
    versions: Mapping[str, str]
