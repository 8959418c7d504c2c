"""The largest level K of every unit: one number for a whole network, or a number for each unit.

``None`` is no limit. One K for all units is always written as that number, so a network has one description.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cmru_hw.core.errors import InputError

Levels = int | tuple[tuple[int, ...], ...] | None
"""K of all units; or, layer by layer, K of each unit; or None for no limit."""

MAX_LEVELS = 1_000_000


def checked(levels: object, units: Sequence[int] | None = None) -> Levels:
    """``levels`` in its one form. A layer of a list may be a list with K of each unit, or one K for all of them.

    ``units`` is the number of units of each layer; without it sizes are not checked, and each layer must be a list.
    Raises InputError, which names the layer and the unit.
    """
    if levels is None:
        return None
    if not isinstance(levels, list | tuple):
        return _number(levels, "levels", "or null for no limit")
    if units is not None and len(levels) != len(units):
        raise InputError(f"levels has {len(levels)} entries for {len(units)} layers; give one for each layer")
    layers = tuple(_layer(one, index, None if units is None else units[index]) for index, one in enumerate(levels))
    found = {k for layer in layers for k in layer}
    if not found:
        raise InputError("levels is empty; give K of each unit, one number for all of them, or null for no limit")
    return found.pop() if len(found) == 1 else layers


def of_layer(levels: Levels, index: int) -> int | tuple[int, ...] | None:
    """K of layer ``index``: of all its units, of each unit, or None."""
    return levels[index] if isinstance(levels, tuple) else levels


def of_unit(levels: Levels, index: int, unit: int) -> int | None:
    """K of one unit of layer ``index``."""
    found = of_layer(levels, index)
    return found[unit] if isinstance(found, tuple) else found


def shared(kinds: Sequence[int], units: Iterable[int]) -> Levels:
    """``kinds`` in equal parts of every layer of ``units``: the first part of a layer has the first K, and so on.

    A layer with fewer units than kinds has a K of each part.
    """
    layers = tuple(tuple(kinds[i * len(kinds) // count] for i in range(count)) for count in units)
    return checked(layers)


def mixed(units: Iterable[int], *, longest: int, most: int = MAX_LEVELS) -> Levels:
    """A third of each layer with K in {1, 2}, a third with {4, 8}, a third with half of the ``longest`` sequence.

    Units with a small K remember like a BMRU, units with a large K count. No K is above ``most``, because the levels of
    a large K are small.
    """
    kinds = (1, 2, 4, 8, *[max(8, (longest + 1) // 2)] * 2)
    return shared([max(1, min(k, most)) for k in kinds], units)


def resized(levels: Levels, units: Iterable[int]) -> Levels:
    """``levels`` for a network of other ``units``: each layer has the K of the whole network in about its shares."""
    return shared(sorted(k for layer in levels for k in layer), units) if isinstance(levels, tuple) else levels


def plain(levels: Levels) -> int | list[list[int]] | None:
    """``levels`` as JSON."""
    return [list(layer) for layer in levels] if isinstance(levels, tuple) else levels


def described(levels: Levels) -> str:
    """``levels`` for people: how many units of each layer have which K."""
    if levels is None:
        return "none"
    if isinstance(levels, int):
        return str(levels)
    return "; ".join(f"layer {index}: {counted(layer)}" for index, layer in enumerate(levels))


def counted(layer: tuple[int, ...]) -> str:
    """How many units of a layer have which K."""
    return ", ".join(f"K = {k} in {layer.count(k)}" for k in sorted(set(layer)))


def _layer(found: object, index: int, units: int | None) -> tuple[int, ...]:
    place = f"levels of layer {index}"
    if not isinstance(found, list | tuple):
        if units is None:
            raise InputError(f"{place} is {str(found)[:20]}; give a list with a number for each unit")
        return (_number(found, place, "or a list of such numbers"),) * units
    if units is not None and len(found) != units:
        raise InputError(f"{place} has {len(found)} numbers for {units} units; give one for each unit")
    return tuple(_number(k, f"{place}, unit {unit}", "and without a limit a large one") for unit, k in enumerate(found))


def _number(value: object, place: str, otherwise: str) -> int:
    if type(value) is not int or not 1 <= value <= MAX_LEVELS:
        raise InputError(
            f"{place} is {str(value)[:20]}; it must be a positive whole number, at most {MAX_LEVELS}, {otherwise}"
        )
    return value
