"""A ladder's bits, and the one template that depends on K: which nets tell that the level is at its end.

At level K counting up, and at -K counting down, every input of one gate must be high. Each is a bit that is the same at
both ends (``m0`` or, where it is 0, ``m0b``), or a bit that is not, as seen in the direction of the count (``a1`` or
``a1b``): so one gate guards both ends, whatever K is.
"""

from __future__ import annotations

from cmru_hw.core import package_data
from cmru_hw.core.errors import MappingError

# What each bit of a level counts, least first: two's complement.
BIT_VALUES = (1.0, 2.0, 4.0, -8.0)
BITS = len(BIT_VALUES)
LARGEST = 2 ** (BITS - 1) - 1


def end_nets(levels: int) -> tuple[str, ...]:
    """Nets of the gate's inputs for K = ``levels``. Raises MappingError where four bits do not reach."""
    if not 1 <= levels <= LARGEST:
        raise MappingError(
            f"a ladder has {BITS} bits and counts to {LARGEST}, not to {levels or 'infinity'}: train with levels = "
            f"{LARGEST} or less, or export with --memory integrator"
        )
    nets = []
    for place in range(BITS - 1):
        top, bottom = levels >> place & 1, -levels >> place & 1
        nets.append(("m" if top == bottom else "a") + str(place) + ("" if top else "b"))
    # the sign bit is 0 at the upper end and 1 at the lower, whatever K
    return (*nets, f"a{BITS - 1}")


def end_template(levels: int) -> str:
    """The template ``ladder_end`` for K = ``levels``."""
    text = (package_data.folder("netlists") / "cells" / "transistor" / "ladder_end.cir").read_text(encoding="utf-8")
    nets = end_nets(levels)
    inverters = [f"x{net} {net[:-1]} {net} vd inv" for net in nets if net[0] == "a" and net.endswith("b")]
    gate = f"xe {' '.join(nets)} endb vd nand4"
    return text.replace("This is K = 7;", f"This is K = {levels};").replace(
        f"xe {' '.join(end_nets(LARGEST))} endb vd nand4", "\n".join([*inverters, gate])
    )
