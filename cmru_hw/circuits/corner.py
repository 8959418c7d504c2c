"""One corner of process, temperature and supply."""

from __future__ import annotations

from dataclasses import dataclass


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
