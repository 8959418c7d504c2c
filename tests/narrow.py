"""A test often knows more than a type says: these functions check it and tell the type checker."""

from __future__ import annotations

from typing import TypeVar

from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.process.technology import Transistor

T = TypeVar("T")


def known(value: T | None) -> T:
    """``value``, which is not None."""
    assert value is not None
    return value


def charge_design(design: AnyDesign) -> Design:
    """``design``, which is one of the charge domain."""
    assert isinstance(design, Design)
    return design


def transistors(design: AnyDesign) -> Transistor:
    """What the technology of a charge-domain ``design`` says of its transistors."""
    return known(charge_design(design).technology.transistor)
