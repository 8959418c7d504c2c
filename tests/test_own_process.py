"""A process in a user's file has corners, retention and the power-gated chip, like those of the package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cmru_hw import spice
from cmru_hw.analysis.corners.api import run_corners
from cmru_hw.analysis.retention.api import run_retention
from cmru_hw.characterize import blocks
from cmru_hw.characterize.testbench import Conditions
from cmru_hw.circuits.charge import fidelity, mapping, measured_technology
from cmru_hw.circuits.corner import Corner
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, SimulationError
from cmru_hw.design_folder import folder
from cmru_hw.process import technology
from cmru_hw.process.technology import Technology
from tests.narrow import known
from tests.networks import Shape, random_network, random_sequences

SHAPE = Shape(features=1, units=(1,), levels=2, skip=False, seed=33)
FAST = Corner(process="ff", temperature=27.0, vdd=1.8)


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine() as opened:
        yield opened


def own_library(path: Path, *, mismatch: bool = True) -> Path:
    """The stand-in's devices under another name."""
    text = (package_data.folder("netlists") / "devices" / "generic180.lib").read_text()
    (path / "own.lib").write_text(
        text if mismatch else text.replace("*sw_stat_mismatch", "*0").replace("_cap_", "_no_")
    )
    return path / "own.lib"


def own_technology(path: Path) -> Technology:
    """A technology as `cmru-hw characterize own.lib` writes it, with the sizes of gf180's circuits."""
    found, measured = technology.load("gf180"), technology.load("generic180")
    devices = replace(known(found.transistor), process=str(path), memory="power-gated")
    return replace(found, name="own", transistor=devices, energy=measured.energy, trim=None)


def exported(path: Path, kind: Technology) -> folder.Exported:
    trained, data = random_network(SHAPE), random_sequences(SHAPE)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    return folder.write(path, trained, design, data)


def test_a_technology_of_own_devices_has_corners(tmp_path: Path) -> None:
    library = own_library(tmp_path)
    kind = own_technology(library)
    assert measured_technology.process_of(kind) == str(library)
    place = measured_technology.place(FAST, kind, tmp_path, "ngspice 39")
    assert place.parent == tmp_path and place.name.startswith("own_ff_27_1.8_")
    # another card is another measurement
    before = measured_technology.fingerprint(kind, FAST)
    library.write_text(library.read_text().replace("u0=0.040", "u0=0.041"))
    assert measured_technology.fingerprint(kind, FAST) != before
    with pytest.raises(InputError, match="names no file of devices, so its corners are not known"):
        measured_technology.process_of(replace(kind, transistor=None))


@pytest.mark.spice
def test_the_retention_of_own_devices_is_theirs(engine: spice.Engine, tmp_path: Path) -> None:
    kind = fidelity.at_level(own_technology(own_library(tmp_path)), "transistor")
    design = exported(tmp_path / "chip", kind)
    assert "power_gated_unit" in design.network
    theirs = replace(kind, transistor=replace(known(kind.transistor), process="generic180"), name="generic180")
    same = exported(tmp_path / "same", theirs)
    found, expected = (run_retention(one, engine=engine, temperatures=(85.0,), corner="ff") for one in (design, same))
    assert found.models == "own.lib" and expected.models == "stand-in card"
    assert found.worst_timesteps == pytest.approx(expected.worst_timesteps, rel=1e-9)


@pytest.mark.spice
@pytest.mark.slow
def test_corners_of_a_chip_of_own_devices(tmp_path: Path) -> None:
    kind = fidelity.at_level(own_technology(own_library(tmp_path)), "transistor")
    design = exported(tmp_path / "chip", kind)
    data = random_sequences(SHAPE).first(1)
    data = replace(data, inputs=data.inputs[:, :2], lengths=data.lengths.clip(max=2))
    found = run_corners(design, data, folder=tmp_path / "out", only=["typical/27/1.8", "ff/27/1.8"])
    slow, fast = (known(corner.per_timestep_J) for corner in found.good)
    assert 1e-13 < slow < fast < 1e-10


@pytest.mark.spice
def test_equal_dies_are_no_mismatch_of_zero(engine: spice.Engine, tmp_path: Path) -> None:
    at = Conditions(process=str(own_library(tmp_path, mismatch=False)))
    assert not blocks.comparator_offset(engine, at, dies=2).varies
    assert blocks.comparator_offset(engine, Conditions(process="generic180"), dies=2).varies


@pytest.mark.spice
def test_an_error_names_its_testbench(engine: spice.Engine, tmp_path: Path) -> None:
    library = own_library(tmp_path)
    library.write_text(library.read_text().replace("m0 d g s b nch", "m0 d g s b gone"))
    with pytest.raises(
        SimulationError, match=r"^testbench transistor_switch\.cir on own\.lib, typical, 27 C, 1\.8 V: "
    ):
        blocks.switch(engine, Conditions(process=os.fspath(library)))
