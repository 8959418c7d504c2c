"""Trim codes that the comparators of a transistor-level circuit have found, read from its simulation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cmru_hw.circuits.charge import fidelity
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.charge.power_gated_trim import BITS
from cmru_hw.core.errors import ResultRejected
from cmru_hw.core.signals import Array, Traces
from cmru_hw.spice.schedule import Schedule

# Codes at the end of the range of the bank that are named in a message.
_NAMED = 4


def found(design: Design, traces: Traces, plan: Schedule, sequence: int) -> dict[str, int]:
    """Code of each row (``a0_3``, ``y1``) as ``sequence`` begins; empty for a circuit without bits.

    Raises ResultRejected for a bit at neither rail.
    """
    begin = plan.edges(sequence)[:1]
    codes = {}
    for row, nodes in fidelity.of(design).codes(design).items():
        shares = np.array([float(traces.at(node, begin)[0]) for node in nodes]) / design.supply
        code = decoded(shares)
        if code is None:
            raise ResultRejected(f"a bit of the trim code of row {row} is at neither rail in sequence {sequence}")
        codes[row] = code
    return codes


def decoded(shares: Array) -> int | None:
    """The two's complement code of bits at ``shares`` of the supply, lowest first; None if one is at neither rail."""
    bits = np.round(shares).astype(int)
    if (np.abs(shares - bits) > 0.1).any():
        return None
    return int(sum(bit << place for place, bit in enumerate(bits)) - (bits[-1] << len(bits)))


def at_end(codes: Sequence[dict[str, int]]) -> dict[str, int]:
    """Rows of the ``codes`` of each sequence that end at the last code of the range, whose offset may be larger."""
    ends = (-(1 << (BITS - 1)), (1 << (BITS - 1)) - 1)
    return {row: code for one in codes for row, code in one.items() if code in ends}


def remarks(codes: Sequence[dict[str, int]]) -> list[tuple[str, str]]:
    """What to say of the ``codes`` of each sequence: nothing without trim."""
    if not codes or not codes[0]:
        return []
    last = at_end(codes)
    if not last:
        every = [code for one in codes for code in one.values()]
        said = f"{min(every)} to {max(every)}, found by the comparators: every row is within their range"
        return [("trim codes", said)]
    named = ", ".join(f"{row} ({code})" for row, code in list(last.items())[:_NAMED])
    more = f" and {len(last) - _NAMED} more" if len(last) > _NAMED else ""
    said = (
        f"{len(last)} at the end of the range, {named}{more}: the offset of these rows may be larger; raise "
        "trim.reach in the technology"
    )
    return [("trim codes", said)]
