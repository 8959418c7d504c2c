from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmru_hw.circuits.charge import mapping
from cmru_hw.circuits.charge.architecture import CHARGE
from cmru_hw.circuits.charge.design import Design
from cmru_hw.core.errors import MappingError
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.process import technology
from tests.networks import Shape, random_network, random_sequences

MACRO = technology.load("macro")

shapes = st.builds(
    Shape,
    cell=st.sampled_from(["cmru", "bmru", "acmru"]),
    features=st.integers(1, 5),
    units=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    classes=st.integers(2, 4),
    levels=st.sampled_from([None, 1, 2, 7, "mixed"]),
    skip=st.booleans(),
    fixed_thresholds=st.booleans(),
    seed=st.integers(0, 2**31),
)


def mapped(shape: Shape, kind: technology.Technology = MACRO) -> tuple[Trained, Design]:
    trained = random_network(shape)
    return trained, mapping.map_network(trained, kind, mapping.calibrate(trained, random_sequences(shape)))


def with_tensor(trained: Trained, name: str, value: torch.Tensor) -> Trained:
    return Trained(config=trained.config, tensors={**trained.tensors, name: value})


@settings(max_examples=60, deadline=None)
@given(shapes)
def test_weights_come_back_exactly(shape: Shape) -> None:
    trained, design = mapped(shape)
    assert not design.deviations
    back = mapping.realised(design)
    for name, tensor in trained.tensors.items():
        assert torch.equal(back.tensors[name], tensor), name


@settings(max_examples=30, deadline=None)
@given(shapes)
def test_a_row_computes_the_software_sum(shape: Shape) -> None:
    """Charge sharing: row voltages, computed from capacitors only, equal the software sums up to a positive factor."""
    trained, design = mapped(shape)
    layer = design.layers[0]
    x = np.random.default_rng(shape.seed).normal(size=shape.features)
    limit = np.array(design.calibration.inputs)
    lines = design.voltages(x) - MACRO.supply.common_mode
    assert (np.abs(lines) <= MACRO.signal.input_swing * (1 + 1e-12)).all()
    scaled = np.clip(x * design.input_scale + design.input_offset, -limit, limit)
    w, b, v, beta = (
        trained.tensors[f"layers.0.{name}"].double().numpy()
        for name in ("candidate.weight", "candidate.bias", "threshold.weight", "threshold.bias")
    )
    for row, sign in ((layer.low, -1), (layer.high, +1)):
        volts = (row.weights @ lines + (row.bias + row.threshold) * MACRO.signal.bias) / row.total
        wanted = (w + sign * v) @ scaled + b + sign * beta
        np.testing.assert_allclose(volts * row.total / row.scale, wanted, rtol=1e-9, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(shapes)
def test_rows_and_states_stay_inside_what_the_technology_has(shape: Shape) -> None:
    _, design = mapped(shape)
    for layer in design.layers:
        for row in (layer.low, layer.high):
            assert (row.total <= MACRO.capacitor.row * (1 + 1e-12)).all()
        np.testing.assert_allclose(np.maximum(layer.low.total, layer.high.total), MACRO.capacitor.row)
        if layer.levels is not None:
            assert (layer.levels * layer.step <= MACRO.signal.state_swing * (1 + 1e-12)).all()
    np.testing.assert_allclose(design.readout.total, MACRO.capacitor.row)


def test_small_weights_are_reported_whether_rounded_or_left_out() -> None:
    shape = Shape(units=(2,), skip=False)
    trained = random_network(shape)
    weight = trained.tensors["layers.0.candidate.weight"].clone()
    weight[0, 0], weight[1, 0] = 1e-4, 6e-3
    trained = with_tensor(trained, "layers.0.candidate.weight", weight)
    trained = with_tensor(trained, "layers.0.threshold.weight", torch.zeros_like(weight))
    coarse = replace(MACRO, capacitor=replace(MACRO.capacitor, minimum=2e-15, step=1e-15))
    design = mapping.map_network(trained, coarse, mapping.calibrate(trained, random_sequences(shape)))
    deviations = {deviation.element: deviation for deviation in design.deviations}
    assert deviations["layers.0.a.weight[0,0]"].got == 0
    assert "left out" in deviations["layers.0.a.weight[0,0]"].reason
    assert deviations["layers.0.a.weight[1,0]"].got == pytest.approx(2e-15)
    for name, layer in (("low", design.layers[0].low), ("high", design.layers[0].high)):
        sizes = np.abs(layer.weights[layer.weights != 0]) / 1e-15
        assert (sizes >= 2 - 1e-9).all(), name
        np.testing.assert_allclose(sizes, np.round(sizes), atol=1e-6)
    back = mapping.realised(design).tensors["layers.0.candidate.weight"]
    assert back[0, 0] == 0 and not torch.equal(back, weight)


def test_a_design_without_weights_is_described() -> None:
    """All weights are smaller than half the smallest capacitor; biases remain. Without these, a row has no sign."""
    coarse = replace(MACRO, capacitor=replace(MACRO.capacitor, minimum=0.1 * MACRO.capacitor.row))
    shape = Shape(units=(3,), skip=False)
    trained = random_network(shape)
    for kind in ("candidate", "threshold"):
        trained = with_tensor(trained, f"layers.0.{kind}.weight", 1e-3 * trained.tensors[f"layers.0.{kind}.weight"])
    trained = with_tensor(trained, "layers.0.candidate.bias", torch.full((3,), 1.0))
    trained = with_tensor(trained, "layers.0.threshold.bias", torch.full((3,), 0.5))
    calibration = mapping.calibrate(trained, random_sequences(shape))
    design = mapping.map_network(trained, coarse, calibration)
    found = CHARGE.describe(design)
    assert found["smallest weight capacitor"] == found["largest weight capacitor"] == "none"
    assert isinstance(found["left-out weights"], int) and found["left-out weights"] > 0
    huge = replace(MACRO, capacitor=replace(MACRO.capacitor, minimum=1e-9))
    with pytest.raises(MappingError, match=r"layers\.0\.a, row 0: no weight or bias is as large"):
        mapping.map_network(trained, huge, calibration)


def test_padding_has_no_residue_of_rounding() -> None:
    for seed in range(20):
        _, design = mapped(Shape(features=5, units=(5,), classes=4, seed=seed))
        pad = design.readout.pad
        assert (pad >= 0).all() and not ((pad > 0) & (pad < 1e-9 * MACRO.capacitor.row)).any()
        assert np.allclose(design.readout.total, MACRO.capacitor.row, rtol=1e-9)
    # If rounding makes a row larger than the technology's, the others are padded to that one.
    coarse = replace(MACRO, capacitor=replace(MACRO.capacitor, step=MACRO.capacitor.row / 7))
    totals = [
        mapped(Shape(features=5, units=(5,), classes=4, seed=seed), coarse)[1].readout.total for seed in range(20)
    ]
    assert any(total.max() > 1.01 * MACRO.capacitor.row for total in totals)
    assert all(np.allclose(total, total.max(), rtol=1e-9) for total in totals)


def test_negative_alpha_is_a_positive_packet_read_negative() -> None:
    trained, design = mapped(Shape(seed=3))
    alpha = trained.tensors["layers.0.alpha"].numpy()
    assert (alpha < 0).any() and (alpha > 0).any()
    layer, above = design.layers
    assert (layer.packet > 0).all()
    np.testing.assert_array_equal(layer.sign, np.sign(alpha))
    np.testing.assert_array_equal(above.line_sign[: layer.units], np.sign(alpha))


def refusal(trained: Trained) -> str:
    with pytest.raises(MappingError) as caught:
        mapping.map_network(trained, MACRO, mapping.calibrate(trained, None))
    return str(caught.value)


def test_what_no_circuit_can_be_is_refused_by_name() -> None:
    cmru = random_network(Shape(units=(2,), skip=False))
    dead = with_tensor(cmru, "layers.0.alpha", torch.tensor([1.0, 0.0]))
    assert "layers.0.alpha[1] is 0" in refusal(dead)
    empty = cmru
    for name in ("candidate.weight", "candidate.bias", "threshold.weight", "threshold.bias"):
        tensor = empty.tensors[f"layers.0.{name}"].clone()
        tensor[1] = 0
        empty = with_tensor(empty, f"layers.0.{name}", tensor)
    assert "layers.0, row 1: every weight and bias is 0" in refusal(empty)
    half = Trained(config=replace(cmru.config, cell="eps", epsilon=0.5), tensors=cmru.tensors)
    assert "epsilon is 0.5" in refusal(half)
    bounded = random_network(Shape(cell="acmru"))
    bounded = Trained(config=replace(bounded.config, levels=2), tensors=bounded.tensors)
    assert "levels = null" in refusal(bounded)
    wide = with_tensor(cmru, "layers.0.alpha", torch.tensor([1.0, 1.0]))
    wide = Trained(config=replace(wide.config, levels=1), tensors=wide.tensors)
    small = replace(MACRO, signal=replace(MACRO.signal, reference=0.01))
    with pytest.raises(MappingError, match=r"layers\.0, unit 0: one packet would need C_s"):
        mapping.map_network(wide, small, mapping.calibrate(wide, None))


def test_current_mode_networks_are_sent_to_their_architecture() -> None:
    config = ModelConfig(
        cell="fq-bmru", epsilon=0.0, levels=None, skip=False, decision="mean", classes=("a", "b"), features=2,
        units=(2,), widths=(2, 2),
    )  # fmt: skip
    network = config.network()
    tensors = {name: tensor.abs() for name, tensor in network.state_dict().items()}
    tensors["layers.0.initial_state"] = torch.zeros(2)
    trained = Trained(config=config, tensors=tensors)
    assert "export it with --architecture cm" in refusal(trained)


def test_calibration_without_data_is_an_assumption_that_says_so() -> None:
    trained = random_network(Shape())
    calibration = mapping.calibrate(trained, None)
    assert calibration.source.startswith("assumed")
    assert calibration.inputs == (4.0,) * Shape().features
    assert mapping.calibrate(trained, None) == calibration
