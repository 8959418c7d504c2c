"""Text for LaTeX, with engineering units of siunitx."""

from __future__ import annotations

import re

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "µ": r"\ensuremath{\mu}", "α": r"\ensuremath{\alpha}", "β": r"\ensuremath{\beta}", "ε": r"\ensuremath{\epsilon}",
    "σ": r"\ensuremath{\sigma}", "±": r"\ensuremath{\pm}", "−": r"\ensuremath{-}", "→": r"\ensuremath{\to}",
    "²": r"\ensuremath{^2}", "×": r"\ensuremath{\times}", "·": r"\ensuremath{\cdot}", "\u202f": r"\,", "–": "--",
    "\N{NO-BREAK SPACE}": "~", "—": "---", "\0": "{}",  # between hyphens, which LaTeX would join to a dash
    "…": r"\dots{}", "é": r"\'e", "°": r"\ensuremath{^\circ}",
}  # fmt: skip
_PREFIXES = {
    "": "", "a": r"\atto", "f": r"\femto", "p": r"\pico", "n": r"\nano", "µ": r"\micro", "m": r"\milli", "k": r"\kilo",
}  # fmt: skip
_UNITS = {
    "V": r"\volt", "A": r"\ampere", "F": r"\farad", "J": r"\joule", "W": r"\watt", "s": r"\second", "Hz": r"\hertz",
    "m": r"\metre", "m²": r"\metre\squared",
}  # fmt: skip
_OTHERS = {"%": r"\percent", "°C": r"\degreeCelsius"}
_UNIT = rf"(?:([{''.join(_PREFIXES)}]?)({'|'.join(_UNITS)})|({'|'.join(_OTHERS)}))"
_QUANTITY = re.compile(rf"(?<![\w.,\u202f])(?<!\d )([-−]?\d+(?:\.\d+)?)[ \u00a0]{_UNIT}(?![\w²/^·])")

# Commands that siunitx would define. Without it, they have the same look for the numbers of tables here.
PACKAGES = r"""\usepackage{booktabs,tabularx,graphicx}
\IfFileExists{siunitx.sty}{\usepackage{siunitx}}{% without siunitx: the commands that the tables use
  \newcommand{\unit}[1]{\ensuremath{\mathrm{##1}}}\newcommand{\qty}[2]{\ensuremath{##1}\,\unit{##2}}%
  \newcommand{\atto}{a}\newcommand{\femto}{f}\newcommand{\pico}{p}\newcommand{\nano}{n}\newcommand{\micro}{\mu}%
  \newcommand{\milli}{m}\newcommand{\kilo}{k}\newcommand{\joule}{J}\newcommand{\volt}{V}\newcommand{\ampere}{A}%
  \newcommand{\farad}{F}\newcommand{\watt}{W}\newcommand{\second}{s}\newcommand{\hertz}{Hz}\newcommand{\metre}{m}%
  \newcommand{\squared}{^2}\newcommand{\percent}{\%}\newcommand{\degreeCelsius}{^\circ C}}
"""


def escape(text: str) -> str:
    """``text`` escaped for LaTeX; a character that plain LaTeX may lack becomes a question mark."""
    separated = text.replace("--", "-\0-").replace("--", "-\0-")
    return "".join(_SPECIAL.get(c, c if c.isascii() else "?") for c in separated)


def prose(text: str) -> str:
    r"""``text`` escaped, with quantities for siunitx: ``24.4 pJ`` is ``\qty{24.4}{\pico\joule}``."""
    parts: list[str] = []
    end = 0
    for found in _QUANTITY.finditer(text):
        number, prefix, unit, other = found.groups()
        parts += [escape(text[end : found.start()]), quantity(number.replace("−", "-"), _unit(prefix, unit, other))]
        end = found.end()
    return "".join([*parts, escape(text[end:])])


def quantity(number: str, unit: str) -> str:
    return rf"\qty{{{number}}}{{{unit}}}"


def joules(value: float | None) -> str:
    """An energy [J] with three digits, in the largest of fJ, pJ and nJ that keeps it above 1; a dash for None."""
    if value is None:
        return "--"
    scale, prefix = next(((scale, prefix) for scale, prefix in _SCALES if value * scale < 999.5), _SCALES[-1])
    return quantity(f"{float(f'{value * scale:.3g}'):g}", rf"{prefix}\joule")


JOULES = {"fJ": r"\femto\joule", "pJ": r"\pico\joule", "nJ": r"\nano\joule"}
"""Units of `cmru_hw.core.units.joules` for siunitx."""
_SCALES = ((1e15, r"\femto"), (1e12, r"\pico"), (1e9, r"\nano"), (1e6, r"\micro"))


def _unit(prefix: str | None, unit: str | None, other: str | None) -> str:
    return _OTHERS[other] if other else f"{_PREFIXES[prefix or '']}{_UNITS[unit or '']}"
