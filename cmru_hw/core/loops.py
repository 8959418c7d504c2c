"""The inner loops of the fast engine. numba compiles each to machine code at its first call.

They share one file because numba caches machine code per file and checks only that file for changes; a loop that calls
a loop in another file could run stale code. Loops run along places, which are independent, so the compiler vectorises
them. It may not reorder or fuse arithmetic: results are identical to the last bit for any batch and any processor.
"""

# numba derives the types of a loop from the arguments of each call, so the loops have no annotations.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

# Places per block: the rows of a block and the lines that they read fit into the cache.
_BLOCK = 256
# Rows whose noise is computed together, except those of the last unit.
_LISTED = 2048

# SplitMix64's finalizer with the constants of Stafford's mix 13.
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_0, _1, _27, _30, _31, _32, _58 = (np.uint64(number) for number in (0, 1, 27, 30, 31, 32, 58))
GAMMA = np.uint64(0x9E3779B97F4A7C15)

# log x = e log 2 + 2 artanh((m − 1)/(m + 1)) with x = m 2^e, m from √½ to √2; sin πx = πx − (πx)³/6 + ... up to π/2.
# Both series end where the remainder is below 1e-10. They have odd powers, the coefficient of the highest first.
_ROOT_HALF = np.float64(math.sqrt(0.5)).view(np.uint64)
_MANTISSA = np.uint64((1 << 52) - 1)
_LOG = tuple(2 / k for k in range(13, 0, -2))
_SIN = tuple((-1) ** (k // 2) * math.pi**k / math.factorial(k) for k in range(15, 0, -2))

# The place of the only bit of x is _BIT[(x * _DE_BRUIJN) >> 58] (Leiserson, Prokop and Randall, 1998).
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_BIT = np.zeros(64, dtype=np.uint8)
for _place in range(64):
    _BIT[(int(_DE_BRUIJN) << _place) % 2**64 >> 58] = _place


def machine_code(function: Callable[..., Any]) -> Any:
    """``function`` compiled at its first call, once for each combination of argument types."""
    try:
        return numba.njit(function, cache=True, error_model="numpy")
    except RuntimeError:
        # No cache folder is writable: compile for this process only.
        return numba.njit(function, error_model="numpy")


@machine_code
def _mix(x):
    x ^= x >> _30
    x *= _FIRST
    x ^= x >> _27
    x *= _SECOND
    return x ^ (x >> _31)


@machine_code
def _polynomial(coefficients, x):
    total = coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


@machine_code
def _halves(x):
    """Two numbers from the hash of ``x``: uniform from 0 to 1, and |a| - ½ with a uniform from -1 to 1."""
    x = _mix(x)
    low, high = np.int32(x), np.int32(x >> _32)
    return (np.float64(low ^ (low >> np.int32(31))) + 0.5) * 0.5**31, abs(np.float64(high) * 0.5**31) - 0.5


@machine_code
def _logarithm(uniform):
    bits = np.float64(uniform).view(np.uint64) - _ROOT_HALF
    exponent = np.float64(np.int32(np.int64(bits) >> 52))
    mantissa = np.uint64((bits & _MANTISSA) + _ROOT_HALF).view(np.float64)
    ratio = (mantissa - 1) / (mantissa + 1)
    return exponent * math.log(2) + ratio * _polynomial(_LOG, ratio * ratio)


@machine_code
def _polar(log, angle):
    # cos πa = −sin π(|a| − ½).
    return math.sqrt(-2 * log) * (-angle * _polynomial(_SIN, angle * angle))


@machine_code
def _normal(x):
    """A standard normal number from the hash of ``x``, by the polar map of Box and Muller."""
    uniform, angle = _halves(x)
    return _polar(_logarithm(uniform), angle)


@machine_code
def _numbers(at, angle, number):
    """Write the normal numbers of ``at`` to ``number``; all three are arrays of one block.

    One long formula would leave the processor waiting: it overlaps the work on several places only if that is short.
    """
    for place in range(len(at)):
        number[place], angle[place] = _halves(at[place])
    for place in range(len(at)):
        number[place] = _logarithm(number[place])
    for place in range(len(at)):
        number[place] = _polar(number[place], angle[place])


@machine_code
def mixed(x, out):
    """Write the hash of each of ``x``, uint64, to ``out``."""
    for place in range(len(x)):
        out[place] = _mix(x[place])


@machine_code
def normals(x, out):
    """Write the normal number of each of ``x``, uint64, to ``out``."""
    at, angle, number = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK), np.empty(_BLOCK)
    for first in range(0, len(x), _BLOCK):
        some, found = x[first : first + _BLOCK], out[first : first + _BLOCK]
        for place in range(len(some)):
            at[place] = some[place]
        _numbers(at[: len(some)], angle, number)
        for place in range(len(some)):
            found[place] = number[place]


@machine_code
def weigh(weights, level, lines, first, last, out):
    """Write ``level`` (rows,) plus ``weights`` (rows, lines) times ``lines`` (lines, places) to ``out`` (rows, places).

    Places from ``first`` to ``last`` (not included) are computed. Terms are added in the order of the lines.
    """
    rows, count, places = len(out), len(lines), last - first
    fours, unused = count - count % 4, np.empty(places, out.dtype)
    for row in range(0, rows, 2):
        # Two rows and four lines at a time: memory access takes longer than the additions.
        twin = min(row + 1, rows - 1)
        w, v = weights[row], weights[twin]
        one, two = out[row], out[twin] if twin > row else unused
        for place in range(places):
            one[place], two[place] = level[row], level[twin]
        for line in range(0, fours, 4):
            w0, w1, w2, w3 = w[line], w[line + 1], w[line + 2], w[line + 3]
            v0, v1, v2, v3 = v[line], v[line + 1], v[line + 2], v[line + 3]
            line0, line1 = lines[line, first:last], lines[line + 1, first:last]
            line2, line3 = lines[line + 2, first:last], lines[line + 3, first:last]
            for place in range(places):
                x0, x1, x2, x3 = line0[place], line1[place], line2[place], line3[place]
                one[place] = (((one[place] + w0 * x0) + w1 * x1) + w2 * x2) + w3 * x3
                two[place] = (((two[place] + v0 * x0) + v1 * x1) + v2 * x2) + v3 * x3
        for line in range(fours, count):
            w0, v0, line0 = w[line], v[line], lines[line, first:last]
            for place in range(places):
                one[place] += w0 * line0[place]
                two[place] += v0 * line0[place]


@machine_code
def _add_noise(key, sigma, octave, moment, out, at, angle, number):
    for first in range(0, len(moment), _BLOCK):
        some, sums = moment[first : first + _BLOCK], out[first : first + _BLOCK]
        for place in range(len(some)):
            at[place] = key + (some[place] >> octave) * GAMMA
        _numbers(at[: len(some)], angle, number)
        for place in range(len(some)):
            sums[place] += sigma * number[place]


@machine_code
def add_noise(key, sigma, octave, moment, out):
    """Add all noise of rows, ``key`` and ``sigma`` (parts, rows), at every ``moment`` to ``out`` (rows, places)."""
    at, angle, number = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK), np.empty(_BLOCK)
    for part in range(len(octave)):
        for row in range(len(out)):
            _add_noise(key[part, row], sigma[part, row], octave[part], moment, out[row], at, angle, number)


@machine_code
def _settle(rows, key, sigma, octave, left, moment, near, place_of, counter, value, size):
    """Add noise to ``rows`` (rows, places) until their signs are known, part by part, at the ``moment`` of each place.

    The last five arguments are scratch arrays with one element per value in ``rows``.
    """
    count = 0
    for row in range(len(rows)):
        top, reach, begun = rows[row], left[0, row], count
        for place in range(len(moment)):
            # Always written; the entry counts only if the count advances. A branch here would be mispredicted.
            place_of[count] = place
            # Not <=: a NaN is never certain.
            count += not abs(top[place]) > reach
        for which in range(begun, count):
            near[which], value[which] = row, top[place_of[which]]
    for part in range(len(octave)):
        held, keys, sizes = octave[part], key[part], sigma[part]
        for which in range(count):
            row = near[which]
            counter[which] = keys[row] + (moment[place_of[which]] >> held) * GAMMA
            size[which] = sizes[row]
        for which in range(count):
            value[which] += size[which] * _normal(counter[which])
        remaining, rest = 0, left[part + 1]
        for which in range(count):
            row, place, known = near[which], place_of[which], value[which]
            rows[row, place] = known
            near[remaining], place_of[remaining], value[remaining] = row, place, known
            remaining += not abs(known) > rest[row]
        count = remaining


@machine_code
def decide(weights, level, lines, key, sigma, octave, left, moment, moves, margins):
    """Write to ``moves`` (units, places): 1 if both rows of a unit are above their thresholds, −1 if both are below.

    Low rows come before high rows. ``key`` and ``sigma`` (parts, rows) are their noise. ``left[k]`` (rows,) is an upper
    bound on the sum of noise parts k, k+1, … ``margins`` (units, places) receives the distance of the nearer row from
    zero; (0, 0) if it is not needed.
    """
    units, places = moves.shape
    rows = np.empty((2 * units, min(_BLOCK, places)))
    near, place_of = np.empty(rows.size, np.uint32), np.empty(rows.size, np.uint32)
    counter, value, size = np.empty(rows.size, np.uint64), np.empty(rows.size), np.empty(rows.size)
    for first in range(0, places, _BLOCK):
        last = min(first + _BLOCK, places)
        weigh(weights, level, lines, first, last, rows)
        _settle(rows, key, sigma, octave, left, moment[first:last], near, place_of, counter, value, size)
        for unit in range(units):
            low, high, way = rows[unit], rows[units + unit], moves[unit, first:last]
            for place in range(len(way)):
                way[place] = np.int8(low[place] > 0) + np.int8(high[place] > 0) - np.int8(1)
        for unit in range(len(margins)):
            low, high, margin = rows[unit], rows[units + unit], margins[unit, first:last]
            for place in range(len(margin)):
                margin[place] = min(abs(low[place]), abs(high[place]))


@machine_code
def _single_rows(weights, level):
    """Rows in single precision, and bounds on their errors there.

    Returns the weights and levels, and two arrays (rows,): the error is at most the first plus the largest magnitude of
    the lines times the second.

    A sum of n products of rounded operands is within (n + 3) u of the sum of magnitudes in any order (Higham, Accuracy
    and Stability of Numerical Algorithms, 2002, section 3.1); u = 2^-24. The rest also covers double precision.
    """
    rows, count = weights.shape
    single, base = np.empty((rows, count), np.float32), np.empty(rows, np.float32)
    fixed, growing = np.empty(rows), np.empty(rows)
    factor = (count + 8) * 0.5**24 * 1.01
    fours = count - count % 4
    for row in range(rows):
        w, out = weights[row], single[row]
        # Four sums at a time: the next addition need not wait for the one before.
        one, two, three, four = 0.0, 0.0, 0.0, 0.0
        for line in range(0, fours, 4):
            one, two = one + abs(w[line]), two + abs(w[line + 1])
            three, four = three + abs(w[line + 2]), four + abs(w[line + 3])
        for line in range(fours, count):
            one += abs(w[line])
        for line in range(count):
            out[line] = np.float32(w[line])
        base[row] = np.float32(level[row])
        fixed[row], growing[row] = factor * abs(level[row]) + 1e-37, factor * (one + two + three + four)
    return single, base, fixed, growing


@machine_code
def _single_lines(lines, first, last, single, magnitudes):
    """Write places from ``first`` to ``last`` of ``lines`` to ``single``. Returns the largest magnitude."""
    places = last - first
    for place in range(places):
        magnitudes[place] = 0.0
    for line in range(len(lines)):
        source, out = lines[line, first:last], single[line]
        for place in range(places):
            x = source[place]
            out[place] = np.float32(x)
            magnitudes[place] = max(magnitudes[place], abs(x))
    largest = 0.0
    for place in range(places):
        largest = max(largest, magnitudes[place])
    return largest


@machine_code
def _sign(weights, level, lines, place, key, sigma, octave, moment):
    """1 if a row with all its noise, in double precision, is above zero at ``place``, else 0."""
    value = level
    for line in range(len(weights)):
        value += weights[line] * lines[line, place]
    for part in range(len(octave)):
        value += sigma[part] * _normal(key[part] + (moment >> octave[part]) * GAMMA)
    return np.int8(value > 0)


@machine_code
def _append(top, reach, number, places, near, place_of, value, count):
    """Append the places of row ``number`` that are within ``reach`` of zero to the lists; returns their new length.

    ``top`` is of a block's length, of which the first ``places`` count.
    """
    for first in range(0, places, 64):
        some, mask = top[first : first + 64], _0
        for place in range(64):
            # Not <=: a NaN is never certain.
            mask |= np.uint64(not abs(some[place]) > reach) << np.uint64(place)
        if places - first < 64:
            mask &= (_1 << np.uint64(places - first)) - _1
        while mask:
            place = _BIT[((mask & (~mask + _1)) * _DE_BRUIJN) >> _58]
            mask &= mask - _1
            near[count], place_of[count], value[count] = number, np.uint32(first) + np.uint32(place), some[place]
            count += _1
    return count


@machine_code
def _settle_singly(near, place_of, value, count, key, sigma, octave, left, error, moment, moves):
    """Add noise to the listed rows, part by part, until their signs are known; count those above zero in ``moves``.

    ``error`` (rows,) bounds the error of a value. Returns the number of rows whose sign stays unknown, which are then
    first in the lists.
    """
    units = len(moves)
    at, angle, number = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK), np.empty(_BLOCK)
    for part in range(len(octave)):
        held, keys, sizes, rest = octave[part], key[part], sigma[part], left[part + 1]
        for first in range(0, count, _BLOCK):
            last = min(first + _BLOCK, count)
            own, there, sums = near[first:last], place_of[first:last], value[first:last]
            for which in range(len(sums)):
                at[which] = keys[own[which]] + (moment[there[which]] >> held) * GAMMA
            _numbers(at[: len(sums)], angle, number)
            for which in range(len(sums)):
                sums[which] += sizes[own[which]] * number[which]
        remaining = 0
        for which in range(count):
            row, place, known = near[which], place_of[which], value[which]
            sure = abs(known) > rest[row] + error[row]
            near[remaining], place_of[remaining], value[remaining] = row, place, known
            remaining += not sure
            moves[row if row < units else row - units, place] += np.int8(sure & (known > 0))
        count = remaining
    return count


@machine_code
def decide_singly(weights, level, lines, key, sigma, octave, left, moment, moves):
    """The decisions of :func:`decide`, from rows in single precision.

    A row whose sign the error of single precision could change is computed again in double precision.
    """
    units, places = moves.shape
    width = min(_BLOCK, (places + 63) // 64 * 64)  # whole words of `_append`
    single, rows = np.empty((len(lines), width), np.float32), np.zeros((2 * units, width), np.float32)
    magnitudes, error, reach = np.empty(width), np.empty(2 * units), np.empty(2 * units, np.float32)
    near, place_of = np.empty(_LISTED + 2 * width, np.uint32), np.empty(_LISTED + 2 * width, np.uint32)
    value = np.empty(len(near))
    weight, base, fixed, growing = _single_rows(weights, level)
    for first in range(0, places, _BLOCK):
        last = min(first + _BLOCK, places)
        largest = _single_lines(lines, first, last, single, magnitudes)
        for row in range(2 * units):
            # The last term covers the additions of noise. Beyond single precision every row is uncertain.
            bound = fixed[row] + largest * growing[row] + left[0, row] * 0.5**48
            error[row] = bound if bound < 1e30 else np.inf
            reach[row] = np.float32((left[0, row] + error[row]) * (1 + 1e-6))
        weigh(weight, base, single, 0, last - first, rows)
        block, instant, found = moves[:, first:last], moment[first:last], _0
        for unit in range(units):
            twin, way = units + unit, moves[unit, first:last]
            low, high, low_reach, high_reach = rows[unit], rows[twin], reach[unit], reach[twin]
            for place in range(len(way)):
                # An uncertain row counts as not above its threshold.
                way[place] = np.int8(low[place] > low_reach) + np.int8(high[place] > high_reach) - np.int8(1)
            found = _append(low, low_reach, unit, len(way), near, place_of, value, found)
            found = _append(high, high_reach, twin, len(way), near, place_of, value, found)
            if unit + 1 < units and found < _LISTED:
                continue
            unknown = _settle_singly(
                near, place_of, value, np.int64(found), key, sigma, octave, left, error, instant, block
            )
            for which in range(unknown):
                row, place = near[which], first + place_of[which]
                moves[row % units, place] += _sign(
                    weights[row], level[row], lines, place, key[:, row], sigma[:, row], octave, moment[place]
                )
            found = _0


@machine_code
def follow(moves, third, half, common, key, sigma, octave, moment, alive, begun, slope, lost, limit, states):
    """Write to ``states`` (units, places) the states that follow from ``moves`` and the initial ``begun`` ones.

    ``begun`` is (units, sequences). A packet adds ``half`` (units,) in its direction (times ``third`` (units, places)
    unless that is empty), ``common`` (units,) in either direction, and noise with ``key`` and ``sigma`` (parts, units).
    It removes the share ``lost`` (units,) of a state. ``slope`` (units,) is the drift of a state before the packet.
    ``alive`` (timesteps,) is the number of sequences that have a timestep.
    """
    packet = np.empty(len(moment))
    at, angle, number = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK), np.empty(_BLOCK)
    for unit in range(len(states)):
        way, step, shift = moves[unit], half[unit], common[unit]
        if len(third):
            volts = third[unit]
            for place in range(len(packet)):
                packet[place] = way[place] * step * volts[place] + shift
        else:
            for place in range(len(packet)):
                packet[place] = way[place] * step + shift
        for part in range(len(octave)):
            _add_noise(key[part, unit], sigma[part, unit], octave[part], moment, packet, at, angle, number)
        drift, share, most = slope[unit], lost[unit], limit[unit]
        before, first = begun[unit], 0
        for count in alive:
            last = first + count
            now, turn, added = states[unit, first:last], way[first:last], packet[first:last]
            for place in range(count):
                state = before[place] + drift
                sent = ((turn[place] > 0) & (state < most)) | ((turn[place] < 0) & (state > -most))
                now[place] = state + (added[place] - share * state if sent else 0.0)
            before, first = now, last


@machine_code
def spread(key, place, nominal, sigma, scale, out):
    """Write ``nominal`` (elements,) on each die to ``out`` (dies, elements).

    That is times 1 + ``sigma`` (elements,) times a normal number, but not less than 0, times ``scale`` (dies,).
    """
    at, angle, number = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK), np.empty(_BLOCK)
    for die in range(len(key)):
        start, common = key[die], scale[die]
        for first in range(0, len(place), _BLOCK):
            some, own = place[first : first + _BLOCK], out[die, first : first + _BLOCK]
            mean, share = nominal[first : first + _BLOCK], sigma[first : first + _BLOCK]
            for element in range(len(some)):
                at[element] = start + some[element] * GAMMA
            _numbers(at[: len(some)], angle, number)
            for element in range(len(some)):
                factor = 1 + share[element] * number[element]
                own[element] = mean[element] * (0.0 if factor < 0 else factor) * common
