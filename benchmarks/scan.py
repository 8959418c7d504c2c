"""Parallel scan against the step-by-step loop: ``python -m benchmarks.scan``.

Both run in turns in the same process, on one core, on the same tensors, which lie in memory as a network's do (time
first). A figure is processor time, the best of several runs: what else the machine does can only add to it.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable

import torch
from torch import Tensor

from cmru_hw.cells import loop, scan

TIMESTEPS = (100, 1000, 10000)
BATCHES, UNITS, LEVELS = (8, 32), 16, 7.0
CASES = {
    "a = 1 (cmru), saturating": (True, (-LEVELS, LEVELS)),
    "any a (eps), saturating": (False, (-LEVELS, LEVELS)),
    "a = 1 (cmru), unbounded": (True, (None, None)),
    "any a (eps), unbounded": (False, (None, None)),
}


def best(functions: tuple[Callable[[], object], ...], seconds: float) -> list[float]:
    """Least processor time of each function [s]; they take turns, so that all see the same machine."""
    found = [float("inf")] * len(functions)
    end = time.perf_counter() + seconds
    while min(found) == float("inf") or time.perf_counter() < end:
        for index, function in enumerate(functions):
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

    if not torch.equal(forward(scan), forward(loop)):
        raise AssertionError("the scan is not the loop")
    times = best((lambda: forward(scan), lambda: forward(loop), lambda: both(scan), lambda: both(loop)), seconds)
    scan_f, loop_f, scan_b, loop_b = (1e3 * value for value in times)
    print(
        f"{timesteps:>9} {batch:>5} | {scan_f:8.2f} {loop_f:8.2f} {loop_f / scan_f:6.1f}x"
        f" | {scan_b:8.2f} {loop_b:8.2f} {loop_b / scan_b:6.1f}x"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="wall time to spend on each line")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    print(f"scan against loop: {UNITS} units, float32, one thread, torch {torch.__version__}, processor time in ms")
    for title, (translation, bounds) in CASES.items():
        print(f"\n{title}\n{'timesteps':>9} {'batch':>5} | {'forward':^24} | {'forward + backward':^24}")
        print(f"{'':>15} | {'scan':>8} {'loop':>8} {'ratio':>7} | {'scan':>8} {'loop':>8} {'ratio':>7}")
        for timesteps, batch in itertools.product(TIMESTEPS, BATCHES):
            measure(timesteps, batch, translation, bounds, seconds)


if __name__ == "__main__":
    main()
