"""Weighted sums of currents from current mirrors: the size of each arm, and its resulting weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmru_hw.circuits.current.technology import CurrentTechnology
from cmru_hw.circuits.design import Deviation
from cmru_hw.core.signals import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class MirrorRows:
    """Weighted sums of currents. ``lines`` are their inputs, ``names`` the names of the rows.

    ``ratio`` (rows, lines) is the signed mirror ratio of the drawn sizes. ``width`` and ``length`` (rows, lines) [m]
    are the size of each arm, 0 if there is none. ``unit`` (rows,) and ``line_unit`` (lines,) are in A per software
    unit; the latter is negative for a line that carries the negative of a value. ``typical`` (rows,) [A] is the current
    at which mirrors that read these rows are exact. ``diode`` is the type of device that the rows end on, or "" if they
    end in a reader at half the supply.
    """

    names: tuple[str, ...]
    lines: tuple[str, ...]
    diode: str
    typical: Array
    ratio: Array
    width: Array
    length: Array
    unit: Array
    line_unit: Array

    @property
    def weights(self) -> Array:
        """(rows, lines) in software units."""
        return self.ratio * self.line_unit / self.unit[:, None]

    def polarity(self, row: int, line: int) -> str:
        """Type of an arm's device, "n" or "p"."""
        return arm(self.diode, positive=bool(self.ratio[row, line] > 0))[0]


def arm(diode: str, *, positive: bool) -> tuple[str, str]:
    """(type, landing) of an arm into a row that ends on a ``diode``. An nf arm sinks: positive for a pf diode."""
    polarity = "n" if positive == (diode == "p") else "p"
    return polarity, "half" if not diode else "across" if positive else "same_type"


@dataclass(frozen=True, kw_only=True, eq=False)
class Term:
    """Columns of a weighted sum: line names, their units and typical currents (lines,) [A], weights (rows, lines)."""

    names: tuple[str, ...]
    unit: Array
    typical: Array
    weights: Array


def inputs(weights: Array, unit: Array, negative: Sequence[bool]) -> Term:
    """``weights`` (rows, features) on the features' lines: two for a feature that is ever ``negative``, else one.

    ``unit`` (features,) [A per scaled input unit].
    """
    names, units, columns, typical = [], [], [], []
    for j, both in enumerate(negative):
        for suffix, sign in (("p", 1), ("n", -1)) if both else (("p", 1),):
            names.append(f"x{j}{suffix}")
            units.append(sign * unit[j])
            columns.append(weights[:, j])
            # A scaled input is of order 1, whatever the task.
            typical.append(unit[j])
    return Term(names=tuple(names), unit=np.array(units), typical=np.array(typical), weights=np.stack(columns, axis=1))


def constant(values: Array, technology: CurrentTechnology) -> Term:
    """``values`` (rows,) on the line of the constant 1."""
    current = np.array([technology.bias])
    return Term(names=("one",), unit=current, typical=current, weights=values[:, None])


def outputs(rows: MirrorRows, weights: Array) -> Term:
    """``weights`` on the outputs of other ``rows``."""
    return Term(names=rows.names, unit=rows.unit, typical=rows.typical, weights=weights)


def identity(rows: MirrorRows) -> Term:
    """Each of ``rows`` with weight 1."""
    return outputs(rows, np.eye(len(rows.names)))


def draw(
    element: str,
    name: str,
    diode: str,
    terms: Sequence[Term],
    unit: Array,
    typical: Array,
    technology: CurrentTechnology,
    deviations: list[Deviation],
) -> MirrorRows:
    """Arms for the sum of ``terms`` in sizes that can be drawn; each difference is added to ``deviations``."""
    lines = tuple(line for term in terms for line in term.names)
    line_unit = np.concatenate([term.unit for term in terms])
    current = np.concatenate([term.typical for term in terms])
    wanted = np.concatenate([term.weights for term in terms], axis=1) * unit[:, None] / line_unit
    ratio, width, length = np.zeros_like(wanted), np.zeros_like(wanted), np.zeros_like(wanted)
    limits = technology.aspects
    mirror = technology.mirror
    for column in range(len(lines)):
        for positive in (True, False):
            # Each of the devices in parallel carries its share of the line's current.
            each = float(current[column]) / technology.count(lines[column])
            kind = (*arm(diode, positive=positive), each)
            chosen = np.flatnonzero(wanted[:, column] > 0 if positive else wanted[:, column] < 0)
            size = np.abs(wanted[chosen, column])
            w, l = technology.drawn(np.clip(mirror.aspect_for(size, *kind), *limits))  # noqa: E741
            got = mirror.ratio(w / l, *kind)
            # Closer to zero than to the smallest arm: leave the arm out.
            absent = size < mirror.ratio(limits[0], *kind) / 2
            got, w, l = (np.where(absent, 0.0, values) for values in (got, w, l))  # noqa: E741
            # Without a grid the difference is only the rounding of the interpolation and its inverse.
            got = np.where(np.abs(got / size - 1) < 1e-12, size, got)
            ratio[chosen, column], width[chosen, column], length[chosen, column] = got if positive else -got, w, l
    for row, column in np.argwhere(ratio != wanted).tolist():
        want, have = float(wanted[row, column]), float(ratio[row, column])
        each = float(current[column]) / technology.count(lines[column])
        smallest, largest = mirror.ratio(limits, *arm(diode, positive=want > 0), each)
        reason = "rounded to the drawing grid"
        if have == 0:
            reason = "left out: below half the smallest arm"
        elif abs(want) > largest:
            reason = "limited to the widest arm"
        elif abs(want) < smallest:
            reason = "raised to the smallest arm"
        place = f"{element}.{name}_{row}.{lines[column]}"
        deviations.append(Deviation(element=place, wanted=want, got=have, unit="1", reason=reason))
    names = tuple(f"{name}_{row}" if name != "y" else f"y{row}" for row in range(len(unit)))
    return MirrorRows(
        names=names,
        lines=lines,
        diode=diode,
        typical=typical,
        ratio=ratio,
        width=width,
        length=length,
        unit=unit,
        line_unit=line_unit,
    )


def mean(rows: MirrorRows, lines: Sequence[str]) -> Array:
    """Weights (rows,) with which ``rows`` reads ``lines``, which all carry the same signal."""
    return np.asarray(rows.weights[:, [k for k, line in enumerate(rows.lines) if line in lines]].mean(axis=1))


def read(rows: MirrorRows, sources: Sequence[MirrorRows]) -> Array:
    """Weights (rows, width) with which ``rows`` reads each of ``sources``; they are equal for all sources."""
    found = [rows.weights[:, [rows.lines.index(name) for name in source.names]] for source in sources]
    return np.asarray(np.mean(found, axis=0))
