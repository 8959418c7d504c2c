"""The current-mode architecture: templates, tables, mapping, and small networks in transistors."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmru_hw import spice
from cmru_hw.circuits.current import (
    characterize,
    compare,
    mapping,
    mirrors,
    netlist,
    simulate,
    technology,
    variation,
    verify,
)
from cmru_hw.circuits.current import fast as fast_engine
from cmru_hw.circuits.current.mapping import CurrentDesign
from cmru_hw.core import package_data
from cmru_hw.core.errors import MappingError, TechnologyError
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import device_models
from tests.networks import Shape, random_network

BENCHES = package_data.folder("netlists") / "testbenches"

# bench -> measurement -> (expected, relative tolerance): bias currents and width ratios, to the accuracy of 180 nm.
EXPECTED = {
    "current_hold": {"set_first": (0.3e-9, 0.05), "set_last": (0.3e-9, 0.05)},
    "current_cell": {"up": (0.3e-9, 0.04), "down": (0.2e-9, 0.04), "high": (0.3e-9, 0.05)},
    "current_mirror": {f"{polarity}_{landing}": (0.3e-9, 0.05) for polarity in "np" for landing in technology.LANDINGS},
}


def network(
    *,
    features: int = 3,
    units: tuple[int, ...] = (3, 2),
    widths: tuple[int, ...] | None = None,
    skip: bool = False,
    seed: int = 0,
    decades: float = 0.5,
) -> Trained:
    """Weights of either sign with log-normal magnitudes, α of either sign, initial states of either value."""
    config = ModelConfig(
        cell="fq-bmru",
        epsilon=0.0,
        levels=None,
        skip=skip,
        decision="mean",
        classes=("a", "b"),
        features=features,
        units=units,
        widths=widths or (units[0], *units),
    )
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in config.network().state_dict().items():
        values = torch.randn(tensor.shape, generator=generator)
        sign = torch.where(torch.rand(tensor.shape, generator=generator) < 0.5, -1.0, 1.0)
        if name.endswith("initial_state"):
            values = (values > 0).float()
        elif name.endswith(("low", "width")):
            values = 0.15 + 0.2 * values.abs()
        elif name == "input.scale":
            values = 0.5 + values.abs()
        else:
            values = sign * 0.5 * 10 ** (decades * values)
            values = 0.5 * values if name.endswith("bias") else values
        tensors[name] = values
    return Trained(config=config, tensors=tensors)


def sequences(features: int = 3, lengths: tuple[int, ...] = (7, 12, 3), seed: int = 0) -> Sequences:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(len(lengths), max(lengths), features)).astype(np.float32)
    return Sequences(inputs=inputs, lengths=np.array(lengths), labels=np.arange(len(lengths)) % 2)


def without_grid(name: str = "gf180") -> technology.CurrentTechnology:
    return replace(technology.load(name), grid=0.0)


def design_of(trained: Trained, kind: technology.CurrentTechnology) -> mapping.CurrentDesign:
    data = sequences(trained.config.features)
    return mapping.map_network(trained, kind, mapping.calibrate(trained, data))


def equal(one: Trained, other: Trained) -> bool:
    return all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


# --- Templates ---------------------------------------------------------------------------------------------------


def test_every_testbench_has_an_expectation() -> None:
    assert {path.stem for path in BENCHES.glob("current_*.cir")} == set(EXPECTED)


@pytest.mark.spice
@pytest.mark.parametrize("bench", sorted(EXPECTED))
def test_testbench_runs_alone(bench: str, tmp_path: Path) -> None:
    command = ["ngspice", "-b", str(BENCHES / f"{bench}.cir")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    measured = {name: float(value) for name, value in re.findall(r"^(\w+)\s+=\s+(\S+)", done.stdout, re.MULTILINE)}
    for name, (expected, tolerance) in EXPECTED[bench].items():
        assert measured[name] == pytest.approx(expected, rel=tolerance), name


# --- Technology --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", technology.available())
def test_a_technology_survives_its_own_text(name: str) -> None:
    kind = technology.load(name)
    again = technology.parse(characterize.toml(kind), where="again")
    assert again.sha256 == kind.sha256


def test_broken_technologies_are_named() -> None:
    text = characterize.toml(technology.load("gf180"))
    cases = [
        (text.replace("vdd = 1.8", "vdd = 0"), "vdd"),
        (text.replace("vdd = 1.8\n", ""), "vdd"),
        (text.replace("vdd = 1.8", "vdd = 1.8\nnonsense = 1"), "nonsense"),
        (re.sub(r"^fraction = \[0.03", "fraction = [2", text, flags=re.MULTILINE), "cell.fraction"),
        (re.sub(r"^n_half = ", "n_all = ", text, flags=re.MULTILINE), "mirror.ratios"),
        (text.replace("[cell]", "[cell"), "TOML"),
        (text.replace("unit = 1e-09", "unit = nan"), "unit is nan, must be a number in SI units"),
        (text.replace("unit = 1e-09", "unit = 1e-06"), "unit is 1 µA, but mirrors were swept from 30 pA to 30 nA"),
        (text.replace("full_scale = 2e-09", "full_scale = 1e-12"), "full_scale is 1 pA, but mirrors were swept"),
        (text.replace("largest = 3e-09", "largest = 2e-08"), "must rise within cell.thresh, 30 pA to 10 nA"),
        (text.replace("smallest = 1e-10", "smallest = 4e-09"), r"smallest \(4 nA\) and largest \(3 nA\) must rise"),
        (text.replace("narrow = 5e-07", "narrow = 6e-05"), "must rise within mirror.aspect, 0.01 to 10"),
    ]
    assert text not in [broken for broken, _ in cases]
    for broken, where in cases:
        with pytest.raises(TechnologyError, match=where):
            technology.parse(broken, where="a file")
    with pytest.raises(TechnologyError, match="gf180"):
        technology.load("no-such")


@pytest.mark.parametrize("landing", technology.LANDINGS)
@pytest.mark.parametrize("polarity", technology.POLARITIES)
def test_mirror_ratio_and_its_inverse(polarity: str, landing: str) -> None:
    mirror = technology.load("gf180").mirror
    wanted = np.geomspace(0.035, 24, 200)
    for current in (0.03e-9, 0.5e-9, 30e-9):
        aspect = mirror.aspect_for(wanted, polarity, landing, current)
        assert np.allclose(mirror.ratio(aspect, polarity, landing, current), wanted, rtol=1e-12)
        assert (np.diff(aspect) > 0).all()


@pytest.mark.spice
@pytest.mark.parametrize("name", technology.available())
def test_corrected_cells_do_what_was_asked(name: str) -> None:
    kind = technology.load(name)
    rng = np.random.default_rng(1)
    count = 12
    up, high = np.exp(rng.uniform(np.log(0.1e-9), np.log(3e-9), (2, count)))
    up[:2] = 0.1e-9, 3e-9
    width = up * rng.uniform(0.05, 0.95, count)
    biases = kind.cell.biases(up, width, high)
    points = [characterize.Point(thresh=t, width=w, gain=g) for t, w, g in zip(*biases, strict=True)]
    with spice.open_engine() as engine:
        found = characterize.cells(points, [device_models.devices(kind.process)] * count, engine)
    assert np.allclose([cell.up for cell in found], up, rtol=0.005)
    assert np.allclose([cell.width for cell in found], width, rtol=0.01)
    assert np.allclose([cell.high for cell in found], high, rtol=0.005)
    assert max(cell.low for cell in found) < kind.leakage


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.parametrize(("w", "l"), [(2, 5), (5, 5), (10, 10)])
def test_every_die_has_its_hysteresis_and_spreads_by_the_law_of_its_size(w: int, l: int) -> None:  # noqa: E741
    """200 dies with the PDK's mismatch, compared with σ = coefficient / √(w l); coefficients from mirrors of 2/5 um."""
    count = 200
    point = characterize.Point(thresh=0.3e-9, width=0.1e-9, gain=0.3e-9, w=w * 1e-6, l=l * 1e-6, sink=2 * l * 1e-6)
    with spice.open_engine() as engine:
        drawn = [device_models.devices("gf180", mismatch=seed + 1) for seed in range(count)]
        found = characterize.cells([point] * count, drawn, engine)
    assert min(cell.width for cell in found) > 0.01e-9
    for name, law in characterize.spreads(technology.load("gf180"), point).items():
        values = np.array([getattr(cell, name) for cell in found])
        # A standard deviation of 200 draws has an uncertainty of 10 % (95 %).
        assert values.std() / values.mean() == pytest.approx(law, rel=0.2), name


@pytest.mark.spice
def test_a_set_cell_keeps_its_level_until_close_to_where_it_resets() -> None:
    """Error suppression: errors of candidates reach the output only at the edge of the window."""
    point = characterize.Point(thresh=0.3e-9, width=0.1e-9, gain=0.3e-9)
    with spice.open_engine() as engine:
        off = characterize.edge(point, device_models.devices("generic180"), engine, (0.005, 0.05, 0.2))
    assert off[0] > off[1] > off[2]
    # Over these 15 % of the threshold the output moves by a thirtieth of that, and above them hardly at all.
    assert off[1] < 0.15 / 30 and off[2] < 0.001


# --- Mapping -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"skip": True},
        {"units": (4, 4, 4), "skip": True},
        {"units": (2, 3), "widths": (4, 4, 2), "skip": True},
        {"units": (1,), "features": 1},
        {"units": (3, 3), "widths": (2, 5, 5), "skip": True},
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_what_has_no_clips_comes_back_bit_by_bit(shape: dict[str, Any], seed: int) -> None:
    trained = network(**shape, seed=seed, decades=0.2)
    design = design_of(trained, without_grid())
    back = mapping.realised(design)
    # The readout of a signed residual is folded with the projection, and products can be too small to draw.
    assert all(deviation.element.startswith("readout.y_") and trained.config.skip for deviation in design.deviations)
    assert set(back.tensors) == set(trained.tensors)
    for name, tensor in trained.tensors.items():
        exact = name != "readout.bias" and not name.endswith(".width")
        tolerance = 0 if exact else 0.05 if design.deviations else 1e-6
        assert torch.allclose(back.tensors[name], tensor, rtol=0, atol=tolerance), name


def test_weights_over_three_decades_map_or_are_reported() -> None:
    """A row of weights from 0.01 to 10 of either sign: each is drawn exactly or listed with a reason."""
    kind = without_grid()
    trained = network(units=(16, 16), features=8)
    wanted = torch.logspace(-2, 1, 16) * torch.tensor([1.0, -1.0] * 8)
    name = "layers.0.output.weight"
    tensors = {**trained.tensors, name: wanted.repeat(16, 1), "layers.0.alpha": torch.ones(16)}
    design = design_of(Trained(config=trained.config, tensors=tensors), kind)
    deviations = {deviation.element: deviation for deviation in design.deviations}
    got = mapping.realised(design).tensors[name]
    for column, want in enumerate(wanted.tolist()):
        deviation = deviations.get(f"layers.0.output.r0_3.h0_{column}")
        have = float(got[3, column])
        if deviation is None:
            assert have == pytest.approx(want, rel=1e-6)
        else:
            assert deviation.got == pytest.approx(have, rel=1e-6) and abs(want) < 0.04
            assert deviation.reason == (
                "left out: below half the smallest arm" if have == 0 else "raised to the smallest arm"
            )
    drawn = design.layers[0].output.ratio[3, :16]
    drawn = np.abs(drawn[drawn != 0])
    assert drawn.max() / drawn.min() > 250 and 2 <= sum("r0_3.h0_" in element for element in deviations) <= 4


def test_drawn_sizes_are_on_the_grid_and_give_the_ratio() -> None:
    kind = technology.load("gf180")
    design = design_of(network(), kind)
    for rows in design.rows:
        for row, column in np.argwhere(rows.ratio != 0).tolist():
            w, l = rows.width[row, column], rows.length[row, column]  # noqa: E741
            assert w / kind.grid == pytest.approx(round(w / kind.grid), abs=1e-6)
            assert l / kind.grid == pytest.approx(round(l / kind.grid), abs=1e-6)
            line = rows.lines[column]
            if line == "one":
                kind_of = mirrors.arm(rows.diode, positive=rows.ratio[row, column] > 0)
                ratio = kind.mirror.ratio(w / l, *kind_of, kind.bias)
                assert ratio == pytest.approx(abs(rows.ratio[row, column]))


def test_thresholds_out_of_range_are_scaled_not_clipped() -> None:
    kind = without_grid()
    trained = network()
    tensors = {name: tensor.clone() for name, tensor in trained.tensors.items()}
    tensors["layers.0.low"] = torch.tensor([0.01, 2.0, 0.0])
    tensors["layers.0.width"] = torch.tensor([0.02, 7.0, 0.5])
    design = design_of(Trained(config=trained.config, tensors=tensors), kind)
    layer = design.layers[0]
    assert np.allclose(layer.upper, [0.1e-9, 3e-9, 0.5e-9])
    # The third cell never resets: its lower threshold is out of reach, and is read back as zero.
    assert layer.low[2] < 0
    assert torch.allclose(mapping.realised(design).tensors["layers.0.low"], tensors["layers.0.low"], rtol=1e-6)


def test_no_circuit_for_others() -> None:
    with pytest.raises(MappingError, match="sc"):
        design_of(random_network(Shape(features=3)), without_grid())
    trained = network()
    tensors = {name: tensor.clone() for name, tensor in trained.tensors.items()}
    tensors["layers.1.alpha"][1] = 0
    with pytest.raises(MappingError, match=r"layers\.1, unit 1: alpha"):
        design_of(Trained(config=trained.config, tensors=tensors), without_grid())


# --- Netlist -----------------------------------------------------------------------------------------------------


def test_the_netlist_has_as_many_transistors_as_it_says() -> None:
    design = design_of(network(units=(3, 3), skip=True), without_grid("generic180"))
    text = netlist.network_text(design)
    made = {"cell": 9, "reset": 1, "diode": 1, "arm": 1}
    kinds = re.findall(r" (?:current_)?(cell|reset|diode|arm)(?:_[np])?(?: w=|$)", text, re.MULTILINE)
    found = sum(made[kind] for kind in kinds)
    probes = len(re.findall(r"^xprobe", text, re.MULTILINE))
    assert found - probes == sum(netlist.transistors(design).values())


def test_every_gate_line_has_one_diode() -> None:
    for skip in (True, False):
        text = netlist.network_text(design_of(network(units=(3, 3), skip=skip, seed=3), without_grid("generic180")))
        read = set(re.findall(r"^x\S+ \S+ ([np]_\S+) .*arm_", text, re.MULTILINE))
        made = re.findall(r"^xdiode\S* ([np]_\S+) ", text, re.MULTILINE)
        cells = re.findall(r"^xcell\S+ (\S+) (\S+) ", text, re.MULTILINE)
        outputs = {out for _, out in cells}
        assert len(made) == len(set(made))
        assert read | {candidate for candidate, _ in cells} <= set(made) | outputs


# --- Circuits ----------------------------------------------------------------------------------------------------


@pytest.mark.spice
@pytest.mark.parametrize("skip", [False, True])
def test_a_network_of_transistors_is_its_software(skip: bool) -> None:
    trained = network(units=(3, 3), skip=skip, seed=5)
    kind = technology.load("generic180")
    data = sequences(lengths=(12, 9, 14), seed=3)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    with spice.open_engine() as engine:
        verified = verify.verify(design, trained, data, engine)
    result = verified.comparison
    assert isinstance(result, compare.CurrentComparison)
    assert result.agree >= 0.95 * result.total
    assert result.states_agree >= 0.95 * result.total
    assert result.root_margin < 0.1
    assert result.candidate_error < 0.05
    assert result.state_error < 0.005
    assert result.classified_alike == 3


@pytest.mark.spice
def test_metered_charge_is_the_current_that_flows() -> None:
    """References draw constant, known currents: the meter must measure them to the last digit."""
    design = design_of(network(), technology.load("generic180"))
    with spice.open_engine() as engine:
        result = simulate.simulate(design, sequences(), engine)
    constant = design.technology.bias + sum(float((x.thresh + x.window + x.gain).sum()) for x in design.layers)
    assert result.power["references"] == pytest.approx(constant * result.vdd, rel=1e-6)
    inputs = np.concatenate(
        [sum(design.currents(x[:n]).values()) for x, n in zip(sequences().inputs, sequences().lengths, strict=True)]
    )
    # The ramps between inputs are a hundredth of the time.
    assert result.power["inputs"] == pytest.approx(inputs.mean() * result.vdd, rel=0.01)
    assert all(power > 0 for power in result.power.values())


# --- Dies and the fast engine ------------------------------------------------------------------------------------


def test_a_die_is_a_function_of_seed_number_and_name() -> None:
    design = design_of(network(), technology.load("gf180"))
    some, more = (variation.draw(design, seed=3, dies=numbers) for numbers in ([7], [0, 7, 9]))
    assert all(some.strengths[name][0] == more.strengths[name][1] for name in some.strengths)
    other = variation.draw(design, seed=4, dies=[7])
    assert not any(some.strengths[name][0] == other.strengths[name][0] for name in some.strengths)
    assert all(
        (values == 1).all()
        for values in variation.draw(design, seed=3, dies=[0, 1], varied=frozenset()).strengths.values()
    )


def test_strengths_have_the_spread_of_their_size() -> None:
    kind = technology.load("gf180")
    design = design_of(network(), kind)
    drawn = variation.draw(design, seed=0, dies=range(4000))
    for name, device in list(netlist.devices(design).items())[::17]:
        coefficient = kind.mismatch_n if device.polarity == "n" else kind.mismatch_p
        expected = coefficient / np.sqrt(device.width * device.length)
        assert np.log(drawn.strengths[name]).std() == pytest.approx(expected, rel=0.05)


def test_a_nominal_die_is_the_nominal_netlist_and_another_is_not() -> None:
    design = design_of(network(), technology.load("gf180"))
    nominal = variation.draw(design, seed=0, dies=[0], varied=frozenset())
    text = netlist.network_text(design)
    drawn = netlist.network_text(design, strengths=nominal.one(0))
    assert re.sub(r"\n\+ k1=.*| k=1\.0$", "", drawn, flags=re.MULTILINE) == text
    assert netlist.network_text(design, strengths=variation.draw(design, seed=0, dies=[0]).one(0)) != text


@pytest.mark.parametrize("skip", [False, True])
def test_the_fast_engine_without_errors_is_the_software(skip: bool) -> None:
    trained = network(units=(4, 3), widths=(4, 4, 4), skip=skip, seed=7, decades=0.2)
    kind = replace(without_grid(), timestep=1.0)  # so long that the charge of a state node is negligible
    data = sequences(lengths=(20, 30, 25), seed=7)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    fast = fast_engine.run(variation.draw(design, seed=0, dies=[0, 1], varied=frozenset()), data)
    expected = compare.reference(design, mapping.realised(design), data).response
    for die in range(2):
        agree, total = fast_engine.agreement(fast.response(die), expected)
        assert agree == total


def test_a_cell_needs_charge_to_switch() -> None:
    up, down, initial = np.array([[1e-9]]), np.array([[0.5e-9]]), np.array([0.0])
    overdrive = np.array([0.0, 0.3e-12, 0.3e-12, 0.0, 1e-12])
    seen = (1e-9 + overdrive).reshape(1, 1, -1, 1)
    states = fast_engine._switch(seen, up, down, initial, 0.01)
    # 2 x 0.3 pA x 10 ms are more than 5 fC, half of it is less.
    assert states[0, 0, :, 0].tolist() == [0, 0, 1, 1, 1]


@pytest.mark.spice
def test_both_engines_agree_die_by_die() -> None:
    trained = network(units=(3, 3), seed=5)
    kind = technology.load("gf180")
    data = sequences(lengths=(20, 20), seed=3)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    assert share_alike(design, data) >= 0.98


def share_alike(design: CurrentDesign, data: Sequences) -> float:
    """Share of the decisions of three dies that both engines make alike."""
    drawn = variation.draw(design, seed=1, dies=range(3))
    fast = fast_engine.run(drawn, data)
    agree = total = 0
    with spice.open_engine() as engine:
        for die in range(len(drawn)):
            text = netlist.network_text(design, strengths=drawn.one(die))
            response = simulate.simulate(design, data, engine, network=text).response
            counted = fast_engine.agreement(fast.response(die), response)
            agree, total = agree + counted[0], total + counted[1]
    return agree / total
