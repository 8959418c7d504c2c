"""The interface of retention, for every kind of circuit: a unit and the time for which it holds its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cmru_hw.core.records import OMIT_NONE, NotNegative, Record


@dataclass(frozen=True, kw_only=True)
class HeldLevel(Record):
    """A level at ``level_V`` from the common mode [V], and the timesteps until it is lost."""

    level_V: float
    timesteps: NotNegative


@dataclass(frozen=True, kw_only=True)
class HeldState(Record):
    """A unit that is held at one temperature.

    ``timesteps`` and ``seconds`` until the first state is lost; ``lost_in_simulation``: whether the loss was simulated;
    ``simulated_s``: for how long the state was followed [s].

    Of a level on a capacitor: ``level_V``, the level that is lost first, from the common mode [V]; ``leakage_A``, its
    mean leakage in the beginning [A]; ``law_timesteps``, which that leakage would need if it stayed constant; and all
    ``levels``. Of a unit that restores its state: ``moved``, by which its output moved, as a share of the high level.
    """

    temperature_C: float
    level_V: float | None = field(default=None, metadata=OMIT_NONE)
    timesteps: NotNegative
    seconds: NotNegative
    lost_in_simulation: bool
    simulated_s: NotNegative
    leakage_A: float | None = field(default=None, metadata=OMIT_NONE)
    law_timesteps: float | None = field(default=None, metadata=OMIT_NONE)
    levels: tuple[HeldLevel, ...] | None = field(default=None, metadata=OMIT_NONE)
    moved: float | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, kw_only=True)
class RetentionFacts(Record):
    """Facts for all temperatures. A level on a capacitor ``integrator_F`` [F] is lost when it has drifted by
    ``half_packet_V`` [V]; ``law`` describes the calculation of ``law_timesteps``. For a unit that restores its state:
    ``window_of_threshold``, its window as a share of its threshold."""

    half_packet_V: float | None = field(default=None, metadata=OMIT_NONE)
    integrator_F: float | None = field(default=None, metadata=OMIT_NONE)
    law: str | None = field(default=None, metadata=OMIT_NONE)
    window_of_threshold: float | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, kw_only=True)
class RetentionUnit:
    """The unit ``name`` ("layer.unit") on devices of ``process``, at ``vdd`` [V].

    ``hold(temperature)`` [degrees Celsius] returns the held state and the simulator's name. ``restores``: whether the
    unit restores its state to its level. ``doubling(states)``: the rise in temperature [K] that halves the retention,
    or None. ``excludes`` lists the effects that the simulation omits.
    """

    name: str
    process: str
    vdd: float
    testbench: str
    restores: bool
    facts: RetentionFacts
    excludes: tuple[str, ...]
    hold: Callable[[float], tuple[HeldState, str]]
    doubling: Callable[[Sequence[HeldState]], float | None] = lambda states: None
