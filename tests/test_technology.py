from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cmru_hw.core.errors import TechnologyError
from cmru_hw.process import pdk, technology

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
    changed = technology.parse(MACRO.replace("gain = 1e5", "gain = 1e4"), where="here")
    assert changed.sha256 != technology.load("macro").sha256


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gain = 1e5", "gain = 0", "amplifier.gain is 0, must be a positive number"),
        ("gain = 1e5", "gain = nan", "amplifier.gain is nan, must be"),
        ("gain = 1e5", 'gain = "high"', "amplifier.gain is 'high', must be"),
        ("gain = 1e5", "", "missing gain"),
        ("gain = 1e5", "gain = 1e5\ngian = 2", "unknown gian"),
        ("state_swing = 0.4", "state_swing = 1.4", "signal.state_swing of 1.4 V does not fit"),
        ('level = "macro"', 'level = "layout"', "level is 'layout', must be one of macro, transistor"),
        ('name = "macro"', 'name = "a\\nb"', "name must be one line of text"),
        ("[supply]", "[supply", "is not valid TOML"),
    ],
)
def test_impossible_numbers_are_refused_by_name(old: str, new: str, message: str) -> None:
    assert old in MACRO
    with pytest.raises(TechnologyError) as caught:
        technology.parse(MACRO.replace(old, new, 1), where="mine.toml")
    assert message in str(caught.value) and "mine.toml" in str(caught.value)


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
