"""Numbers and expressions of a netlist, with the values that ngspice gives them.

A number takes a suffix (``t g meg k m u n p f``; ``µ`` is ``u``) and then any letters, which ngspice ignores:
``10uF`` is 1e-5. Two suffixes mean different things in different places or versions, and are refused: ``mil``, which is
25.4e-6 in a device's line and 1e-3 in an expression, and ``a``, which older versions ignore.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cmru_hw.core.errors import InputError
from cmru_hw.spice.lexer import unwrapped

_DIGITS = r"(?:\d+\.?\d*|\.\d+)(?:[ed][+-]?\d+)?"
_NUMBER = re.compile(rf"(?P<sign>[+-]?)(?P<digits>{_DIGITS})(?P<letters>µ?[a-z]*)", re.ASCII)
_SCALE = {"t": 1e12, "g": 1e9, "k": 1e3, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_TOKEN = re.compile(rf"\s*(?P<token>{_DIGITS}µ?[a-z]*(?![\w.])|[a-z_]\w*|\*\*|[-+*/^(),])\s*", re.ASCII)
_FUNCTIONS: dict[str, tuple[int, Callable[..., float]]] = {
    "sqrt": (1, math.sqrt),
    "abs": (1, abs),
    "exp": (1, math.exp),
    "ln": (1, math.log),
    "log": (1, math.log),
    "log10": (1, math.log10),
    "sin": (1, math.sin),
    "cos": (1, math.cos),
    "tan": (1, math.tan),
    "int": (1, math.trunc),
    "floor": (1, math.floor),
    "ceil": (1, math.ceil),
    "min": (2, min),
    "max": (2, max),
}


def number(text: str) -> float:
    """The number ``text``, with its suffix. Raises InputError if ``text`` is not a number or is ambiguous."""
    found = _NUMBER.fullmatch(text.strip().lower())
    if found is None:
        raise InputError(f"{text!r} is not a number in SPICE")
    letters = found["letters"]
    if letters.startswith(("mil", "a")):
        raise InputError(f"{text!r}: ngspice reads this suffix differently by place and version: write an exponent")
    value = float(found["sign"] + found["digits"].replace("d", "e"))
    return value * (1e6 if letters.startswith("meg") else _SCALE.get(letters[:1], 1.0))


def evaluate(text: str, names: Mapping[str, float] | None = None) -> float:
    """Evaluate the expression ``text``, with or without braces or quotes, of numbers and the parameters ``names``.

    It may have + - * / ** ^, parentheses and a few functions. Raises InputError for any other operator or function,
    for a result that is not finite, and for double quotes: ngspice 39 reads a number in them, ngspice 44 a string.
    """
    if text.strip().startswith('"'):
        raise InputError(f"{text.strip()}: ngspice 44 takes double quotes for a string: write the value in braces")
    source = unwrapped(text.strip()).lower()
    reader = _Reader(source=source, tokens=[*_split(source), ""], names=names or {})
    try:
        value = reader.sum()
    except (ArithmeticError, ValueError) as error:
        raise InputError(f"the expression {text!r} has no value: {error}") from error
    except RecursionError:
        raise InputError(f"the expression {text[:40]!r}... has too many parentheses") from None
    if reader.tokens[reader.at] or not math.isfinite(value):
        raise reader.refusal()
    return value


def resolve(
    expressions: Mapping[str, str], given: Mapping[str, float] | None = None, outer: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Values of all parameters ``expressions``, which may name each other in any order, and those of ``outer``.

    ``given`` overrides an expression. The result omits parameters without a fixed value (random, conditional,
    circular); an expression that uses one of them raises InputError.
    """
    known = {**(outer or {}), **{name: value for name, value in (given or {}).items() if name in expressions}}
    waiting = {name: text for name, text in expressions.items() if not given or name not in given}
    for name in waiting:
        # Inside its own subcircuit a parameter hides an outer one with the same name.
        known.pop(name, None)
    while ready := [name for name, text in waiting.items() if not _names(text) & waiting.keys()]:
        for name in ready:
            with contextlib.suppress(InputError):
                known[name] = evaluate(waiting[name], known)
            del waiting[name]
    return known


def _names(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.])[a-z_]\w*", text.lower()))


def _split(source: str) -> Iterator[str]:
    at = 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None:
            raise InputError(f"the expression {source!r} cannot be evaluated here: it has {source[at:].strip()!r}")
        yield found["token"]
        at = found.end()


@dataclass
class _Reader:
    """Recursive descent over ``tokens``, which end with ""."""

    source: str
    tokens: list[str]
    names: Mapping[str, float]
    at: int = 0

    def refusal(self) -> InputError:
        return InputError(
            f"the expression {self.source!r} cannot be evaluated: unexpected {self.tokens[self.at] or 'end'!r}"
        )

    def _take(self, *wanted: str) -> str:
        token = self.tokens[self.at]
        if token not in wanted:
            return ""
        self.at += 1
        return token

    def _need(self, token: str) -> None:
        if not self._take(token):
            raise self.refusal()

    def sum(self) -> float:
        value = self._product(begins=True)
        while sign := self._take("+", "-"):
            other = self._product()
            value = value + other if sign == "+" else value - other
        return value

    def _product(self, *, begins: bool = False) -> float:
        value = self._signed(begins=begins)
        while sign := self._take("*", "/"):
            other = self._signed()
            value = value * other if sign == "*" else value / other
        return value

    def _signed(self, *, begins: bool = False) -> float:
        if sign := self._take("+", "-"):
            # ngspice refuses a second sign, and after an operator a sign before anything except a number.
            if not begins and not self._at_number():
                raise self.refusal()
            return self._power() if sign == "+" else -self._power()
        return self._power()

    def _at_number(self) -> bool:
        token = self.tokens[self.at]
        return token[:1].isdigit() or token.startswith(".")

    def _power(self) -> float:
        # ngspice reads 2**3**2 as 64.
        value = self._atom()
        while self._take("**", "^"):
            negative = bool(self._take("-"))
            if negative and not self._at_number():
                raise self.refusal()
            exponent = -self._atom() if negative else self._atom()
            if value < 0:
                raise InputError(
                    f"the expression {self.source!r} raises a negative number to a power, which ngspice versions "
                    "evaluate differently: write a product"
                )
            value = value**exponent
        return value

    def _atom(self) -> float:
        token = self.tokens[self.at]
        if self._at_number():
            self.at += 1
            return number(token)
        if self._take("("):
            value = self.sum()
            self._need(")")
            return value
        if not (token.isascii() and token.isidentifier()):
            raise self.refusal()
        self.at += 1
        return self._called(token) if self._take("(") else self._named(token)

    def _named(self, name: str) -> float:
        if name not in self.names:
            raise InputError(f"the expression {self.source!r} names {name}, which is not a parameter with a value")
        return self.names[name]

    def _called(self, name: str) -> float:
        if name not in _FUNCTIONS:
            raise InputError(f"the expression {self.source!r} has the function {name}, which is not evaluated here")
        count, function = _FUNCTIONS[name]
        arguments = [self.sum()]
        while self._take(","):
            arguments.append(self.sum())
        self._need(")")
        if len(arguments) != count:
            raise InputError(f"the expression {self.source!r} gives {name} {len(arguments)} values; it takes {count}")
        return float(function(*arguments))
