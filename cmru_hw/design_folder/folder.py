"""An exported design: one folder that a circuit designer can read and run, and that loads back into a Design.

::

    DIR/design.json         what the design follows from, and the hash of every file
    DIR/model.safetensors   the trained network
    DIR/mapping.csv         every number that the technology holds differently
    DIR/network.cir         all units by name
    DIR/deck.cir            network.cir with supplies, clocks and one short stimulus: runs with ``ngspice deck.cir``
    DIR/cells/ DIR/devices/ the templates it uses

The numbers are never stored twice: loading maps the model again and checks that the same netlist comes out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cmru_hw
from cmru_hw import spice
from cmru_hw.circuits import registry
from cmru_hw.circuits.design import AnyDesign
from cmru_hw.circuits.registry import Architecture
from cmru_hw.core.errors import InputError, OutputError, TechnologyError, reason
from cmru_hw.core.regular_file import read_text
from cmru_hw.design_folder import templates
from cmru_hw.nn import checkpoint
from cmru_hw.nn.checkpoint import Sequences, Trained

FORMAT = 1
MANIFEST = "design.json"
MODEL = "model.safetensors"
NETWORK = "network.cir"
# The stimulus beside an exported netlist is for looking at: one sequence, and not all of a long one.
EXAMPLE_TIMESTEPS = 50


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A loaded design folder. ``network`` is the netlist text to simulate: the file's, not merely one like it."""

    path: Path
    trained: Trained
    design: AnyDesign
    network: str
    edited: bool

    @property
    def architecture(self) -> Architecture:
        return registry.of(self.design)

    @property
    def netlist_sha256(self) -> str:
        return hashlib.sha256(self.network.encode()).hexdigest()


def write(
    path: str | Path, trained: Trained, design: AnyDesign, example: Sequences, *, force: bool = False, command: str = ""
) -> Exported:
    """Write a design folder, whole or not at all.

    ``example`` gives the stimulus of ``deck.cir``; ``command`` is kept as what makes the folder again. An existing
    folder is replaced with ``force``, and only if it is a design folder. Raises OutputError.
    """
    path = Path(path)
    if path.exists():
        if not force:
            raise OutputError(f"{path} exists: choose another -o, or give --force to replace it")
        if not (path / MANIFEST).is_file():
            raise OutputError(
                f"{path} exists and is no design folder, so --force does not replace it: remove it yourself"
            )
    first = example.inputs[0, : min(int(example.lengths[0]), EXAMPLE_TIMESTEPS)].astype(np.float64)
    deck, _ = registry.of(design).deck(design, [first])
    files: dict[str, bytes] = {**deck.files, "deck.cir": spice.complete_text(deck).encode()}
    files[".spiceinit"] = spice.startup_text(deck.settings).encode()
    files["mapping.csv"] = _deviations_csv(design).encode()
    scratch: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        scratch.chmod(0o755)
        checkpoint.save(trained, scratch / MODEL)
        for name, content in files.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_bytes(content)
        manifest = _manifest(design, {**files, MODEL: (scratch / MODEL).read_bytes()}, command)
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        if path.exists():
            shutil.rmtree(path)
        scratch.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if scratch is not None and scratch.exists():
            shutil.rmtree(scratch, ignore_errors=True)
    return Exported(path=path, trained=trained, design=design, network=files[NETWORK].decode(), edited=False)


def load(path: str | Path, *, allow_edited: bool = False) -> Exported:
    """Read a design folder back.

    A netlist is code, so a ``network.cir`` that this program did not write is refused unless ``allow_edited``.
    Raises InputError, naming what is missing, damaged, or from another version.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path} is no design folder: make one with cmru-hw export CHECKPOINT -o {path}")
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
    design = templates.with_texts(kind.map_network(trained, technology, calibration), own)
    try:
        network = read_text(path / NETWORK)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path / NETWORK} cannot be read ({reason(error)}): export the design again") from error
    edited = network != kind.network_text(design)
    if edited and not allow_edited:
        raise InputError(
            f"{path / NETWORK} is not what export wrote: export again, or give --allow-edited to simulate it as it is"
        )
    return Exported(path=path, trained=trained, design=design, network=network, edited=edited)


def _manifest(design: AnyDesign, files: dict[str, bytes], command: str) -> dict[str, Any]:
    return {
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
        "deviations": len(design.deviations),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(read_text(path / MANIFEST))
    except OSError as error:
        raise InputError(f"{path} is no design folder, it has no {MANIFEST}: make one with cmru-hw export") from error
    except ValueError as error:
        raise InputError(f"{path / MANIFEST} is damaged ({reason(error)}): export the design again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{path / MANIFEST} is not of format {FORMAT}: export the design again with this version")
    return manifest


def _deviations_csv(design: AnyDesign) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("element", "wanted", "got", "unit", "reason"))
    writer.writerows(
        (deviation.element, deviation.wanted, deviation.got, deviation.unit, deviation.reason)
        for deviation in design.deviations
    )
    return out.getvalue()
