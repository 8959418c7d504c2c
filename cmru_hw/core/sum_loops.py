"""Loops of the fast engine over results: sums, deviations and classes.

As in :mod:`cmru_hw.core.loops`, numba compiles each at its first call. No loop here calls one of another file.
"""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

import numpy as np

from cmru_hw.core.loops import machine_code

# Terms that are added independently of each other.
_PARTS = 256
# From here on, NumPy halves the terms before it adds them.
LONGEST = 128


@machine_code
def magnitudes(values, out):
    """Write Σ|x| of each row of ``values`` (rows, columns) to ``out``, in the order of additions of NumPy's sum.

    There are at most LONGEST columns.
    """
    columns = values.shape[1]
    eights = columns - columns % 8
    for row in range(len(out)):
        x = values[row]
        if eights:
            a, b, c, d = abs(x[0]), abs(x[1]), abs(x[2]), abs(x[3])
            e, f, g, h = abs(x[4]), abs(x[5]), abs(x[6]), abs(x[7])
            for place in range(8, eights, 8):
                a, b, c, d = a + abs(x[place]), b + abs(x[place + 1]), c + abs(x[place + 2]), d + abs(x[place + 3])
                e, f = e + abs(x[place + 4]), f + abs(x[place + 5])
                g, h = g + abs(x[place + 6]), h + abs(x[place + 7])
            total = ((a + b) + (c + d)) + ((e + f) + (g + h))
        else:
            total = 0.0
        for place in range(eights, columns):
            total += abs(x[place])
        out[row] = total


@machine_code
def means(values, alive, lengths, out):
    """Mean of ``values`` (units, places) over the timesteps of each sequence, to ``out`` (units, sequences).

    ``lengths`` (sequences,) are in the order of the places.
    """
    for unit in range(len(out)):
        sums, first = out[unit], 0
        for place in range(len(sums)):
            sums[place] = 0.0
        for count in alive:
            now = values[unit, first : first + count]
            for place in range(count):
                sums[place] += now[place]
            first += count
        for place in range(len(sums)):
            sums[place] /= lengths[place]


@machine_code
def read(volts, offset, scale, bound, classes, close):
    """Turn ``volts`` (classes, columns) into logits, and write the first largest of each column to ``classes``.

    As NumPy's argmax has it. ``close`` (columns,) tells whether another one is within ``bound`` of it.
    """
    tops = np.empty(len(classes))
    for place in range(len(classes)):
        tops[place], classes[place] = -np.inf, 0
    for which in range(len(volts)):
        logits, least, unit = volts[which], offset[which], scale[which]
        for place in range(len(tops)):
            value = (logits[place] - least) * unit
            logits[place] = value
            # A NaN is the largest, and no later value is larger.
            larger = (value > tops[place]) | ((value != value) & (tops[place] == tops[place]))
            classes[place] = which if larger else classes[place]
            tops[place] = value if larger else tops[place]
    near = np.zeros(len(tops), np.int64)
    for which in range(len(volts)):
        logits = volts[which]
        for place in range(len(tops)):
            near[place] += logits[place] >= tops[place] - bound
    for place in range(len(tops)):
        close[place] = near[place] > 1


@machine_code
def deviation(states, scale, expected, expected_scale, moves, expected_moves):
    """Largest magnitude, and sum of squares, of the deviation scale * states - expected_scale * expected; equal moves.

    ``states``, ``expected`` and both moves are (units, places), both scales (units,). The sum consists of many
    independent parts, which the processor computes in parallel.
    """
    squares, largest, equal = np.zeros(_PARTS), np.zeros(_PARTS), 0
    places = states.shape[1]
    for unit in range(len(states)):
        a, b = scale[unit], expected_scale[unit]
        for first in range(0, places, _PARTS):
            last = min(first + _PARTS, places)
            found, wanted = states[unit, first:last], expected[unit, first:last]
            way, right = moves[unit, first:last], expected_moves[unit, first:last]
            for place in range(last - first):
                error = a * found[place] - b * wanted[place]
                squares[place] += error * error
                largest[place] = max(largest[place], abs(error))
            for place in range(last - first):
                equal += way[place] == right[place]
    most, total = 0.0, 0.0
    for part in range(_PARTS):
        most, total = max(most, largest[part]), total + squares[part]
    return most, total, equal
