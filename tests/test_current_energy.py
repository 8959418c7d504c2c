"""Energy breakdown of current mode: it closes, agrees with the fast engine's mirrors, and varies over corners."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.analysis.energy.api import run_energy
from cmru_hw.analysis.energy.scaling import random_network, run_scaling
from cmru_hw.circuits.current import fast, mapping, technology, variation
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.core.errors import CheckFailed
from cmru_hw.core.units import si
from cmru_hw.design_folder.folder import Exported, write
from cmru_hw.nn.sequences import Sequences
from tests.narrow import known
from tests.test_cli import run
from tests.test_current import network, sequences
from tests.test_current_cli import small

__all__ = ["small"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, Sequences]:
    trained, data = network(units=(3, 3), seed=5), sequences(lengths=(12, 9), seed=3)
    kind = technology.load("generic180")
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    return write(tmp_path_factory.mktemp("energy") / "design", trained, design, data), data


@pytest.mark.spice
def test_the_energy_breakdown_closes_and_static_mirrors_say_the_same(exported: tuple[Exported, Sequences]) -> None:
    design, data = exported
    with spice.open_engine() as engine:
        found = run_energy(design, data, engine)
    assert (found.label, found.level, found.architecture) == ("simulated", "transistor", "cm")
    assert abs(found.ledger_gap) < 1e-6
    blocks = found.blocks
    assert sum(known(block.total) for block in blocks.values()) == pytest.approx(found.supply_total_J)
    for name, entry in blocks.items():
        assert known(entry.total) == pytest.approx(entry.analytic_J, rel=0.1), name
        assert abs(known(entry.dynamic_J)) < 0.1 * known(entry.static_J), name
    assert blocks["references"].analytic_J == pytest.approx(blocks["references"].static_J, rel=1e-3)


@pytest.mark.spice
def test_a_path_without_a_charge_meter_is_found(exported: tuple[Exported, Sequences]) -> None:
    design, data = exported
    leaky = replace(design, network=design.network + "rleak vdd_all 0 1e9\n")
    with spice.open_engine() as engine, pytest.raises(CheckFailed, match="does not close"):
        run_energy(leaky, data.first(1), engine)


@pytest.mark.spice
def test_a_corner_is_the_same_drawing_on_other_devices(exported: tuple[Exported, Sequences]) -> None:
    design, data = exported
    assert isinstance(design.design, CurrentDesign)
    moved = mapping.at_corner(design.design, corner="ff", temperature=85.0, vdd=1.9)
    assert moved.rows[0].width is design.design.rows[0].width
    with spice.open_engine() as engine:
        one, other = (
            run_energy(replace(design, design=which), data.first(1), engine) for which in (design.design, moved)
        )
    # Bias currents are fixed, so only the supply changes their power.
    references = [known(found.blocks["references"].static_J) for found in (one, other)]
    assert references[1] / references[0] == pytest.approx(1.9 / 1.8, rel=1e-4)
    assert one.blocks["fc"].static_J != pytest.approx(other.blocks["fc"].static_J, rel=1e-3)
    assert one.provenance.design_sha256 != other.provenance.design_sha256


@pytest.mark.spice
def test_energy_of_current_mode_grows_by_a_law_too(exported: tuple[Exported, Sequences], tmp_path: Path) -> None:
    design, _ = exported
    with spice.open_engine() as engine:
        found = run_scaling(design, engine, folder=tmp_path / "out", widths=(2, 4, 8), depths=(1, 2, 3), seed=1)
    assert (found.level, found.label) == ("transistor", "simulated")
    # Three bias currents per unit, and one for the constant.
    assert found.laws["units"]["references"].exponent == pytest.approx(1, abs=0.15)
    assert all(law.low <= law.exponent <= law.high for law in found.laws["units"].values())
    assert "of size 1/√n" in found.excludes[1] and "measured unit" not in found.excludes[2]
    assert (tmp_path / "out" / "scaling.svg").stat().st_size > 5000


def test_random_weights_keep_sums_of_any_length_alike() -> None:
    config = network().config
    sums = [
        (random_network(config, (n, n), 0).tensors["layers.1.candidate.weight"] ** 2).sum(dim=1).mean()
        for n in (16, 64)
    ]
    assert [float(one) for one in sums] == pytest.approx([1, 1], rel=0.3)


def test_every_die_draws_what_its_own_mirrors_draw() -> None:
    trained, data = network(units=(3, 3), seed=5), sequences(lengths=(12, 9), seed=3)
    design = mapping.map_network(trained, technology.load("gf180"), mapping.calibrate(trained, data))
    nominal = fast.run(variation.draw(design, seed=0, dies=[0], varied=frozenset()), data).supply
    drawn = fast.run(variation.draw(design, seed=0, dies=range(8)), data).supply
    assert np.ptp(drawn["fc"].mean(axis=(1, 2))) > 0.01 * nominal["fc"].mean()
    # Sources are outside of the circuit: mismatch of the transistors that read them does not change their currents.
    assert np.allclose(drawn["references"], nominal["references"][0])
    assert drawn["cells"].mean() == pytest.approx(nominal["cells"].mean(), rel=0.3)


@pytest.mark.spice
def test_the_command_prints_and_keeps_it(small: tuple[Path, Path], tmp_path: Path) -> None:
    design, data = small
    done = run("energy", design, "--input", data, "-o", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["per_inference_J"] == pytest.approx(found["per_timestep_J"] * 19 / 3)
    assert set(found["blocks"]) == {"inputs", "fc", "cells", "references"}
    assert "always on" in run("energy", design, "--input", data, "--sequences", 1).stdout
    assert run("report", tmp_path / "run", "-o", tmp_path / "page").returncode == 0
    # A number and its unit stay on one line.
    page = (tmp_path / "page" / "index.html").read_text().replace("\u00a0", " ")
    assert "transistors were simulated" in page
    # The run's value is above the published statement on the same quantity, which is that of the abstract.
    table = page[page.index('id="published"') :]
    assert 0 < table.index(si(found["per_timestep_J"] / found["timestep_s"], "W")) < table.index("below 1 µW")
    assert "arXiv:2605.15216, abstract" in table
