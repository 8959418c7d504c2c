"""Sizing laws: how offset, capacitance, delay and energy of a circuit block follow from the sizes of its devices.

A law is a sum of terms, each a coefficient times powers of sizes, such as a / (W L) + b for the variance of an offset
(Pelgrom, Duinmaijer and Welbers, JSSC 1989). The exponents are physics; the coefficients are fitted to simulations of
transistors at several sizes (`cmru_hw.characterize.sizing`) and kept in ``laws/PROCESS.toml``, with the simulations and
the error of the fit. Technologies are resized by the ratio of a law at two sizes, so that their own measured figures
stay the base.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from cmru_hw.core import toml_file
from cmru_hw.core.errors import TechnologyError

# Drawn and effective sizes of the GF180MCU models' mismatch [m].
_WIDER, _SHORTER = 0.1e-6, 0.15e-6
# Load of an amplifier where the laws were measured [F]: the lines and rows of the next layer.
LOAD = 300e-15


@dataclass(frozen=True, kw_only=True)
class Term:
    """``coefficient`` times the product of variables to their ``exponents``."""

    coefficient: float
    exponents: tuple[tuple[str, float], ...]

    def at(self, variables: Mapping[str, float]) -> float:
        return self.coefficient * math.prod([float(variables[name] ** power) for name, power in self.exponents])


@dataclass(frozen=True, kw_only=True)
class Law:
    """``residual``: root mean square of the relative errors at the ``points`` (number) that were fitted."""

    unit: str
    terms: tuple[Term, ...]
    residual: float
    points: int

    def at(self, variables: Mapping[str, float]) -> float:
        return sum(term.at(variables) for term in self.terms)


@dataclass(frozen=True, kw_only=True)
class Amplifier:
    """Sizes of an amplifier [m]: ``width`` and ``length`` of its input pair, ``mirror`` length of its load, ``tail``
    length of its tail; and its ``load`` [F]."""

    width: float
    length: float
    mirror: float
    tail: float
    load: float = LOAD

    def variables(self) -> dict[str, float]:
        return {
            "width": self.width,
            "length": self.length,
            "area": (self.width + _WIDER) * (self.length - _SHORTER),
            "mirror": self.mirror - _SHORTER,
            "tail": self.tail,
            "load": self.load,
        }


def comparator_variables(width: float, length: float) -> dict[str, float]:
    """Variables of the laws of a comparator whose input pair has these sizes [m]."""
    return {"width": width, "length": length, "area": (width + _WIDER) * (length - _SHORTER)}


LAWS = (
    "comparator_offset_variance",
    "comparator_parasitic",
    "comparator_energy",
    "comparator_delay",
    "comparator_kick",
    "amplifier_offset_variance",
    "amplifier_current",
    "amplifier_time",
    "amplifier_gain",
    "supply_energy",
)


@dataclass(frozen=True, kw_only=True)
class Laws:
    """The laws of one process. ``amplifier`` are the sizes of the shipped amplifier; ``limit_width`` and
    ``limit_length`` [m] those of the input pair of the level limit's comparator; ``vdd`` [V] the supply at which the
    laws were measured. ``fitted``: the command that wrote them."""

    process: str
    fitted: str
    amplifier: Amplifier
    limit_width: float
    limit_length: float
    vdd: float
    laws: Mapping[str, Law]

    def comparator(self, name: str, width: float, length: float) -> float:
        """Law ``comparator_NAME`` at the sizes [m] of an input pair."""
        return self.laws[f"comparator_{name}"].at(comparator_variables(width, length))

    def of_amplifier(self, name: str, sizes: Amplifier) -> float:
        """Law ``amplifier_NAME``."""
        return self.laws[f"amplifier_{name}"].at(sizes.variables())

    def supply(self, vdd: float) -> float:
        """Energy of clocks and logic at a supply [V], as a share of that at ``self.vdd``."""
        return self.laws["supply_energy"].at({"vdd": vdd}) / self.laws["supply_energy"].at({"vdd": self.vdd})


def available() -> tuple[str, ...]:
    """Processes whose laws are shipped."""
    folder = resources.files("cmru_hw.process") / "laws"
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml")))


@lru_cache(maxsize=4)
def load(process: str) -> Laws:
    """The shipped laws of ``process``. Raises TechnologyError for a process without any."""
    if process not in available():
        known = ", ".join(available())
        raise TechnologyError(
            f"process {process!r} has no sizing laws: choose a technology of {known}, or fit laws with cmru-hw "
            "characterize --laws and give them to size --laws"
        )
    text = (resources.files("cmru_hw.process") / "laws" / f"{process}.toml").read_text(encoding="utf-8")
    return parse(text, where=f"sizing laws of {process}")


def parse(content: str, *, where: str) -> Laws:
    """Raises TechnologyError, with the key, for text that is no file of laws."""
    try:
        data = toml_file.parse(content)
        return Laws(
            process=str(data["process"]),
            fitted=str(data["fitted"]),
            amplifier=Amplifier(**{name: float(value) for name, value in data["base"]["amplifier"].items()}),
            limit_width=float(data["base"]["limit_width"]),
            limit_length=float(data["base"]["limit_length"]),
            vdd=float(data["base"]["vdd"]),
            laws={name: _law(data[name]) for name in LAWS},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TechnologyError(f"{where} is damaged ({error!r}): fit it again with cmru-hw characterize") from error


def _law(data: Mapping[str, Any]) -> Law:
    terms = []
    for term in data["terms"]:
        powers = {str(name): float(power) for name, power in term.items() if name != "coefficient"}
        terms.append(Term(coefficient=float(term["coefficient"]), exponents=tuple(powers.items())))
    return Law(
        unit=str(data["unit"]),
        terms=tuple(terms),
        residual=float(data["residual"]),
        points=len(data["points"]),
    )
