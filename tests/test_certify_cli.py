"""``certify``, and the certificates of other commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cmru_hw.spice import vacask
from tests.test_cli import DATA, SMALL, run


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certify") / "macro"
    assert not run("export", SMALL, "-o", folder, "--no-verify").returncode
    return folder


@pytest.mark.spice
def test_exact_parts_are_certified(design: Path, tmp_path: Path) -> None:
    asked = ("certify", design, "--input", DATA, "--sequences", "2")
    done = run(*asked, "--json", "-o", tmp_path / "certificate.json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "certificate.json").read_text())
    assert found["outside"] == [] and found["decisions_changed"] == found["states_changed"] == 0
    assert found["row_difference_V"] < 1e-6 and found["energy_difference"] is None
    # 8 units with one margin each in every timestep.
    assert found["margins"] == 8 * len(found["frames"])
    few = json.loads(run(*asked, "--json", "--frames", "1").stdout)
    assert 0 < len(few["frames"]) < len(found["frames"]) and few["margins"] == found["margins"]
    table = run(*asked).stdout
    assert "with finer steps" in table and "exact parts" in table


@pytest.mark.spice
def test_results_carry_a_certificate(design: Path) -> None:
    compared = json.loads(run("compare", design, "--input", DATA, "--sequences", "1", "--json", "--refine", "1").stdout)
    assert compared["certificate"]["decisions_changed"] == 0 and compared["refined"] == 1
    joules = json.loads(run("energy", design, "--input", DATA, "--sequences", "1", "--json").stdout)
    assert joules["certificate"]["architecture"] == "sc"


@pytest.mark.spice
@pytest.mark.needs("vacask")
def test_exact_parts_have_no_twin_in_the_second_simulator(design: Path) -> None:
    done = run("certify", design, "--input", DATA, "--sequences", "1", "--simulator", "vacask")
    assert done.returncode == 2 and "has no equivalent in VACASK" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_the_second_simulator_one_line_says_how_to_get_it(
    design: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vacask, "_PACKAGE", "no_such_package")
    done = run("certify", design, "--input", DATA, "--sequences", "1", "--simulator", "vacask")
    assert done.returncode == 3 and vacask.REMEDY in done.stderr
