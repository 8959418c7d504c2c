"""Thresholds in the middle of their gaps: no decision changes, and margins grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmru_hw.core.errors import DataError, InputError
from cmru_hw.core.signals import Array
from cmru_hw.nn import centring, checkpoint
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.forward import Model
from cmru_hw.nn.sequences import Sequences, load_sequences
from tests.networks import Shape, random_network
from tests.test_cli import DATA, MODELS, refused, run
from tests.test_current import network, sequences

FQ = MODELS / "detect-fq-bmru-2x4.safetensors"


def margins(trained: Trained, data: Sequences, layer: int) -> Array:
    """Smallest distance (units,) of a candidate from the threshold that its cell reads."""
    out = Model.of(trained).run(data.inputs, data.lengths)
    states = out.states[layer] > 0.5
    initial = np.broadcast_to(trained.arrays[f"layers.{layer}.initial_state"] > 0.5, states[:, :1].shape)
    was = np.concatenate([initial, states[:, :-1]], axis=1)
    low, high = out.thresholds[layer]
    distance = np.abs(out.candidates[layer] - np.where(was, low, high))
    return np.asarray(distance[data.valid].min(axis=0))


def test_the_detector_keeps_its_decisions_and_gains_margin() -> None:
    trained, data = checkpoint.load(FQ), load_sequences(DATA)
    found, moved = centring.centred(trained, data)
    before, after = (Model.of(one).run(data.inputs, data.lengths) for one in (trained, found))
    for one, other in zip(before.states, after.states, strict=True):
        assert (one == other)[data.valid].all()
    # Behind a layer of bits the gaps are wide; unit 0 was trained to 4 % of its threshold.
    grown = margins(found, data, 1) / margins(trained, data, 1)
    assert grown[0] > 3 and (grown >= 0.99).all()
    assert {(one.layer, one.unit) for one in moved} >= {(1, 0), (1, 3)}
    assert all(one.after[0] < one.after[1] for one in moved)


@pytest.mark.parametrize("seed", range(4))
def test_no_decision_of_any_network_changes(seed: int) -> None:
    trained, data = network(units=(4, 3), seed=seed), sequences(lengths=(20, 30, 5), seed=seed)
    found, _ = centring.centred(trained, data)
    before, after = (Model.of(one).run(data.inputs, data.lengths) for one in (trained, found))
    for one, other in zip(before.states, after.states, strict=True):
        assert (one == other)[data.valid].all()
    unmoved = {name for name in trained.arrays if not name.endswith(("low", "width"))}
    assert all((trained.arrays[name] == found.arrays[name]).all() for name in unmoved)


def test_a_threshold_with_candidates_on_one_side_stays() -> None:
    trained = network(units=(2,), seed=1)
    arrays = {name: values.copy() for name, values in trained.arrays.items()}
    arrays["layers.0.low"][:], arrays["layers.0.width"][:] = 1e3, 1.0
    arrays["layers.0.initial_state"][:] = 0
    high = Trained.of_arrays(trained.config, arrays)
    found, moved = centring.centred(high, sequences())
    assert moved == () and found.sha256 == high.sha256


def test_other_cells_and_other_data_are_refused() -> None:
    with pytest.raises(InputError, match=r"CMRU.*FQ-BMRU"):
        centring.centred(random_network(Shape()), sequences())
    with pytest.raises(DataError, match="features"):
        centring.centred(network(features=3), sequences(features=4))


def test_export_centres_on_request(tmp_path: Path) -> None:
    done = run("export", FQ, "--centre", DATA, "--no-verify", "-o", tmp_path / "d")
    assert done.returncode == 0, done.stderr
    assert "centred units" in done.stdout
    folder = next((tmp_path / "d").glob("*.safetensors"))
    assert checkpoint.load(folder).sha256 != checkpoint.load(FQ).sha256
    other = MODELS / "detect-cmru-2x4.safetensors"
    assert "FQ-BMRU" in refused("export", other, "--centre", DATA, "--no-verify", "-o", tmp_path / "e")
