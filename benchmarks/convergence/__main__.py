"""Run one study: ``python -m benchmarks.convergence current [options]`` or ``... charge [options]``."""

from __future__ import annotations

import importlib
import sys

STUDIES = ("current", "charge")


def main(arguments: list[str]) -> None:
    """Pass the other arguments to ``main`` of the study that the first argument names."""
    if not arguments or arguments[0] not in STUDIES:
        raise SystemExit(f"usage: python -m benchmarks.convergence [{'|'.join(STUDIES)}] [--help]")
    importlib.import_module(f"benchmarks.convergence.{arguments[0]}").main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
