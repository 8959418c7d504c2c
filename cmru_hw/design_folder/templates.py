"""User templates: a subcircuit from a user's file replaces a shipped one.

A netlist connects a template's nets by the order of its pins and sets some of its parameters, so a replacement needs
the same pins and parameters. Its contents are up to its author; a simulation shows whether they work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmru_hw import spice
from cmru_hw.circuits import registry
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.core.errors import InputError, reason
from cmru_hw.core.regular_file import read_regular
from cmru_hw.spice import lexer


@dataclass(frozen=True, kw_only=True)
class Interface:
    """Pins of a subcircuit in order, and the names of its parameters."""

    pins: tuple[str, ...]
    parameters: frozenset[str]


def with_templates(design: AnyDesign, chosen: Sequence[tuple[str, Path]]) -> AnyDesign:
    """``design`` with the templates of the files in ``chosen``, (name of the template, file).

    Raises InputError for a name that the design has no template of, and for a file that cannot be read, that contains
    more than subcircuits, or whose subcircuit has other pins or lacks a parameter.
    """
    texts = {}
    for name, path in chosen:
        try:
            texts[name] = lexer.decode(read_regular(path))
        except OSError as error:
            raise InputError(f"template {path} cannot be read ({reason(error)}): check the path") from error
        except InputError as error:
            raise InputError(f"template {path}: {error}") from error
    return with_texts(design, texts)


def with_texts(design: AnyDesign, texts: Mapping[str, str]) -> AnyDesign:
    """Like :func:`with_templates`, for netlist texts by name."""
    files = registry.of(design).cell_files(design)
    # A template file without a subcircuit of its own name contains several subcircuits, which are replaced together.
    texts_of = {Path(name).stem: content.decode() for name, content in files.items() if name.startswith("cells/")}
    known = {name: text for name, text in texts_of.items() if interface(text, name) is not None}
    for name, text in texts.items():
        if name not in known:
            raise InputError(f"this design has no template {name!r}: it has {', '.join(sorted(known))}")
        check(text, name, known[name])
    return registry.of(design).with_templates(design, tuple(sorted(texts.items()))) if texts else design


def check(text: str, name: str, original: str) -> None:
    """Raise InputError unless ``text`` can replace the template ``name``, whose text is ``original``."""
    try:
        spice.refuse_code(text, where="the file")
        for line in lexer.outside_subcircuits(lexer.logical_lines(text)):
            if line.card not in (".model", ".param", ".func"):
                raise InputError(f"{line.text!r} is outside a subcircuit: move it into one")
        found = interface(text, name)
    except InputError as error:
        raise InputError(f"template {name}: {error}") from error
    wanted = interface(original, name)
    assert wanted is not None, "a shipped template defines the subcircuit of its name"
    if found is None:
        raise InputError(f"template {name} has no .subckt {name}: give its subcircuit this name")
    if found.pins != wanted.pins:
        raise InputError(
            f"template {name} has pins {' '.join(found.pins)}; {name} has, in this order, {' '.join(wanted.pins)}"
        )
    if missing := sorted(wanted.parameters - found.parameters):
        raise InputError(f"template {name} lacks parameters of {name}: {', '.join(missing)}; give each a default")


def interface(text: str, name: str) -> Interface | None:
    """The interface of ``.subckt name`` in ``text``, in lower case as ngspice reads it; None if it is missing."""
    found = lexer.subcircuits(lexer.logical_lines(text)).get(name.lower())
    return None if found is None else Interface(pins=found.pins, parameters=frozenset(found.parameters))
