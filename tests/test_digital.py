"""The digital baseline: gates against CV² by hand, counts against the shape of the network."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.analysis.digital import counts, energy
from cmru_hw.characterize import digital_gates
from cmru_hw.characterize.digital_gates import GateEnergies
from cmru_hw.characterize.testbench import Conditions
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError
from cmru_hw.nn.levels import Levels
from cmru_hw.process import device_count, technology
from tests.networks import Shape, random_network

MEASURED = package_data.folder("netlists") / "measured"


def shipped(vdd: float) -> GateEnergies:
    with spice.open_engine() as engine:
        return digital_gates.cached(engine, Conditions(process="gf180", vdd=vdd), Path("/nowhere"))


def capacitance(cell: str, node: str) -> float:
    """Capacitance [F] of ``node`` of a cell by hand: gates, overlaps and junctions of the devices on it."""
    long_channel = technology.load("gf180").long_channel
    assert long_channel is not None
    cells = {f"{path.stem}.cir": path.read_bytes() for path in digital_gates._files()}
    pins = {"full_adder": "a b c s co vdd", "flip_flop": "d q ck vdd"}[cell]
    found = 0.0
    for part in device_count.devices(f"x1 {pins} {cell}\n", cells):
        drain, gate, source, _ = (name.removeprefix("x1.") for name in part.nodes)
        width, length = part.values["w"], part.values["l"]
        if gate == node:
            found += long_channel.oxide * width * length + 2 * long_channel.overlap * width
        # A drain or a source has its junction and the overlap of its gate.
        found += (long_channel.junction + long_channel.overlap) * width * ((drain == node) + (source == node))
    return found


@pytest.mark.spice
def test_the_clock_of_a_register_is_cv2_by_hand() -> None:
    """In a cycle without a change of data only the two clock nodes inside the register are charged."""
    for vdd in (1.8, 0.9):
        by_hand = (capacitance("flip_flop", "ckb") + capacitance("flip_flop", "cki")) * vdd**2
        assert shipped(vdd).register_clock == pytest.approx(by_hand, rel=0.35)


@pytest.mark.spice
def test_an_addition_is_cv2_by_hand() -> None:
    """Random operands: each output of each bit has another value with probability 1/2, and half of these changes
    charge it. Glitches, inner nodes of stacks and short-circuit currents come on top."""
    nodes = ("cob", "co", "sb", "s")
    loads = {node: capacitance("full_adder", node) for node in nodes}
    # The carry drives three gates of each kind in the next bit; sums drive nothing here.
    loads["co"] += capacitance("full_adder", "c")
    for vdd in (1.8, 0.9):
        by_hand = digital_gates.BITS * sum(loads.values()) / 4 * vdd**2
        assert 1.0 < shipped(vdd).addition / by_hand < 3.0


@pytest.mark.slow
@pytest.mark.spice
def test_the_shipped_gates_are_measured_again(tmp_path: Path) -> None:
    with spice.open_engine() as engine:
        found = digital_gates.gates(engine, Conditions(process="gf180", vdd=1.8))
    wanted = shipped(1.8)
    for name in ("addition", "register_data", "register_clock", "select", "product", "delay", "register_leakage"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=0.02)


def test_every_shipped_measurement_is_of_the_shipped_netlists() -> None:
    found = sorted(MEASURED.glob("gates_*.json"))
    assert len(found) >= 5
    for path in found:
        one = GateEnergies.load(path)
        conditions = Conditions(process=one.process, vdd=one.vdd)
        digest = digital_gates.fingerprint(conditions)
        assert path.name == f"gates_{one.process}_{one.vdd:g}_{digest[:16]}.json"


def test_energies_fall_with_the_supply_and_delays_rise() -> None:
    found = sorted((GateEnergies.load(path) for path in MEASURED.glob("gates_*.json")), key=lambda one: one.vdd)
    for low, high in itertools.pairwise(found):
        assert low.addition < high.addition and low.register_clock < high.register_clock
        assert low.delay > high.delay
        # between CV² and a fifth more or less of it
        assert low.addition / high.addition == pytest.approx((low.vdd / high.vdd) ** 2, rel=0.25)


@pytest.mark.parametrize("skip", [False, True])
def test_counts_follow_the_shape(skip: bool) -> None:
    shape = Shape(features=5, units=(4, 3), classes=2, levels=3, skip=skip)
    found = counts.count(random_network(shape), 8)
    second = 4 + 5 if skip else 4
    places = 2 * (5 * 4 + second * 3) + 2 * sum(part.columns for part in found.sums if part.name == "readout")
    assert 0.97 * places <= found.products <= places
    first = next(part for part in found.sums if part.name == "layers.0.candidate")
    assert (first.rows, first.columns, first.value_bits, first.width) == (4, 5, 8, 8 + 8 + 3)
    bits = {part.value_bits for part in found.sums if part.name == "layers.1.candidate"}
    assert bits == ({3, 8} if skip else {3})
    assert (found.decisions, found.state_bits, found.input_bits, found.scores) == (7, 7 * 3, 5 * 8, 2)


def test_fewer_bits_are_fewer_operations() -> None:
    trained = random_network(Shape(features=6, units=(8,)))
    whole = [counts.count(trained, bits) for bits in (8, 4, counts.TERNARY)]
    assert whole[0].products >= whole[1].products >= whole[2].products
    assert [sum(part.digits for part in one.sums) for one in whole] == sorted(
        (sum(part.digits for part in one.sums) for one in whole), reverse=True
    )
    assert all(part.digits == part.products for part in whole[2].sums)


def test_signed_digits() -> None:
    assert [counts.signed_digits(value) for value in (0, 1, 2, 3, 7, -7, 127, 85, 11)] == [0, 1, 1, 2, 2, 2, 2, 4, 3]
    weights = np.array([[0.5, -1.0, 0.01]])
    assert counts.quantized(weights, 8).tolist() == [[64, -127, 1]]
    assert counts.quantized(weights, counts.TERNARY).tolist() == [[1, -1, 0]]


def test_rounded_weights_are_whole_numbers_of_one_step() -> None:
    trained = random_network(Shape(features=4, units=(3,)))
    eight, ternary = (counts.rounded_network(trained, bits) for bits in (8, counts.TERNARY))
    name = "layers.0.candidate.weight"
    wanted, got = trained.tensors[name], eight.tensors[name]
    step = float(wanted.abs().max()) / 127
    assert float((wanted - got).abs().max()) < step
    assert len({round(value, 6) for value in ternary.tensors[name].abs().flatten().tolist()} - {0.0}) == 1
    assert ternary.tensors["readout.bias"].equal(trained.tensors["readout.bias"])


@pytest.mark.parametrize(("levels", "bits"), [(1, 2), (7, 4), (((1, 2), (8,)), 5), (None, 4)])
def test_the_bits_of_a_state_follow_from_the_largest_level(levels: Levels, bits: int) -> None:
    assert counts._state_bits(levels) == bits


def test_other_cells_are_refused() -> None:
    with pytest.raises(InputError, match="the operations of acmru networks are not counted"):
        counts.count(random_network(Shape(cell="acmru")), 8)
    with pytest.raises(InputError, match="weights of 5 bits"):
        counts.count(random_network(Shape()), 5)


GATES = GateEnergies(
    process="gf180", corner="typical", temperature_C=27.0, vdd=1.0, addition=80e-15, register_data=20e-15,
    register_clock=10e-15, select=4e-15, product=2e-15, adder_leakage=1e-14, register_leakage=1e-14,
    select_leakage=1e-14, product_leakage=1e-14, stored_leakage=1e-14, header_leakage=1e-15, delay=1e-8,
    source="by hand",
)  # fmt: skip


def test_the_parts_by_hand() -> None:
    trained = random_network(Shape(features=4, units=(2,), classes=2, levels=3))
    operations = counts.count(trained, 8)
    found = energy.at_supply(operations, GATES, 0.01)
    # every sum: products of a (6 rows of adders, 7 x value bits of partial products), times the factor of control
    multiply = sum(p.products * (6 * p.value_bits * 10e-15 + 7 * p.value_bits * 2e-15) for p in operations.sums)
    assert found.parts["multiply"] == pytest.approx(1.5 * multiply)
    accumulate = sum(p.products * p.width * 10e-15 for p in operations.sums)
    assert found.parts["accumulate"] == pytest.approx(1.5 * accumulate)
    assert found.low < found.typical < found.high
    assert found.typical == pytest.approx(sum(found.parts.values()))
    assert 0 < found.leakage_gated < found.leakage_always_on


def test_a_supply_that_is_too_slow_is_not_the_best() -> None:
    operations = counts.count(random_network(Shape(features=4, units=(2,))), 4)
    slow = replace(GATES, vdd=0.4, addition=1e-16, delay=1.0)
    better = replace(GATES, vdd=0.6, addition=40e-15, delay=1e-6)
    found = energy.baseline(operations, [GATES, slow, better], 1.0, 0.01)
    assert (found.at_supply.vdd, found.least.vdd) == (1.0, 0.6)
    assert math.isclose(found.products, operations.products)
