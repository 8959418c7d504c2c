"""The points of a sweep: networks, architectures, technologies, supplies and corners."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cmru_hw.analysis.digital.counts import TERNARY
from cmru_hw.core.errors import InputError
from cmru_hw.process import CORNERS

Kind = Literal["charge", "charge-transistor", "current", "current-static", "digital"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One architecture of a sweep: ``kind`` of calculation, and ``bits`` of the weights of a digital one.

    ``simulated`` says whether its energy comes from simulated transistors of the whole network.
    """

    name: str
    kind: Kind
    title: str
    simulated: bool
    cells: tuple[str, ...]
    bits: int = 0


_CHARGE = ("cmru", "bmru", "eps", "acmru")
_COUNTED = ("cmru", "bmru", "eps", "fq-bmru")
ARCHITECTURES = {
    one.name: one
    for one in (
        Column(name="charge", kind="charge", title="charge domain", simulated=False, cells=_CHARGE),
        Column(
            name="charge-transistor", kind="charge-transistor", title="charge domain", simulated=True, cells=_CHARGE
        ),
        Column(name="current", kind="current", title="current mode", simulated=True, cells=("fq-bmru",)),
        Column(name="current-static", kind="current-static", title="current mode", simulated=False, cells=("fq-bmru",)),
        Column(name="digital-8", kind="digital", title="digital, 8 bit", simulated=False, cells=_COUNTED, bits=8),
        Column(name="digital-4", kind="digital", title="digital, 4 bit", simulated=False, cells=_COUNTED, bits=4),
        Column(
            name="digital-ternary",
            kind="digital",
            title="digital, ternary",
            simulated=False,
            cells=_COUNTED,
            bits=TERNARY,
        ),
    )
}
# features:units of each layer:classes
_SHAPE = re.compile(r"(\d{1,4}):(\d{1,4}(?:\+\d{1,4})*):(\d{1,3})")


@dataclass(frozen=True, kw_only=True)
class NetworkSource:
    """A trained network in a file, or the shape of a random one: ``12:64+64:2``."""

    checkpoint: Path | None = None
    shape: str = ""

    @property
    def name(self) -> str:
        return self.checkpoint.stem if self.checkpoint is not None else f"random {self.shape}"

    def numbers(self) -> tuple[int, tuple[int, ...], int]:
        """Features, units of each layer, classes of a random network. Raises InputError."""
        found = _SHAPE.fullmatch(self.shape)
        features, units, classes = found.groups() if found else ("0", "0", "0")
        sizes = tuple(map(int, units.split("+")))
        if not all((int(features), int(classes), *sizes)):
            raise InputError(
                f"--shape {self.shape!r} is not FEATURES:UNITS:CLASSES, such as 12:4+4:2 for two layers of 4 units"
            )
        return int(features), sizes, int(classes)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of a sweep. ``process`` and ``temperature`` [degrees Celsius] are the corner, ``vdd`` [V] the supply."""

    network: NetworkSource
    architecture: str
    technology: str
    vdd: float
    process: str = "typical"
    temperature: float = 27.0

    @property
    def corner(self) -> str:
        return f"{self.process}, {self.temperature:g} °C"


def points(
    networks: Sequence[NetworkSource],
    architectures: Sequence[str],
    technologies: Sequence[str],
    supplies: Sequence[float],
    corners: Sequence[str],
) -> list[Point]:
    """Every combination, in the order of a table. Raises InputError for an unknown architecture or corner."""
    for name in architectures:
        if name not in ARCHITECTURES:
            raise InputError(f"no architecture of a sweep is called {name!r}: choose of {', '.join(ARCHITECTURES)}")
    places = [_corner(name) for name in corners]
    return [
        Point(
            network=network,
            architecture=architecture,
            technology=technology,
            vdd=vdd,
            process=process,
            temperature=temperature,
        )
        for network in networks
        for architecture in ARCHITECTURES
        if architecture in architectures
        for technology in technologies
        for process, temperature in places
        for vdd in sorted(set(supplies))
    ]


def _corner(name: str) -> tuple[str, float]:
    process, slash, temperature = name.partition("/")
    try:
        degrees = float(temperature)
    except ValueError:
        degrees = float("nan")
    if process not in CORNERS or not slash or not -55 <= degrees <= 150:
        raise InputError(f"--corner {name!r} is not PROCESS/TEMPERATURE, such as typical/27 or ff/125")
    return process, degrees
