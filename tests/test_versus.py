"""A table of designs: results of runs of exactly these netlists, and commands for the missing ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cmru_hw.analysis.energy.result import BlockEnergy
from cmru_hw.circuits.current import netlist
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError
from cmru_hw.process import device_count
from tests import results
from tests.test_cli import SMALL, refused, run
from tests.test_current import design_of, network, without_grid
from tests.test_current_cli import small

__all__ = ["small"]


@pytest.fixture(scope="module")
def pair(small: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A charge-domain design, a current-mode one, and a folder for their runs."""
    folder = tmp_path_factory.mktemp("pair")
    done = run("export", SMALL, "-o", folder / "charge", "--no-verify")
    assert done.returncode == 0, done.stderr
    runs = folder / "runs"
    (runs / "energy").mkdir(parents=True)
    mine = json.loads((small[0] / "design.json").read_text())["netlist_sha256"]
    of_mine = {"provenance": results.provenance(netlist_sha256=mine)}
    two = BlockEnergy(static_J=0.0, dynamic_J=2e-9, analytic_J=None, source="netlist", note="")
    joules = {"per_timestep_J": 2e-9, "per_inference_J": 3e-8, "mean_power_W": 2e-7, "label": "simulated"}
    found = results.energy(**joules, blocks={"cells": two}, level="transistor", **of_mine)
    found.save(runs / "energy" / "energy.json")
    results.corners(failed=1, **of_mine).save(runs / "corners" / "corners.json")
    results.retention(**of_mine).save(runs / "kept" / "retention.json")
    results.energy().save(runs / "stranger" / "energy.json")
    return folder / "charge", small[0], runs


def test_each_figure_has_its_file_and_what_was_not_run_its_command(
    pair: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    charge, current, runs = pair
    out = tmp_path / "table.json"
    done = run("versus", charge, current, "--runs", runs, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    found = {line["name"]: line["entries"] for line in json.loads(done.stdout)["lines"]}
    assert json.loads(out.read_text())["designs"] == [str(charge), str(current)]
    missing, there = found["energy per timestep"]
    assert there["value"] == [2e-9, "simulated"] and there["source"].endswith("runs/energy/energy.json")
    assert missing["value"] is None and missing["source"].startswith(f"cmru-hw energy {charge}")
    # There is no comparison run, but the energy run counted decisions.
    assert found["decisions as in software"][1]["shown"] == "98 % of 50"
    assert found["accuracy of the circuit"][1]["shown"] == "2 of 3"
    assert all(entry["value"] is None for entry in found["yield under mismatch"])
    assert found["worst corner, decisions"][1]["shown"] == "every decision right, of 3 corners"
    assert found["worst corner, energy"][1]["shown"] == "ff/125/1.98: 3 nJ, of 3 corners"
    # No command is given that would only refuse.
    assert found["retention"][0]["shown"] == found["worst corner, energy"][0]["shown"] == "not for this design"
    assert "--technology gf180" in found["retention"][0]["source"]
    assert found["retention"][1]["shown"] == "at least 100000 timesteps at -40 °C, of 2 temperatures"
    assert found["transistors"][0]["value"] is None and found["transistors"][1]["value"] > 100
    # The macro technology has no devices: its row says so, and names technologies that have.
    assert "transistors are in" in found["transistors"][0]["source"]
    shown = run("versus", charge, current, "--runs", runs).stdout
    assert "2 nJ, simulated" in shown and f"cmru-hw montecarlo {charge}" in shown
    assert "--force" in refused("versus", charge, current, "-o", out)


def test_a_folder_of_results_of_other_circuits_is_refused_by_name(pair: tuple[Path, Path, Path]) -> None:
    charge, current, runs = pair
    message = refused("versus", charge, current, "--runs", runs / "stranger")
    assert "stranger/energy.json is a run of another circuit (netlist 0123456789ab) than" in message


def test_results_of_different_simulators_are_named(pair: tuple[Path, Path, Path], tmp_path: Path) -> None:
    charge, current, runs = pair
    row = "simulators, which differ"
    assert row not in run("versus", charge, current, "--runs", runs).stdout
    shutil.copytree(runs, tmp_path / "runs")
    mine = json.loads((current / "design.json").read_text())["netlist_sha256"]
    newer = results.provenance(netlist_sha256=mine, versions={"cmru_hw": "0", "simulator": "ngspice 44"})
    results.retention(provenance=newer).save(tmp_path / "runs" / "kept" / "retention.json")
    done = run("versus", charge, current, "--runs", tmp_path / "runs", "--json")
    assert done.returncode == 0, done.stderr
    found = {line["name"]: [entry["shown"] for entry in line["entries"]] for line in json.loads(done.stdout)["lines"]}
    assert found[row] == ["none", "ngspice 39 (corners), ngspice 39 (energy), ngspice 44 (retention)"]


def test_a_damaged_result_of_a_design_is_refused_and_of_another_one_not_read(
    pair: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    charge, current, runs = pair
    shutil.copytree(runs, tmp_path / "runs")
    stranger, own = (tmp_path / "runs" / name / "energy.json" for name in ("stranger", "energy"))
    stranger.write_text(stranger.read_text().replace('"sequences": 3', '"sequences": null'))
    assert run("versus", charge, current, "--runs", tmp_path / "runs").returncode == 0
    own.write_text(own.read_text().replace('"sequences": 3', '"sequences": null'))
    assert f"{own}: sequences is null" in refused("versus", charge, current, "--runs", tmp_path / "runs")
    own.write_text("{")
    assert f"{own} cannot be read" in refused("versus", charge, current, "--runs", tmp_path / "runs")


def test_a_macro_design_is_counted_as_its_transistor_twin(tmp_path: Path) -> None:
    """Both exports of one network, macro and transistor level, have the same elements and area.

    The fast engine has no dies of the transistor level, and says so.
    """
    model = package_data.folder("models") / "flipflop-cmru-1x2.safetensors"
    for name, options in (("macro", ()), ("transistor", ("--level", "transistor"))):
        done = run("export", model, "-o", tmp_path / name, "--technology", "gf180", *options, "--no-verify")
        assert done.returncode == 0, done.stderr
    done = run("versus", tmp_path / "macro", tmp_path / "transistor", "--json")
    assert done.returncode == 0, done.stderr
    found = {line["name"]: line["entries"] for line in json.loads(done.stdout)["lines"]}
    for name in ("transistors", "area, estimated before layout"):
        macro, transistor = found[name]
        assert macro["value"] == transistor["value"] > 0
        assert macro["shown"] == transistor["shown"] + ", as its transistor twin"
    macro, transistor = found["yield under mismatch"]
    assert macro["source"].startswith("cmru-hw montecarlo") and "--engine" not in macro["source"]
    assert transistor["shown"] == "not run" and transistor["source"].endswith(" --engine spice -n 5")
    data = package_data.folder("models") / "flipflop-eval.npz"
    assert "give --engine spice" in refused("montecarlo", tmp_path / "transistor", "--input", data, "-n", 2)


def test_one_design_is_no_comparison(pair: tuple[Path, Path, Path]) -> None:
    assert "two designs" in refused("versus", pair[0])


def test_a_netlist_has_as_many_devices_as_its_architecture_says() -> None:
    design = design_of(network(units=(3, 3), skip=True), without_grid("generic180"))
    readers = sum(layer.units for layer in design.layers)
    found = device_count.of_netlist(netlist.network_text(design), netlist.cell_files(design))
    assert found.transistors - readers == sum(netlist.transistors(design).values())
    gates = netlist.gate_area(design) + readers * design.technology.width * design.technology.length
    # The resets are left out of one of them.
    assert found.gates == pytest.approx(gates + readers * 0.3e-12, rel=1e-6)


def test_a_template_counts_alike_by_itself_and_in_a_netlist() -> None:
    cells = {
        path.name: path.read_bytes() for path in (package_data.folder("netlists") / "cells" / "transistor").glob("*")
    }
    head = next(line for line in cells["unit_accumulate.cir"].decode().splitlines() if line.startswith(".subckt"))
    pins = " ".join(word for word in head.split()[2:] if "=" not in word)
    text = f"xone {pins} unit_accumulate\nxtwo {pins}\n+ unit_accumulate\n"
    one, two = device_count.of("unit_accumulate"), device_count.of_netlist(text, cells)
    assert two.transistors == 2 * one.transistors and two.area == pytest.approx(2 * one.area)
    with pytest.raises(InputError, match="xone has 2 nodes where inv has 3 pins"):
        device_count.of_netlist("xone a y inv\n", cells)
