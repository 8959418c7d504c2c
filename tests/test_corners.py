"""Corners: their list, their effect on a technology, and resumption of an interrupted run."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.analysis.corners import grid
from cmru_hw.analysis.corners.api import run_corners
from cmru_hw.analysis.corners.result import CornerFigures, CornersResult, FinishedCorner
from cmru_hw.circuits.charge import fidelity, mapping, measured_technology
from cmru_hw.circuits.charge.design import Operating
from cmru_hw.circuits.corner import Corner
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError
from cmru_hw.design_folder import folder as design_folder
from cmru_hw.nn.sequences import load_sequences, save_sequences
from cmru_hw.process import technology
from tests.narrow import charge_design, known
from tests.networks import Shape, random_network, random_sequences
from tests.test_cli import refused, run

SHAPE = Shape(units=(2,), skip=False)


def exported(folder: Path, name: str = "gf180") -> design_folder.Exported:
    trained, data = random_network(SHAPE), random_sequences(SHAPE)
    design = mapping.map_network(trained, technology.load(name), mapping.calibrate(trained, data))
    return design_folder.write(folder, trained, design, data)


def test_there_are_forty_five_and_each_has_a_name() -> None:
    corners = grid.every(1.8)
    assert len({str(corner) for corner in corners}) == 45
    assert grid.chosen(corners, ["ff/125/1.98"]) == [Corner(process="ff", temperature=125.0, vdd=1.98)]
    assert len(grid.chosen(corners, ["ss/*/1.62", "*/27/*"])) == 3 + 15 - 1
    for wrong in ("tt/27/1.8", "ff/125", "ff/125/1.9"):
        with pytest.raises(InputError, match="process/temperature/supply"):
            grid.chosen(corners, [wrong])


def test_ratios_follow_the_supply_and_weights_stay() -> None:
    nominal = technology.load("gf180")
    corner = Corner(process="ss", temperature=-40.0, vdd=1.62)
    measured = shipped_text()
    for name, before, now in (("vdd", 1.8, 1.62), ("common_mode", 0.9, 0.81), ("reference", 0.9, 0.81)):
        measured = measured.replace(f"{name} = {before} ", f"{name} = {now} ")
    moved = measured_technology.at_corner(nominal, corner, measured)
    assert moved.signal.reference == pytest.approx(0.9 * nominal.signal.reference)
    assert moved.noise.temperature == pytest.approx(233.15)
    trained, data = random_network(SHAPE), random_sequences(SHAPE)
    calibration = mapping.calibrate(trained, data)
    original, shifted = (mapping.map_network(trained, kind, calibration) for kind in (nominal, moved))
    # Slow MIM capacitors are all larger by one factor: weights keep their ratios, packets their share of the supply.
    assert np.allclose(shifted.layers[0].low.weights, 1.1 * original.layers[0].low.weights)
    ratios = [layer.packet / layer.integrator for layer in (original.layers[0], shifted.layers[0])]
    assert np.allclose(ratios[0], ratios[1])
    assert np.allclose(shifted.layers[0].step / 1.62, original.layers[0].step / 1.8)


def shipped_text() -> str:
    from importlib import resources

    return (resources.files("cmru_hw.process") / "technologies" / "gf180.toml").read_text(encoding="utf-8")


@pytest.mark.spice
def test_finished_corners_are_kept_and_summed_up(tmp_path: Path) -> None:
    design, data, out = exported(tmp_path / "d"), random_sequences(SHAPE), tmp_path / "out"
    only = ["typical/*/1.8"]
    prepare(design, out, only)
    found = run_corners(design, data, folder=out, only=only)
    assert found.asked == 3 and found.failed == 0 and found.level == "macro"
    assert found.worst.energy in [result.corner for result in found.corners]
    energy = [result.per_timestep_J for result in found.good]
    assert max(energy) == found.worst_per_timestep_J and min(energy) > 1e-12
    assert CornersResult.load(out / "corners.json") == found
    rows = list(csv.DictReader((out / "corners.csv").open()))
    assert [row["corner"] for row in rows] == [result.corner for result in found.corners]
    assert (out / "corners.svg").stat().st_size > 5000
    # A second run simulates nothing and reads the stored results.
    (kept,) = out.glob("corners/typical_27_1.8_*.json")
    sound, stored = kept.read_text(), FinishedCorner.load(kept)
    other_figures = replace(stored.figures, per_timestep_J=1.0)
    FinishedCorner.of(other_figures, job_sha256=stored.job_sha256).save(kept)
    assert run_corners(design, data, folder=out, only=only).worst_per_timestep_J == 1.0
    # A file of another corner, or a damaged or edited file, is not used.
    other = next(path for path in out.glob("corners/typical_*.json") if path != kept)
    for content in (other.read_text(), sound[:-20], json.dumps({**json.loads(sound), "per_timestep_J": 1.0})):
        kept.write_text(content)
        assert run_corners(design, data, folder=out, only=only).corners == found.corners
    # Another input is another job.
    assert known(run_corners(design, data.first(1), folder=out, only=only).worst_per_timestep_J) < 1e-9


@pytest.mark.slow
@pytest.mark.spice
def test_several_processes_find_what_one_does(tmp_path: Path) -> None:
    design, data, only = exported(tmp_path / "d"), random_sequences(SHAPE), ["typical/27/1.8", "typical/125/1.8"]
    found = []
    for jobs in (1, 2):
        prepare(design, tmp_path / str(jobs), only)
        found.append(run_corners(design, data, folder=tmp_path / str(jobs), only=only, jobs=jobs))
    assert found[0].corners == found[1].corners


@pytest.mark.spice
def test_a_corner_that_fails_is_a_result(tmp_path: Path) -> None:
    design, data, out = exported(tmp_path / "d"), random_sequences(SHAPE), tmp_path / "out"
    prepare(design, out, ["typical/27/1.8"])
    found = run_corners(design, data, folder=out, only=["typical/27/1.8"], timeout=1e-6)
    assert found.failed == found.asked == 1 and found.corners[0].status.startswith("failed")
    assert not list(out.glob("corners/*.json"))
    arguments = ("--input", data_file(tmp_path), "--only", "typical/27/1.8", "-o", out)
    assert "no corner could be simulated" in refused("corners", tmp_path / "d", *arguments, "--timeout", 1e-6, code=4)
    done = run("corners", tmp_path / "d", *arguments)
    assert done.returncode == 0 and "typical/27/1.8" in done.stdout


@pytest.mark.spice
def test_a_corner_simulates_the_edited_netlist_or_refuses(tmp_path: Path) -> None:
    """A netlist that is the same at all corners is simulated as edited; one that differs is refused."""
    data = random_sequences(SHAPE).first(1)
    data = replace(data, inputs=data.inputs[:, :1], lengths=np.ones(1, dtype=np.int64))
    trained = random_network(SHAPE)
    kind = fidelity.at_level(technology.load("generic180"), "transistor")
    drawn = mapping.map_network(trained, kind, mapping.calibrate(trained, random_sequences(SHAPE)))
    design_folder.write(tmp_path / "t", trained, drawn, data)
    found: list[CornerFigures] = []
    for name in ("as it is", "edited"):
        found += run_corners(load_edited(tmp_path / "t"), data, folder=tmp_path / name, only=["typical/27/1.8"]).good
        # Swapping the inputs of the first unit's comparators inverts its decisions.
        network = tmp_path / "t" / "network.cir"
        network.write_text(network.read_text().replace("xunit0_0 a0_0 b0_0 ", "xunit0_0 b0_0 a0_0 "))
    assert found[0].decisions.agree == found[0].decisions.total
    assert found[1].blocks != found[0].blocks
    exported(tmp_path / "m")
    (tmp_path / "m" / "network.cir").open("a").write("* edited\n")
    prepare(load_edited(tmp_path / "m"), tmp_path / "out", ["ff/125/1.98"])
    with pytest.raises(InputError, match="was edited, and at macro level each corner has a netlist of its own"):
        run_corners(load_edited(tmp_path / "m"), data, folder=tmp_path / "out", only=["ff/125/1.98"])


@pytest.mark.parametrize("memory", ["integrator", "counter", "power-gated"])
def test_a_corner_of_transistors_has_the_same_netlist(memory: str) -> None:
    trained, data = random_network(SHAPE), random_sequences(SHAPE)
    kind = fidelity.at_level(technology.load("gf180"), "transistor", memory)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    moved = replace(design, operating=Operating(corner="ff", temperature=125.0, vdd=1.98))
    assert fidelity.network_text(moved) == fidelity.network_text(design)


@pytest.mark.spice
def test_decks_of_corners_are_stored(tmp_path: Path) -> None:
    design, out = exported(tmp_path / "d"), tmp_path / "out"
    prepare(design, out, ["typical/27/1.8"])
    options = ("--only", "typical/27/1.8", "-o", out, "--cache", tmp_path / "cache")
    done = run("corners", tmp_path / "d", "--input", data_file(tmp_path), *options)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "cache").glob("*.npz"))


def load_edited(folder: Path) -> design_folder.Exported:
    return design_folder.load(folder, allow_edited=True)


def test_ideal_parts_have_no_corners(tmp_path: Path) -> None:
    exported(tmp_path / "d", "macro")
    message = refused("corners", tmp_path / "d", "--input", data_file(tmp_path), "-o", tmp_path / "out")
    assert "--technology gf180" in message


@pytest.mark.slow
@pytest.mark.spice
def test_current_mode_is_simulated_where_it_is(tmp_path: Path) -> None:
    models = package_data.folder("models")
    design = tmp_path / "cm"
    arguments = ("-o", design, "--no-verify", "--technology", "generic180")
    assert run("export", models / "detect-fq-bmru-2x4.safetensors", *arguments).returncode == 0
    data = load_sequences(models / "detect-eval.npz").first(1)
    found = run_corners(design_folder.load(design), data, folder=tmp_path / "out", only=["ss/-40/1.62", "ff/125/1.98"])
    slow, fast = sorted(found.good, key=lambda result: result.vdd_V)
    assert found.label == "simulated" and found.failed == 0
    assert fast.per_timestep_J > slow.per_timestep_J


@pytest.mark.slow
@pytest.mark.spice
def test_a_corner_is_measured_on_transistors(tmp_path: Path) -> None:
    design, data = exported(tmp_path / "d"), random_sequences(SHAPE)
    found = run_corners(design, data, folder=tmp_path / "out", only=["typical/27/1.8", "ff/125/1.98"])
    typical, fast = found.good
    assert known(fast.facts.leakage_A) > 10 * known(typical.facts.leakage_A)
    assert known(fast.per_timestep_J) > known(typical.per_timestep_J)
    assert found.worst.energy == "ff/125/1.98"
    (measured,) = (tmp_path / "out" / "measured").glob("gf180_ff_125_1.98_*.toml")
    assert "ff, 125 C, 1.98 V" in measured.read_text()


def prepare(design: design_folder.Exported, out: Path, only: list[str]) -> None:
    """Measured transistors as an earlier run would have stored them: those of the shipped technology."""
    nominal = charge_design(design.design).technology
    for corner in grid.chosen(grid.every(nominal.supply.vdd), only):
        path = measured_technology.place(corner, nominal, out / "measured", spice.installed("pyspice"))
        measured_technology.store(shipped_text(), path)


def data_file(folder: Path) -> Path:
    path = folder / "data.npz"
    save_sequences(random_sequences(SHAPE), path, force=True)
    return path
