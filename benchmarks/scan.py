"""Speed of the networks' recurrence compared with its other forms, and with other packages: ``python -m
benchmarks.scan``.

All run in turns in the same process, on one core, on the same tensors in the memory layout of a network (time first). A
figure is CPU time, the best of several runs, because other load can only add to it. Before it is timed, every form must
give the same result as ``scan``, bit for bit.

The other implementations of the same recurrence: ``torch.cumsum`` where a = 1 and nothing saturates; with saturation,
JAX's ``lax.scan``, a loop that XLA compiles for one thread, and its ``lax.associative_scan`` with the composition of
clamped steps (both need ``pip install jax``).
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmru_hw.nn.scan import loop, parallel, scan

TIMESTEPS = (100, 1000, 10000)
BATCHES, UNITS, LEVELS = (8, 32), 16, 7.0
TURN = 4
CASES = {
    "a = 1 (cmru), saturating": (True, (-LEVELS, LEVELS)),
    "any a (eps), saturating": (False, (-LEVELS, LEVELS)),
    "a = 1 (cmru), unbounded": (True, (None, None)),
    "any a (eps), unbounded": (False, (None, None)),
}


def best(functions: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """Least CPU time of each function [s]; they take turns, so that all see the same machine load.

    A turn is several runs, because the first of them finds the caches as another function left them.
    """
    found = [float("inf")] * len(functions)
    for function in functions:
        function()  # compiles now
    end = time.perf_counter() + seconds
    while min(found) == float("inf") or time.perf_counter() < end:
        for index, function in enumerate(functions):
            for _ in range(TURN):
                start = time.process_time()
                function()
                found[index] = min(found[index], time.process_time() - start)
    return found


def measure(
    timesteps: int, batch: int, translation: bool, bounds: tuple[float | None, float | None], seconds: float
) -> None:
    random = torch.Generator().manual_seed(0)
    shape = (timesteps, batch, UNITS)
    moves = torch.randint(-1, 2, shape, generator=random).float().transpose(0, 1).requires_grad_()
    gain = None if translation else torch.rand(shape, generator=random).round().transpose(0, 1)
    weight = torch.randn(shape, generator=random).transpose(0, 1)
    initial = torch.ones(UNITS)

    @torch.no_grad()
    def forward(recur: Callable[..., Tensor]) -> Tensor:
        return recur(gain, moves, initial, *bounds)

    def both(recur: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(recur(gain, moves, initial, *bounds), moves, weight)

    for form in (parallel, loop):
        if not torch.equal(forward(scan), forward(form)):
            raise AssertionError(f"the scan is not {form.__name__}")
    forms = (scan, parallel, loop)
    calls = [partial(run, form) for run in (forward, both) for form in forms]
    times = [1e3 * value for value in best(calls, seconds)]
    shown = " | ".join(
        f"{ours:8.3f} {tree:8.3f} {slow:8.2f} {slow / ours:6.1f}x" for ours, tree, slow in (times[:3], times[3:])
    )
    print(f"{timesteps:>9} {batch:>5} | {shown}")


def against_cumsum(timesteps: int, batch: int, seconds: float) -> None:
    """Comparison with ``torch.cumsum``: a = 1, no limits."""
    moves, weight, initial = _problem(timesteps, batch)
    views, leaf = moves.transpose(0, 1).requires_grad_(), moves.clone().requires_grad_()

    @torch.no_grad()
    def ours() -> Tensor:
        return scan(None, views, initial)

    @torch.no_grad()
    def theirs() -> Tensor:
        return torch.cumsum(leaf, 0) + initial

    if not torch.equal(ours().transpose(0, 1), theirs()):
        raise AssertionError("the scan is not the cumulative sum")
    times = best(
        (
            ours,
            theirs,
            lambda: torch.autograd.grad(scan(None, views, initial), views, weight.transpose(0, 1)),
            lambda: torch.autograd.grad(torch.cumsum(leaf, 0) + initial, leaf, weight),
        ),
        seconds,
    )
    _print_peer("torch.cumsum", timesteps, batch, times)


def against_jax(timesteps: int, batch: int, seconds: float) -> None:
    """Saturation, a = 1. No gradient of an associative scan of 10 000 timesteps: XLA takes minutes to compile it."""
    import jax
    import jax.numpy as jnp

    moves, weight, initial = _problem(timesteps, batch)
    views = moves.transpose(0, 1).requires_grad_()
    b, w = jnp.asarray(moves.detach().numpy()), jnp.asarray(weight.numpy())
    start = jnp.ones((batch, UNITS))

    def compose(first: Any, then: Any) -> Any:
        (b1, lo1, hi1), (b2, lo2, hi2) = first, then
        return b1 + b2, jnp.clip(lo1 + b2, lo2, hi2), jnp.clip(hi1 + b2, lo2, hi2)

    def associative(b: Any) -> Any:
        maps = (b, jnp.full_like(b, -LEVELS), jnp.full_like(b, LEVELS))
        total, lo, hi = jax.lax.associative_scan(compose, maps, axis=0)
        return jnp.clip(start + total, lo, hi)

    def step(state: Any, packet: Any) -> Any:
        state = jnp.clip(state + packet, -LEVELS, LEVELS)
        return state, state

    @torch.no_grad()
    def ours() -> Tensor:
        return scan(None, views, initial, -LEVELS, LEVELS)

    def both() -> Any:
        return torch.autograd.grad(scan(None, views, initial, -LEVELS, LEVELS), views, weight.transpose(0, 1))

    for name, run, longest in (
        ("jax.lax.scan", lambda b: jax.lax.scan(step, start, b)[1], 10_000),
        ("jax.lax.associative_scan", associative, 1000),
    ):
        forward = jax.jit(run)
        if not np.array_equal(ours().transpose(0, 1).numpy(), np.asarray(forward(b))):
            raise AssertionError(f"the scan is not {name}")
        calls: list[Callable[[], object]] = [ours, partial(_finished, forward, b)]
        if timesteps <= longest:
            back = jax.jit(jax.grad(partial(_weighted, run, w)))
            calls += [both, partial(_finished, back, b)]
        _print_peer(name, timesteps, batch, best(tuple(calls), seconds))


def _finished(run: Callable[[Any], Any], b: Any) -> object:
    """The result of ``run`` after waiting for it: JAX returns before it has computed."""
    return run(b).block_until_ready()


def _weighted(run: Callable[[Any], Any], weight: Any, b: Any) -> Any:
    return (run(b) * weight).sum()


def _problem(timesteps: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Moves and weights (time, batch, units), and the initial state."""
    random = torch.Generator().manual_seed(0)
    shape = (timesteps, batch, UNITS)
    moves = torch.randint(-1, 2, shape, generator=random).float()
    return moves, torch.randn(shape, generator=random), torch.ones(UNITS)


def _print_peer(name: str, timesteps: int, batch: int, times: list[float]) -> None:
    pairs = [(1e3 * ours, 1e3 * theirs) for ours, theirs in zip(times[::2], times[1::2], strict=True)]
    shown = " | ".join(f"{ours:8.3f} {theirs:8.3f} {theirs / ours:6.2f}x" for ours, theirs in pairs)
    print(f"{name:<26}{timesteps:>9} {batch:>5} | {shown}")


def peers(seconds: float) -> None:
    """Compare with every other implementation that is installed."""
    print(f"\nagainst others, a ratio above 1 is in the scan's favour\n{'':>41} | {'forward':^25} | forward + backward")
    print(f"{'':>26}{'timesteps':>9} {'batch':>5} | {'scan':>8} {'theirs':>8} {'ratio':>7} | {'scan':>8} {'theirs':>8}")
    for timesteps, batch in itertools.product(TIMESTEPS, BATCHES):
        against_cumsum(timesteps, batch, seconds)
    # JAX reads this at its first import.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    try:
        import jax
    except ImportError:
        print("jax is not installed: pip install jax")
        return
    # With asynchronous dispatch another thread's work is not yet in this process's CPU time when the result is ready.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    print(f"jax {jax.__version__}, saturating")
    for timesteps, batch in itertools.product(TIMESTEPS, BATCHES):
        against_jax(timesteps, batch, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="wall time to spend on each line")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    print(
        f"{UNITS} units, float32, one thread, torch {torch.__version__}, processor time in ms; ratios are loop / scan"
    )
    heading = f"{'scan':>8} {'parallel':>8} {'loop':>8} {'ratio':>7}"
    for title, (translation, bounds) in CASES.items():
        print(f"\n{title}\n{'timesteps':>9} {'batch':>5} | {'forward':^34} | {'forward + backward':^34}")
        print(f"{'':>15} | {heading} | {heading}")
        for timesteps, batch in itertools.product(TIMESTEPS, BATCHES):
            measure(timesteps, batch, translation, bounds, seconds)
    peers(seconds)


if __name__ == "__main__":
    main()
