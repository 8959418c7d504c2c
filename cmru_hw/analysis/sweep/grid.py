"""The points of a sweep: networks, architectures, technologies, supplies and corners."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cmru_hw.analysis.digital import counts
from cmru_hw.analysis.digital.energy import EXCLUDES as DIGITAL
from cmru_hw.circuits import registry
from cmru_hw.core.errors import InputError
from cmru_hw.nn.sequences import evaluation_file
from cmru_hw.process import CORNERS

COMMON = ("input drivers, wires, pads and regulation of the supply", "feature extraction")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One architecture of a sweep. ``title`` is for people; ``cells`` are those of the networks that it takes.

    ``circuit`` names its `cmru_hw.circuits.architecture.Architecture`, ``level`` the level of its netlists (None: that
    of the technology). ``static``: the energy is calculated from static currents, without a simulation. A digital
    datapath has no circuit, but weights of ``bits``. ``simulated``: the energy comes from simulated transistors of the
    whole network. ``excludes`` are the items that the energies leave out, listed in a result under ``group``.
    """

    name: str
    group: str
    title: str
    cells: tuple[str, ...]
    circuit: str = ""
    level: str | None = None
    static: bool = False
    bits: int = 0
    simulated: bool = False
    excludes: tuple[str, ...]


def _analog(
    name: str, title: str, circuit: str, *excludes: str, level: str | None = None, static: bool = False,
    simulated: bool = False,
) -> Column:  # fmt: skip
    return Column(
        name=name,
        group=name,
        title=title,
        cells=registry.get(circuit).cells,
        circuit=circuit,
        level=level,
        static=static,
        simulated=simulated,
        excludes=(*excludes, *COMMON),
    )


def _digital(name: str, weights: str, bits: int) -> Column:
    return Column(
        name=f"digital-{name}",
        group="digital",
        title=f"digital, {weights}",
        cells=counts.CELLS,
        bits=bits,
        excludes=DIGITAL,
    )


ARCHITECTURES = {
    one.name: one
    for one in (
        _analog(
            "charge", "charge domain", "sc",
            "transistors of the network: blocks that ideal parts cannot show are those of one measured unit",
        ),
        _analog("charge-transistor", "charge domain", "sc", level="transistor", simulated=True),
        _analog(
            "current", "current mode", "cm", "generators of the bias currents and of half the supply", simulated=True
        ),
        _analog(
            "current-static", "current mode", "cm",
            "currents that switch cells and lines: only static currents of mirrors and cells count", static=True,
        ),
        _digital("8", "8 bit", 8),
        _digital("4", "4 bit", 4),
        _digital("ternary", "ternary", counts.TERNARY),
    )
}  # fmt: skip
# features:units of each layer:classes
_SHAPE = re.compile(r"(\d{1,4}):(\d{1,4}(?:\+\d{1,4})*):(\d{1,3})")


@dataclass(frozen=True, kw_only=True)
class NetworkSource:
    """A trained network in a file, or the shape of a random one: ``12:64+64:2``.

    ``data``: evaluation sequences; None for those next to the checkpoint.
    """

    checkpoint: Path | None = None
    shape: str = ""
    data: Path | None = None

    @property
    def sequences(self) -> Path | None:
        """The evaluation sequences, if there are any."""
        if self.checkpoint is None:
            return None
        return self.data or evaluation_file(self.checkpoint)

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
    def nominal(self) -> bool:
        return self.process == "typical" and self.temperature == 27.0

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
            raise InputError(f"no architecture of a sweep is called {name!r}: choose one of {', '.join(ARCHITECTURES)}")
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
