from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cmru_hw.circuits.current.technology import CurrentTechnology
from cmru_hw.core.errors import TechnologyError
from cmru_hw.process import pdk, ranges, technology

MACRO = (Path(technology.__file__).parent / "technologies" / "macro.toml").read_text(encoding="utf-8")


def test_every_shipped_technology_loads() -> None:
    assert "macro" in technology.available()
    for name in technology.available():
        assert technology.load(name).name == name


def test_the_mismatch_of_a_technology_is_that_of_its_own_devices() -> None:
    for name in technology.available():
        found = technology.load(name)
        if found.transistor is not None and found.mismatch is not None:
            process = pdk.get(found.transistor.process)
            assert found.mismatch.threshold in (process.nf.threshold, process.pf.threshold), name


def test_a_file_reads_like_a_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MACRO)
    assert technology.load(path) == technology.load("macro")
    assert technology.load(path).sha256 == technology.load("macro").sha256


def test_the_hash_follows_the_numbers() -> None:
    changed = technology.parse(MACRO.replace("gain = 3e6", "gain = 1e4"), where="here")
    assert changed.sha256 != technology.load("macro").sha256


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gain = 3e6", "gain = 0", "amplifier.gain is 0 V/V, must be 1 to"),
        ("gain = 3e6", "gain = nan", "amplifier.gain is nan, must be"),
        ("gain = 3e6", 'gain = "high"', "amplifier.gain is 'high', must be"),
        ("gain = 3e6", "", "missing gain"),
        ("gain = 3e6", "gain = 1e5\ngian = 2", "unknown gian"),
        ("state_swing = 0.4", "state_swing = 1.4", "signal.state_swing of 1.4 V does not fit"),
        ('level = "macro"', 'level = "layout"', "level is 'layout', must be one of macro, transistor"),
        ('name = "macro"', 'name = "a\\nb"', "name must be one line of text"),
        ("[supply]", "[supply", "is not valid TOML"),
        ("vdd = 1.8 ", "vdd = 1800 ", "supply.vdd is 1800 V, must be 0.2 to 10 V; write it in SI units"),
        ("integrator = 0.0 ", "integrator = 1.0 ", "leakage.integrator is 1 A, must be 0 to 0.001 A"),
        ("temperature = 300.0", "temperature = 27.0", "noise.temperature is 27 K, must be 0, or 200 to 500 K"),
        ("row = 400e-15", "row = 400", "capacitor.row is 400 F, must be 1e-17 to 1e-08 F"),
        ("gain = 3e6", f"gain = {10**400}", "amplifier.gain is a whole number beyond 64 bits"),
        ("gain = 3e6", f"gain = {'[' * 3000}", "is not valid TOML (it is nested too deeply)"),
    ],
)
def test_impossible_numbers_are_refused_by_name(old: str, new: str, message: str) -> None:
    assert old in MACRO
    with pytest.raises(TechnologyError) as caught:
        technology.parse(MACRO.replace(old, new, 1), where="mine.toml")
    assert message in str(caught.value) and "mine.toml" in str(caught.value)


def test_every_number_has_a_range() -> None:
    def numbers(kind: type) -> set[str]:
        return {key for key, of in kind.__annotations__.items() if of in ("float", "int")}

    charge = {f"{name}.{key}" for name, kind in technology.SECTIONS.items() for key in numbers(kind)}
    assert charge == set(ranges.CHARGE)
    assert numbers(CurrentTechnology) == set(ranges.CURRENT)


def test_unknown_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(TechnologyError, match="no technology is called 'gf999': choose one of"):
        technology.load("gf999")
    with pytest.raises(TechnologyError, match="cannot be read"):
        technology.load(tmp_path / "absent.toml")


def test_a_technology_survives_its_dict() -> None:
    from dataclasses import asdict

    macro = technology.load("macro")
    assert technology.from_dict(asdict(macro), where="dict") == macro
    assert technology.from_dict(tomllib.loads(MACRO), where="toml") == macro
