"""Retention, as every kind of circuit provides it: a unit whose state is held until it is lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RetentionUnit:
    """The unit ``name`` ("layer.unit") on devices of ``process``, at ``vdd`` [V].

    ``hold(temperature)`` [degrees Celsius] gives a row of the result and the simulator's name. A row has ``timesteps``
    and ``seconds`` until the first state is lost, ``lost_in_simulation``: whether the loss was simulated, and
    ``simulated_s``: for how long the state was followed. ``restores``: whether the unit restores its state to its
    level. ``facts`` hold at every temperature, ``trend(rows)`` over them; ``excludes`` is left out.
    """

    name: str
    process: str
    vdd: float
    testbench: str
    restores: bool
    facts: Mapping[str, Any]
    excludes: tuple[str, ...]
    hold: Callable[[float], tuple[dict[str, Any], str]]
    trend: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]] = lambda rows: {}
