"""What retention asks of an architecture: a unit that can be left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The unit ``name`` ("layer.unit") on devices of ``process``, at ``vdd`` [V].

    ``left_alone(temperature)`` [degrees Celsius] is a row of the result and the simulator's name. A row has
    ``timesteps``, ``seconds`` until the first state is lost, ``lost_in_simulation``: whether it was seen to be, and
    ``simulated_s``: how long it was followed. ``facts`` hold at every temperature, ``trend(rows)`` over them;
    ``excludes`` is what is left out.
    """

    name: str
    process: str
    vdd: float
    testbench: str
    facts: Mapping[str, Any]
    excludes: tuple[str, ...]
    left_alone: Callable[[float], tuple[dict[str, Any], str]]
    trend: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]] = lambda rows: {}
