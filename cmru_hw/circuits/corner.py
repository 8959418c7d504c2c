"""One corner of process, temperature and supply."""

from __future__ import annotations

from dataclasses import dataclass, field

from cmru_hw.core.records import OMIT_NONE, Record


@dataclass(frozen=True, kw_only=True)
class Corner:
    """``process`` is one of `cmru_hw.process.CORNERS`; ``temperature`` in degrees Celsius, ``vdd`` [V]."""

    process: str
    temperature: float
    vdd: float

    def __str__(self) -> str:
        return f"{self.process}/{self.temperature:g}/{self.vdd:.4g}"

    @property
    def stem(self) -> str:
        return str(self).replace("/", "_")


@dataclass(frozen=True, kw_only=True)
class CornerFacts(Record):
    """Properties of a design at a corner. ``source`` is the origin of its numbers. ``gain`` of its amplifiers and
    ``leakage_A`` [A] of an integrator are None for a circuit without them."""

    source: str
    gain: float | None = field(default=None, metadata=OMIT_NONE)
    leakage_A: float | None = field(default=None, metadata=OMIT_NONE)
