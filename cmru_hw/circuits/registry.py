"""The kinds of circuit that a network can become, behind one seam.

::

    sc   charge domain: comparators and capacitive integrators        (CMRU, BMRU, αCMRU)
    cm   current mode: cells of nine transistors and mirrors          (FQ-BMRU)

Both go through the same steps in modules of the same names; an :class:`Architecture` lists its own. Commands take
theirs from :func:`get` or, where there is a design already, from :func:`of`, and ask nothing else about its kind.
"""

from __future__ import annotations

from cmru_hw.circuits.architecture import Architecture
from cmru_hw.circuits.charge.architecture import CHARGE
from cmru_hw.circuits.current.architecture import CURRENT
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.core.errors import InputError
from cmru_hw.nn.checkpoint import Trained

_KNOWN = {architecture.name: architecture for architecture in (CHARGE, CURRENT)}

NAMES = tuple(_KNOWN)

__all__ = ["NAMES", "Architecture", "fitting", "get", "of"]


def get(name: str) -> Architecture:
    """The architecture called ``name``. Raises InputError."""
    if name not in _KNOWN:
        raise InputError(f"no architecture is called {name!r}: choose one of {', '.join(_KNOWN)}")
    return _KNOWN[name]


def fitting(trained: Trained) -> Architecture:
    """The architecture for networks of this cell."""
    return next(architecture for architecture in _KNOWN.values() if trained.config.cell in architecture.cells)


def of(design: AnyDesign) -> Architecture:
    """The architecture that ``design`` is of."""
    return _KNOWN[design.architecture]
