"""A design at another supply is measured or simulated there, and names technology, supply and corner."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import cmru_hw
from cmru_hw import spice
from cmru_hw.circuits.charge import measured_technology, supply, transistor_deck
from cmru_hw.circuits.charge.architecture import CHARGE
from cmru_hw.circuits.charge.design import Design, Operating
from cmru_hw.circuits.corner import Corner
from cmru_hw.circuits.current.architecture import CURRENT
from cmru_hw.cli import group
from cmru_hw.core import cache_folder
from cmru_hw.core.errors import InputError, TechnologyError
from cmru_hw.design_folder import folder
from cmru_hw.nn.sequences import save_sequences
from cmru_hw.process import technology
from cmru_hw.spice import lexer
from tests.networks import Shape, random_network, random_sequences

NUMBER = re.compile(r"(?<==)[0-9.e+-]+")
SHAPE = Shape(features=2, units=(2,), levels=2)


def drawn_at(trained: cmru_hw.Trained, kind: technology.Technology) -> Design:
    design = CHARGE.map_network(trained, kind, CHARGE.calibrate(trained, random_sequences(SHAPE)))
    assert isinstance(design, Design)
    return design


@pytest.mark.spice
@pytest.mark.parametrize("memory", ["integrator", "power-gated"])
def test_a_circuit_of_transistors_is_the_same_drawing_at_another_supply(memory: str, tmp_path: Path) -> None:
    """--vdd equals the supply of a corner: same netlist, same deck, no capacitor moved."""
    trained = random_network(SHAPE)
    nominal = CHARGE.at_level(technology.load("gf180"), "transistor", memory)
    assert isinstance(nominal, technology.Technology)
    with spice.open_engine() as engine:
        moved = supply.at_supply(nominal, 1.5, engine, tmp_path)
    assert not list(tmp_path.iterdir())
    assert moved.supply.vdd == 1.5 and "at 1.5 V" in moved.source
    before, after = drawn_at(trained, nominal), drawn_at(trained, moved)
    drawings = [statements(CHARGE.network_text(design)) for design in (after, before)]
    # Of a capacitor the last digit may differ.
    assert [values(line) for line in drawings[0]] == [pytest.approx(values(line), rel=1e-12) for line in drawings[1]]
    assert [NUMBER.sub("", line) for line in drawings[0]] == [NUMBER.sub("", line) for line in drawings[1]]
    at_corner = replace(before, operating=Operating(vdd=1.5))
    inputs = random_sequences(SHAPE).inputs[0].astype(np.float64)
    there, corner = (transistor_deck.deck(design, [inputs])[0].text for design in (after, at_corner))
    assert values(there) == pytest.approx(values(corner), rel=1e-9)
    assert 1.5 in values(there) and 1.8 not in values(there)


def statements(text: str) -> list[str]:
    """The netlist without comments, which name voltages."""
    return [line.text for line in lexer.logical_lines(text.partition("\n")[2], where="network.cir")]


def values(text: str) -> list[float]:
    """All numbers of a deck."""
    found = []
    for word in text.replace("=", " ").replace("{", " ").replace("}", " ").split():
        try:
            found.append(float(word))
        except ValueError:
            continue
    return found


def measurement(vdd: float, energy: float) -> str:
    """Text of a measurement at ``vdd`` [V]: the shipped technology, whose comparators take ``energy`` [J]."""
    text = technology.text("gf180").replace("vdd = 1.8 ", f"vdd = {vdd} ")
    text = text.replace("common_mode = 0.9 ", f"common_mode = {vdd / 2} ")
    text = text.replace("reference = 0.9 ", f"reference = {vdd / 2} ")
    return re.sub(r"(?m)^comparators = \S+", f"comparators = {energy}", text)


def store(folder: Path, vdd: float, energy: float) -> Path:
    corner = Corner(process="typical", temperature=27.0, vdd=vdd)
    path = measured_technology.place(
        corner, technology.load("gf180"), folder, spice.installed("pyspice"), comparator=True
    )
    measured_technology.store(measurement(vdd, energy), path)
    return path


@pytest.mark.spice
def test_a_stored_measurement_is_taken_as_it_is_and_nothing_is_scaled(tmp_path: Path) -> None:
    nominal, path = technology.load("gf180"), store(tmp_path, 1.5, 7e-13)
    with spice.open_engine() as engine:
        moved = supply.at_supply(nominal, 1.5, engine, tmp_path)
        assert supply.at_supply(nominal, 1.8, engine, tmp_path) is nominal
    assert moved.energy is not None and moved.energy.comparators == 7e-13
    assert "at 1.5 V" in moved.source and "as at 1.8 V" in moved.source
    assert (moved.supply.vdd, moved.mismatch, moved.noise) == (1.5, nominal.mismatch, nominal.noise)
    assert moved.signal.reference == pytest.approx(1.5 / 1.8 * nominal.signal.reference)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
@pytest.mark.spice
def test_macromodels_are_measured_at_their_supply(tmp_path: Path) -> None:
    nominal = technology.load("gf180")
    with spice.open_engine() as engine:
        moved = supply.at_supply(nominal, 1.5, engine, tmp_path)
    assert list(tmp_path.glob("gf180_typical_27_1.5_*.toml"))
    assert moved.energy is not None and nominal.energy is not None
    # CV² would give 0.694 for each; the amplifier's bias follows no such law.
    ratios = [getattr(moved.energy, name) / getattr(nominal.energy, name) for name in ("comparators", "amplifier")]
    assert 0.5 < ratios[0] < 0.8 and 0.2 < ratios[1] < 0.6


def test_what_has_no_other_supply_is_refused(tmp_path: Path) -> None:
    with spice.open_engine() as engine:
        for ideal in ("macro", "generic180"):
            with pytest.raises(InputError, match="not measured on transistors"):
                supply.at_supply(technology.load(ideal), 1.5, engine, tmp_path)
        with pytest.raises(TechnologyError, match="leave out --vdd"):
            trimmed = CHARGE.with_trim(technology.load("gf180"), 5)
            CHARGE.at_supply(trimmed, 1.5, engine, tmp_path)
    with pytest.raises(TechnologyError, match="--architecture cm"):
        CHARGE.with_unit_current(technology.load("gf180"), 1e-9)


def test_the_unit_current_scales_the_constant_and_the_inputs_within_the_sweep() -> None:
    nominal = CURRENT.load_technology("gf180")
    half: object = CURRENT.with_unit_current(nominal, 0.5e-9)
    assert [getattr(half, name) for name in ("unit", "bias", "full_scale")] == pytest.approx([0.5e-9, 0.5e-9, 1e-9])
    with pytest.raises(TechnologyError, match="mirrors of gf180 were swept from"):
        CURRENT.with_unit_current(nominal, 1e-12)


def test_the_cache_folder_follows_the_standard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder.measured() == tmp_path / "cmru_hw/measured"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder.measured() == Path.home() / ".cache/cmru_hw/measured"


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(group, words, catch_exceptions=code != 0)
    assert (done.exit_code == 0) == (code == 0), done.output
    return done.output if code == 0 else str(done.exception)


@pytest.mark.spice
def test_label_supply_and_corner_go_from_export_to_versus_and_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store(cache_folder.measured(), 1.5, 1e-13)
    cmru_hw.save_model(random_network(SHAPE), tmp_path / "net.safetensors")
    save_sequences(random_sequences(SHAPE, (4, 6)), tmp_path / "data.npz")
    net, data = str(tmp_path / "net.safetensors"), ("--input", str(tmp_path / "data.npz"))
    common = ("export", net, *data, "--technology", "gf180", "--no-verify")
    run(*common, "-o", str(tmp_path / "low"), "--vdd", "1.5", "--label", "low supply", "--json")
    run(*common, "-o", str(tmp_path / "high"), "--json")
    low, high = folder.load(tmp_path / "low"), folder.load(tmp_path / "high")
    assert (low.title, high.title) == ("low supply", "high")
    assert low.point == "gf180 macro, 1.5 V, typical, 27 °C"
    assert not low.edited and low.netlist_sha256 != high.netlist_sha256
    run("energy", str(low.path), *data, "-o", str(tmp_path / "runs/low"))
    run("energy", str(high.path), *data, "-o", str(tmp_path / "runs/high"))
    there = json.loads(run("energy", str(high.path), *data, "--vdd", "1.5", "--json"))
    exported = json.loads((tmp_path / "runs/low/energy.json").read_text())
    nominal = json.loads((tmp_path / "runs/high/energy.json").read_text())
    # energy --vdd of the nominal export is the energy of an export at that supply, and not a share of the nominal one
    assert there["per_timestep_J"] == pytest.approx(exported["per_timestep_J"], rel=1e-9)
    assert there["per_timestep_J"] < 0.95 * nominal["per_timestep_J"]
    assert (exported["design_label"], exported["supply_V"], exported["operating_corner"]) == (
        "low supply",
        1.5,
        "typical, 27 °C",
    )
    shown = run("versus", str(low.path), str(high.path), "--runs", str(tmp_path / "runs"))
    assert "low supply: gf180 macro, 1.5 V, typical, 27 °C" in shown
    assert "high: gf180 macro, 1.8 V, typical, 27 °C" in shown
    error = run(*common, "-o", str(tmp_path / "no"), "--label", "two\nlines", code=2)
    assert "one line" in error
    assert not (tmp_path / "no").exists()
