"""The recurrence of all cells: s_t = clamp(a_t s_{t−1} + b_t, lo, hi), with a_t ≥ 0 known beforehand.

Three forms, equal in value and gradient:

- :func:`loop`: one timestep after the other, in torch operations. This is the definition.
- :func:`parallel`: in logarithmic depth. Maps x → clamp(a x + b, lo, hi) with a ≥ 0 are closed under composition,
  saturation included, so a sequence can be folded. For devices with more lanes than a batch fills.
- :func:`scan`: the form that networks use. On a CPU it is the compiled loop over all lanes (batch × units), because
  the additional work of a tree gains nothing there. On other devices it is :func:`parallel`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cmru_hw.core.loops import machine_code

Bound = float | Tensor | None
"""A bound of all states, or (units,) of each unit; None if there is none."""

COMPILED = (torch.float32, torch.float64)
"""Types of numbers for which :func:`scan` has a compiled loop."""


def scan(a: Tensor | None, b: Tensor, initial: Tensor, lo: Bound = None, hi: Bound = None) -> Tensor:
    """States s_t = clamp(a_t s_{t−1} + b_t, lo, hi) after each timestep.

    ``a`` ≥ 0 (None: 1) and ``b`` have shape (batch, time, units) with time ≥ 1; ``initial`` is s before the first
    timestep, (units,) or (batch, units). ``lo`` and ``hi`` are given together or not at all: numbers, or a number of
    each unit (units,), which have no gradient. Returns (batch, time, units). Value and gradient (once differentiable)
    are those of :func:`loop`, on a CPU bit for bit.
    """
    if b.device.type != "cpu" or b.dtype not in COMPILED:
        return parallel(a, b, initial, lo, hi)
    _check_bounds(lo, hi)
    if a is not None and a.shape != b.shape:
        a = a.expand_as(b)
    # Torch leaves apply untyped.
    states: Tensor = _Compiled.apply(a, b, initial, lo, hi)  # type: ignore[no-untyped-call]
    return states


def parallel(a: Tensor | None, b: Tensor, initial: Tensor, lo: Bound = None, hi: Bound = None) -> Tensor:
    """Like :func:`scan`, in logarithmic depth; equal up to rounding, and exactly if a and b are small integers."""
    _check_bounds(lo, hi)
    # Time first and contiguous, so that each step of the recursion reads complete rows.
    packets = b.transpose(0, 1).contiguous()
    gains = None if a is None else a.expand_as(b).transpose(0, 1).contiguous()
    # Torch leaves apply untyped.
    states: Tensor = _Parallel.apply(gains, packets, initial.expand(packets.shape[1:]), lo, hi)  # type: ignore[no-untyped-call]
    return states.transpose(0, 1)


def loop(a: Tensor | None, b: Tensor, initial: Tensor, lo: Bound = None, hi: Bound = None) -> Tensor:
    """Like :func:`scan`, one timestep after the other: the definition and test reference of the other forms."""
    _check_bounds(lo, hi)
    # unbind instead of indexing: the gradient of indexing would fill a sequence of zeros at every timestep.
    packets = b.unbind(1)
    gains = [None] * len(packets) if a is None else a.expand_as(b).unbind(1)
    state, states = initial, []
    for gain, packet in zip(gains, packets, strict=True):
        state = packet + (state if gain is None else gain * state)
        if lo is not None:
            # torch's stubs know no union of numbers and tensors.
            state = torch.clamp(state, lo, hi)  # type: ignore[arg-type]
        states.append(state)
    return torch.stack(states, dim=1)


def _check_bounds(lo: Bound, hi: Bound) -> None:
    if (lo is None) != (hi is None) or (lo is not None and hi is not None and bool(torch.as_tensor(lo > hi).any())):
        raise ValueError(f"bounds {lo}, {hi}: give both with lo <= hi, or neither")


# --- Compiled ----------------------------------------------------------------------------------------------------
# Arrays are (blocks, time, lanes) and contiguous: one block of batch × units lanes if time comes first in memory, else
# a block of units lanes for each sequence. lo and hi are (lanes,) or None. Operations and their order are those of the
# loop, and so are all bits.
# numba compiles a kernel once per combination of types; a None argument selects its branch at compile time.


@machine_code
def _forward(a: Any, b: Any, initial: Any, lo: Any, hi: Any, states: Any) -> None:
    blocks, time, lanes = b.shape
    # Not read back from ``states``: a separate row, just written, is read three times as fast.
    last = np.empty(lanes, b.dtype)
    for block in range(blocks):
        last[:] = initial[block]
        for t in range(time):
            for lane in range(lanes):
                x = last[lane]
                if a is not None:
                    x = a[block, t, lane] * x
                x = b[block, t, lane] + x
                if lo is not None:
                    x = lo[lane] if x < lo[lane] else x
                    x = hi[lane] if x > hi[lane] else x
                states[block, t, lane] = x
                last[lane] = x


@machine_code
def _backward(
    a: Any, b: Any, initial: Any, lo: Any, hi: Any, states: Any, grad: Any, by_a: Any, by_b: Any, by_initial: Any
) -> None:
    """∂L/∂b_t is g_t = m_t (∂L/∂s_t + a_{t+1} g_{t+1}); m_t = 1 where the clamp passes gradient, ties included."""
    blocks, time, lanes = b.shape
    zero = b.dtype.type(0)
    for block in range(blocks):
        carried = by_initial[block]
        carried[:] = 0
        for t in range(time - 1, -1, -1):
            before = states[block, t - 1] if t > 0 else initial[block]
            for lane in range(lanes):
                g = grad[block, t, lane] + carried[lane]
                if lo is not None:
                    # The unclamped value is computed again, which is cheaper than storing it.
                    x = before[lane]
                    if a is not None:
                        x = a[block, t, lane] * x
                    x = b[block, t, lane] + x
                    g = g if lo[lane] <= x <= hi[lane] else zero
                by_b[block, t, lane] = g
                if by_a is not None:
                    by_a[block, t, lane] = g * before[lane]
                carried[lane] = g if a is None else g * a[block, t, lane]


class _Compiled(torch.autograd.Function):
    """Tensors as in :func:`scan`, on a CPU. For short sequences the call takes longer than the computation."""

    @staticmethod
    def forward(ctx: Any, a: Tensor | None, b: Tensor, initial: Tensor, lo: Bound, hi: Bound) -> Tensor:
        if not (b.is_contiguous() or b.transpose(0, 1).is_contiguous()):
            b = b.transpose(0, 1).contiguous().transpose(0, 1)
        states = torch.empty_like(b)  # with the memory layout of b
        packets = _rows(b, b)
        starts = np.empty((packets.shape[0], packets.shape[2]), packets.dtype)
        starts.reshape(len(b), -1)[:] = initial.numpy()
        bounds = [None if bound is None else _on_lanes(bound, packets, b.shape[2]) for bound in (lo, hi)]
        _forward(_rows(a, b), packets, starts, *bounds, _rows(states, b))
        ctx.save_for_backward(a, b, states)
        ctx.constants, ctx.initial = (starts, *bounds), initial.shape
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None, None]:
        a, b, states = ctx.saved_tensors
        by_a = torch.empty_like(b) if ctx.needs_input_grad[0] else None
        by_b = torch.empty_like(b)
        by_start = np.empty_like(ctx.constants[0])
        results = _rows(by_a, b), _rows(by_b, b), by_start
        _backward(_rows(a, b), _rows(b, b), *ctx.constants, _rows(states, b), _rows(grad, b), *results)
        by_initial = None
        if ctx.needs_input_grad[2]:
            by_initial = torch.from_numpy(by_start).view(len(b), -1).sum_to_size(ctx.initial)
        return by_a, by_b, by_initial, None, None


def _on_lanes(bound: float | Tensor, packets: Any, units: int) -> Any:
    """``bound`` of every lane of ``packets``, whose lanes repeat the ``units``."""
    lanes = np.empty(packets.shape[2], packets.dtype)
    lanes.reshape(-1, units)[:] = bound.numpy() if isinstance(bound, Tensor) else bound
    return lanes


def _rows(x: Tensor | None, like: Tensor) -> Any:
    """(batch, time, units) as an array (blocks, time, lanes) in the layout of ``like``; no copy if x has it already."""
    if x is None:
        return None
    array = x.numpy()
    if not like.is_contiguous():
        array = array.swapaxes(0, 1)
        array = array.reshape(1, len(array), -1)
    return np.ascontiguousarray(array)


# --- Parallel --------------------------------------------------------------------------------------------------------


RADIX = 32
"""Number of timesteps that are folded into one map at each level of the scan."""


@dataclass(frozen=True)
class _Maps:
    """Maps x → clamp(a x + b, lo, hi) with a ≥ 0, one per timestep: a and b are (time, ...), and lo ≤ hi.

    ``a`` is None if it is 1 everywhere. The bounds are None, or two numbers (equal at every timestep; torch clamps to
    these fastest), or two tensors like b.
    """

    a: Tensor | None
    b: Tensor
    lo: Any = None
    hi: Any = None

    def at(self, times: slice) -> _Maps:
        return _Maps(*(part[times] if isinstance(part, Tensor) else part for part in self._parts()))

    def steps(self, blocks: int, reverse: bool) -> Iterator[tuple[Any, ...]]:
        """Time cut into ``blocks`` of equal length: (a, b, lo, hi) of every block's first map, then second, ..."""
        return zip(*(_steps(part, blocks, reverse) for part in self._parts()), strict=False)

    def _parts(self) -> tuple[Any, ...]:
        return self.a, self.b, self.lo, self.hi


def _steps(part: Any, blocks: int, reverse: bool) -> Iterable[Any]:
    if not isinstance(part, Tensor):
        return itertools.repeat(part)
    views: tuple[Tensor, ...] = part.unflatten(0, (blocks, -1)).unbind(1)
    return reversed(views) if reverse else views


def _walk(maps: _Maps, starts: Tensor, passes: Tensor | None = None, *, reverse: bool) -> None:
    """Apply one map after the other in every block, from ``starts`` (blocks, ...) on; each b becomes the new state.

    ``passes`` (like b) is set to 1 where the clamp passes gradient (like torch.clamp, also at a tie), else to 0.
    """
    x = starts
    blocks = len(starts)
    for (a, b, lo, hi), inside in zip(maps.steps(blocks, reverse), _steps(passes, blocks, reverse), strict=False):
        x = b.add_(x) if a is None else b.addcmul_(a, x)
        if lo is None:
            continue
        if inside is None:
            x.clamp_(lo, hi)
        else:
            inside.copy_(x)
            # In-place comparison of floats takes a fraction of the time of booleans.
            inside.eq_(x.clamp_(lo, hi))


def _fold(maps: _Maps, blocks: int, *, reverse: bool) -> _Maps:
    """The composition of the maps of each block, which has the same form.

    a ≥ 0 makes the affine part monotone, so it maps earlier bounds to bounds of the composition: b and both bounds pass
    through each step like states, and each step clamps the bounds.
    """
    steps = maps.steps(blocks, reverse)
    a, b, lo, hi = next(steps)
    gain = None if a is None else a.clone()
    images = b.new_empty(1 if lo is None else 3, *b.shape)
    images[0] = b
    bounds = images[1:]
    if lo is not None:
        bounds[0], bounds[1] = lo, hi
    for a, b, lo, hi in steps:
        if gain is not None:
            gain.mul_(a)
            images.mul_(a)
        images.add_(b)
        if lo is not None:
            bounds.clamp_(lo, hi)
    return _Maps(gain, *images)


def _sweep(maps: _Maps, initial: Tensor, passes: Tensor | None = None, *, reverse: bool = False) -> None:
    """Replace each b (time, ...) by the state after its map, starting from ``initial`` (1, ...): a tree of radix 32.

    Time is cut into blocks. The maps of every block are folded into one, all blocks at once; the sequence of blocks,
    1/32 as long, is solved in the same way; then all blocks are traversed at once, each from its own start. This is
    about twice the work of a loop, but the number of operations grows with log(time), and each works on a piece of
    memory that fits in the cache. ``passes`` is as for :func:`_walk`; ``reverse`` goes from the last map to the first.
    """
    time = len(maps.b)
    if time < 2 * RADIX:
        _walk(maps, initial, passes, reverse=reverse)
        return
    blocks, rest = divmod(time, RADIX)
    if rest:
        # The remainder that fills no block is processed first.
        head, body = (slice(time - rest, None), slice(time - rest)) if reverse else (slice(rest), slice(rest, None))
        _walk(maps.at(head), initial, None if passes is None else passes[head], reverse=reverse)
        initial = maps.b[head][:1] if reverse else maps.b[head][-1:]
        maps, passes = maps.at(body), None if passes is None else passes[body]
    folded = _fold(maps, blocks, reverse=reverse)
    _sweep(folded, initial, reverse=reverse)
    starts = torch.cat((folded.b[1:], initial) if reverse else (initial, folded.b[:-1]))
    _walk(maps, starts, passes, reverse=reverse)


class _Parallel(torch.autograd.Function):
    """All tensors (time, ...). Forward: states of the clamped maps. Backward: the exact adjoint, also a scan."""

    @staticmethod
    def forward(ctx: Any, a: Tensor | None, b: Tensor, initial: Tensor, lo: Bound, hi: Bound) -> Tensor:
        states = b.clone()
        # Maps have bounds of every timestep or plain numbers.
        lo, hi = (bound.expand_as(b) if isinstance(bound, Tensor) else bound for bound in (lo, hi))
        passes = torch.empty_like(b) if lo is not None and any(ctx.needs_input_grad) else None
        _sweep(_Maps(a, states, lo, hi), initial[None], passes)
        ctx.save_for_backward(a, passes, initial, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        """∂L/∂b_t is g_t = m_t (∂L/∂s_t + p_{t+1}), with m_t = 1 where the clamp passes gradient and p_t = a_t g_t.

        p_t is the gradient by the state before t, and the swept quantity: p_t = a_t m_t (∂L/∂s_t + p_{t+1}).
        """
        a, passes, initial, states = ctx.saved_tensors
        direct = grad.clone(memory_format=torch.contiguous_format)
        if passes is not None:
            direct *= passes
        gain = passes if a is None else a if passes is None else a * passes
        swept = direct if a is None else a * direct
        _sweep(_Maps(gain, swept), torch.zeros_like(swept[:1]), reverse=True)
        if a is None:
            return None, swept, swept[0], None, None
        if passes is None:
            direct[:-1] += swept[1:]
        else:
            direct[:-1].addcmul_(swept[1:], passes[:-1])
        by_gain = None
        if ctx.needs_input_grad[0]:
            by_gain = torch.cat((direct[:1] * initial, direct[1:] * states[:-1]))
        return by_gain, direct, swept[0], None, None
