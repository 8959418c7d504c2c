"""Select the sources of variation of a run, for every kind of circuit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cmru_hw.core.errors import InputError


def select(every: Sequence[str], *, only: Sequence[str], without: Sequence[str]) -> frozenset[str]:
    """The leaves of ``every`` that ``only`` names (all, if empty), less those that ``without`` names.

    A name is a leaf (``layer0/weights``), a branch (``layer0``, ``noise``) or a kind in all branches (``weights``).
    Raises InputError for an unknown name, and for an empty selection.
    """

    def named(names: Iterable[str]) -> frozenset[str]:
        found: set[str] = set()
        for name in names:
            fitting = {leaf for leaf in every if name in (leaf, *leaf.split("/"))}
            if not fitting:
                known = sorted({part for leaf in every for part in leaf.split("/")})
                raise InputError(
                    f"nothing that varies is called {name!r}: give a leaf such as {every[0]}, or one of {known}"
                )
            found |= fitting
        return frozenset(found)

    left = (named(only) if only else frozenset(every)) - named(without)
    if not left:
        raise InputError(
            f"no variation is left: without {' and '.join(without)} all dies are the nominal die; leave out less"
            + (f", or add to only {' and '.join(only)}" if only else "")
        )
    return left
