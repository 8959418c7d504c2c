"""The folder that a circuit designer gets: netlist, CDL, a test deck that runs as it is, and the ports in words.

::

    DIR/top.cir        the top cell with named ports, and all cells below it: no sources, no parameters
    DIR/top.cdl        the same transistors and capacitors, for netgen-lvs and other tools
    DIR/deck.cir       one short sequence: runs with ``ngspice -b deck.cir`` in this folder
    DIR/expected.csv   the decisions that the deck must measure
    DIR/README.md      ports with levels and timing, versions, hashes, excluded parts
    DIR/handover.json  the hash of every file
    DIR/devices/ DIR/models/  device models
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import cmru_hw
from cmru_hw import spice
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.circuits.handover import MODELS, TOP, Handover
from cmru_hw.core import records
from cmru_hw.core.csv_text import csv_text
from cmru_hw.core.errors import InputError, reason
from cmru_hw.core.output_folder import atomic_folder, require_replaceable
from cmru_hw.core.regular_file import read_regular
from cmru_hw.design_folder.folder import Exported
from cmru_hw.nn.sequences import Sequences
from cmru_hw.spice.handover_text import cdl_text, spice_text

MANIFEST = "handover.json"
DECK, STARTUP = "deck.cir", ".spiceinit"
# The licence that the package's model files name in their first lines.
LICENCE = "Licensed under the Apache License, Version 2.0"


@dataclass(frozen=True, kw_only=True)
class HandedOver:
    """A written handover: the numbers of ``ports``, ``cells``, ``transistors`` and ``capacitors``, and of the
    ``measures`` of the deck; and model files that the designer must ``add``, because their licence is unknown."""

    path: Path
    ports: int
    cells: int
    transistors: int
    capacitors: int
    measures: int
    add: tuple[str, ...]


def write(
    path: str | Path, exported: Exported, sequences: Sequences, *, force: bool = False, command: str = ""
) -> HandedOver:
    """Write the handover of ``exported`` to ``path``, completely or not at all; the deck runs the first sequence.

    With ``force``, the files of an earlier handover are replaced. Raises InputError for a design that has none, and
    OutputError.
    """
    path = Path(path)
    require_replaceable(path, MANIFEST, "no handover", force=force)
    found = exported.architecture.handover(exported.design, exported.trained, sequences, network=exported.network)
    files, add = _files(exported, found)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    files["README.md"] = _readme(exported, found, hashes, add, command).encode()
    hashes["README.md"] = hashlib.sha256(files["README.md"]).hexdigest()
    manifest = {
        "cmru_hw": cmru_hw.__version__,
        "command": command,
        "netlist_sha256": exported.netlist_sha256,
        "edited": list(exported.edited),
        **found.versions,
        "files": hashes,
    }
    with atomic_folder(path, last=MANIFEST, earlier=_earlier(path)) as scratch:
        for name, content in files.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_bytes(content)
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    transistors, capacitors = _count(found)
    return HandedOver(
        path=path,
        ports=len(found.ports),
        cells=len(found.netlist.cells),
        transistors=transistors,
        capacitors=capacitors,
        measures=len(found.expected),
        add=add,
    )


def _earlier(path: Path) -> dict[str, str]:
    """Files that an earlier handover wrote to ``path``, with their SHA-256; none for a manifest that is damaged."""
    try:
        manifest = records.read(path / MANIFEST) if (path / MANIFEST).exists() else {}
    except InputError:
        return {}
    files = manifest.get("files") if isinstance(manifest, dict) else None
    return {name: str(digest) for name, digest in files.items()} if isinstance(files, dict) else {}


def _files(exported: Exported, found: Handover) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """All files but README.md, and the model files that are not copied."""
    design: AnyDesign = exported.design
    title = [
        f"{exported.title}: {TOP} and its cells, of model sha256 {design.model_sha256[:16]}, "
        f"netlist sha256 {exported.netlist_sha256[:16]}",
        f"written by cmru_hw {cmru_hw.__version__}. README.md describes the ports",
    ]
    copied, add = {}, []
    for library, name in found.libraries.items():
        try:
            content = read_regular(Path(library))
        except OSError as error:
            raise InputError(f"{library} cannot be read ({reason(error)}): check the device models") from error
        if found.copied and LICENCE.encode() in content[:4096]:
            copied[f"{MODELS}/{name}"] = content
        else:
            add.append(f"{MODELS}/{name}")
    rows = [(one.measure, one.value, f"{one.margin:.6g}") for one in found.expected]
    files = {
        "top.cir": spice_text(found.netlist, title).encode(),
        "top.cdl": cdl_text(
            found.netlist, title, names=found.names, directions=found.directions, sides=found.sides
        ).encode(),
        DECK: f"* {exported.title}: test of {TOP}. Run in this folder: ngspice -b {DECK}\n{found.deck}.end\n".encode(),
        STARTUP: spice.startup_text(found.settings).encode(),
        "expected.csv": csv_text(("measure", "value", "margin_V"), rows).encode(),
        **found.files,
        **copied,
    }
    return files, tuple(add)


def _count(found: Handover) -> tuple[int, int]:
    """Transistors and capacitors below the top cell; ideal capacitors of wires do not count."""
    counts: dict[str, tuple[int, int]] = {}
    for cell in found.netlist.cells:
        fets = capacitors = 0
        for element in cell.elements:
            if element.of in counts:
                fets, capacitors = fets + counts[element.of][0], capacitors + counts[element.of][1]
            elif element.of:
                fets, capacitors = fets + ("w" in element.values), capacitors + ("c" in element.values)
        counts[cell.name] = (fets, capacitors)
    return counts[found.netlist.top.name]


def _readme(exported: Exported, found: Handover, hashes: dict[str, str], add: tuple[str, ...], command: str) -> str:
    transistors, capacitors = _count(found)
    names = ", ".join(f"`{name}` is `{drawn}`" for name, drawn in sorted(found.names.items()))
    lines = [
        f"# {exported.title}: handover of `{TOP}`",
        "",
        f"{exported.point}. {transistors} transistors and {capacitors} capacitors in {len(found.netlist.cells)} cells.",
        "",
        "| file | contents |",
        "|---|---|",
        f"| `top.cir` | `.subckt {TOP}` and its cells, for ngspice: no sources, no parameters |",
        "| `top.cdl` | the same devices for a comparison with the layout, without the wires' capacitances |",
        "| `deck.cir` | a test of one sequence: `ngspice -b deck.cir` in this folder |",
        "| `expected.csv` | the decisions of the software model, with the row's distance from its threshold |",
        "| `devices/`, `models/` | device models; `.spiceinit` sets ngspice up for them |",
        "",
        "## Ports",
        "",
        "| port | kind | level and timing |",
        "|---|---|---|",
        *(f"| `{port.name}` | {port.kind} | {port.meaning} |" for port in found.ports),
        "",
        *(f"- {sentence}" for sentence in found.timing),
        "- The test deck connects `vss` and `vsub` to node 0. Inside the cells there is no node 0: sources of NMOS and "
        "other connections to ground are `vss`; bulks of NMOS, and the capacitances of plates and wires to the "
        "substrate, are `vsub`. Only the model files use node 0. Where a comment in `top.cir` has node 0, "
        "it is `vss`.",
        "",
        "## Devices",
        "",
        f"In `top.cdl`, {names}. In `top.cir`, the subcircuits of `devices/` add junctions and the capacitances of "
        "plates to the substrate, whose pin is last.",
        "",
        "A cell with other sizes of the same template has a number behind its name.",
        "",
        "## Checks",
        "",
        f"- Every line `q… = …` that the deck prints is above {found.vdd / 2:.3g} V where `expected.csv` has 1, and "
        "below it where it has 0. A decision with a small margin may differ.",
        f'- Layout against schematic: `netgen-lvs -batch lvs "LAYOUT.spice {TOP}" "top.cdl {TOP}" nosetup lvs.txt`. '
        "The result must be `Circuits match uniquely` without property errors.",
        "",
        "## Not included",
        "",
        *(f"- {what}" for what in (*found.excludes, "layout: wires are estimated capacitors (`cwire_…`) in `top.cir`")),
        *(f"- `{name}`: a model file whose licence does not allow a copy. Put it there" for name in add),
        "",
        "## Versions",
        "",
        f"cmru_hw {cmru_hw.__version__}"
        + "".join(f", {name} {value}" for name, value in found.versions.items())
        + f", model sha256 {exported.design.model_sha256}, netlist sha256 {exported.netlist_sha256}.",
        *([f"Edited after export: {', '.join(exported.edited)}."] if exported.edited else []),
        *(["", f"Written by `{command}`."] if command else []),
        "",
        "| file | SHA-256 |",
        "|---|---|",
        *(f"| `{name}` | `{digest}` |" for name, digest in hashes.items()),
    ]
    return "\n".join(lines) + "\n"
