"""Monte-Carlo of current mode: rows depend on the die only, and both engines simulate the same dies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from cmru_hw.analysis.montecarlo import statistics
from cmru_hw.analysis.montecarlo.job import Job
from cmru_hw.circuits.current import mapping, netlist, technology, variation
from cmru_hw.core.errors import InputError
from tests.test_cli import run
from tests.test_current import network, sequences
from tests.test_current_cli import small

__all__ = ["small"]


def job(**changes: Any) -> Job:
    trained = network(units=(3, 3), seed=5)
    data = sequences(lengths=(12, 9, 14), seed=3)
    design = mapping.map_network(trained, technology.load("gf180"), mapping.calibrate(trained, data))
    settings: dict[str, Any] = {"seed": 1, "varied": variation.select_variations(design)} | changes
    return Job(design=design, trained=trained, sequences=data, **settings)


def test_every_device_has_a_leaf_and_every_leaf_can_be_chosen() -> None:
    design = job().design
    leaves = variation.leaves(design)
    assert set(leaves) == {
        "inputs/diodes",
        "layer0/entry",
        *(f"layer{i}/{kind}" for i in range(2) for kind in ("candidate", "cells", "references", "output")),
        "readout/weights",
    }
    assert variation.select_variations(design, only=["cells"]) == {"layer0/cells", "layer1/cells"}
    with pytest.raises(InputError, match="references"):
        variation.select_variations(design, without=["offset"])


def test_only_what_is_on_varies() -> None:
    design = job().design
    on = variation.select_variations(design, only=["layer1/cells"])
    drawn = variation.draw(design, seed=0, dies=[0, 1], varied=on)
    varies = {name for name, values in drawn.strengths.items() if (values != 1).any()}
    assert varies == {name for name, device in netlist.devices(design).items() if device.leaf in on}
    # Other sources of variation change no draw.
    whole = variation.draw(design, seed=0, dies=[0, 1])
    assert all((whole.strengths[name] == drawn.strengths[name]).all() for name in varies)


def test_a_row_depends_on_its_die_alone() -> None:
    mine = job()
    whole = statistics.scores(mine, range(40))
    assert statistics.scores(mine, range(17, 23)).equals(whole.slice(17, 6))
    assert len(set(whole["decisions_agree"].to_pylist())) > 3


def test_nothing_on_is_the_nominal_design_on_every_die() -> None:
    table = statistics.scores(job(varied=frozenset()), range(3))
    first, *others = ({**row, "die": 0} for row in table.to_pylist())
    assert all(row == first for row in others)
    assert first["decisions_agree"] >= 0.97 * first["decisions"] and first["level_error_max"] >= 0


def test_more_mismatch_costs_decisions() -> None:
    small, large = (
        replace(job(), design=replace(one.design, technology=replace(one.design.technology, mismatch_n=sigma)))
        for one, sigma in ((job(), 1e-8), (job(), 1e-6))
    )
    agree = [np.mean(statistics.scores(one, range(30))["decisions_agree"].to_pylist()) for one in (small, large)]
    assert agree[0] > agree[1]


@pytest.mark.spice
def test_dies_agree_in_both_engines_and_their_states_too() -> None:
    mine = job(engine="spice")
    table = statistics.scores(mine, [0, 3])
    fast = statistics.scores(job(), [0, 3])
    found = statistics.engine_agreement(table)
    assert found is not None and found.value >= 0.98 and found.unexplained == 0
    for name in ("decisions_agree", "accuracy"):
        assert np.allclose(table[name].to_pylist(), fast[name].to_pylist(), rtol=0.03), name
    # Outputs of dies differ from software's by the gain of their cells, which is the same in both engines.
    assert np.allclose(table["level_error_rms"].to_pylist(), fast["level_error_rms"].to_pylist(), atol=0.02)


@pytest.mark.spice
def test_a_die_in_finer_steps_is_another_run_of_the_same_die() -> None:
    one, finer = (statistics.scores(job(engine="spice", refine=refine), [0]).to_pylist()[0] for refine in (0, 1))
    assert finer["decisions_agree"] == one["decisions_agree"]
    assert finer["level_error_rms"] == pytest.approx(one["level_error_rms"], abs=1e-3)
    assert finer["level_error_rms"] != one["level_error_rms"]


@pytest.mark.spice
def test_the_command_resumes_pairs_and_replays(small: tuple[Path, Path], tmp_path: Path) -> None:
    design, data = small
    arguments = ("montecarlo", design, "--input", data, "--seed", 2)
    first = run(*arguments, "-n", 20, "-o", tmp_path / "a", "--json")
    assert first.returncode == 0, first.stderr
    again = run(*arguments, "-n", 20, "-o", tmp_path / "a", "--paired", 1, "--json")
    found = json.loads(again.stdout)
    assert (found["architecture"], found["level"], found["dies"]) == ("cm", "transistor", 20)
    assert found["accuracy"] == json.loads(first.stdout)["accuracy"]
    assert found["paired"]["dies"] == 1 and found["paired"]["unexplained"] == 0
    assert len(pq.read_table(tmp_path / "a" / "dies.parquet")) == 20
    replay = run(*arguments, "-o", tmp_path / "a", "--die", 7, "--json")
    row = json.loads(replay.stdout)
    table = pq.read_table(tmp_path / "a" / "dies.parquet").to_pylist()
    assert {key: row[key] for key in ("accuracy", "decisions_agree")} == {
        key: table[7][key] for key in ("accuracy", "decisions_agree")
    }
    assert "k1=" in (tmp_path / "a" / "die-000007" / "network.cir").read_text()
    assert "die 7" in (tmp_path / "a" / "die-000007" / "die.svg").read_text()
