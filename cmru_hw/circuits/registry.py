"""The registered kinds of circuit.

::

    sc   charge domain: comparators and capacitive integrators        (CMRU, BMRU, αCMRU)
    cm   current mode: cells of nine transistors and mirrors          (FQ-BMRU)

Each is a `cmru_hw.circuits.architecture.Architecture`. Commands get one by name from :func:`get`, or from :func:`of`
for a design, and do not depend on its kind otherwise. A program adds its own architecture with :func:`register`.
"""

from __future__ import annotations

from cmru_hw.circuits.architecture import Architecture
from cmru_hw.circuits.charge.architecture import CHARGE
from cmru_hw.circuits.current.architecture import CURRENT
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.core.errors import InputError
from cmru_hw.nn.checkpoint import Trained

_KNOWN = {architecture.name: architecture for architecture in (CHARGE, CURRENT)}

__all__ = ["Architecture", "fitting", "get", "names", "of", "register"]


def names() -> tuple[str, ...]:
    """Names of all kinds of circuit."""
    return tuple(_KNOWN)


def register(architecture: Architecture) -> None:
    """Add ``architecture``, or replace the one with its name. Worker processes need the same call."""
    _KNOWN[architecture.name] = architecture


def get(name: str) -> Architecture:
    """The architecture ``name``. Raises InputError if it is not registered."""
    if name not in _KNOWN:
        raise InputError(f"no architecture is called {name!r}: choose one of {', '.join(_KNOWN)}")
    return _KNOWN[name]


def fitting(trained: Trained) -> Architecture:
    """The architecture for networks of this cell; the first registered one if there are several."""
    return next(architecture for architecture in _KNOWN.values() if trained.config.cell in architecture.cells)


def of(design: AnyDesign) -> Architecture:
    """The architecture of ``design``."""
    return _KNOWN[design.architecture]
