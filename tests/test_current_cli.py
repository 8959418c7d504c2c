"""The commands on a current-mode design: the same commands and keys, and one line for options that do not apply."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cmru_hw.circuits.current import technology
from cmru_hw.core import package_data
from cmru_hw.nn import checkpoint
from cmru_hw.nn.sequences import load_sequences, save_sequences
from tests.narrow import known
from tests.test_cli import DATA, MODELS, SMALL, refused, run
from tests.test_current import network, sequences

FQ = MODELS / "detect-fq-bmru-2x4.safetensors"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A design of few transistors on the stand-in card, and its sequences."""
    folder = tmp_path_factory.mktemp("current")
    model, data = folder / "small.safetensors", folder / "data.npz"
    checkpoint.save(network(units=(2, 2), seed=5), model)
    save_sequences(sequences(lengths=(6, 9, 4), seed=3), data)
    out = folder / "design"
    arguments = ("--architecture", "cm", "--technology", "generic180", "--input", data, "--no-verify")
    done = run("export", model, "-o", out, *arguments)
    assert done.returncode == 0, done.stderr
    return out, data


@pytest.mark.spice
def test_export_verifies_in_transistors(tmp_path: Path) -> None:
    done = run("export", FQ, "-o", tmp_path / "d", "--input", DATA, "--sequences", 2, "--spread", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["architecture"], found["level"], found["technology"]) == ("cm", "transistor", "gf180")
    assert found["verified"] is True
    assert found["transistors"]["cells"] == 9 * 8
    with (tmp_path / "d" / "mapping.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["unit"] for row in rows} <= {"1", "A"}
    listed = found["rounded weights"] + found["left-out weights"] + found["limited weights and levels"]
    assert len(rows) == listed > 0


@pytest.mark.spice
def test_compare_has_the_keys_of_the_charge_domain_and_its_own(small: tuple[Path, Path], tmp_path: Path) -> None:
    design, data = small
    done = run("compare", design, "--input", data, "-o", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["level"], found["architecture"]) == ("transistor", "cm")
    assert found["decisions"]["total"] == 19 * 4 and found["decisions"]["resolution_A"] == 0
    assert found["classification"]["agree"] == 3
    errors = found["error_rms"]
    assert errors["suppression"] == pytest.approx(errors["candidate"] / errors["state"])
    clear = errors["clear_of_thresholds"]
    assert 0.5 < clear["share"] <= 1 and clear["suppression"] > 1
    assert "candidate" in (tmp_path / "run" / "unit.svg").read_text()
    assert run("report", design, tmp_path / "run", "-o", tmp_path / "page").returncode == 0
    page = (tmp_path / "page" / "index.html").read_text()
    assert "current mode" in page and "MOSFETs of a real process" in page
    # Every decision has a margin below 1 mA.
    close = run("compare", design, "--input", data, "--sequences", 1, "--resolution", 1e-3, "--json")
    decisions = json.loads(close.stdout)["decisions"]
    assert decisions["excluded"] == decisions["total"] == 6 * 4


@pytest.mark.spice
def test_simulate_writes_arrays_waveforms_and_a_figure(small: tuple[Path, Path], tmp_path: Path) -> None:
    design, data = small
    out, figure, table = tmp_path / "a.npz", tmp_path / "u.svg", tmp_path / "w.csv"
    done = run(
        *("simulate", design, "--input", data, "-o", out, "--plot", figure, "--unit", "1.1", "--csv", table, "--json")
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sequences"] == 3
    with np.load(out) as saved:
        assert saved["states_1"].shape == (3, 9, 2) and set(np.unique(saved["decisions_0"])) <= {-1, 0, 1}
    assert "layer 1, unit 1" in figure.read_text()
    assert "s1_1" in table.read_text().splitlines()[0]


@pytest.mark.spice
def test_the_exported_deck_runs_by_hand(small: tuple[Path, Path]) -> None:
    design, _ = small
    command = ["ngspice", "-b", "-r", "out.raw", "deck.cir"]
    done = subprocess.run(command, cwd=design, capture_output=True, timeout=600, check=False)
    assert done.returncode == 0
    assert (design / "out.raw").stat().st_size > 10_000


def test_an_own_cell_takes_the_place_of_the_programs(small: tuple[Path, Path], tmp_path: Path) -> None:
    _, data = small
    own = tmp_path / "mine.cir"
    text = (package_data.folder("netlists") / "cells" / "current" / "current_cell.cir").read_text()
    own.write_text(text.replace("xm9 v0 f vdd vdd pf w={w} l={l} k={k9}", "xm9 v0 f vdd vdd pf w={w} l={2*l} k={k9}"))
    arguments = ("export", data.with_name("small.safetensors"), "-o", tmp_path / "d", "--technology", "generic180")
    done = run(*arguments, "--no-verify", "--template", f"current_cell={own}")
    assert done.returncode == 0, done.stderr
    assert "2*l" in (tmp_path / "d" / "cells" / "current_cell.cir").read_text()
    own.write_text(text.replace("thresh width gain v0", "width thresh gain v0"))
    assert "has pins" in refused(*arguments, "--force", "--template", f"current_cell={own}")
    assert "has no template 'comparator'" in refused(*arguments, "--force", "--template", f"comparator={own}")


def test_a_damaged_manifest_is_one_line(small: tuple[Path, Path], tmp_path: Path) -> None:
    design, data = small
    manifest = json.loads((design / "design.json").read_text())
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in ("model.safetensors", "network.cir"):
        (broken / path).write_bytes((design / path).read_bytes())

    def with_manifest(**changes: object) -> str:
        (broken / "design.json").write_text(json.dumps({**manifest, **changes}))
        return refused("simulate", broken, "--input", data)

    assert "no architecture is called 'xy'" in with_manifest(architecture="xy")
    assert "is damaged" in with_manifest(calibration={"inputs": 1.0})
    assert "no charge-domain circuit" in with_manifest(
        architecture="sc",
        technology=json.loads(json.dumps(_macro())),
        calibration={"inputs": [1.0], "largest": [1.0], "percentile": 100, "states": [1.0, 1.0], "source": "x"},
    )
    assert "missing" in with_manifest(architecture="sc")


def _macro() -> dict[str, object]:
    from dataclasses import asdict

    from cmru_hw.process import technology

    return asdict(technology.load("macro"))


def test_what_does_not_fit_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    out = tmp_path / "x"
    assert "--architecture sc" in refused("export", SMALL, "-o", out, "--architecture", "cm")
    assert "--architecture cm" in refused("export", FQ, "-o", out, "--architecture", "sc")
    assert "choose one of generic180, gf180" in refused("export", FQ, "-o", out, "--technology", "macro")
    assert "has no macro level" in refused("export", FQ, "-o", out, "--level", "macro")
    assert "--architecture sc" in refused("export", FQ, "-o", out, "--memory", "counter")
    own = tmp_path / "own.toml"
    shipped_text = (Path(technology.__file__).parent / "technologies" / "gf180.toml").read_text()
    own.write_text(shipped_text.replace("unit = 1e-09", "unit = 1e-06"))
    assert "unit is 1 µA, but mirrors were swept" in refused("export", FQ, "-o", out, "--technology", own)
    assert not out.exists()
    assert "export it with --architecture cm" in run("inspect", FQ, "--architecture", "sc").stdout.replace("\n", " ")


@pytest.mark.spice
def test_retention_of_a_cell_that_restores_its_state(small: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("retention", small[0], "--temperature", 27, "--temperature", 85, "-o", tmp_path / "kept")
    assert done.returncode == 0, done.stderr
    assert "at least 100" in done.stdout and "holds" in done.stdout
    found = json.loads((tmp_path / "kept" / "retention.json").read_text())
    assert found["architecture"] == "cm" and found["worst_timesteps"] == 1e5
    assert found["worst_at_least"] and (tmp_path / "kept" / "retention.svg").stat().st_size > 5000
    header = (tmp_path / "kept" / "retention.csv").read_text().splitlines()[0]
    assert header == "temperature_C,timesteps,seconds,lost_in_simulation,simulated_s,moved"
    written = run("report", small[0], tmp_path / "kept", "-o", tmp_path / "report")
    assert written.returncode == 0, written.stderr
    assert "A cell restores its state." in (tmp_path / "report" / "index.html").read_text()


def test_inspect_finds_the_architecture_by_the_cell() -> None:
    found = json.loads(run("inspect", FQ, "--json").stdout)["circuit"]
    assert found["realisable"] and found["architecture"] == "cm" and found["transistors"]["total"] == 408


def test_sequences_can_be_spread_over_the_file(tmp_path: Path) -> None:
    """The file is ordered by speaker: its first sequences all have one class, spread ones do not."""
    data = load_sequences(package_data.folder("models") / "detect-eval.npz")
    assert len(set(known(data.first(20).labels).tolist())) == 1
    from cmru_hw.cli import common

    chosen = common.some(data, 20, spread=True)
    assert len(chosen) == 20 and len(set(known(chosen.labels).tolist())) == 2
