"""An exported design: one folder that a circuit designer can read and run, and that loads back into a Design.

::

    DIR/design.json         everything that determines the design, and the hash of every file
    DIR/model.safetensors   the trained network
    DIR/mapping.csv         every number that the circuit realizes differently, and trim taps
    DIR/network.cir         all units by name
    DIR/deck.cir            network.cir with supplies, clocks and one short stimulus: runs with ``ngspice deck.cir``
    DIR/cells/ DIR/devices/ the templates of the netlist

Numbers are not stored twice: loading maps the model again and checks that the same netlist results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

import cmru_hw
from cmru_hw import spice
from cmru_hw.circuits import registry
from cmru_hw.circuits.design import AnyDesign, changed_weights
from cmru_hw.circuits.identity import simulated_sha256
from cmru_hw.circuits.registry import Architecture
from cmru_hw.core import records
from cmru_hw.core.csv_text import csv_text
from cmru_hw.core.errors import DefectError, InputError, TechnologyError, reason
from cmru_hw.core.output_folder import atomic_folder, require_replaceable
from cmru_hw.core.regular_file import read_regular, read_text
from cmru_hw.design_folder import templates
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences

FORMAT = 2
MANIFEST = "design.json"
MODEL = "model.safetensors"
NETWORK = "network.cir"
# Parts of the circuit that are outside of the folder.
OUTSIDE = "device files or version of cmru_hw"
# A simulation takes templates from design.json and from the package.
NOT_SIMULATED = "not simulated: give it to export --template"
# The stimulus of the exported deck is for inspection: one sequence, and only the beginning of a long one.
EXAMPLE_TIMESTEPS = 50
# A label is a heading of a column.
LONGEST_LABEL = 60


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A loaded design folder. ``network`` is the text of network.cir as found on disk, which may have been edited.

    ``edited`` lists the changes after export: fields of design.json ("technology.mismatch.limit") and files. ``label``
    is the name that the user gave to the design, "" for none.
    """

    path: Path
    trained: Trained
    design: AnyDesign
    network: str
    edited: tuple[str, ...]
    label: str = ""

    @property
    def title(self) -> str:
        """The name of the design in tables: its label, or the name of its folder."""
        return self.label or self.path.name or str(self.path)

    @property
    def point(self) -> str:
        """Technology, level, supply and corner, such as ``gf180 macro, 1.8 V, typical, 27 °C``."""
        technology, at = self.design.technology, self.architecture.operating_point(self.design)
        return f"{technology.name} {technology.level}, {at.vdd:g} V, {at.process}, {at.temperature:g} °C"

    @property
    def architecture(self) -> Architecture:
        return registry.of(self.design)

    @cached_property
    def netlist_sha256(self) -> str:
        """Hash of everything that is simulated: see `cmru_hw.circuits.identity`."""
        return simulated_sha256(self.design, self.network)


def checked_label(text: str) -> str:
    """``text``, if it can be the label of a design. Raises InputError."""
    if not text.strip() or not text.isprintable() or len(text) > LONGEST_LABEL:
        raise InputError(
            f"the label {text[:80]!r} must be one line of 1 to {LONGEST_LABEL} characters: give another one"
        )
    return text


def write(
    path: str | Path,
    trained: Trained,
    design: AnyDesign,
    example: Sequences,
    *,
    force: bool = False,
    command: str = "",
    label: str = "",
) -> Exported:
    """Write a design folder, completely or not at all.

    ``example`` gives the stimulus of ``deck.cir``. ``command`` reproduces the folder and is stored in it, and so is
    ``label``, the design's name in tables. With
    ``force``, the files of an earlier export are replaced or removed; other files in the folder stay. Raises
    OutputError.
    """
    path = Path(path)
    require_replaceable(path, MANIFEST, "not a design folder", force=force)
    first = example.inputs[0, : min(int(example.lengths[0]), EXAMPLE_TIMESTEPS)].astype(np.float64)
    deck, _ = registry.of(design).deck(design, [first])
    files: dict[str, bytes] = {**deck.files, "deck.cir": spice.complete_text(deck).encode()}
    files[".spiceinit"] = spice.startup_text(deck.settings).encode()
    files["mapping.csv"] = _deviations_csv(design).encode()
    with atomic_folder(path, last=MANIFEST, earlier=_listed(path)) as scratch:
        checkpoint.save(trained, scratch / MODEL)
        for name, content in files.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_bytes(content)
        manifest = _manifest(design, {**files, MODEL: (scratch / MODEL).read_bytes()}, command)
        if label:
            manifest["label"] = checked_label(label)
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _require_readable(scratch, path, manifest)
    network_text = files[NETWORK].decode()
    return Exported(path=path, trained=trained, design=design, network=network_text, edited=(), label=label)


def _listed(path: Path) -> dict[str, str]:
    """Files that an earlier export wrote to ``path``, with their SHA-256; none for a manifest that is damaged."""
    try:
        files = _read_manifest(path).get("files")
    except InputError:
        return {}
    return {name: str(digest) for name, digest in files.items()} if isinstance(files, dict) else {}


def _require_readable(scratch: Path, path: Path, manifest: Mapping[str, Any]) -> None:
    """Raise DefectError unless :func:`load` finds in ``scratch`` the design that was written for ``path``."""
    try:
        found = load(scratch)
    except InputError as error:
        cause = str(error).replace(str(scratch), str(path))
        raise DefectError(f"{path} is not written, because it could not be read back: {cause}") from error
    same = registry.of(found.design).fingerprint(found.design) == manifest["design_sha256"]
    if found.edited or not same:
        raise DefectError(
            f"{path} is not written, because reading it back gave another design ({', '.join(found.edited)})"
        )


def load(path: str | Path, *, allow_edited: bool = False) -> Exported:
    """Read a design folder back.

    A netlist is code, so a ``network.cir`` that this program did not write is refused unless ``allow_edited``.
    Raises InputError, which names the missing or damaged file, or the other version.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path} is not a design folder: make one with cmru-hw export CHECKPOINT -o {path}")
    manifest = _read_manifest(path)
    trained = checkpoint.load(path / MODEL)
    try:
        kind = registry.get(manifest["architecture"])
        technology = kind.technology_from(manifest["technology"], where=f"{path / MANIFEST}, technology")
        calibration = kind.calibration_from(manifest["calibration"])
    except TechnologyError as error:
        raise InputError(f"{error}: the design is damaged or of another version; export it again") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path / MANIFEST} is damaged ({error!r}): export the design again") from error
    own = manifest.get("templates", {})
    if not isinstance(own, dict) or not all(isinstance(text, str) for text in own.values()):
        raise InputError(f"{path / MANIFEST} is damaged (templates): export the design again")
    try:
        mapped = kind.map_network(trained, technology, calibration)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        # a calibration of another network, or one that was edited
        raise InputError(f"{path / MANIFEST} is damaged (calibration, {error!r}): export the design again") from error
    design = templates.with_texts(mapped, own)
    try:
        network = read_text(path / NETWORK)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path / NETWORK} cannot be read ({reason(error)}): export the design again") from error
    rewritten = network != kind.network_text(design)
    if rewritten and not allow_edited:
        raise InputError(
            f"{path / NETWORK} was edited after export: export again, or give --allow-edited to simulate it as it is"
        )
    edited = _edited(path, manifest)
    if rewritten and NETWORK not in edited:
        edited = (*edited, NETWORK)
    label = manifest.get("label", "")
    if not isinstance(label, str):
        raise InputError(f"{path / MANIFEST} is damaged (label): export the design again")
    named = checked_label(label) if label else ""
    found = Exported(path=path, trained=trained, design=design, network=network, edited=edited, label=named)
    return found if edited or _as_exported(found, manifest) else replace(found, edited=(OUTSIDE,))


def _edited(path: Path, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of fields of design.json and of files that were changed after export."""
    wrote, files = manifest.get("fields_sha256"), manifest.get("files")
    if not isinstance(wrote, dict) or not isinstance(files, dict):
        raise InputError(f"{path / MANIFEST} is damaged (hashes of its fields): export the design again")
    found = _fields_sha256(manifest)
    edited = [name for name in {**wrote, **found} if wrote.get(name) != found.get(name)]
    for name, digest in files.items():
        plain = PurePosixPath(name)
        if plain.is_absolute() or ".." in plain.parts:
            raise InputError(f"{path / MANIFEST} is damaged (it lists the file {name!r}): export the design again")
        try:
            changed = hashlib.sha256(read_regular(path / name)).hexdigest() != digest
        except FileNotFoundError:
            # other files are for people, who may remove them
            changed = name in (NETWORK, MODEL)
        except OSError:
            changed = True
        if changed:
            edited.append(name if name in (NETWORK, MODEL) else f"{name} ({NOT_SIMULATED})")
    return tuple(edited)


def _as_exported(found: Exported, manifest: Mapping[str, Any]) -> bool:
    """True if the netlist to simulate equals the exported one, including device files outside the folder."""
    try:
        return found.netlist_sha256 == manifest.get("netlist_sha256")
    except InputError:
        # Device files are missing or refused. Nothing can be simulated; a simulation reports the reason.
        return True


def _fields_sha256(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Field of design.json, as "technology.supply.vdd" → hash of its value."""
    found: dict[str, str] = {}

    def visit(name: str, value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(f"{name}.{key}", inner)
        else:
            found[name] = hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]

    for name in ("architecture", "technology", "calibration", "templates"):
        visit(name, manifest.get(name, {}))
    return found


def _manifest(design: AnyDesign, files: dict[str, bytes], command: str) -> dict[str, object]:
    made: dict[str, object] = {
        "format": FORMAT,
        "cmru_hw": cmru_hw.__version__,
        "command": command,
        "architecture": design.architecture,
        "level": design.technology.level,
        "model_sha256": design.model_sha256,
        "design_sha256": registry.of(design).fingerprint(design),
        "technology": asdict(design.technology),
        "calibration": asdict(design.calibration),
        "templates": dict(design.templates),
        "deviations": len(changed_weights(design)),
        "netlist_sha256": simulated_sha256(design, files[NETWORK].decode()),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    # Hash the values in the form in which they are read back: JSON has lists, not tuples.
    made["fields_sha256"] = _fields_sha256(json.loads(json.dumps(made)))
    return made


def _read_manifest(path: Path) -> dict[str, Any]:
    if not (path / MANIFEST).exists():
        raise InputError(f"{path} is not a design folder, it has no {MANIFEST}: make one with cmru-hw export")
    manifest = records.read(path / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{path / MANIFEST} is not of format {FORMAT}: export the design again with this version")
    return manifest


def _deviations_csv(design: AnyDesign) -> str:
    rows = [(one.element, one.wanted, one.got, one.unit, one.reason) for one in design.deviations]
    return csv_text(("element", "wanted", "got", "unit", "reason"), rows)
