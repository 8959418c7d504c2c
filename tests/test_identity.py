"""The identity of a result's circuit: the hash changes with everything that is simulated, and with nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cmru_hw.circuits.charge import fidelity, mapping
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.identity import simulated_sha256
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError
from cmru_hw.design_folder import folder, templates
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import device_count, technology
from cmru_hw.process.technology import Technology
from tests.narrow import charge_design
from tests.networks import Shape, random_network, random_sequences

SHAPE = Shape(features=2, units=(1, 1), levels=2, skip=False, seed=3)
STAND_IN = package_data.folder("netlists") / "devices" / "generic180.lib"


def mapped(kind: Technology) -> tuple[Trained, Sequences, Design]:
    trained, data = random_network(SHAPE), random_sequences(SHAPE)
    return trained, data, mapping.map_network(trained, kind, mapping.calibrate(trained, data))


def of_transistors(place: Path) -> tuple[Trained, Sequences, Design]:
    """A design with the devices of ``own.lib`` in ``place``, which includes ``cards.lib``."""
    place.mkdir(exist_ok=True)
    text = STAND_IN.read_text()
    (place / "cards.lib").write_text(".param nothing=0\n")
    (place / "own.lib").write_text(".include cards.lib\n" + text)
    toml = (Path(technology.__file__).parent / "technologies" / "generic180.toml").read_text()
    (place / "own.toml").write_text(toml.replace('process = "generic180"', 'process = "own.lib"'))
    return mapped(fidelity.at_level(technology.load(place / "own.toml"), "transistor"))


def test_the_hash_covers_everything_that_is_simulated() -> None:
    kind = technology.load("macro")
    _, _, design = mapped(kind)
    network = mapping_network(design)
    found = {"as it is": simulated_sha256(design, network), "network": simulated_sha256(design, network + "* edited\n")}
    cell = (package_data.folder("netlists") / "cells" / "macro" / "comparator.cir").read_text()
    other = templates.with_texts(design, {"comparator": cell + "* mine\n"})
    found["template"] = simulated_sha256(other, network)
    for name, changed in {
        "supply": replace(kind, supply=replace(kind.supply, vdd=kind.supply.vdd * 1.001)),
        "timestep": replace(kind, timing=replace(kind.timing, timestep=kind.timing.timestep * 2)),
        "mismatch": replace(kind, mismatch=replace(kind.mismatch, comparator_rest=kind.mismatch.comparator_rest * 100)),
        "noise": replace(kind, noise=replace(kind.noise, comparator=kind.noise.comparator * 1000)),
    }.items():
        _, _, moved = mapped(changed)
        found[name] = simulated_sha256(moved, mapping_network(moved))
    assert len(set(found.values())) == len(found), found
    assert simulated_sha256(mapped(kind)[2], network) == found["as it is"]


def mapping_network(design: Design) -> str:
    from cmru_hw.circuits import registry

    return registry.of(design).network_text(design)


def test_the_hash_covers_device_files_and_what_they_include(tmp_path: Path) -> None:
    _, _, design = of_transistors(tmp_path / "a")
    network = mapping_network(design)
    hashes = [simulated_sha256(design, network)]
    for name in ("cards.lib", "own.lib"):
        path = tmp_path / "a" / name
        path.write_text(path.read_text() + ".param something=1\n")
        hashes.append(simulated_sha256(design, network))
    assert len(set(hashes)) == 3


def test_a_design_folder_says_what_was_edited(tmp_path: Path) -> None:
    trained, data, design = of_transistors(tmp_path)
    made = folder.write(tmp_path / "made", trained, design, data)
    manifest = json.loads((made.path / "design.json").read_text())
    loaded = folder.load(made.path)
    assert loaded.edited == () and loaded.netlist_sha256 == made.netlist_sha256 == manifest["netlist_sha256"]

    shutil.copytree(made.path, tmp_path / "other")
    changed = json.loads(json.dumps(manifest))
    changed["technology"]["mismatch"]["comparator_rest"] *= 100
    changed["technology"]["timing"]["timestep"] *= 2
    (tmp_path / "other" / "design.json").write_text(json.dumps(changed))
    other = folder.load(tmp_path / "other", allow_edited=True)
    assert set(other.edited) >= {"technology.mismatch.comparator_rest", "technology.timing.timestep"}
    assert "technology.supply.vdd" not in other.edited
    assert other.netlist_sha256 != made.netlist_sha256

    (tmp_path / "cards.lib").write_text(".param nothing=1\n")
    assert folder.load(made.path).edited == (folder.OUTSIDE,)
    (tmp_path / "cards.lib").unlink()
    assert folder.load(made.path).edited == ()
    with pytest.raises(InputError, match=r"cards\.lib, which does not exist"):
        _ = folder.load(made.path).netlist_sha256

    with (made.path / "network.cir").open("a") as file:
        file.write("* mine\n")
    assert folder.load(made.path, allow_edited=True).edited == ("network.cir",)


# ---- quantities that depend on the netlist only


def chip() -> tuple[Trained, Sequences, Design]:
    return mapped(fidelity.at_level(technology.load("gf180"), "transistor", "power-gated"))


def spelled_otherwise(text: str) -> str:
    """``text`` with other blanks, quotes, cases, comments and continuations."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("*"):
            line = line.replace("=", " = ").replace("{", "' ").replace("}", " '").replace("u ", "u $ c\n+ ")
            line = line.replace(" w = ", "\n* wide\n\n+ W = ")
        lines.append(line)
    return "\n".join(lines) + "\n"


def test_devices_are_counted_however_a_template_is_spelled() -> None:
    _, _, design = chip()
    files, network = fidelity.cell_files(design), mapping_network(design)
    usual = device_count.of_netlist(network, files)
    others = {name: spelled_otherwise(content.decode()).encode() for name, content in files.items()}
    assert others != files and b" = " in b"".join(others.values())
    assert device_count.of_netlist(network, others) == usual
    assert usual.transistors > 100 and usual.capacitance > 0


@pytest.mark.spice
def test_energy_refuses_what_it_cannot_count_before_anything_is_simulated() -> None:
    from cmru_hw import spice
    from cmru_hw.analysis.energy.api import run_energy

    trained, data, design = chip()
    name = "power_gated_comparator"
    cell = fidelity.cell_files(design)[f"cells/{name}.cir"].decode()
    random = cell.replace("w=", "w={1u*agauss(1,0.1,1)} l=1u m=", 1)
    own = templates.with_texts(design, {name: random})
    exported = folder.Exported(
        path=Path("nowhere"), trained=trained, design=own, network=mapping_network(charge_design(own)), edited=()
    )
    with spice.open_engine() as engine:
        with pytest.raises(InputError, match="agauss"):
            run_energy(exported, data.first(1), engine)
        assert engine.pids == ()
